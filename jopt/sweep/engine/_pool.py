"""All trials of a group, and the calls that train some of them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jopt.core import PyTree
from jopt.sweep.engine._block import Batches, chunked
from jopt.sweep.engine._devices import keyed
from jopt.sweep.engine._lanes import Leaves
from jopt.sweep.engine._on_devices import OnDevices
from jopt.sweep.engine._on_host import OnHost
from jopt.sweep.engine._program import Program


class Report(NamedTuple):
    """What a segment saw of the trials of a call; on the host."""

    losses: np.ndarray  # float32[trials, K], before each step
    alive: np.ndarray  # bool[trials, K], false from the step on that diverged
    valid: dict[str, np.ndarray]  # each float32[trials], after the last step


class Pool:
    """All trials of a group, a row each, on the devices or in the host's memory.

    Rows are taken out, trained and put back: which trials, and how many are left, makes
    no new program, and no trial's numbers depend on its neighbours.

    on_host: where they wait while no call trains them; by default as the program says.
    """

    def __init__(self, program: Program, on_host: bool | None = None):
        self.program = program
        self.on_host = program.on_host if on_host is None else on_host
        self._rows = (OnHost if self.on_host else OnDevices)(program)
        self.shared = self._rows.shared
        # Compiles the three, before the clock of the training runs; changes nothing.
        nowhere = np.zeros(0, int)
        own, _ = self._rows.take(nowhere)
        shared = program.spread.copies(self.shared)
        jax.block_until_ready(program.evaluate(own, shared))
        self._rows.put(nowhere, own)

    def cut(self, rows: np.ndarray) -> list[np.ndarray]:
        """Cut rows into as few calls as will train them, each at most a `width`."""
        return self._rows.cut(rows) if len(rows) else []

    def train(
        self, rows: np.ndarray, shared: Leaves, segment: Sequence[Batches]
    ) -> Callable[[], Report]:
        """Train the trials of `rows`, of `cut`, from the counters `shared`.

        Returns at once; what it returns waits for the devices and gives the report.
        """
        own, where = self._rows.take(rows)
        counters, calls = self.program.spread.copies(shared), []
        for batches in segment:
            own, counters, seen = self.program.train(own, counters, batches)
            calls.append(seen)
        valid = self.program.evaluate(own, counters)
        self._rows.put(rows, own)
        self.shared = counters[0]

        def report() -> Report:
            def whole(*parts: Any) -> np.ndarray:
                return np.concatenate(parts)[where]

            of_calls = [jax.tree.map(whole, *seen) for seen in calls]
            losses, alive = (
                np.concatenate(c, axis=1) for c in zip(*of_calls, strict=True)
            )
            return Report(losses, alive, jax.tree.map(whole, *valid))

        return report

    def evaluate(self, row: int, data: PyTree) -> dict[str, float]:
        """Return the means of the trial of `row` over any examples."""
        own, where = self._rows.take(np.asarray([row]))
        shared = self.program.spread.copies(self.shared)
        chunks = chunked(data, self.program.lanes.data.valid.counted.shape[-2:])
        numbers = [int(np.sum(part.counted)) for part in chunks]
        device, place = divmod(int(where[0]), self.program.block)
        means = [self.program.evaluate(own, shared, part)[device] for part in chunks]
        return {
            name: float(
                np.average([mean[name][place] for mean in means], weights=numbers)
            )
            for name in means[0]
        }

    def models(self, rows: np.ndarray | None = None) -> tuple[PyTree, PyTree]:
        """Return the parameters and model states of `rows`, or of all, on the host."""
        rows = np.arange(self.program.lanes.count) if rows is None else rows
        # Where they are among the leaves, for the optimizer's are twice as many bytes.
        shapes = self.program.shapes[0]
        places: Any = list(range(len(shapes)))
        lane = self.program.lanes.join(places, self.shared)
        wanted, structure = jax.tree.flatten((lane.params, lane.model_state))
        own = keyed(self._rows.read(rows, wanted), [shapes[i] for i in wanted])
        return structure.unflatten(own)

    def inherit(self, parents: np.ndarray, txs: PyTree) -> None:
        """Let each trial go on where its parent is, with its own numbers `txs`."""
        everyone = np.arange(self.program.lanes.count)
        own: Any = self._rows.read(everyone)
        own = self.program.lanes.inherit(own, self.shared, parents, txs)
        self._rows.write(everyone, own)

    def read(self, rows: np.ndarray) -> list[np.ndarray]:
        """Return the leaves of `rows`, each (rows, ...), on the host; keys as bits."""
        return self._rows.read(rows)

    def write(
        self, rows: np.ndarray, own: Sequence[Any], shared: Sequence[Any]
    ) -> None:
        """Put back what `read` gave and `shared` was, whatever the devices were."""
        self._rows.write(rows, own)
        self.shared = [jnp.asarray(leaf) for leaf in shared]
