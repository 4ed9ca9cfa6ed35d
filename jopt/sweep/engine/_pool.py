"""Pools: store all trials of a group, and train some of them by calls."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jopt.core import PyTree
from jopt.sweep.engine._block import Batches, Leaves, chunk_shape, chunked
from jopt.sweep.engine._devices import bare, copies, keyed
from jopt.sweep.engine._program import Parts, Program


class CallResult(NamedTuple):
    """The results of a call's trials in one segment, on the host."""

    losses: np.ndarray  # float32[trials, K], before each step; NaN without a loss
    alive: np.ndarray  # bool[trials, K], False from the step that diverged
    sums: dict[str, np.ndarray]  # of the steps' other scalars, each float32[trials]
    valid: dict[str, np.ndarray]  # each float32[trials], after the last step


class Pool:
    """All trials of a group, a row each, on the devices or in the host's memory.

    A block of rows is gathered, trained and written back. One compiled program serves
    any choice and number of rows, and a trial's numbers do not depend on its
    neighbours.

    Args:
      program: the program that trains the trials.
      on_host: whether trials stay in the host's memory while no call trains them; by
        default the program's choice.
    """

    def __init__(self, program: Program, on_host: bool | None = None):
        self.program = program
        self.on_host = program.on_host if on_host is None else on_host
        self._rows = (_RowsOnHost if self.on_host else _RowsOnDevices)(program)
        self.shared = self._rows.shared
        # Compile these before the training is timed; with no rows, nothing changes.
        nowhere = np.zeros(0, int)
        own, _ = self._rows.take(nowhere)
        shared = copies(self.shared, program.devices)
        metrics = jax.block_until_ready(program.evaluate(own, shared))
        self._rows.put(nowhere, program.mark(own, shared, metrics))

    def cut(self, rows: np.ndarray) -> list[np.ndarray]:
        """Cut rows into as few calls as possible, each of at most `width` rows."""
        return self._rows.cut(rows) if len(rows) else []

    def train(
        self, rows: np.ndarray, shared: Leaves, segment: Sequence[Batches]
    ) -> Callable[[], CallResult]:
        """Start to train the trials of `rows`, and return at once.

        Args:
          rows: a part that `cut` returned.
          shared: the counters that they start from.
          segment: the batches of each compiled call.

        Returns:
          A function that waits for the devices and returns the result.
        """
        own, counters, valid, result = self._trained(rows, shared, segment)
        own = self.program.mark(own, counters, valid)
        self._rows.put(rows, own)
        self.shared = counters[0]
        return result

    def cool(
        self, rows: np.ndarray, shared: Leaves, batches: Sequence[Batches]
    ) -> Callable[[], CallResult]:
        """Train copies of the trials of `rows` as `train` does; trials stay unchanged.

        Args:
          rows, shared: as in `train`.
          batches: the batches of each compiled call, with the steps over which to cool.
        """
        return self._trained(rows, shared, batches)[-1]

    def _trained(
        self, rows: np.ndarray, shared: Leaves, segment: Sequence[Batches]
    ) -> tuple[Parts, Parts, Any, Callable[[], CallResult]]:
        """Return copies of trials after a segment, counters, metrics and result."""
        own, where = self._rows.take(rows)
        counters, calls = copies(shared, self.program.devices), []
        for batches in segment:
            own, counters, seen = self.program.train(own, counters, batches)
            calls.extend(seen)
        valid = self.program.evaluate(own, counters)

        def result() -> CallResult:
            def whole(*parts: Any) -> np.ndarray:
                return np.concatenate(parts)[where]

            of_calls = [jax.tree.map(whole, *parts) for parts in calls]
            losses, alive, sums = zip(*of_calls, strict=True)
            return CallResult(
                np.concatenate(losses, axis=1),
                np.concatenate(alive, axis=1),
                jax.tree.map(lambda *parts: np.sum(parts, axis=0), *sums),
                jax.tree.map(whole, *valid),
            )

        return own, counters, valid, result

    def evaluate(self, row: int, data: PyTree) -> dict[str, float]:
        """Return the metrics of a trial's kept moment on any examples."""
        own, where = self._rows.take(np.asarray([row]))
        shared = copies(self.shared, self.program.devices)
        device, place = divmod(int(where[0]), self.program.block)
        valid, task = self.program.stacked.data.valid, self.program.stacked.task
        if valid is None or task.summarize is not None:
            shape = chunk_shape([data])
        else:  # reuse the validation program, with chunks of its shape
            shape = valid.counted.shape[-2:]
        chunks = chunked(data, shape)
        numbers = [int(np.asarray(part.counted).sum()) for part in chunks]
        evaluate = functools.partial(self.program.evaluate, of_kept=True)
        means = [evaluate(own, shared, part)[device] for part in chunks]
        means = jax.device_get(means)
        return {
            name: float(
                np.average([mean[name][place] for mean in means], weights=numbers)
            )
            for name in means[0]
        }

    def models(self, rows: np.ndarray | None = None) -> PyTree:
        """Return the kept models of `rows`, or of all, stacked, on the host.

        Leaves that all trials share are broadcast views of one array.
        """
        rows = np.arange(self.program.stacked.count) if rows is None else rows
        return self.joined(len(rows), self.kept(rows))

    def kept(self, rows: np.ndarray) -> list[np.ndarray]:
        """Return the stacked leaves of the kept models of `rows`, on the host.

        Keys are bits. Leaves that all trials share are left out.
        """
        if not len(rows):
            return [leaf[:0] for leaf in self.kept(np.zeros(1, int))]
        shared = copies(self.shared, self.program.devices)
        places, every = np.zeros(self.program.stacked.count, int), list[np.ndarray]()
        places[rows] = np.arange(len(rows))
        for taken in self.cut(rows):
            own, where = self._rows.take(taken)
            models = self.program.models(own, shared)
            parts = [bare(stacked) for stacked, _ in models]
            leaves = [np.concatenate(leaf)[where] for leaf in zip(*parts, strict=True)]
            if not every:
                every = [np.empty((len(rows), *x.shape[1:]), x.dtype) for x in leaves]
            for leaf, new in zip(every, leaves, strict=True):
                leaf[places[taken]] = new
        return every

    def joined(self, number: int, leaves: Sequence[np.ndarray]) -> PyTree:
        """Return the models of `number` trials, from the leaves that `kept` returned.

        The trials may be another process's, of the same group.
        """
        own, _ = self._rows.take(np.zeros(1, int))
        shared = copies(self.shared, self.program.devices)
        like, fixed = self.program.models(own, shared)[0]
        common = [np.broadcast_to(x, (number, *x.shape)) for x in bare(fixed)]
        stacked = self.program.stacked
        return stacked.join_models(keyed(leaves, like), keyed(common, fixed))

    def inherit(
        self, rows: np.ndarray, leaves: Sequence[np.ndarray], configs: PyTree
    ) -> None:
        """Copy parents into `rows`, and give each trial its config.

        Args:
          rows: the trials that copy another one.
          leaves: the leaves of their parents, from `read`.
          configs: the configs of all trials, stacked.
        """
        everyone = np.arange(self.program.stacked.count)
        own: Any = self._rows.read(everyone)
        copied = [leaf.copy() for leaf in own]
        for leaf, of_parents in zip(copied, leaves, strict=True):
            leaf[rows] = of_parents
        own = self.program.stacked.inherit(own, copied, self.shared, configs)
        self._rows.write(everyone, own)

    def read(self, rows: np.ndarray) -> list[np.ndarray]:
        """Return the leaves of `rows`, each (rows, ...), on the host; keys as bits."""
        return self._rows.read(rows)

    def write(
        self, rows: np.ndarray, own: Sequence[Any], shared: Sequence[Any]
    ) -> None:
        """Write leaves from `read`, and `shared`; the devices may differ."""
        self._rows.write(rows, own)
        self.shared = [jnp.asarray(leaf) for leaf in shared]


