"""Times of programs that take turns, so that a busy minute is busy for all of them."""

import random
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax

TURN = 0.04  # seconds, at least one call
FEWEST, MOST = 5, 50  # rounds


def steps(program: Callable[[Any], Any], held: Any) -> Callable[[int], None]:
    """Return a function of n that makes n calls, as a training does, and waits.

    program: takes what it holds and returns what it holds next; the first it holds is
    `held`. It waits once, after the last call.
    """

    def run(calls: int) -> None:
        nonlocal held
        for _ in range(calls):
            held = program(held)
        jax.block_until_ready(held)

    return run


def timed(function: Callable[[], Any]) -> float:
    """Return the seconds of a call that waits for its results."""
    began = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - began


def rounds(
    runs: Mapping[str, Callable[[int], None]],
    seconds: float,
    turn: float = TURN,
    number: int | None = None,
) -> dict[str, dict[str, Any]]:
    """Return for each program its milliseconds a call: median, quartiles, rounds.

    runs: functions of a number of calls, already compiled. seconds: about how long all
    may take. turn: seconds of a turn. number: of rounds, whatever they take.

    In every round each has a turn, in an order of chance: one call that is not counted,
    since the others have had the cache, and then some in a row.
    """
    calls, spent = {}, 0.0
    for name, run in runs.items():
        run(1)
        each = timed(lambda run=run: run(1))
        trial = _fitting(each, turn)
        each = timed(lambda run=run, n=trial: run(n)) / trial
        calls[name] = _fitting(each, turn)
        spent += (calls[name] + 1) * each
    number = number or max(FEWEST, min(MOST, int(seconds / spent)))
    order, chance = list(runs), random.Random(0)
    seen: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(number):
        chance.shuffle(order)
        for name in order:
            run, n = runs[name], calls[name]
            run(1)
            seen[name].append(timed(lambda run=run, n=n: run(n)) / n)
    return {name: _summary(seen[name], calls[name]) for name in runs}


def _fitting(each: float, turn: float) -> int:
    return max(1, min(1000, round(turn / each)))


def _summary(seconds: list[float], calls: int) -> dict[str, Any]:
    low, middle, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return {
        "median_ms": 1e3 * middle,
        "quartiles_ms": [1e3 * low, 1e3 * high],
        "rounds": len(seconds),
        "calls_a_turn": calls,
    }
