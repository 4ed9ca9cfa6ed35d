"""How good is each worked case, beside what is known to be good at it?

Each case is a built-in task and one sweep, whose best setting on validation is tested
once. It is repeated over splits of its data where they are by chance, else over seeds,
and its baselines are measured on the same splits. `longtail` has plain cross-entropy
beside it, at its own best rate of the same sweep.

    python bench/cases.py                 all
    python bench/cases.py co2 imports     these; rows of the others stay
    python bench/cases.py --quick         one repeat and few steps, no results

The table in docs/cases.md is made of bench/results/cases-DEVICE.json. Nothing is timed,
so other programs may run beside it.
"""

import argparse
import dataclasses
import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from record import HERE, keep, progress, question

from jopt import optimizers, sweep, tasks
from jopt.losses import LogitAdjusted
from jopt.sweep.store import surroundings
from jopt.tasks import COUNTS

PAGE = HERE.parent / "docs" / "cases.md"


@dataclasses.dataclass(frozen=True)
class Case:
    """A sweep of a built-in task, and what its result is compared with.

    Args:
      make: repeat -> task.
      metric: which of the test set is shown.
      optimizer: its name.
      space: the values of each hyperparameter of the optimizer, and of tau.
      beat: the name of the baseline that is the aim.
      least: how much better than it the aim is.
      seeds: trials of each setting, of which choices see the mean.
      over: "splits" or "seeds", what the repeats differ by.
      repeats: how many sweeps; the more, the smaller the test set is.
      of_task: arguments of the task, for the command.
    """

    make: Callable[[int], sweep.Task]
    metric: str
    optimizer: str
    space: Mapping[str, list[float]]
    beat: str
    least: float = 0.0
    seeds: int = 1
    over: str = "splits"
    repeats: int = 5
    of_task: str = ""

    def command(self, name: str) -> str:
        """Return the command that runs the sweep of the first repeat."""
        words = [f"jopt sweep {name}"]
        if self.optimizer != "adamw":
            words.append(f"--optimizer {self.optimizer}")
        for key, values in self.space.items():
            listed = ",".join(f"{value:g}" for value in values)
            rate = key == "learning_rate"
            words.append(
                f"--learning-rate {listed}" if rate else f"--set {key}={listed}"
            )
        words += [self.of_task] * bool(self.of_task)
        return " ".join([*words, *[f"--seeds {self.seeds}"] * (self.seeds > 1)])


RATES = [1e-3, 3e-3, 1e-2]
CASES = {
    "diabetes": Case(
        lambda repeat: tasks.diabetes(split=repeat),
        "r2",
        "adamw",
        {"learning_rate": RATES, "weight_decay": [0.01, 0.1, 0.3, 1.0, 3.0]},
        "least squares",
        seeds=2,
    ),
    "co2": Case(
        lambda repeat: tasks.co2(),
        "rmse",
        "schedule_free_adamw",
        {"learning_rate": [3e-3, 1e-2, 3e-2], "weight_decay": [0.01, 0.3]},
        "least squares on 104 weeks",
        over="seeds",
    ),
    "docstrings": Case(
        lambda repeat: tasks.docstrings(split=repeat),
        "accuracy",
        "schedule_free_adamw",
        {"learning_rate": [5e-3, 1e-2], "weight_decay": [0.1]},
        "logistic regression",
    ),
    # The rate and the epochs were chosen on the validation part of split 10.
    "docstrings, GRU": Case(
        lambda repeat: tasks.docstrings("gru", split=repeat),
        "accuracy",
        "schedule_free_adamw",
        {"learning_rate": [1e-2], "weight_decay": [0.1]},
        "logistic regression",
        of_task="--set model=gru",
    ),
    "imports": Case(
        lambda repeat: tasks.imports(split=repeat),
        "hr10",
        "schedule_free_adamw",
        {"learning_rate": [3e-2, 1e-1], "weight_decay": [1e-4, 0.1, 0.3]},
        "nearest modules",
    ),
    "longtail": Case(
        lambda repeat: tasks.longtail(split=repeat),
        "macro_f1",
        "adamw",
        {"learning_rate": [1e-3, 3e-3, 1e-2, 3e-2], "tau": [0.0, 1.0, 1.5, 2.0]},
        "plain cross-entropy",
        least=0.02,
        seeds=3,
        repeats=15,
    ),
}


@dataclasses.dataclass(frozen=True)
class Adjusted:
    """Make the config of a trial whose loss adjusts logits by tau."""

    optimizer: Callable[..., Any]

    def __call__(self, tau: float, **setting: float) -> sweep.Supervised:
        return sweep.Supervised(self.optimizer(**setting), LogitAdjusted(COUNTS, tau))


