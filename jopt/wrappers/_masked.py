"""`masked`: a transformation for some of the leaves."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from jopt.core import (
    GradientTransformation,
    Mask,
    PyTree,
    Transformation,
    as_mask,
    as_transformation,
    common_groups,
    field,
    pytree,
    static,
)


class MaskedNode(NamedTuple):
    """What stands for a leaf, or a subtree, that a mask has hidden: no leaves."""


class MaskedState(NamedTuple):
    """The state of the inner transformation, of the chosen leaves only."""

    inner_state: PyTree


@pytree
class Masked(GradientTransformation):
    """Apply a transformation to the chosen leaves and pass the others through.

        u = inner(g) where the mask is true, g elsewhere

    inner: jopt's transformation or optax's. It sees `MaskedNode()`, which has no
    leaves, in place of what is not chosen, so its norms are of the chosen leaves and it
    keeps no state for others. mask: static; a tree of bools like the params, or a
    prefix, matched by path, so that a dict will do for an `nnx.State` or a
    `FrozenDict`; a function of the params that makes one; or a function of the path and
    the leaf:

        jopt.masked(jopt.trace(0.9), lambda path, p: path.endswith("kernel"))

    A function is of the second kind if it has two required arguments; the path is a
    string such as "layers/0/kernel". In `update` functions get the gradients, whose
    paths and shapes are the params'.

    mask_compatible_extra_args: whether extra arguments that are trees like the updates
    are masked too.

    What is not chosen is not frozen: its gradient is its update (see `freeze`), and it
    may be of any dtype. Raises a TypeError if the mask is not of bools, and a
    ValueError that names the first path where it does not match the params.
    """

    inner: Transformation = field(converter=as_transformation)
    mask: Any = static(converter=as_mask)
    mask_compatible_extra_args: bool = static(default=False, kw_only=True)

    any_dtype = True

    def groups(self, params):
        mask = self.mask.on(params)
        inside = iter(self.inner.groups(mask.hide(params, MaskedNode())))
        chosen = mask.leaves(params)
        held = [next(inside) if yes else () for yes in chosen]
        return common_groups(params, chosen, held)

    def frozen(self, params):
        mask = self.mask.on(params)
        inside = iter(self.inner.frozen(mask.hide(params, MaskedNode())))
        return [chosen and next(inside) for chosen in mask.leaves(params)]

    def init(self, params):
        mask = self.mask.on(params)
        return MaskedState(self.inner.init(mask.hide(params, MaskedNode())))

    def update(self, updates, state, params=None, **extra):
        mask = self.mask.on(updates)
        if self.mask_compatible_extra_args:
            extra = _hidden_like(updates, mask, extra)
        given = mask.hide(updates, MaskedNode())
        params = None if params is None else mask.hide(params, MaskedNode())
        made, inner = self.inner.update(given, state.inner_state, params, **extra)
        return mask.choose(updates, made, updates), MaskedState(inner)

    def parts(self, state):
        return {"inner": (self.inner, state.inner_state)}


def _hidden_like(
    updates: PyTree, mask: Mask, extra: Mapping[str, Any]
) -> dict[str, Any]:
    structure = jax.tree.structure(updates)
    return {
        name: mask.hide(value, MaskedNode())
        if jax.tree.structure(value) == structure
        else value
        for name, value in extra.items()
    }


masked = Masked
