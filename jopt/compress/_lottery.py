"""`lottery`: sparse networks that are rewound to their own start."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jopt.compress._chosen import alone, matrices
from jopt.compress._competition import Among
from jopt.compress._kept import TrainsKept, all_kept, only_kept, update_kept
from jopt.compress._scores import Magnitude
from jopt.compress._units import Element, Unit
from jopt.core import (
    Count,
    GradientTransformation,
    Mask,
    Number,
    PyTree,
    Transformation,
    as_transformation,
    check,
    field,
    increment,
    map_leaves,
    needed,
    pytree,
    static,
    stored,
    wide,
)


class LotteryState(NamedTuple):
    """Which coordinates are kept, where a round starts, and the optimizer's state."""

    count: jax.Array  # int32[], updates made
    kept: PyTree  # bools like the chosen leaves of params
    start: PyTree  # like params
    inner_state: PyTree  # of the inner transformation


@pytree
class Lottery(TrainsKept, GradientTransformation):
    """Train in rounds; after each prune the smallest weights and rewind the others.

        at the first update of round r = 1, 2, ...:
            kept = all but the round((1 - (1 - fraction)^r) n) smallest units
            p <- start where kept, 0 elsewhere        s <- inner.init(p)
        at all others: u, s <- inner(g, s, p)         0 stays 0, as in `prune`

        tx = jopt.lottery(jopt.adamw(3e-3), fraction=0.2, length=500, rewind=20)

    A network that trains as well from there as the dense one did is a winning ticket.
    Each round initializes the optimizer, including a schedule inside. The first
    update of a round only rewinds: evaluate a round at its end, after a multiple of
    `length` updates. The state holds a copy of the parameters. `update` needs `params`.

    Args:
      inner: a whole optimizer.
      fraction: share of the units left that each round prunes, in [0, 1).
      length: updates of a round, static, at least 2.
      rewind: the update of the first round before which the parameters are the start,
        static, from 0 (their initial values) to `length - 1`. Large networks have
        tickets only from a later update on.
      where, unit, among: as in `prune`, static.

    Raises:
      ValueError: if `length` or `rewind` is out of range, if `where` chooses no leaf,
        if a unit or a group does not divide a leaf, or if `update` is given no
        `params`.

    Frankle & Carbin 2018, https://arxiv.org/abs/1803.03635; for `rewind` Frankle et al.
    2019, https://arxiv.org/abs/1912.05671.
    """

    inner: Transformation = field(converter=as_transformation)
    fraction: Number
    length: Count = static()
    rewind: int = static(default=0, kw_only=True)
    where: PyTree = static(default=matrices, converter=Mask, kw_only=True)
    unit: Unit = static(default=Element(), kw_only=True)
    among: Among = static(default="all", kw_only=True)

    def __post_init__(self):
        check(self, "fraction", least=0, below=1)
        check(self, "length", least=2)
        check(self, "rewind", least=0, below=self.length)

    def init(self, params):
        return LotteryState(
            count=jnp.zeros((), jnp.int32),
            kept=all_kept(alone(self._mask(params), params)),
            start=jax.tree.map(lambda p: jnp.array(p, copy=True), params),
            inner_state=self.inner.init(params),
        )

    def update(self, updates, state, params=None, **extra):
        params = needed(params, self, "the parameters that are pruned")
        mask, start = self._mask(params), state.start
        if self.rewind > 0:
            # The start is stored within the first round, before any round ends.
            now = state.count == self.rewind
            start = jax.lax.cond(now, lambda: stored(params, start), lambda: start)

        def go_back():
            weights = jax.tree.map(wide, alone(mask, params))
            scores = Magnitude()((), weights, weights, self.unit)
            left = (1 - self.fraction) ** wide(state.count // self.length)
            kept = self._competition.kept(scores, state.kept, 1 - left)
            again = only_kept(mask, kept, start)
            way = map_leaves(lambda _, a, p: a - p, updates, again, params)
            return kept, way, stored(self.inner.init(again), state.inner_state)

        def train():
            given = (state.count, updates, state.inner_state, params, extra)
            return state.kept, *update_kept(self.inner, mask, state.kept, *given)

        ended = (state.count % self.length == 0) & (state.count > 0)
        kept, updates, inner = jax.lax.cond(ended, go_back, train)
        return updates, LotteryState(increment(state.count), kept, start, inner)


lottery = Lottery
