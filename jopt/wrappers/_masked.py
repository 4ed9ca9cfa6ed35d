"""`masked`: a transformation of some of the leaves."""

from collections.abc import Mapping
from typing import NamedTuple

import jax

from jopt.core import (
    GradientTransformation,
    Mask,
    PyTree,
    Transformation,
    as_transformation,
    common_groups,
    field,
    pytree,
    static,
)


class MaskedNode(NamedTuple):
    """Placeholder for a leaf or subtree that a mask has hidden; it has no leaves."""


class MaskedState(NamedTuple):
    """The state of the inner transformation, for the chosen leaves only."""

    inner_state: PyTree  # of the inner transformation


@pytree
class Masked(GradientTransformation):
    """Apply a transformation to the chosen leaves and return the others unchanged.

        u = inner(g) where the mask is true, g elsewhere

        jopt.masked(jopt.trace(0.9), lambda path, p: path.endswith("kernel"))

    The inner transformation sees `MaskedNode()`, which has no leaves, in place of
    leaves that are not chosen, so its norms are of the chosen leaves and it keeps no
    state for others. Leaves that are not chosen are not frozen: their gradients are
    their updates (see `freeze`). They may be of any dtype.

    Args:
      inner: transformation of jopt or optax.
      mask: static. A tree of bools like the params, or a prefix of it, is matched by
        path, so that a dict fits an `nnx.State` or a `FrozenDict`. A function of the
        params returns such a tree. A function with two required arguments returns a
        bool for a path, such as "layers/0/kernel", and its leaf. In `update` functions
        get the gradients, whose paths and shapes are the params'.
      mask_compatible_extra_args: whether extra arguments that are trees like the
        updates are masked too.

    Raises:
      TypeError: if the mask is not made of bools.
      ValueError: if the mask does not match the params; the message names the first
        path where it does not.
    """

    inner: Transformation = field(converter=as_transformation)
    mask: PyTree = static(converter=Mask)
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

    def eval_params(self, state, params):
        mask = self.mask.on(params)
        given = mask.hide(params, MaskedNode())
        made = self.inner.eval_params(state.inner_state, given)
        return mask.choose(params, made, params)


def _hidden_like(
    updates: PyTree, mask: Mask, extra: Mapping[str, PyTree]
) -> dict[str, PyTree]:
    """Return the extra arguments, with those that are trees like `updates` masked."""
    structure = jax.tree.structure(updates)
    return {
        name: mask.hide(value, MaskedNode())
        if jax.tree.structure(value) == structure
        else value
        for name, value in extra.items()
    }


masked = Masked
