"""The compiled segment of a group of trials, and the pool its blocks are taken from."""

import time

import jax
import jax.numpy as jnp
import numpy as np

from jopt._pytree import PyTree
from jopt.sweep.block import Batches, Report
from jopt.sweep.lanes import Lanes, Leaves, Seeded


class Program:
    """Lanes' segment, compiled once for `block` trials."""

    def __init__(self, lanes: Lanes, block: int, batches: Batches):
        began = time.perf_counter()
        self.lanes, self.block = lanes, block
        self.shapes = jax.eval_shape(lanes.start, *self._starting(np.arange(block)))
        segment = jax.jit(lanes.train, donate_argnums=0)
        self._train = segment.lower(*self.shapes, lanes.data, batches).compile()
        self.compile_seconds = time.perf_counter() - began
        self._start = jax.jit(lanes.start)

    def start(self, rows: np.ndarray) -> tuple[Leaves, Leaves]:
        """Return the block of `rows` before its first step; past the end, the last."""
        return self._start(*self._starting(rows))

    def train(
        self, own: Leaves, shared: Leaves, batches: Batches
    ) -> tuple[Leaves, Leaves, Report]:
        """Return the block after a segment; `own` is donated."""
        return self._train(own, shared, self.lanes.data, batches)

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

    def train(self, rows: np.ndarray, shared: Leaves, batches: Batches) -> Report:
        """Train the trials of `rows`, at most a block, from the counters `shared`."""
        count, block = self.program.lanes.count, self.program.block
        padded = np.full(block, count)  # past the end: read as the last row,
        padded[: len(rows)] = rows  # written nowhere
        own, self.shared, report = self.program.train(
            _take(self._own, padded), shared, batches
        )
        self._own = _put(self._own, padded, own)
        return jax.tree.map(lambda leaf: np.asarray(leaf)[: len(rows)], report)

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
