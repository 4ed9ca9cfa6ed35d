"""The compiled steps of a group of trials, and the pool its blocks are taken from."""

import functools
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jopt._pytree import PyTree
from jopt.sweep.block import Batches, Seen
from jopt.sweep.lanes import Lanes, Leaves, Seeded


class Report(NamedTuple):
    """What a segment saw of the trials of a block; on the host."""

    losses: np.ndarray  # float32[trials, K], before each step
    alive: np.ndarray  # bool[trials, K], false from the step on that diverged
    valid: dict[str, np.ndarray]  # each float32[trials], after the last step


class Program:
    """Lanes' steps, compiled once for `block` trials."""

    def __init__(self, lanes: Lanes, block: int, batches: Batches):
        began = time.perf_counter()
        self.lanes, self.block = lanes, block
        self.shapes = jax.eval_shape(lanes.start, *self._starting(np.arange(block)))
        steps = jax.jit(lanes.train, donate_argnums=0)
        lowered = steps.lower(*self.shapes, lanes.data.train, batches)
        self._train = lowered.compile()
        self.compile_seconds = time.perf_counter() - began

    @functools.cached_property
    def _start(self) -> Any:
        return jax.jit(self.lanes.start)

    @functools.cached_property
    def _evaluate(self) -> Any:
        return jax.jit(self.lanes.evaluate)

    def start(self, rows: np.ndarray) -> tuple[Leaves, Leaves]:
        """Return the block of `rows` before its first step; past the end, the last."""
        return self._start(*self._starting(rows))

    def train(
        self, own: Leaves, shared: Leaves, batches: Batches
    ) -> tuple[Leaves, Leaves, Seen]:
        """Return the block after the steps of `batches`; `own` is donated."""
        return self._train(own, shared, self.lanes.data.train, batches)

    def evaluate(self, own: Leaves, shared: Leaves) -> dict[str, jax.Array]:
        """Return the means over the validation set, each (block,)."""
        return self._evaluate(own, shared, self.lanes.data)

    def _starting(self, rows: np.ndarray) -> tuple[PyTree, Seeded]:
        txs, seeds = _take((self.lanes.txs, self.lanes.seeded.rows), rows)
        return txs, self.lanes.seeded._replace(rows=seeds)


class Pool:
    """All trials of a group on the device, a row each.

    A block of rows is taken out, trained and put back: which trials, and how many are
    left, makes no new program, and no trial's numbers depend on its neighbours.
    """

    def __init__(self, program: Program):
        self.program = program
        count, block = program.lanes.count, program.block
        firsts = range(0, count, block)
        blocks = [program.start(np.arange(first, first + block)) for first in firsts]
        self._own: Leaves = _rows([own for own, _ in blocks], count)
        self.shared = blocks[0][1]
        # Compiles both, before the clock of the training runs; writes nothing.
        nowhere = np.full(block, count)
        self._own = _put(self._own, nowhere, _take(self._own, nowhere))

    def train(
        self, rows: np.ndarray, shared: Leaves, segment: Sequence[Batches]
    ) -> Report:
        """Train the trials of `rows`, at most a block, from the counters `shared`."""
        count, block = self.program.lanes.count, self.program.block
        padded = np.full(block, count)  # past the end: read as the last row,
        padded[: len(rows)] = rows  # written nowhere
        own, calls = _take(self._own, padded), []
        for batches in segment:
            own, shared, seen = self.program.train(own, shared, batches)
            calls.append(seen)
        valid = self.program.evaluate(own, shared)
        self._own, self.shared = _put(self._own, padded, own), shared
        losses, alive = (
            np.concatenate(parts, axis=1) for parts in zip(*calls, strict=True)
        )
        report = Report(losses, alive, jax.device_get(valid))
        return jax.tree.map(lambda leaf: leaf[: len(rows)], report)

    def models(self) -> tuple[PyTree, PyTree]:
        """Return all trials' parameters and model states, stacked."""
        lane = self.program.lanes.join(self._own, self.shared)
        return lane.params, lane.model_state


@jax.jit
def _take(pool: PyTree, rows: np.ndarray) -> PyTree:
    return jax.tree.map(lambda leaf: leaf.at[rows].get(mode="clip"), pool)


@jax.jit(donate_argnums=0)
def _put(pool: PyTree, rows: np.ndarray, block: PyTree) -> PyTree:
    put = lambda leaf, new: leaf.at[rows].set(new, mode="drop")  # noqa: E731
    return jax.tree.map(put, pool, block)


@jax.jit(static_argnums=1)
def _rows(blocks: list[Leaves], count: int) -> Leaves:
    return [jnp.concatenate(leaves)[:count] for leaves in zip(*blocks, strict=True)]
