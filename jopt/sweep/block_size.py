"""How many trials to train together: found by timing a few sizes."""

import math
import time
from typing import Any

import jax
import jax.numpy as jnp

from jopt.sweep.block import Batches
from jopt.sweep.lanes import Lanes
from jopt.sweep.program import Program

WORSE = 1.15  # times the best: where larger blocks are not looked at any more


def pick(lanes: Lanes, batches: Batches) -> tuple[int, dict[str, Any]]:
    """Return the size of block with the least time for all trials, and the timings.

    Sizes 1, 4, 16 ... are compiled for the few steps of `batches` and timed, until one
    is clearly slower than the best so far. A size is evened out, so that the last block
    is about as full as the others. No result depends on the probes.
    """
    began = time.perf_counter()
    times: dict[int, float] = {}
    for size in _sizes(lanes.count):
        blocks = math.ceil(lanes.count / size)
        times[size] = blocks * _seconds(Program(lanes, size, batches), batches)
        if times[size] > WORSE * min(times.values()):
            break
    best = min(times, key=lambda size: times[size])
    trial_steps = lanes.count * len(batches.steps)
    return best, {
        "seconds": time.perf_counter() - began,
        "seconds_per_trial_step": {s: t / trial_steps for s, t in times.items()},
    }


def _sizes(trials: int) -> list[int]:
    powers = [4**k for k in range(math.ceil(math.log(trials, 4)) + 1)]
    return sorted({math.ceil(trials / math.ceil(trials / p)) for p in powers})


def _seconds(program: Program, batches: Batches) -> float:
    """The least of three timings of a block of zeros."""
    own, shared = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), program.shapes)
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        own, shared, _ = jax.block_until_ready(program.train(own, shared, batches))
        seconds.append(time.perf_counter() - began)
    return min(seconds)
