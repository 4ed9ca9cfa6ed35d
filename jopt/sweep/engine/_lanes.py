"""Trials of one structure as lanes of a block: what is a trial's own, what shared."""

import functools
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jopt.core import PyTree
from jopt.sweep._task import Task
from jopt.sweep.engine._block import (
    Batches,
    Chunks,
    Data,
    Lane,
    Seen,
    evaluate,
    start,
    train,
)

Leaves: TypeAlias = list[jax.Array]


class Seeded(NamedTuple):
    """What trials start from: a seed's is the same whatever else is in the sweep."""

    models: tuple[PyTree, PyTree]  # params and model states, stacked by seed
    keys: jax.Array  # [seeds], for what is random in training
    rows: jax.Array  # int32[trials], each trial's place among the seeds
    folds: jax.Array  # int32[trials]


class Lanes:
    """Starts and trains blocks of lanes, given as leaves with and without a trial axis.

    Leaves of its own a trial has in `own`, each (trials, ...). In `shared` are the
    counters of the optimizer's state: all trials of a block are at the same step, and a
    counter with a trial axis would turn every `lax.cond` on it into a `select`.
    """

    def __init__(
        self, task: Task, txs: PyTree, seeded: Seeded, data: Data, batches: Batches
    ):
        """txs: stacked transformations of one structure. batches: any, for shapes."""
        # Traced once, whatever the size of the block that they are mapped over.
        self._train_one = jax.jit(functools.partial(train, task))
        self._evaluate_one = jax.jit(functools.partial(evaluate, task))
        self.data = data
        self.txs, self.seeded, self.count = txs, seeded, len(seeded.rows)
        parts = (txs, seeded.models, seeded.keys, seeded.folds)
        first = jax.tree.map(lambda leaf: leaf[0], parts)
        lane = jax.eval_shape(lambda: start(*first))
        self._structure = jax.tree.structure(lane)
        self._is_shared = _counters(lane)
        self._unshare(batches)

    def start(self, txs: PyTree, seeded: Seeded) -> tuple[Leaves, Leaves]:
        """Return a block of trials before their first step."""

        def one(tx: PyTree, row: jax.Array, fold: jax.Array) -> tuple[Leaves, Leaves]:
            model, key = jax.tree.map(lambda x: x[row], (seeded.models, seeded.keys))
            return self._split(start(tx, model, key, fold))

        return jax.vmap(one, out_axes=(0, None))(txs, seeded.rows, seeded.folds)

    def inherit(
        self, own: Leaves, shared: Leaves, parents: np.ndarray, txs: PyTree
    ) -> Leaves:
        """Return trials that go on where their `parents` are, with other numbers.

        A trial's key and fold stay its own.
        """
        before = self.join(own, shared)
        after = self.join([leaf[parents] for leaf in own], shared)
        after = after._replace(tx=txs, key=before.key, fold=before.fold)
        return self._split(after)[0]

    def train(
        self, own: Leaves, shared: Leaves, data: PyTree, batches: Batches
    ) -> tuple[Leaves, Leaves, Seen]:
        """Return a block after the steps of `batches`, and what was seen by trial."""

        def one(own: Leaves, shared: Leaves) -> tuple[Leaves, Leaves, Seen]:
            lane, seen = self._train_one(self.join(own, shared), data, batches)
            return *self._split(lane), seen

        return _over_trials(one, own, shared, out_axes=(0, None, 0))

    def evaluate(
        self, own: Leaves, shared: Leaves, chunks: Chunks
    ) -> dict[str, jax.Array]:
        """Return the means over the examples, each (trials,)."""

        def one(own: Leaves, shared: Leaves) -> dict[str, jax.Array]:
            lane = self.join(own, shared)
            return self._evaluate_one(lane.params, lane.model_state, chunks, lane.fold)

        return _over_trials(one, own, shared, out_axes=0)

    def join(self, own: Leaves, shared: Leaves) -> Lane:
        """Return the lane, or the stacked lanes, of these leaves."""
        owns, shares = iter(own), iter(shared)
        leaves = [next(shares) if s else next(owns) for s in self._is_shared]
        return self._structure.unflatten(leaves)

    def _split(self, lane: Lane) -> tuple[Leaves, Leaves]:
        leaves = list(zip(self._is_shared, jax.tree.leaves(lane), strict=True))
        return [x for s, x in leaves if not s], [x for s, x in leaves if s]

    def _unshare(self, batches: Batches) -> None:
        """Give a trial axis to the counters that a segment makes differ by trial.

        A skip of non-finite gradients, for one, counts by trial.
        """
        own, shared = jax.eval_shape(self.start, self.txs, self.seeded)
        batched: list[list[bool]] = []
        probe = _probe(batched)

        def trained(own: Leaves, shared: Leaves, data: PyTree, batches: Batches) -> Any:
            lane, _ = self._train_one(self.join(own, shared), data, batches)
            return probe(jax.tree.leaves(lane))

        trials = jax.vmap(trained, in_axes=(0, None, None, None))
        jax.eval_shape(trials, own, shared, batches.within(self.data.train), batches)
        still = [s and not b for s, b in zip(self._is_shared, batched[0], strict=True)]
        if still != self._is_shared:
            self._is_shared = still
            self._unshare(batches)  # what hangs on these may differ by trial as well


def _over_trials(one: Any, own: Leaves, shared: Leaves, out_axes: Any) -> Any:
    """Map `one` over the trials of a block; a single trial is taken out of its axis.

    XLA's CPU backend makes products with a batch of one 30 % slower than without.
    """
    if own[0].shape[0] > 1:
        return jax.vmap(one, in_axes=(0, None), out_axes=out_axes)(own, shared)
    results = one([leaf[0] for leaf in own], shared)
    if not isinstance(out_axes, tuple):
        return jax.tree.map(lambda leaf: leaf[None], results)
    return tuple(
        result if axis is None else jax.tree.map(lambda leaf: leaf[None], result)
        for result, axis in zip(results, out_axes, strict=True)
    )


def _counters(lane: Lane) -> list[bool]:
    """For each leaf of a lane: is it an integer scalar of the optimizer's state?"""
    none = Lane(*(jax.tree.map(lambda _: False, part) for part in lane))
    counters = jax.tree.map(
        lambda leaf: leaf.ndim == 0 and jnp.issubdtype(leaf.dtype, jnp.integer),
        lane.opt_state,
    )
    return jax.tree.leaves(none._replace(opt_state=counters))


def _probe(batched: list[Any]) -> Any:
    """Return an identity that notes which of its leaves vmap has given an axis."""

    @jax.custom_batching.custom_vmap
    def probe(leaves: Leaves) -> Leaves:
        return leaves

    @probe.def_vmap
    def rule(axis_size: int, in_batched: list[Any], leaves: Leaves):
        batched.append(in_batched[0])
        return leaves, in_batched[0]

    return probe
