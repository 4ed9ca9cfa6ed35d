"""Training of the coordinates that are kept, while the others stay zero."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import KeyPath, tree_leaves_with_path, tree_map_with_path

from jopt.compress._chosen import alone, apart
from jopt.compress._competition import Competition
from jopt.core import GradientTransformation, Mask, PyTree, dtype_of


class TrainsKept:
    """The base of `prune`, `lottery` and `grow`, which train the kept coordinates.

    A subclass has the fields below, and `kept` and `inner_state` in its state. `grow`
    overrides `_mask` in place of `unit` and `among`.
    """

    inner: Any  # a gradient transformation
    where: Any  # a mask: which leaves may be pruned
    unit: Any
    among: Any

    def groups(self, params):
        return apart(self._mask(params), params, self.inner.groups(params))

    def eval_params(self, state, params):
        params = self.inner.eval_params(state.inner_state, params)
        return only_kept(self._mask(params), state.kept, params)

    def _mask(self, params: PyTree) -> Mask:
        """Return which leaves may be pruned, as a tree that fits the params."""
        return self._competition.leaves(type(self).__name__, self.where, params)

    @property
    def _competition(self) -> Competition:
        return Competition(self.unit, self.among)


def all_kept(weights: PyTree) -> PyTree:
    """Return bools like the weights, all true."""
    return jax.tree.map(lambda w: jnp.full_like(w, True, dtype=bool), weights)


def only_kept(
    mask: Mask, kept: PyTree, tree: PyTree, others: PyTree | None = None
) -> PyTree:
    """Return a tree like the params with 0 where a coordinate is not kept.

    Args:
      mask: which leaves may be pruned.
      kept: bools, which of their coordinates are kept.
      tree: a tree like the params.
      others: weights, arrays like `kept`, to use instead of 0.
    """
    leaves, structure = jax.tree.flatten(alone(mask, tree))
    masks = jax.tree.leaves(kept)
    fill = [0] * len(masks) if others is None else jax.tree.leaves(others)
    made = structure.unflatten(
        jnp.where(m, x, jnp.asarray(other, x.dtype))
        for m, x, other in zip(masks, leaves, fill, strict=True)
    )
    return mask.choose(tree, made, tree)


def update_kept(
    inner: GradientTransformation,
    mask: Mask,
    kept: PyTree,
    count: jax.Array,
    updates: PyTree,
    state: PyTree,
    params: PyTree,
    extra: Mapping[str, Any],
) -> tuple[PyTree, PyTree]:
    """Let an optimizer train the coordinates that are kept, and set the others to 0.

    Args:
      inner: the optimizer.
      mask: which leaves may be pruned.
      kept: bools, which of their coordinates are kept.
      count: int32[], updates made.
      updates, state, params, extra: the arguments of `update`; the state is inner's.

    Returns:
      The updates, which are -p where not kept, and inner's new state.
    """
    seen = only_kept(mask, kept, params)
    fresh = inner.init(seen)
    given = only_kept(mask, kept, updates), renewed(state, fresh, kept), seen
    # XLA would fuse the masks into the kernels of `inner` and round its results
    # differently, even if all is kept. Its CPU backend drops optimization barriers, but
    # it fuses nothing into a branch. This one is always taken.
    made, state = jax.lax.cond(
        count >= 0,
        lambda updates, state, params: inner.update(updates, state, params, **extra),
        lambda updates, state, params: (updates, state),
        *given,
    )
    away = jax.tree.map(jnp.negative, alone(mask, params))
    # Reset again, because `inner` may add something to gradients of 0, such as noise.
    return only_kept(mask, kept, made, away), renewed(state, fresh, kept)


def renewed(state: PyTree, fresh: PyTree, kept: PyTree) -> PyTree:
    """Return an optimizer's state, reset at the coordinates that are not kept.

    An array of the state belongs to a parameter if it has the parameter's shape, and
    its path ends with the parameter's: `mu["w"]` belongs to `w`. Moments become 0, and
    so do copies of the parameters. Arrays of other shapes, such as the rows and columns
    of Adafactor and the codes of `low_bit`, stay as they are. So do the fields that a
    state lists in `rotated`, because they are in another basis.

    Args:
      state: the state.
      fresh: the state that `init` makes of parameters that are 0 where not kept.
      kept: a tree of bools, which may lack leaves of the parameters.
    """
    masks = {tuple(path): mask for path, mask in tree_leaves_with_path(kept)}
    has_rotated = lambda node: bool(getattr(node, "rotated", ()))  # noqa: E731

    def array(path: KeyPath, old: jax.Array, new: jax.Array) -> jax.Array:
        ends = (tuple(path[i:]) for i in range(len(path) + 1))
        mask = next((masks[end] for end in ends if end in masks), None)
        number = jnp.issubdtype(dtype_of(old), jnp.inexact)
        if mask is None or not number or mask.shape != old.shape:
            return old
        return jnp.where(mask, old, jnp.asarray(new, dtype_of(old)))

    def node(path: KeyPath, old: Any, new: Any) -> Any:
        if not has_rotated(old):
            return array(path, old, new)
        return old._replace(
            **{
                name: tree_map_with_path(array, getattr(old, name), getattr(new, name))
                for name in old._fields
                if name not in old.rotated
            }
        )

    return tree_map_with_path(node, state, fresh, is_leaf=has_rotated)
