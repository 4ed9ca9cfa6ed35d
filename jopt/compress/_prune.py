"""`prune`: zeros that stay zeros."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jopt.compress._chosen import alone, matrices, thawed
from jopt.compress._competition import Among
from jopt.compress._kept import TrainsKept, all_kept, update_kept
from jopt.compress._scores import AnyScore, Magnitude
from jopt.compress._units import Element, Unit
from jopt.core import (
    Count,
    GradientTransformation,
    Mask,
    PyTree,
    ScalarOrSchedule,
    Transformation,
    as_schedule,
    as_transformation,
    check,
    field,
    increment,
    needed,
    pytree,
    static,
    value_at,
    wide,
)


class PruneState(NamedTuple):
    """Which coordinates are kept, and the state of the inner optimizer."""

    count: jax.Array  # int32[], updates made
    kept: PyTree  # bools like the chosen leaves of params
    score: PyTree  # the score's own state
    inner_state: PyTree  # of the inner transformation


@pytree
class Prune(TrainsKept, GradientTransformation):
    """Set a share of the weights to zero while an optimizer trains the others.

        every `every` updates, the first one included:
            kept = all but the round(sparsity(t) n) units of the smallest scores
        u, s <- inner(g, s, p), g and p with 0 where not kept
        u = -p where not kept

        tx = jopt.prune(jopt.adamw(3e-3), jopt.cubic_sparsity(0.9, begin=100, end=800))

    After each update exactly the units that are not kept are zero, so the parameters
    that a `TrainState` or a sweep shows are those of the pruned model. Among equal
    scores the first are pruned. A pruned unit ranks below all others, so it comes back
    only if the sparsity falls.

    At pruned units `inner` sees gradients and parameters of 0, and its moments and
    copies of the parameters are 0: neither momentum nor decay nor an average brings a
    weight back. So weight decay, clipping and averages belong inside. The rest of the
    state is untouched, and a sparsity of 0 gives the updates of `inner` bit for bit.
    `low_bit` and `flatten` belong outside. `update` needs `params`.

    Args:
      inner: a whole optimizer.
      sparsity: share of the units that is pruned, in [0, 1); a number or a schedule,
        such as `cubic_sparsity`. A constant prunes at the first update.
      where: which leaves are pruned, static, as in `masked`; by default those with two
        axes or more.
      unit: the coordinates that are kept or pruned together, static: `Element()`,
        `Block((4, 4))` or `Channel(axis)`.
      among: which units compete, static: "all" units of all leaves, those of each
        "leaf" for itself, or `Groups(m)` of each leaf, for N:M sparsity with the
        sparsity 1 - n/m.
      score: the worth of a unit: `Magnitude()`, `Gradient()` (SNIP), `Taylor()`,
        `Movement()` or `Random()`.
      every: updates from one choice to the next, static, at least 1.

    Raises:
      ValueError: if `where` chooses no leaf, if a unit or a group does not divide a
        leaf, or if `update` is given no `params`.

    Zhu & Gupta 2017, https://arxiv.org/abs/1710.01878; the scores name their own.
    """

    inner: Transformation = field(converter=as_transformation)
    sparsity: ScalarOrSchedule = field(converter=as_schedule)
    where: PyTree = static(default=matrices, converter=Mask, kw_only=True)
    unit: Unit = static(default=Element(), kw_only=True)
    among: Among = static(default="all", kw_only=True)
    score: AnyScore = field(default=Magnitude(), kw_only=True)
    every: Count = static(default=100, kw_only=True)

    def __post_init__(self):
        check(self, "sparsity", least=0, below=1)

    def frozen(self, params):
        frozen = self.inner.frozen(params)
        if isinstance(self.score, Magnitude):
            return frozen
        return thawed(self._mask(params), params, frozen)

    def init(self, params):
        weights = alone(self._mask(params), params)
        return PruneState(
            count=jnp.zeros((), jnp.int32),
            kept=all_kept(weights),
            score=self.score.init(weights),
            inner_state=self.inner.init(params),
        )

    def update(self, updates, state, params=None, **extra):
        params = needed(params, self, "the parameters that are pruned")
        mask = self._mask(params)
        weights = jax.tree.map(wide, alone(mask, params))
        slopes = jax.tree.leaves(alone(mask, updates))
        grads = jax.tree.structure(weights).unflatten(map(wide, slopes))
        score = self.score.update(state.score, grads, weights)

        def choose():
            scores = self.score(score, grads, weights, self.unit)
            sparsity = value_at(self.sparsity, state.count)
            return self._competition.kept(scores, state.kept, sparsity)

        now = state.count % self.every == 0
        kept = jax.lax.cond(now, choose, lambda: state.kept)
        given = (state.count, updates, state.inner_state, params, extra)
        updates, inner = update_kept(self.inner, mask, kept, *given)
        return updates, PruneState(increment(state.count), kept, score, inner)


prune = Prune
