"""The trials of a pool on the devices, a row each."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jopt.sweep.engine._devices import bare, keyed
from jopt.sweep.engine._lanes import Leaves
from jopt.sweep.engine._program import Parts, Program


class OnDevices:
    """Rows dealt out to the devices, at first row i to device i modulo their number."""

    def __init__(self, program: Program):
        self.program, self.count = program, program.lanes.count
        self.devices = len(program.spread.devices)
        self._deal(np.arange(self.count))
        parts = [program.start(rows, d) for d, rows in enumerate(self._rows)]
        self._own, self.shared = [own for own, _ in parts], parts[0][1]

    def cut(self, rows: np.ndarray) -> list[np.ndarray]:
        """Cut rows into calls, as few as it takes.

        Where one device has so many of them that it would need a call more, all rows
        are dealt out anew, by way of the host's memory.
        """
        calls = math.ceil(len(rows) / self.program.width)
        block = self.program.block
        if max(map(len, self._by_device(rows))) > calls * block:
            self._deal_anew(rows)
        parts = self._by_device(rows)
        cuts = (slice(call * block, (call + 1) * block) for call in range(calls))
        return [np.concatenate([part[cut] for part in parts]) for cut in cuts]

    def take(self, rows: np.ndarray) -> tuple[Parts, np.ndarray]:
        """Return a call's trials, and where `rows` are among them."""
        slots, where = self._lay(rows)
        return [_take(*part) for part in zip(self._own, slots, strict=True)], where

    def put(self, rows: np.ndarray, own: Parts) -> None:
        """Put back what `take` gave."""
        slots, _ = self._lay(rows)
        self._own = [_put(*part) for part in zip(self._own, slots, own, strict=True)]

    def read(
        self, rows: np.ndarray, leaves: Sequence[int] | None = None
    ) -> list[np.ndarray]:
        """Return a copy on the host of the leaves of `rows`; keys as their bits.

        leaves: which; by default all.
        """
        own = self._own
        if leaves is not None:
            own = [[part[leaf] for leaf in leaves] for part in own]
        parts = zip(*map(bare, own), strict=True)
        order = self._order[rows]
        return [np.concatenate(leaves)[order] for leaves in parts]

    def write(self, rows: np.ndarray, own: Sequence[Any]) -> None:
        """Put back what `read` gave."""
        leaves = self.read(np.arange(self.count))
        for leaf, new in zip(leaves, bare(own), strict=True):
            leaf[rows] = new
        self._own = [
            jax.device_put(keyed([leaf[part] for leaf in leaves], self._own[0]), device)
            for part, device in zip(
                self._rows, self.program.spread.devices, strict=True
            )
        ]

    def _by_device(self, rows: np.ndarray) -> list[np.ndarray]:
        return [rows[self._device[rows] == d] for d in range(self.devices)]

    def _lay(self, rows: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """Return each device's slots of a call, and where `rows` are among all."""
        parts, block = self._by_device(rows), self.program.block
        if max(map(len, parts)) > block:  # rows that `cut` did not give
            self._deal_anew(rows)
            parts = self._by_device(rows)
        # Past the end: read as the last slot, written nowhere.
        slots = [np.full(block, len(of_device), np.int32) for of_device in self._rows]
        where = np.empty(self.count, int)
        for device, part in enumerate(parts):
            slots[device][: len(part)] = self._slot[part]
            where[part] = device * block + np.arange(len(part))
        return slots, where[rows]

    def _deal_anew(self, rows: np.ndarray) -> None:
        """Give each device its share of `rows`, and of the others."""
        everyone = np.arange(self.count)
        own = self.read(everyone)
        self._deal(np.concatenate([rows, np.setdiff1d(everyone, rows)]))
        self.write(everyone, own)

    def _deal(self, order: np.ndarray) -> None:
        self._rows = [order[first :: self.devices] for first in range(self.devices)]
        # A row's device, its slot there, and its place among the slots of all devices.
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
