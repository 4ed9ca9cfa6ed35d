"""The trials of a pool in the host's memory, a row each."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jopt.sweep.engine._devices import bare, keyed
from jopt.sweep.engine._program import Parts, Program


class OnHost:
    """Rows in the host's memory, for the devices have no room for all.

    What a call gave is fetched only when the next call is under way.
    """

    def __init__(self, program: Program):
        self.program, self.count = program, program.lanes.count
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
        """Cut rows into calls, as few as it takes."""
        width = self.program.width
        return [rows[first : first + width] for first in range(0, len(rows), width)]

    def take(self, rows: np.ndarray) -> tuple[Parts, np.ndarray]:
        """Return a call's trials, and where `rows` are among them."""
        if self._coming is not None and np.intersect1d(self._coming[0], rows).size:
            self._fetch()
        like, parts = self.program.shapes[0], self._by_device(rows)
        own = [
            jax.device_put(keyed([leaf[part] for leaf in self._own], like), device)
            for part, device in zip(parts, self.program.spread.devices, strict=True)
        ]
        return own, np.arange(len(rows))

    def put(self, rows: np.ndarray, own: Parts) -> None:
        """Put back what `take` gave."""
        self._fetch()
        self._coming = rows, own

    def read(
        self, rows: np.ndarray, leaves: Sequence[int] | None = None
    ) -> list[np.ndarray]:
        """Return a copy of the leaves of `rows`; keys as their bits.

        leaves: which; by default all.
        """
        self._fetch()
        own = self._own if leaves is None else [self._own[leaf] for leaf in leaves]
        return [leaf[rows] for leaf in own]

    def write(self, rows: np.ndarray, own: Sequence[Any]) -> None:
        """Put back what `read` gave."""
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
        """Each device's rows of a call, filled up with the first of all."""
        filled = np.zeros(self.program.width, int)
        filled[: len(rows)] = rows
        return np.split(filled, len(self.program.spread.devices))
