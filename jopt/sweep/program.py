"""The compiled steps of a group of trials, and the pool its blocks are taken from."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jopt._pytree import PyTree
from jopt.sweep.block import Batches, Chunks, Seen, chunked
from jopt.sweep.lanes import Lanes, Leaves


class Report(NamedTuple):
    """What a segment saw of the trials of a block; on the host."""

    losses: np.ndarray  # float32[trials, K], before each step
    alive: np.ndarray  # bool[trials, K], false from the step on that diverged
    valid: dict[str, np.ndarray]  # each float32[trials], after the last step


class Program:
    """Lanes' steps, compiled once for `block` trials."""

    def __init__(self, lanes: Lanes, block: int, batches: Batches):
        self.lanes, self.block = lanes, block
        self._train = jax.jit(lanes.train, donate_argnums=0)
        self._evaluate = jax.jit(lanes.evaluate)
        self.train(*self.zeros(), batches)  # compiles it

    @property
    def compiles(self) -> int:
        """How often the steps have been compiled."""
        return self._train._cache_size()  # pyright: ignore

    def zeros(self) -> tuple[Leaves, Leaves]:
        """Return a block of no meaning, to compile and to time with."""
        own, shared = jax.eval_shape(
            self.lanes.start, self.lanes.txs, self.lanes.seeded
        )
        own = [jnp.zeros((self.block, *leaf.shape[1:]), leaf.dtype) for leaf in own]
        return own, [jnp.zeros(leaf.shape, leaf.dtype) for leaf in shared]

    def train(
        self, own: Leaves, shared: Leaves, batches: Batches
    ) -> tuple[Leaves, Leaves, Seen]:
        """Return the block after the steps of `batches`; `own` is donated."""
        return self._train(own, shared, self.lanes.data.train, batches)

    def evaluate(
        self, own: Leaves, shared: Leaves, chunks: Chunks
    ) -> dict[str, jax.Array]:
        """Return the means over the examples, each (block,)."""
        return self._evaluate(own, shared, chunks)


class Pool:
    """All trials of a group on the device, a row each.

    A block of rows is taken out, trained and put back: which trials, and how many are
    left, makes no new program, and no trial's numbers depend on its neighbours.
    """

    def __init__(self, program: Program):
        self.program = program
        lanes, block = program.lanes, program.block
        self._own, self.shared = jax.jit(lanes.start)(lanes.txs, lanes.seeded)
        # Compiles the three, before the clock of the training runs; changes nothing.
        nowhere = np.full(block, lanes.count)
        own = _take(self._own, nowhere)
        jax.block_until_ready(program.evaluate(own, self.shared, lanes.data.valid))
        self._own = _put(self._own, nowhere, own)

    def train(
        self, rows: np.ndarray, shared: Leaves, segment: Sequence[Batches]
    ) -> Callable[[], Report]:
        """Train the trials of `rows`, at most a block, from the counters `shared`.

        Returns at once; what it returns waits for the device and gives the report.
        """
        count, block = self.program.lanes.count, self.program.block
        padded = np.full(block, count)  # past the end: read as the last row,
        padded[: len(rows)] = rows  # written nowhere
        own, calls = _take(self._own, padded), []
        for batches in segment:
            own, shared, seen = self.program.train(own, shared, batches)
            calls.append(seen)
        valid = self.program.evaluate(own, shared, self.program.lanes.data.valid)
        self._own, self.shared = _put(self._own, padded, own), shared

        def report() -> Report:
            losses, alive = (
                np.concatenate(c, axis=1) for c in zip(*calls, strict=True)
            )
            whole = Report(losses, alive, jax.device_get(valid))
            return jax.tree.map(lambda leaf: leaf[: len(rows)], whole)

        return report

    def evaluate(self, row: int, data: PyTree) -> dict[str, float]:
        """Return the means of the trial of `row` over any examples."""
        own = _take(self._own, np.full(self.program.block, row))
        chunks = chunked(data, self.program.lanes.data.valid.counted.shape)
        numbers = [float(jnp.sum(part.counted)) for part in chunks]
        means = [self.program.evaluate(own, self.shared, part) for part in chunks]
        return {
            name: float(np.average([mean[name][0] for mean in means], weights=numbers))
            for name in means[0]
        }

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
