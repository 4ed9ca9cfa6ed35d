"""Which optimizer, on two tasks, and what does the comparison cost?

Twelve optimizers, each tuned on its own ladder of rates and ranked on fresh seeds by
`studies.compare`: on digits, on text, and across both.

The cost is compared with a script that calls `sweep.run` for each stage and has no
decision in it: the same trials of the same optimizers, in this process.

    python bench/compare.py
    python bench/compare.py digits
    python bench/compare.py --quick        few optimizers and steps, no results
"""

import argparse
import time
from typing import Any

import numpy as np
from record import HERE, keep, progress, question

from jopt import optimizers, sweep
from jopt.studies import Comparison, Contender, across, compare
from jopt.sweep.store import surroundings
from jopt.tasks import digits, text

NAMES = (
    "adamw",
    "nadamw",
    "lion",
    "muon",
    "normuon",
    "soap",
    "schedule_free_adamw",
    "adafactor",
    "ademamix",
    "mars",
    "prodigy",
    "sgd",
)
QUICK = ("adamw", "sgd")
TASKS: dict[str, Any] = {
    "digits": (digits(), digits(width=128), 300, None),
    "text": (text(length=32, width=32), text(length=32, width=64), 300, 363),
}


def contender(name: str, quick: bool) -> Contender:
    """Return an optimizer with its ladder; SGD has momentum, Adafactor plain rates."""
    spaces: dict[str, dict[str, Any]] = {
        "sgd": {"momentum": [0.9]},
        "adafactor": {"multiply_by_parameter_scale": [False]},
    }
    factory = getattr(optimizers, name)
    whole = Contender(factory, space=spaces.get(name, {}))
    if not quick or len(whole.ladder) < 3:
        return whole
    return Contender(factory, whole.ladder[3:6], whole.space)


def by_hand(found: Comparison, task: sweep.Task, steps: int, examples: Any) -> float:
    """Return the seconds of the comparison's trials as plain sweeps, a stage each."""
    began = time.perf_counter()
    for stages in found.tuning.values():
        for result in stages:
            trials = [
                sweep.Trial.of(trial.factory, trial.hyperparameters)
                for trial in result.trials[:: found.info["seeds"]]
                if trial.factory is not None
            ]
            options = {"steps": steps, "seeds": found.info["seeds"]}
            sweep.run(task, trials, valid_examples=examples, **options)
    return time.perf_counter() - began


def show(found: Comparison) -> None:
    """Print the table."""
    table = found.table
    print(f"{'':22}{'rate':>9}{'loss':>24}{'to adamw':>24}  verdict")
    for row, name in enumerate(table["optimizer"]):
        three = {
            column: [table[f"{column}{end}"][row] for end in ("", "_low", "_high")]
            for column in ("loss", "difference")
        }
        cells = [
            f"{value:.4f} [{low:.4f} {high:.4f}]" for value, low, high in three.values()
        ]
        edge = "" if table["edge"][row] == "no" else f", {table['edge'][row]}"
        print(
            f"{name:22}{table['learning_rate'][row]:>9.2g}{cells[0]:>24}{cells[1]:>24}"
            f"  {table['verdict'][row]}{edge}"
        )
    print(found.outcome)
    print(*found.remarks, sep="\n")


def measured(name: str, quick: bool) -> tuple[Comparison, dict[str, Any]]:
    """Return the comparison on a task, and what it took."""
    task, wide, steps, examples = TASKS[name]
    steps = 20 if quick else steps
    entered = {n: contender(n, quick) for n in (QUICK if quick else NAMES)}
    options: dict[str, Any] = {"seeds": 2, "confirm": 2, "extend": 0} if quick else {}
    progress(f"{name}: {len(entered)} optimizers")
    began = time.perf_counter()
    found = compare(
        task, entered, wider=wide, steps=steps, valid_examples=examples, **options
    )
    seconds = time.perf_counter() - began
    progress(f"{name}: the tuning as plain sweeps")
    others = by_hand(found, task, steps, examples)
    compiles = found.info["compiles"] / len(entered)
    print(
        f"\n{name}: {found.info['trials']} trials in {seconds:.0f} s, {compiles:.1f} "
        f"compiles an optimizer; the tuning alone as plain sweeps {others:.0f} s.\n"
    )
    show(found)
    row = {
        "task": name,
        "seconds": seconds,
        "seconds_by_hand": others,
        "compiles_an_optimizer": compiles,
        "table": {column: values.tolist() for column, values in found.table.items()},
        "pairs": {column: values.tolist() for column, values in found.pairs.items()},
        "outcome": found.outcome,
        "remarks": found.remarks,
    }
    if not quick:
        picture = HERE.parent / "docs" / f"compare-{name}.png"
        found.plot().savefig(picture, dpi=120)
    return found, row


def main() -> None:
    """Compare on the tasks, print tables and keep the results of a full run."""
    parser = argparse.ArgumentParser(description=question(__doc__))
    parser.add_argument("tasks", nargs="*", metavar="TASK", help="digits, text")
    parser.add_argument("--quick", action="store_true", help="small, no results")
    options = parser.parse_args()
    names = options.tasks or (["digits"] if options.quick else list(TASKS))
    found: dict[str, Comparison] = {}
    rows: list[dict[str, Any]] = []
    for name in names:
        if name not in TASKS:
            parser.error(f"there is no task {name}; there is {', '.join(TASKS)}")
        found[name], row = measured(name, options.quick)
        rows.append(row)
    report: dict[str, Any] = {"question": question(__doc__), "rows": rows}
    if len(found) > 1:
        joined = across(found)
        for row in range(len(joined["optimizer"])):
            ratio = np.exp(joined["log_ratio"][row])
            print(f"{joined['optimizer'][row]:22}{ratio:.3f} of adamw's loss")
        report["across"] = {name: column.tolist() for name, column in joined.items()}
    if not options.quick:
        keep("compare", report | surroundings())


if __name__ == "__main__":
    main()
