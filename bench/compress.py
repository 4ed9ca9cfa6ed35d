"""How long does it take to train 216 compressed models, and how good are they?

Rate by sparsity by bits by seed: 3 rates, 6 sparsities, 4 bit widths and 3 seeds, on
digits, with an MLP of 8,832 weights, and on mnist, with a CNN of 8 and 16 channels.

jopt       `studies.compress`: one sweep, with all choices and the test at its end
processes  a process for each training, which imports, compiles and trains alone, with
           the same step; a few are measured, and their mean is multiplied

Each level is shown at its own best rate, and at the dense model's, which is how such
curves are often drawn. The aim is that at 87.5 % sparsity and 3 bits the accuracy of
digits on the validation set is at least 0.97, mean of 3 seeds.

    python bench/compress.py
    python bench/compress.py digits
    python bench/compress.py --quick        few settings and steps, no results
"""

import argparse
import functools
import os
import subprocess
import sys
import time
from typing import Any

import numpy as np
from record import HERE, keep, progress, question

from jopt import optimizers, sweep
from jopt.studies import Compression, compress
from jopt.studies._compress import _Trained
from jopt.sweep.store import surroundings
from jopt.tasks import digits, mnist

TASKS = {"digits": digits, "mnist": functools.partial(mnist, width=8)}
STEPS = {"digits": 320, "mnist": 140}
SPACE: dict[str, Any] = {
    "sparsity": (0.0, 0.5, 0.75, 0.875, 0.9375, 0.96875),
    "bits": (2, 3, 4, 32),
}
RATES = {"digits": (3e-3, 1e-2, 3e-2), "mnist": (1e-3, 3e-3, 1e-2)}
QUICK: dict[str, Any] = {"sparsity": (0.0, 0.5), "bits": (3,)}
ALONE = [(0.0, 32), (0.875, 3), (0.5, 4)]  # sparsity and bits
AIM = 0.97  # of digits at 87.5 % sparsity and 3 bits


def alone(name: str, steps: int, number: int) -> None:
    """Train one setting, in a process of its own."""
    sparsity, bits = ALONE[number]
    setting = {"sparsity": sparsity, "bits": bits, "learning_rate": RATES[name][1]}
    trial = sweep.Trial.of(_Trained(optimizers.adamw, steps, None), setting)
    sweep.run(TASKS[name](), [trial], steps=steps, block=1)


def seconds_alone(name: str, steps: int, number: int) -> float:
    """Return the seconds of a process that trains one setting."""
    command = [sys.executable, __file__, name]
    command += ["--steps", str(steps), "--alone", str(number)]
    # What another process has compiled must not be found.
    kept = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    began = time.perf_counter()
    subprocess.run(command, env=kept, check=True)
    return time.perf_counter() - began


def at_one_rate(found: Compression) -> list[float]:
    """Return the accuracy of each level at the dense level's best rate."""
    rate = found.table["learning_rate"][0]
    settings = found.sweep.settings()
    means = {}
    for row, trial in enumerate(settings["trial"]):
        of = found.sweep.trials[trial].hyperparameters
        if of["learning_rate"] == rate:
            level = of["sparsity"], of["bits"]
            means[level] = float(settings["valid_accuracy"][row])
    levels = zip(found.table["sparsity"], found.table["bits"], strict=True)
    return [means[level] for level in levels]


def show(found: Compression, same_rate: list[float]) -> None:
    """Print the levels."""
    table = found.table
    print(
        f"{'sparsity':>9}{'bits':>5}{'rate':>8}{'accuracy':>18}{'one rate':>10}  bytes"
    )
    for row, other in enumerate(same_rate):
        mean, spread = (table[n][row] for n in ("accuracy", "accuracy_std"))
        print(
            f"{table['sparsity'][row]:>9.5g}{table['bits'][row]:>5}"
            f"{table['learning_rate'][row]:>8.3g}{mean:>10.4f} ± {spread:.3f}"
            f"{other:>10.4f}  {table['bytes'][row]:,}"
        )
    print(found.outcome)


def measured(name: str, quick: bool) -> dict[str, Any]:
    """Return what was found for a task."""
    steps, space = (20, QUICK) if quick else (STEPS[name], SPACE)
    rates = RATES[name][1:2] if quick else RATES[name]
    task = TASKS[name]()
    progress(f"{name}: all in one sweep")
    began = time.perf_counter()
    found = compress(task, **space, learning_rate=rates, steps=steps, seeds=3)
    seconds = time.perf_counter() - began
    one = []
    for number in range(1 if quick else len(ALONE)):
        progress(f"{name}: training {number + 1} in a process of its own")
        one.append(seconds_alone(name, steps, number))
    info = found.sweep.info
    trials, same_rate = info["trials"], at_one_rate(found)
    others = float(np.mean(one)) * trials
    print(
        f"\n{name}: {trials} trainings of {steps} steps in {seconds:.1f} s, "
        f"{info['segment_compiles']} compiles. In processes {others:,.0f} s: "
        f"{trials} times the mean of {len(one)} that were measured, {np.mean(one):.1f} "
        f"s. {others / seconds:.0f} times as long.\n"
    )
    show(found, same_rate)
    if not quick:
        kind = surroundings()["device"]["kind"].replace(" ", "-").lower()
        path = HERE / "results" / f"compress-{name}-{kind}.png"
        found.plot().savefig(path, dpi=120)
    levels = {name: column.tolist() for name, column in found.table.items()}
    return {
        "trials": trials,
        "steps": steps,
        "rates": rates,
        "seconds": seconds,
        "compiles": info["segment_compiles"],
        "compile_seconds": info["compile_seconds"],
        "seconds_of_a_process": one,
        "seconds_of_processes": others,
        "levels": levels | {"accuracy_at_the_dense_rate": same_rate},
        "test": found.test,
        "outcome": found.outcome,
    }


def reached(rows: dict[str, Any]) -> bool:
    """Return whether digits are as good as the aim says, if they were measured."""
    levels = rows.get("digits", {"levels": {}})["levels"]
    pairs = zip(levels.get("sparsity", ()), levels.get("bits", ()), strict=True)
    place = [row for row, level in enumerate(pairs) if level == (0.875, 3)]
    return all(levels["accuracy"][row] >= AIM for row in place)


def main() -> None:
    parser = argparse.ArgumentParser(description=question(__doc__))
    parser.add_argument("tasks", nargs="*", help="digits, mnist (default: both)")
    parser.add_argument("--quick", action="store_true", help="few, small, no results")
    parser.add_argument("--steps", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--alone", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    names = given.tasks or (["digits"] if given.quick else list(TASKS))
    if given.alone is not None:
        alone(names[0], given.steps, given.alone)
        return
    rows = {name: measured(name, given.quick) for name in names}
    space = {name: list(values) for name, values in SPACE.items()}
    for name, row in rows.items() if not given.quick else ():
        report = {"question": question(__doc__), "space": space, **row}
        keep(f"compress-{name}", report | surroundings())
    if not reached(rows):
        sys.exit(f"digits at 87.5 % sparsity and 3 bits are below {AIM}")


if __name__ == "__main__":
    main()
