"""How much sooner does a sweep end whose compiled program is kept from an earlier one?

12 settings of AdamW on digits, other ones each time, with blocks of 4:

    first    the first sweep of the process, with what JAX compiles once
    new      after `sweep.clear_programs()`
    filled   in the program that is kept

Seconds from the call to the result, medians over rounds, in turn; `train` is the part
that is training. The losses of `filled` are those of `new`, bit for bit.

    python bench/filled.py
"""

import argparse
import statistics
import time

import numpy as np
from record import cores, keep, question

import jopt
from jopt import sweep
from jopt.sweep.store import surroundings
from jopt.tasks import digits

TRIALS, STEPS, BLOCK = 12, 100, 4
AIM = 10.0


def trained(number):
    """Return a sweep's seconds, and its result; `number` makes the settings others."""
    rates = np.geomspace(1e-4, 1e-1, TRIALS) * (1 + number / 100)
    trials = sweep.grid(jopt.adamw, learning_rate=rates)
    began = time.perf_counter()
    result = sweep.run(digits(), trials, steps=STEPS, block=BLOCK)
    return time.perf_counter() - began, result


def main():
    parser = argparse.ArgumentParser(description=question(__doc__))
    parser.add_argument("--quick", action="store_true", help="one round, no results")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    rounds = 1 if options.quick else options.rounds
    digits()  # its data are read once
    first, _ = trained(0)
    seconds = {"new": [], "filled": []}
    training = []
    for number in range(rounds):
        sweep.clear_programs()
        new, one = trained(number)
        filled, other = trained(number)
        np.testing.assert_array_equal(one.curves, other.curves)
        seconds["new"].append(new)
        seconds["filled"].append(filled)
        training.append(other.info["train_seconds"])
    medians = {way: statistics.median(taken) for way, taken in seconds.items()}
    medians |= {"first": first, "train": statistics.median(training)}
    ratios = {way: medians[way] / medians["filled"] for way in ("first", "new")}
    for way in ("first", "new", "filled", "train"):
        ratio = f"{ratios[way]:8.1f} times filled" if way in ratios else ""
        print(f"{way:8}{medians[way]:8.3f} s{ratio}")
    print(f"new: aim {AIM:g}: {'pass' if ratios['new'] >= AIM else 'MISS'}")
    report = {
        "question": question(__doc__),
        "trials": TRIALS,
        "steps": STEPS,
        "block": BLOCK,
        "cores": cores(),
        "seconds": seconds,
        "medians": medians,
        "over_filled": ratios,
        "aim": AIM,
        **surroundings(),
    }
    if not options.quick:
        keep("filled", report)


if __name__ == "__main__":
    main()
