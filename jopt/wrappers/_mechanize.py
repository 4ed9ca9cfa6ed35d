"""Mechanic: a learned scale for any optimizer's updates."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jopt.core import (
    GradientTransformation,
    Number,
    PyTree,
    Transformation,
    as_transformation,
    check,
    copied,
    field,
    global_norm,
    increment,
    inner_product,
    map_leaves,
    needed,
    pytree,
    root,
    static,
    wide,
)


class MechanicState(NamedTuple):
    """The scale, in a part for each beta, and the statistics it is learned from."""

    base_optimizer_state: PyTree  # of the base optimizer
    count: jax.Array  # int32[], updates made
    r: jax.Array  # float32[num_betas], the reward
    m: jax.Array  # float32[num_betas], the greatest |h|
    v: jax.Array  # float32[num_betas], the sum of h^2
    s: jax.Array  # float32[num_betas], the parts of the scale S
    x0: PyTree  # like params, where training began


@pytree
class Mechanize(GradientTransformation):
    """Learn how far to move along the base optimizer's updates.

        p = x_0 - S D               D = minus the sum of the updates d of base_optimizer
        h = <g + weight_decay S |g| p / (|p| + eps), D>
        h' = clip(h, -m, m)                     m <- max(b m, |h| + eps)
        r <- b r + h' s                         v <- b^2 v + h^2
        s <- (max(r, 0) + s_init m / num_betas) / (sqrt(v) + eps)
        S = the sum of s over the betas b = 0.9, 0.99, 0.999, ...

    D is not stored: it is (x_0 - p) / (S + eps), so a change of the params from
    outside, such as a clip of weights, counts as a part of D. x_0 is read from the
    params of the first update, in case weights were loaded after `init`.

    For complex leaves h is the real part. `update` needs `params`.

    Args:
      base_optimizer: any transformation with a learning rate of 1 or a schedule from 1,
        and updates that shrink where the gradients do (not LARS or LAMB).
      weight_decay: at least 0; different in kind from a weight decay of base_optimizer.
      eps: above 0, for zero gradients.
      s_init: first scale, above 0.
      num_betas: number of betas, static, at least 1.

    Raises:
      ValueError: if `update` is given no `params`.

    Cutkosky et al. 2023, https://arxiv.org/abs/2306.00144, Algorithm 1, with the clip
    of h that its authors added.
    """

    base_optimizer: Transformation = field(converter=as_transformation)
    weight_decay: Number = 1e-2
    eps: Number = 1e-8
    s_init: Number = 1e-6
    num_betas: int = static(default=6)

    shapeless = True

    def __post_init__(self):
        check(self, "weight_decay", least=0)
        check(self, "eps", "s_init", above=0)
        check(self, "num_betas", least=1)

    def init(self, params):
        zeros = jnp.zeros(self.num_betas, float)
        return MechanicState(
            base_optimizer_state=self.base_optimizer.init(params),
            count=jnp.zeros((), jnp.int32),
            r=zeros,
            m=zeros,
            v=zeros,
            s=jnp.full(self.num_betas, self.s_init, float),
            x0=copied(params),
        )

    def update(self, updates, state, params=None, **extra):
        params = needed(params, self, "the parameters and how far they went")
        wide_updates = jax.tree.map(wide, updates)
        steps, base_state = self.base_optimizer.update(
            wide_updates, state.base_optimizer_state, params, **extra
        )
        first = state.count == 0
        x0 = map_leaves(lambda x, p: jnp.where(first, p, x), state.x0, params)
        scale = jnp.sum(state.s) + self.eps

        pull = self.weight_decay * jnp.sum(state.s) * global_norm(updates)
        pull = pull / (global_norm(params) + self.eps)
        decayed = map_leaves(lambda g, p: g + pull * p, wide_updates, params)
        gone = map_leaves(lambda x, p: (x - p) / scale, x0, params)
        s, learned = self._learned(state, inner_product(decayed, gone))

        # x_0 - S' (D - d) - p, in an order without cancellation of large numbers.
        grown = jnp.sum(s)
        kept = (scale - grown) / scale

        def rule(g, d, x, p):
            return kept * (x - p) + grown * d

        updates = map_leaves(rule, updates, steps, x0, params)
        return updates, MechanicState(
            base_state, increment(state.count), **learned, s=s, x0=x0
        )

    def _learned(self, state, h):
        """Return the next parts of the scale, and the statistics behind them."""
        betas = jnp.array([1 - 0.1**i for i in range(1, self.num_betas + 1)], h.dtype)
        limited = jnp.clip(h, -state.m, state.m)
        m = jnp.maximum(betas * state.m, jnp.abs(h) + self.eps)
        v = betas**2 * state.v + h**2
        r = betas * state.r + limited * state.s
        wealth = self.s_init / self.num_betas * m + jnp.maximum(r, 0)
        s = wealth / (root(v) + self.eps)
        return s.astype(state.s.dtype), {"r": r, "m": m, "v": v}

    def parts(self, state):
        return {"base_optimizer": (self.base_optimizer, state.base_optimizer_state)}


mechanize = Mechanize
