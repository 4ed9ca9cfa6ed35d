"""`straight_through`: training of hidden weights whose projection the model uses."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jopt.compress._chosen import alone, apart, chosen, matrices
from jopt.compress._projections import AnyProjection
from jopt.core import (
    GradientTransformation,
    Mask,
    PyTree,
    Transformation,
    apply_updates,
    as_transformation,
    by_path,
    copied,
    dtype_of,
    field,
    increment,
    needed,
    path_text,
    pytree,
    static,
    stored,
    wide,
)
from jopt.wrappers import move, rounded


class StraightThroughState(NamedTuple):
    """The weights before the projection, and the state of the inner optimizer."""

    count: jax.Array  # int32[], updates made
    latent: PyTree  # like the chosen leaves of params, at least float32
    inner_state: PyTree  # of the inner transformation


@pytree
class StraightThrough(GradientTransformation):
    """Train with projected weights: the gradient there moves the hidden weights.

        w <- w + inner(g, w)        p = projection(w)        u = p - its last value

        tx = jopt.straight_through(jopt.adamw(3e-3), jopt.Quantize(bits=4))

    The gradient of the projected weights is used as that of w: the straight-through
    estimator. After each update the parameters are projected, so that a `TrainState` or
    a sweep shows the compressed model, up to the rounding of a sum; `eval_params` gives
    it exactly. If `inner` evaluates at an average, the average is projected. Before the
    first update only `eval_params` is projected.

    Decay, clipping and averages belong inside, and so does `prune`. The state holds the
    hidden weights. `update` needs `params`.

    Args:
      inner: a whole optimizer; its parameters are w.
      projection: `Quantize`, `Sparse`, `Ternary`, `Sign`, `Codebook`, `LowRank`, or two
        of them `Composed`.
      where: which leaves are projected, static, as in `masked`; by default those with
        two axes or more.

    Raises:
      TypeError: if a chosen leaf is complex.
      ValueError: if `where` chooses no leaf, if the projection does not fit one, or if
        `update` is given no `params`.

    Bengio et al. 2013, https://arxiv.org/abs/1308.3432; Courbariaux et al. 2015,
    https://arxiv.org/abs/1511.00363.
    """

    inner: Transformation = field(converter=as_transformation)
    projection: AnyProjection
    where: PyTree = static(default=matrices, converter=Mask, kw_only=True)

    def groups(self, params):
        return apart(self._mask(params), params, self.inner.groups(params))

    def init(self, params):
        mask = self._mask(params)
        latent = copied(alone(mask, params))
        count = jnp.zeros((), jnp.int32)
        weights = mask.choose(params, latent, params)
        return StraightThroughState(count, latent, self.inner.init(weights))

    def update(self, updates, state, params=None, **extra):
        params = needed(params, self, "the parameters that are projected")
        mask = self._mask(params)
        weights = mask.choose(params, state.latent, params)
        # Steps that are small for low-precision parameters must reach w.
        grads = mask.choose(updates, jax.tree.map(wide, alone(mask, updates)), updates)
        steps, inner = self.inner.update(grads, state.inner_state, weights, **extra)
        latent = apply_updates(state.latent, alone(mask, steps))
        target = self.projection(latent, state.count)
        moves = jax.tree.map(
            lambda g, p, to: move(g, p, rounded(to, dtype_of(p))),
            *(alone(mask, tree) for tree in (updates, params)),
            target,
        )
        count = increment(state.count)
        made = mask.choose(steps, moves, steps)
        return made, StraightThroughState(count, latent, inner)

    def eval_params(self, state, params):
        mask = self._mask(params)
        weights = mask.choose(params, state.latent, params)
        weights = self.inner.eval_params(state.inner_state, weights)
        last = jnp.maximum(state.count - 1, 0)  # of the last update
        target = self.projection(alone(mask, weights), last)
        return stored(mask.choose(weights, target, weights), params)

    def _mask(self, params: PyTree) -> Mask:
        title = type(self).__name__
        mask = chosen(title, self.where, params)
        leaves = alone(mask, params)
        for path, leaf in by_path(leaves).items():
            if jnp.issubdtype(dtype_of(leaf), jnp.complexfloating):
                raise TypeError(
                    f"{title}: where must choose real leaves, but {path_text(path)} is "
                    f"{dtype_of(leaf)}; leave it out by where."
                )
        self.projection.check_leaves(leaves)
        return mask


straight_through = StraightThrough
