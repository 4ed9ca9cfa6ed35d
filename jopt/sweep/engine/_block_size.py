"""How many trials of a device to train together: found by timing a few sizes."""

import math
import time
from collections.abc import Sequence
from typing import Any

import jax

from jopt.sweep.engine._block import Batches
from jopt.sweep.engine._devices import Device, Spread
from jopt.sweep.engine._fitting import Room, attempt, room, too_small
from jopt.sweep.engine._lanes import Lanes
from jopt.sweep.engine._program import Program

ENOUGH = 0.1  # seconds of timing a size, at least
SPENT = 0.01  # of the whole training, on timing a size, if that is more
ROUNDS = 10  # at most
HOPED = {4: 0.5, 2: 0.2}  # of the time: what a size so many times off may save


def pick(
    lanes: Lanes,
    batches: Batches,
    steps: int,
    devices: Sequence[Device] | None = None,
    memory: int | None = None,
) -> tuple[Program, dict[str, Any]]:
    """Return the program of the size that trains all trials soonest, and the timings.

    The first size is 4 on a CPU, whose caches hold few trials, and 64 elsewhere. From
    the best so far, the sizes 4 times off are tried, up and down, until none is better;
    then those 2 times off. To try is to compile and to time on zeros, in turns with the
    best; it is done only if what may be saved of the whole training (half, 4 times off;
    a fifth, 2 times off) is more than what it costs. A size is evened out, so that the
    last block is about as full as the others, and cut to what fits in memory.

    lanes: all trials of a group. batches: of a call. steps: of each trial, in all.
    devices: by default all of this process's. memory: bytes, as `memory.budget` takes.

    Raises a ValueError if not even one trial fits.
    """
    began = time.perf_counter()
    search = _Search(lanes, batches, steps, devices, room(lanes, devices, memory))
    cpu = Spread.of(devices).devices[0].platform == "cpu"
    for first in (4 if cpu else 64, 1):
        search.consider(first)
        if search.seconds:
            break
    for factor in HOPED:
        while search.seconds and search.nearby(factor):
            pass
    program = search.settle()
    return program, {
        "seconds": time.perf_counter() - began,
        "expected_train_seconds": search.seconds,
        "compiles": len(search.programs) * len(program.spread.devices),
    }


class _Search:
    def __init__(
        self,
        lanes: Lanes,
        batches: Batches,
        steps: int,
        devices: Sequence[Device] | None,
        there: Room,
    ):
        self.given = lanes, batches, devices
        self.there = there
        self.calls = steps / len(batches.steps)  # of a block
        self.share = math.ceil(lanes.count / len(Spread.of(devices).devices))
        self.programs: dict[int, Program] = {}
        self.least: dict[int, float] = {}  # seconds of a call
        self.compiling = 0.0  # seconds, of the last size
        self.needs = math.inf  # bytes of the smallest size that does not fit

    @property
    def seconds(self) -> dict[int, float]:
        """Of the whole training, by size."""
        return {
            size: math.ceil(self.share / size) * self.calls * least
            for size, least in self.least.items()
        }

    @property
    def best(self) -> int:
        return min(seconds := self.seconds, key=seconds.__getitem__)

    def nearby(self, factor: int) -> bool:
        """Consider what is `factor` times off the best; return whether it moved."""
        best = self.best
        for size in (best * factor, best // factor):
            size = self._evened(size)
            saved = HOPED[factor] * self.seconds[best]
            calls = self.least[best] * (1 + size / best)
            if size not in self.programs and saved > self.compiling + calls:
                self.consider(size)
        return self.best != best

    def consider(self, size: int) -> None:
        """Compile a size, and time it if it fits."""
        lanes, batches, devices = self.given
        size, began = self._evened(size), time.perf_counter()
        program = attempt(lanes, size, batches, devices, self.there)
        self.compiling = time.perf_counter() - began
        if program is None or program.trained_bytes > self.there.bytes:
            self.needs = math.inf if program is None else program.trained_bytes
            return
        rivals = {size, *([self.best] if self.least else [])}
        self.programs[size] = program
        spent, rounds, enough = 0.0, 0, ENOUGH * len(rivals)
        while rounds < ROUNDS and spent < enough:
            for rival in rivals:
                seconds = _seconds(self.programs[rival], batches)
                self.least[rival] = min(seconds, self.least.get(rival, math.inf))
                spent += seconds
            rounds += 1
            enough = max(enough, SPENT * self.seconds[self.best])

    def settle(self) -> Program:
        """Return the best whose evaluation fits as well."""
        while self.least:
            program = self.programs[self.best]
            if program.bytes <= self.there.bytes:
                return program
            self.needs = program.bytes
            smaller, _ = self.best // 2, self.least.pop(self.best)
            if not self.least and smaller:
                self.consider(smaller)
        raise ValueError(too_small(self.there, self.needs))

    def _evened(self, size: int) -> int:
        """Return the size, within memory, that makes the last block about as full."""
        if self.programs:
            one = max(p.trained_bytes / s for s, p in self.programs.items())
            size = min(size, int(self.there.bytes / one))
        size = max(1, min(size, self.share))
        return math.ceil(self.share / math.ceil(self.share / size))


def _seconds(program: Program, batches: Batches) -> float:
    """The time of a call, on all devices together."""
    own, shared = jax.block_until_ready(program.zeros())
    began = time.perf_counter()
    jax.block_until_ready(program.train(own, shared, batches))
    return time.perf_counter() - began
