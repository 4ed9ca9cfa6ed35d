"""How many trials of a device train together: as asked, or found by timing."""

import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from jopt.sweep.engine._block import Batches, StackedTrials
from jopt.sweep.engine._devices import (
    Device,
    as_devices,
    budget,
    bytes_of,
    host_bytes,
    shown_bytes,
)
from jopt.sweep.engine._program import Program

ENOUGH = 0.1  # seconds of timing a size, at least
SPENT = 0.01  # of the whole training, on timing a size, if that is more
ROUNDS = 10  # at most
HOPED = {4: 0.5, 2: 0.2}  # of the time: what a size so many times off may save


class Room(NamedTuple):
    """The memory that a device has for a call."""

    bytes: int  # beside the data, and the trials that wait there
    on_host: bool  # whether trials wait in the host's memory instead


def room(
    stacked: StackedTrials,
    devices: Sequence[Device] | None = None,
    memory: int | None = None,
) -> Room:
    """Return the room for calls of these trials.

    All trials wait on the devices if that takes at most half of what they have, else
    in the host's memory.

    Args:
      stacked: all trials of a group.
      devices: by default all of this process's.
      memory: bytes, as `budget` takes them.

    Raises:
      ValueError: the trials do not fit in the host's memory either.
    """
    found = as_devices(devices)[: stacked.count]
    free = budget(found, memory, held=bytes_of(stacked.data))
    own, _ = jax.eval_shape(stacked.start, stacked.txs, stacked.starts)
    waiting, there = bytes_of(own), host_bytes()
    part = math.ceil(waiting / len(found))
    if part <= free / 2:
        return Room(free - part, on_host=False)
    if waiting > there:
        raise ValueError(
            f"A sweep needs memory for its trials, got {stacked.count} that take "
            f"{shown_bytes(waiting)}; the devices have {shown_bytes(free)} each, the "
            f"host {shown_bytes(there)}. Train fewer at a time."
        )
    return Room(free, on_host=True)


def program_for(
    stacked: StackedTrials,
    block: int,
    batches: Batches,
    devices: Sequence[Device] | None = None,
    memory: int | None = None,
) -> Program:
    """Return the program of a block size that the user gave; arguments as in `pick`.

    Raises:
      ValueError: the block does not fit in the memory of a device.
    """
    there = room(stacked, devices, memory)
    program = _compiled(stacked, block, batches, devices, there)
    needs = math.inf if program is None else program.bytes
    if program is not None and needs <= there.bytes:
        return program
    if block == 1:
        raise _too_small(there, needs)
    raise ValueError(
        f"A sweep needs a block that fits in memory, got {block} trials that take "
        f"{_shown(needs)} where a device has {shown_bytes(there.bytes)}; give a "
        "smaller block, or leave it out to have one picked."
    )


def pick(
    stacked: StackedTrials,
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

    Args:
      stacked: all trials of a group.
      batches: of a call.
      steps: of each trial, in all.
      devices: by default all of this process's.
      memory: bytes, as `budget` takes them.

    Raises:
      ValueError: not even one trial fits.
    """
    began = time.perf_counter()
    search = _Search(stacked, batches, steps, devices, room(stacked, devices, memory))
    cpu = search.devices[0].platform == "cpu"
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
        "compiles": len(search.programs) * len(program.devices),
    }


class _Search:
    def __init__(
        self,
        stacked: StackedTrials,
        batches: Batches,
        steps: int,
        devices: Sequence[Device] | None,
        there: Room,
    ):
        self.stacked, self.batches, self.there = stacked, batches, there
        self.devices = as_devices(devices)
        self.calls = steps / len(batches.steps)  # of a block
        self.share = math.ceil(stacked.count / len(self.devices))
        self.programs: dict[int, Program] = {}
        self.least: dict[int, float] = {}  # seconds of a call
        self.compiling = 0.0  # seconds, of the last size
        self.needs = math.inf  # bytes of the smallest size that does not fit

    @property
    def seconds(self) -> dict[int, float]:
        """Seconds of the whole training, by size."""
        return {
            size: math.ceil(self.share / size) * self.calls * least
            for size, least in self.least.items()
        }

    @property
    def best(self) -> int:
        return min(seconds := self.seconds, key=seconds.__getitem__)

    def nearby(self, factor: int) -> bool:
        """Consider the sizes `factor` times off the best; return whether it moved."""
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
        size, began = self._evened(size), time.perf_counter()
        given = self.stacked, size, self.batches, self.devices
        program = _compiled(*given, self.there)
        self.compiling = time.perf_counter() - began
        if program is None or program.trained_bytes > self.there.bytes:
            self.needs = math.inf if program is None else program.trained_bytes
            return
        rivals = {size, *([self.best] if self.least else [])}
        self.programs[size] = program
        spent, rounds, enough = 0.0, 0, ENOUGH * len(rivals)
        while rounds < ROUNDS and spent < enough:
            for rival in rivals:
                seconds = _seconds(self.programs[rival], self.batches)
                self.least[rival] = min(seconds, self.least.get(rival, math.inf))
                spent += seconds
            rounds += 1
            enough = max(enough, SPENT * self.seconds[self.best])

    def settle(self) -> Program:
        """Return the best program whose evaluation fits as well."""
        while self.least:
            program = self.programs[self.best]
            if program.bytes <= self.there.bytes:
                return program
            self.needs = program.bytes
            smaller, _ = self.best // 2, self.least.pop(self.best)
            if not self.least and smaller:
                self.consider(smaller)
        raise _too_small(self.there, self.needs)

    def _evened(self, size: int) -> int:
        """Return the size, within memory, that makes the last block about as full."""
        if self.programs:
            one = max(p.trained_bytes / s for s, p in self.programs.items())
            size = min(size, int(self.there.bytes / one))
        size = max(1, min(size, self.share))
        return math.ceil(self.share / math.ceil(self.share / size))


def _seconds(program: Program, batches: Batches) -> float:
    """Return the time of a call, on all devices together."""
    own, shared = jax.block_until_ready(program.zeros())
    began = time.perf_counter()
    jax.block_until_ready(program.train(own, shared, batches))
    return time.perf_counter() - began


def _compiled(
    stacked: StackedTrials,
    block: int,
    batches: Batches,
    devices: Sequence[Device] | None,
    there: Room,
) -> Program | None:
    """Return a block's program; None if it is too large even to be compiled."""
    try:
        return Program(stacked, block, batches, devices, on_host=there.on_host)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return None


def _too_small(there: Room, needs: float) -> ValueError:
    return ValueError(
        f"A sweep needs memory for at least one trial of a device, got "
        f"{shown_bytes(there.bytes)} where one takes {_shown(needs)}; give it more "
        "memory, a smaller batch, or a smaller model."
    )


def _shown(needs: float) -> str:
    return shown_bytes(needs) if needs < math.inf else "more"
