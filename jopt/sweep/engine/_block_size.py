"""Choose how many trials of a device train together, and whether calls scan."""

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
from jopt.sweep.engine._remembered_blocks import Way, memory as remembered, name_of

ENOUGH = 0.1  # least seconds to time a size
SPENT = 0.01  # share of the whole training to time a size, if larger
ROUNDS = 10  # most rounds of timing
HOPED = {4: 0.5, 2: 0.2}  # share of the time that a size this factor off may save
HOPED_OF_STEPS = 0.2  # share of the time that one step a call may save


class Room(NamedTuple):
    """The memory that a device has for a call."""

    bytes: int  # free besides the data and the waiting trials
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
    own, _ = jax.eval_shape(stacked.start, stacked.configs, stacked.starts)
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


def scans(stacked: StackedTrials, devices: Sequence[Device] | None = None) -> bool:
    """Return whether a call scans over steps by default, without timing.

    In a loop, XLA's CPU backend makes convolutions 10 to 30 times slower. There, if a
    step has one, each call makes one step.
    """
    return not (stacked.convolves and as_devices(devices)[0].platform == "cpu")


def program_for(
    stacked: StackedTrials,
    block: int,
    batches: Batches,
    devices: Sequence[Device] | None = None,
    memory: int | None = None,
    scanned: bool | None = None,
) -> Program:
    """Return the program of a given block size; arguments as in `pick`.

    Args:
      scanned: whether a call scans over its steps; by default the result of `scans`.

    Raises:
      ValueError: the block does not fit in the memory of a device.
    """
    there = room(stacked, devices, memory)
    scanned = scans(stacked, devices) if scanned is None else scanned
    program = _compiled(stacked, Way(block, scanned), batches, devices, there)
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
    """Return the program whose size trains all trials soonest, and the timings.

    The first size is 4 on a CPU, whose caches hold few trials, and 64 elsewhere. The
    search then tries the sizes 4 times larger and smaller than the best, until none is
    better, and finally those 2 times off. To try a size is to compile it and to time it
    on zeros, in turns with the best. A size is tried only if the hoped saving of the
    whole training (half for 4 times off, a fifth for 2 times off) exceeds the cost of
    the try. A size is reduced so that the last block is about as full as the others,
    and so that it fits in memory.

    These calls scan over steps. One step a call is tried too, for one trial and for all
    at once, if that may save a fifth. If `scans` says that a scan is slow, the sizes
    are timed with one step a call, and no scan is compiled.

    Within `remembering`, a remembered choice is used without a search.

    Args:
      stacked: all trials of a group.
      batches: the batches of a call.
      steps: total steps of each trial.
      devices: by default all of this process's.
      memory: bytes, as in `budget`.

    Raises:
      ValueError: not even one trial fits.
    """
    began = time.perf_counter()
    there = room(stacked, devices, memory)
    held, name, found = remembered(), "", as_devices(devices)[: stacked.count]
    if held is not None:
        sizes = stacked.count, len(batches.steps), steps
        name = name_of(stacked.stepped.text, found, *sizes)
        way = held.recall(name, most=math.ceil(stacked.count / len(found)))
        program = None
        if way is not None:
            program = _compiled(stacked, way, batches, devices, there)
        if program is not None and program.bytes <= there.bytes:
            seconds = time.perf_counter() - began
            return program, {"seconds": seconds, "remembered": True}
    search = _Search(stacked, batches, steps, devices, there)
    cpu = search.devices[0].platform == "cpu"
    scanned = scans(stacked, devices)
    for first in ((4 if cpu else 64) if scanned else 1, 1):
        search.consider(Way(first, scanned))
        if search.seconds:
            break
    for factor in HOPED:
        while search.seconds and search.nearby(factor):
            pass
    if scanned and search.seconds:
        search.by_step()
    program = search.settle()
    if held is not None:
        held.keep(name, Way(program.block, program.scanned))
    return program, {
        "seconds": time.perf_counter() - began,
        "expected_train_seconds": {str(way): s for way, s in search.seconds.items()},
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
        self.calls = steps / len(batches.steps)  # calls of a block
        self.share = math.ceil(stacked.count / len(self.devices))
        self.programs: dict[Way, Program] = {}
        self.least: dict[Way, float] = {}  # least seconds of a call, by way
        self.compiling = 0.0  # seconds to compile the last program
        self.needs = math.inf  # bytes of the smallest size that does not fit

    @property
    def seconds(self) -> dict[Way, float]:
        """The seconds of the whole training, by way."""
        return {
            way: math.ceil(self.share / way.block) * self.calls * least
            for way, least in self.least.items()
        }

    @property
    def best(self) -> Way:
        return min(seconds := self.seconds, key=seconds.__getitem__)

    def nearby(self, factor: int) -> bool:
        """Consider the sizes `factor` times off the best; return whether it moved."""
        best = self.best
        for block in (best.block * factor, best.block // factor):
            self._consider_if(best._replace(block=block), HOPED[factor])
        return self.best != best

    def by_step(self) -> None:
        """Consider one step a call, for one trial and for all at once."""
        for block in (1, self.share):
            self._consider_if(Way(block, scanned=False), HOPED_OF_STEPS)

    def consider(self, way: Way) -> None:
        """Compile a program, and time it if it fits."""
        way, began = self._evened(way), time.perf_counter()
        given = self.stacked, way, self.batches, self.devices
        program = _compiled(*given, self.there)
        self.compiling = time.perf_counter() - began
        if program is None or program.trained_bytes > self.there.bytes:
            self.needs = math.inf if program is None else program.trained_bytes
            return
        rivals = {way, *([self.best] if self.least else [])}
        self.programs[way] = program
        spent, rounds, enough = 0.0, 0, ENOUGH * len(rivals)
        while rounds < ROUNDS and spent < enough:
            for rival in rivals:
                seconds = _seconds(self.programs[rival], self.batches)
                self.least[rival] = min(seconds, self.least.get(rival, math.inf))
                spent += seconds
            rounds += 1
            enough = max(enough, SPENT * self.seconds[self.best])

    def _consider_if(self, way: Way, hoped: float) -> None:
        """Consider a way if its possible saving exceeds the cost of the try."""
        way, best = self._evened(way), self.best
        saved = hoped * self.seconds[best]
        calls = self.least[best] * (1 + way.block / best.block)
        if way not in self.programs and saved > self.compiling + calls:
            self.consider(way)

    def settle(self) -> Program:
        """Return the best program whose evaluation fits as well."""
        while self.least:
            program = self.programs[self.best]
            if program.bytes <= self.there.bytes:
                return program
            self.needs = program.bytes
            best = self.best
            smaller, _ = best.block // 2, self.least.pop(best)
            if not self.least and smaller:
                self.consider(best._replace(block=smaller))
        raise _too_small(self.there, self.needs)

    def _evened(self, way: Way) -> Way:
        """Return a size within memory that makes the last block about as full."""
        size = way.block
        if self.programs:
            one = max(p.trained_bytes / w.block for w, p in self.programs.items())
            size = min(size, int(self.there.bytes / one))
        size = max(1, min(size, self.share))
        return way._replace(block=math.ceil(self.share / math.ceil(self.share / size)))


def _seconds(program: Program, batches: Batches) -> float:
    """Return the time of a call on all devices."""
    own, shared = jax.block_until_ready(program.zeros())
    began = time.perf_counter()
    jax.block_until_ready(program.train(own, shared, batches))
    return time.perf_counter() - began


def _compiled(
    stacked: StackedTrials,
    way: Way,
    batches: Batches,
    devices: Sequence[Device] | None,
    there: Room,
) -> Program | None:
    """Return a block's program; None if it is too large to be compiled."""
    try:
        return Program(stacked, way.block, batches, devices, there.on_host, way.scanned)
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
