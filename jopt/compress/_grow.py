"""`grow`: sparse from start to end, while connections move to where they help."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from jopt.compress._chosen import alone, chosen, matrices, thawed
from jopt.compress._competition import share
from jopt.compress._kept import TrainsKept, update_kept
from jopt.compress._masks import smallest
from jopt.compress._sparsity import erk
from jopt.core import (
    Count,
    GradientTransformation,
    Key,
    Mask,
    PyTree,
    ScalarOrSchedule,
    Transformation,
    as_schedule,
    as_transformation,
    check,
    field,
    increment,
    initial_key,
    needed,
    pytree,
    resolve_seed,
    static,
    value_at,
    wide,
)


class GrowState(NamedTuple):
    """The connections that exist, and the state of the inner optimizer."""

    count: jax.Array  # int32[], updates made
    kept: PyTree  # bools like the chosen leaves of params
    inner_state: PyTree  # of the inner transformation


@pytree
class Grow(TrainsKept, GradientTransformation):
    """Train a sparse network whose connections move, from its first update on.

        init: in each leaf round(s n) connections are missing, at random
        every `every` updates, of each leaf with m connections:
            drop the round(fraction(t) m) smallest |p|
            grow as many, where |g| is largest among those that were missing
        u, s <- inner(g, s, p), g and p with 0 where missing
        u = -p where missing

        steps = jopt.cosine_decay_schedule(0.3, 7_500)  # three quarters of the run
        tx = jopt.grow(jopt.sgd(0.1, momentum=0.9), 0.9, fraction=steps)

    A connection that was just dropped does not grow at once. A grown one starts at 0
    with a new state. The model never sees a dense network, but the gradient of a
    missing connection is needed at the updates that grow. If the sparsity changes, more
    or fewer grow than drop. Averages and decay belong inside, as in `prune`. `update`
    needs `params`.

    Args:
      inner: a whole optimizer.
      sparsity: share of the connections that are missing, in [0, 1); a number or a
        schedule.
      fraction: share of a leaf's connections that move, in [0, 1]; a number (SET) or a
        schedule that falls to 0 (RigL).
      by: where connections grow, static: at the largest "gradient" (RigL) or at
        "random" (SET).
      layers: the sparsity of each leaf, static: "even", the same, or "erk", by the sum
        of a leaf's sides over their product, so that large leaves are sparser.
      every: updates from one move to the next, static, at least 1.
      where: which leaves are sparse, static, as in `prune`.
      key: key of the random numbers, a key of `jax.random.key` or a seed; by default
        the seed 0. A key is data and can be swept.
      seed: a whole number, in place of `key`.

    Raises:
      ValueError: if `where` chooses no leaf, if key and seed are both given, or if
        `update` is given no `params`.

    RigL: Evci et al. 2020, https://arxiv.org/abs/1911.11134, Algorithm 1; there a
    connection that was just dropped may grow again. SET: Mocanu et al. 2018,
    https://arxiv.org/abs/1707.04780.
    """

    inner: Transformation = field(converter=as_transformation)
    sparsity: ScalarOrSchedule = field(converter=as_schedule)
    fraction: ScalarOrSchedule = field(default=0.3, converter=as_schedule, kw_only=True)
    by: Literal["gradient", "random"] = static(default="gradient", kw_only=True)
    layers: Literal["even", "erk"] = static(default="erk", kw_only=True)
    every: Count = static(default=100, kw_only=True)
    where: PyTree = static(default=matrices, converter=Mask, kw_only=True)
    key: Key | None = field(default=None, kw_only=True)
    seed: int | None = static(default=None, kw_only=True)

    def __post_init__(self):
        check(self, "sparsity", least=0, below=1)
        check(self, "fraction", least=0, most=1)
        resolve_seed(self)

    def frozen(self, params):
        return thawed(self._mask(params), params, self.inner.frozen(params))

    def init(self, params):
        weights, structure = jax.tree.flatten(alone(self._mask(params), params))
        count = jnp.zeros((), jnp.int32)
        missing = self._missing(weights, count)
        gone = smallest(self._chances(weights, count), missing)
        kept = structure.unflatten(
            jnp.full_like(w, True, dtype=bool) & ~mask
            for w, mask in zip(weights, gone, strict=True)
        )
        return GrowState(count, kept, self.inner.init(params))

    def update(self, updates, state, params=None, **extra):
        params = needed(params, self, "the parameters of which some are missing")
        mask = self._mask(params)
        held, structure = jax.tree.flatten(state.kept)
        sizes, worth = (
            [jnp.abs(wide(x)) for x in jax.tree.leaves(alone(mask, tree))]
            for tree in (params, updates)
        )

        def move():
            by_chance = self.by == "random"
            gains = self._chances(sizes, state.count) if by_chance else worth
            missing = self._missing(sizes, state.count)
            fraction = value_at(self.fraction, state.count)
            return structure.unflatten(_moved(held, sizes, gains, missing, fraction))

        now = (state.count % self.every == 0) & (state.count > 0)
        kept = jax.lax.cond(now, move, lambda: state.kept)
        given = (state.count, updates, state.inner_state, params, extra)
        updates, inner = update_kept(self.inner, mask, kept, *given)
        return updates, GrowState(increment(state.count), kept, inner)

    def _mask(self, params: PyTree) -> Mask:
        return chosen(type(self).__name__, self.where, params)

    def _missing(self, weights: list[jax.Array], count: jax.Array) -> list[jax.Array]:
        """Return the number of missing connections of each leaf, int32 scalars."""
        sparsity = value_at(self.sparsity, count)
        shares = [sparsity] * len(weights)
        if self.layers == "erk":
            shares = erk([w.shape for w in weights], sparsity)
        return [share(s, w.size) for s, w in zip(shares, weights, strict=True)]

    def _chances(self, weights: list[jax.Array], count: jax.Array) -> list[jax.Array]:
        key = jax.random.fold_in(initial_key(self.key, self.seed), count)
        keys = jax.random.split(key, len(weights))
        return [
            jax.random.uniform(k, w.shape) for k, w in zip(keys, weights, strict=True)
        ]


grow = Grow


def _moved(
    kept: list[jax.Array],
    sizes: list[jax.Array],
    worth: list[jax.Array],
    missing: list[jax.Array],
    fraction: jax.Array,
) -> list[jax.Array]:
    """Return the connections of each leaf after a move.

    Args:
      kept: the connections before.
      sizes: the modulus of each weight.
      worth: the score of each missing connection.
      missing: the number of missing connections of each leaf afterwards.
      fraction: the share of connections that are dropped.
    """
    drops, grows = [], []
    for mask, gone in zip(kept, missing, strict=True):
        there, wanted = jnp.sum(mask, dtype=jnp.int32), mask.size - gone
        # At most as many are dropped as can grow elsewhere.
        drop = jnp.round(fraction * wide(there)).astype(jnp.int32)
        drop = jnp.clip(drop, there - wanted, gone)
        drops.append(drop)
        grows.append(wanted - there + drop)
    pairs = list(zip(kept, sizes, worth, strict=True))
    dropped = smallest([jnp.where(m, size, jnp.inf) for m, size, _ in pairs], drops)
    grown = smallest([jnp.where(m, jnp.inf, -gain) for m, _, gain in pairs], grows)
    rows = zip(kept, dropped, grown, strict=True)
    return [(mask & ~less) | more for mask, less, more in rows]
