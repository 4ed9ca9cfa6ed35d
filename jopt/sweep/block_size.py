"""How many trials to train together: found by timing a few sizes."""

import math
import time
from typing import Any

import jax

from jopt.sweep.block import Batches
from jopt.sweep.lanes import Lanes
from jopt.sweep.program import Program

ENOUGH = 0.1  # seconds of timing a size
HOPED = 0.5  # of the time: what another size may save, if all goes well


def pick(lanes: Lanes, batches: Batches, steps: int) -> tuple[Program, dict[str, Any]]:
    """Return the program of the size that trains all trials soonest, and the timings.

    Sizes 4, 1, 16, 64 ... are compiled and timed on zeros, each only if what it may
    save of the whole training is more than a compile costs, and until one is no better.
    A size is evened out, so that the last block is about as full as the others.

    lanes: all trials of a group. batches: of a call. steps: of each trial, in all.
    """
    began = time.perf_counter()
    programs: dict[int, Program] = {}
    times: dict[int, float] = {}  # of the whole training
    for size in _sizes(lanes.count):
        compiling = time.perf_counter()
        programs[size] = Program(lanes, size, batches)
        compiling = time.perf_counter() - compiling
        calls = math.ceil(lanes.count / size) * steps / len(batches.steps)
        times[size] = calls * _seconds(programs[size], batches)
        best = min(times, key=times.__getitem__)
        if HOPED * times[best] < compiling or best == 1 or size > best:
            break
    best = min(times, key=times.__getitem__)
    seconds = time.perf_counter() - began
    return programs[best], {"seconds": seconds, "expected_train_seconds": times}


def _sizes(trials: int) -> list[int]:
    powers = [4, 1, *(4**k for k in range(2, 2 + math.ceil(math.log(trials, 4))))]
    return list(
        dict.fromkeys(math.ceil(trials / math.ceil(trials / p)) for p in powers)
    )


def _seconds(program: Program, batches: Batches) -> float:
    """The least time of a call, of three or of what is enough."""
    own, shared = program.zeros()
    seconds: list[float] = []
    while len(seconds) < 3 and sum(seconds) < ENOUGH:
        began = time.perf_counter()
        own, shared, _ = jax.block_until_ready(program.train(own, shared, batches))
        seconds.append(time.perf_counter() - began)
    return min(seconds)