def tested(case: Case, repeat: int, space: Mapping[str, Any], quick: bool) -> Any:
    """Return the best of a sweep, with its metrics on the test set."""
    factory = getattr(optimizers, case.optimizer)
    trials = sweep.grid(Adjusted(factory) if "tau" in space else factory, **space)
    first = 1000 * repeat if case.over == "seeds" else 0
    result = sweep.run(
        case.make(repeat),
        trials,
        seeds=[first + seed for seed in range(case.seeds)],
        steps=4 if quick else None,
        segments=2 if quick else 5,
        # Small models train well together; two that read words do not gain by it.
        block=1 if case.make(repeat).name == "docstrings" else len(trials) * case.seeds,
    )
    if result.best is None:
        sys.exit(f"{case.make(repeat).name}: all trials diverged")
    return result.best


def measured(name: str, case: Case, quick: bool) -> dict[str, Any]:
    """Return the test metric of each repeat, of the case and of what it should beat."""
    found: dict[str, list[float]] = {"jopt": []}
    settings, repeats = [], 1 if quick else case.repeats
    for repeat in range(repeats):
        best = tested(case, repeat, case.space, quick)
        found["jopt"].append(best.test[case.metric])
        settings.append(best.hyperparameters)
        for of, values in (case.make(repeat).baseline or {}).items():
            found.setdefault(of, []).append(values[f"test_{case.metric}"])
        if "tau" in case.space:
            plain = tested(case, repeat, {**case.space, "tau": [0.0]}, quick)
            found.setdefault("plain cross-entropy", []).append(plain.test[case.metric])
        last = ", ".join(f"{of} {values[-1]:.4f}" for of, values in found.items())
        progress(f"{name}, {repeat + 1} of {repeats}: {last}; {best.hyperparameters}")
    sign = -1 if case.metric == "rmse" else 1
    gain = sign * (np.mean(found["jopt"]) - np.mean(found[case.beat]))
    return {
        "metric": case.metric,
        "command": case.command(name.partition(",")[0]),
        "over": case.over,
        "repeats": repeats,
        "found": found,
        "settings": settings,
        "beat": case.beat,
        "gain": float(gain),
        "aim": case.least,
        "reached": bool(gain >= case.least),
    }


def spread(values: list[float]) -> str:
    """Return the mean, and the sample standard deviation if the values differ."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return f"{np.mean(values):.3f}" + (f" ± {deviation:.3f}" if deviation else "")


def table(rows: Mapping[str, Any]) -> str:
    """Return the table in Markdown."""
    lines = ["| case | metric on the test set | found | baselines | command |"]
    lines.append("|---|---|---|---|---|")
    for name, row in rows.items():
        others = [
            f"{of} {spread(values)}"
            for of, values in row["found"].items()
            if of != "jopt"
        ]
        lines.append(
            f"| {name} | {row['metric']}, {row['repeats']} {row['over']} | "
            f"**{spread(row['found']['jopt'])}** | {'; '.join(others)} | "
            f"`{row['command']}` |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=question(__doc__))
    parser.add_argument("cases", nargs="*", help="by name (default: all)")
    parser.add_argument("--quick", action="store_true", help="few steps, no results")
    given = parser.parse_args()
    names = given.cases or list(CASES)
    if wrong := [name for name in names if name not in CASES]:
        sys.exit(f"There is no case {wrong[0]}; there is {', '.join(CASES)}.")
    rows = {name: measured(name, CASES[name], given.quick) for name in names}
    print(table(rows))
    for name, row in rows.items():
        verdict = "reached" if row["reached"] else "missed"
        print(f"{name}: {row['gain']:+.4f} beside {row['beat']}, aim {verdict}")
    if given.quick:
        return
    device = surroundings()
    kind = device["device"]["kind"].replace(" ", "-").lower()
    path = HERE / "results" / f"cases-{kind}.json"
    known = json.loads(path.read_text("utf-8"))["cases"] if path.exists() else {}
    known |= rows  # a case that is measured anew takes the place of its row
    ordered = {name: known[name] for name in CASES if name in known}
    keep("cases", {"question": question(__doc__), "cases": ordered} | device)
    write(PAGE, table(ordered))


def write(page: Path, made: str) -> None:
    """Put the table between the marks of a page."""
    begin, end = "<!-- made by bench/cases.py -->", "<!-- end -->"
    text = page.read_text("utf-8")
    between = f"{begin}\n{made}\n{end}"
    page.write_text(
        re.sub(f"{begin}.*?{end}", lambda _: between, text, flags=re.DOTALL), "utf-8"
    )


if __name__ == "__main__":
    main()
