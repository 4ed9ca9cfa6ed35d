"""How many trials to train together: found by timing a few sizes."""

import math
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax

from jopt.sweep.block import Batches
from jopt.sweep.lanes import Lanes
from jopt.sweep.program import Program

TOGETHER = 2  # sizes compiled at once, on two cores, before they are timed in turn
ENOUGH = 0.1  # seconds of timing a size


def pick(lanes: Lanes, batches: Batches) -> tuple[Program, dict[str, Any]]:
    """Return the program of the size with the least time for all trials, and timings.

    Sizes 1, 4, 16 ... are compiled and timed on zeros, two by two, until the larger of
    two is no better than the best so far. A size is evened out, so that the last block
    is about as full as the others.
    """
    began = time.perf_counter()
    programs: dict[int, Program] = {}
    times: dict[int, float] = {}
    sizes = _sizes(lanes.count)
    with ThreadPoolExecutor(TOGETHER) as threads:
        for first in range(0, len(sizes), TOGETHER):
            pair = sizes[first : first + TOGETHER]
            made = threads.map(lambda size: Program(lanes, size, batches), pair)
            for size, program in zip(pair, list(made), strict=True):
                programs[size] = program
                blocks = math.ceil(lanes.count / size)
                times[size] = blocks * _seconds(program, batches)
            if min(times, key=times.__getitem__) != pair[-1]:
                break
    best = min(times, key=times.__getitem__)
    trial_steps = lanes.count * len(batches.steps)
    return programs[best], {
        "seconds": time.perf_counter() - began,
        "seconds_per_trial_step": {s: t / trial_steps for s, t in times.items()},
    }


def _sizes(trials: int) -> list[int]:
    powers = [4**k for k in range(math.ceil(math.log(trials, 4)) + 1)]
    return sorted({math.ceil(trials / math.ceil(trials / p)) for p in powers})


def _seconds(program: Program, batches: Batches) -> float:
    """The least time of a call, of three or of what is enough."""
    own, shared = program.zeros()
    seconds: list[float] = []
    while len(seconds) < 3 and sum(seconds) < ENOUGH:
        began = time.perf_counter()
        own, shared, _ = jax.block_until_ready(program.train(own, shared, batches))
        seconds.append(time.perf_counter() - began)
    return min(seconds)