class _RowsOnDevices:
    """Rows on the devices: row i begins on device i modulo the number of devices."""

    def __init__(self, program: Program):
        self.program, self.count = program, program.stacked.count
        self._deal(np.arange(self.count))
        parts = [program.start(rows, d) for d, rows in enumerate(self._rows)]
        self._own, self.shared = [own for own, _ in parts], parts[0][1]

    def cut(self, rows: np.ndarray) -> list[np.ndarray]:
        """Cut rows into as few calls as possible.

        If one device holds so many of them that it would need an additional call, all
        rows are redistributed through the host's memory.
        """
        calls = math.ceil(len(rows) / self.program.width)
        block = self.program.block
        if max(map(len, self._by_device(rows))) > calls * block:
            self._deal_anew(rows)
        parts = self._by_device(rows)
        cuts = (slice(call * block, (call + 1) * block) for call in range(calls))
        return [np.concatenate([part[cut] for part in parts]) for cut in cuts]

    def take(self, rows: np.ndarray) -> tuple[Parts, np.ndarray]:
        """Return a call's trials, and the positions of `rows` among them."""
        slots, where = self._lay(rows)
        return [_take(*part) for part in zip(self._own, slots, strict=True)], where

    def put(self, rows: np.ndarray, own: Parts) -> None:
        """Put the trials of a call back."""
        slots, _ = self._lay(rows)
        self._own = [_put(*part) for part in zip(self._own, slots, own, strict=True)]

    def read(
        self, rows: np.ndarray, leaves: Sequence[int] | None = None
    ) -> list[np.ndarray]:
        """Return a host copy of all or some leaves of `rows`, with keys as bits."""
        own = self._own
        if leaves is not None:
            own = [[part[leaf] for leaf in leaves] for part in own]
        parts = zip(*map(bare, own), strict=True)
        order = self._order[rows]
        return [np.concatenate(leaves)[order] for leaves in parts]

    def write(self, rows: np.ndarray, own: Sequence[Any]) -> None:
        """Write leaves from `read`."""
        leaves = self.read(np.arange(self.count))
        for leaf, new in zip(leaves, bare(own), strict=True):
            leaf[rows] = new
        self._own = [
            jax.device_put(keyed([leaf[part] for leaf in leaves], self._own[0]), device)
            for part, device in zip(self._rows, self.program.devices, strict=True)
        ]

    def _by_device(self, rows: np.ndarray) -> list[np.ndarray]:
        return [rows[self._device[rows] == d] for d in range(len(self._rows))]

    def _lay(self, rows: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """Return each device's slots in a call, and the positions of `rows` in all."""
        parts, block = self._by_device(rows), self.program.block
        if max(map(len, parts)) > block:  # `rows` is not a part that `cut` returned
            self._deal_anew(rows)
            parts = self._by_device(rows)
        # Pad with a slot past the end: it reads the last slot and writes nowhere.
        slots = [np.full(block, len(of_device), np.int32) for of_device in self._rows]
        where = np.empty(self.count, int)
        for device, part in enumerate(parts):
            slots[device][: len(part)] = self._slot[part]
            where[part] = device * block + np.arange(len(part))
        return slots, where[rows]

    def _deal_anew(self, rows: np.ndarray) -> None:
        """Distribute `rows` evenly over the devices, then the other rows."""
        everyone = np.arange(self.count)
        own = self.read(everyone)
        self._deal(np.concatenate([rows, np.setdiff1d(everyone, rows)]))
        self.write(everyone, own)

    def _deal(self, order: np.ndarray) -> None:
        devices = len(self.program.devices)
        self._rows = [order[first::devices] for first in range(devices)]
        # The device of each row, its slot there, and its index among all slots.
        self._device, self._slot, self._order = np.empty((3, self.count), int)
        self._order[np.concatenate(self._rows)] = np.arange(self.count)
        for device, part in enumerate(self._rows):
            self._device[part], self._slot[part] = device, np.arange(len(part))


@jax.jit
def _take(pool: Leaves, rows: np.ndarray) -> Leaves:
    return [leaf.at[rows].get(mode="clip") for leaf in pool]


@jax.jit(donate_argnums=0)
def _put(pool: Leaves, rows: np.ndarray, block: Leaves) -> Leaves:
    pairs = zip(pool, block, strict=True)
    return [leaf.at[rows].set(new, mode="drop") for leaf, new in pairs]


class _RowsOnHost:
    """Rows in the host's memory, for trials that the devices cannot hold.

    The trials of a call are fetched only once the next call runs. The methods are those
    of `_RowsOnDevices`.
    """

    def __init__(self, program: Program):
        self.program, self.count = program, program.stacked.count
        self._coming: tuple[np.ndarray, Parts] | None = None
        self._own: list[np.ndarray] = []
        for rows in self.cut(np.arange(self.count)):
            starts = [program.start(p, d) for d, p in enumerate(self._by_device(rows))]
            self.shared = starts[0][1]
            if not self._own:
                first = bare(starts[0][0])
                self._own = [
                    np.empty((self.count, *x.shape[1:]), x.dtype) for x in first
                ]
            self.put(rows, [own for own, _ in starts])
        self._fetch()

    def cut(self, rows: np.ndarray) -> list[np.ndarray]:
        width = self.program.width
        return [rows[first : first + width] for first in range(0, len(rows), width)]

    def take(self, rows: np.ndarray) -> tuple[Parts, np.ndarray]:
        if self._coming is not None and np.intersect1d(self._coming[0], rows).size:
            self._fetch()
        like, parts = self.program.shapes[0], self._by_device(rows)
        own = [
            jax.device_put(keyed([leaf[part] for leaf in self._own], like), device)
            for part, device in zip(parts, self.program.devices, strict=True)
        ]
        return own, np.arange(len(rows))

    def put(self, rows: np.ndarray, own: Parts) -> None:
        self._fetch()
        self._coming = rows, own

    def read(
        self, rows: np.ndarray, leaves: Sequence[int] | None = None
    ) -> list[np.ndarray]:
        self._fetch()
        own = self._own if leaves is None else [self._own[leaf] for leaf in leaves]
        return [leaf[rows] for leaf in own]

    def write(self, rows: np.ndarray, own: Sequence[Any]) -> None:
        self._fetch()
        for leaf, new in zip(self._own, bare(own), strict=True):
            leaf[rows] = new

    def _fetch(self) -> None:
        if self._coming is None:
            return
        (rows, parts), self._coming = self._coming, None
        for leaf, *news in zip(self._own, *map(bare, parts), strict=True):
            leaf[rows] = np.concatenate(news)[: len(rows)]

    def _by_device(self, rows: np.ndarray) -> list[np.ndarray]:
        """Return each device's rows of a call, padded with row 0."""
        filled = np.zeros(self.program.width, int)
        filled[: len(rows)] = rows
        return np.split(filled, len(self.program.devices))
