"""Does a sweep train as fast as with another version of jopt?

Each version has a process of its own for each row. In each round both train the same
sweep, in random order, while the other waits. The time is `train_seconds`: training and
validation from the first step to the last, without compiling. The ratio is the other
version's median over ours, so above 1 this version is faster.

    python bench/beside.py ../jopt-0.1
    python bench/beside.py ../jopt-0.1 --rounds 3 digits
"""

import argparse
import importlib
import json
import os
import random
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

AIM = 0.97
# Name: task, trials, block, steps.
ROWS: dict[str, tuple[str, int, int, int]] = {
    "digits, block of 4": ("digits", 64, 4, 640),
    "digits, block of 1": ("digits", 8, 1, 2000),
    "mnist, block of 4": ("mnist", 8, 4, 40),
    "text, block of 2": ("text", 8, 2, 40),
}


def serve(name: str, count: int, block: int, steps: int) -> None:
    """Train the sweep once for each line of the input; print its seconds."""
    import numpy as np

    import jopt
    from jopt import sweep, tasks

    if not hasattr(tasks, name):  # version 0.1 has a module for each task
        module = importlib.import_module(f"jopt.tasks.{name}")
        setattr(tasks, name, getattr(module, name))
    made = getattr(tasks, name)()
    rates = np.geomspace(1e-4, 1e-2, count)
    trials = sweep.grid(jopt.adamw, learning_rate=rates)
    for _ in sys.stdin:
        getattr(sweep, "clear_programs", lambda: None)()
        info = sweep.run(made, trials, steps=steps, block=block, segments=4).info
        print(json.dumps(info["train_seconds"]), flush=True)


class Version:
    """A version of jopt in a process of its own."""

    def __init__(self, tree: Path, row: tuple[str, int, int, int]):
        command = [sys.executable, __file__, "--serve", *map(str, row)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree)},
        )

    def train(self) -> float:
        """Return the seconds of one sweep."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self) -> None:
        """End the process."""
        self.process.communicate()


def measured(name: str, trees: dict[str, Path], rounds: int) -> dict[str, Any]:
    """Return a row, and print it."""
    versions = {version: Version(tree, ROWS[name]) for version, tree in trees.items()}
    for version in versions.values():
        version.train()  # a round that does not count
    seconds: dict[str, list[float]] = {version: [] for version in versions}
    for _ in range(rounds):
        for version in random.sample(list(versions), len(versions)):
            seconds[version].append(versions[version].train())
    for version in versions.values():
        version.end()
    medians = {version: statistics.median(taken) for version, taken in seconds.items()}
    ratio = medians["other"] / medians["this"]
    _, count, block, steps = ROWS[name]
    print(
        f"{name:24}{medians['other']:9.3f}{medians['this']:9.3f}{ratio:8.2f}  "
        f"{'pass' if ratio >= AIM else 'MISS'}",
        flush=True,
    )
    return {
        "row": name,
        "trials": count,
        "block": block,
        "steps": steps,
        "seconds": seconds,
        "medians": medians,
        "other_over_this": ratio,
        "aim": AIM,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("tree", type=Path, help="of the other version")
    parser.add_argument("rows", nargs="*", help="words of rows; default: all")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="one round, no results")
    options = parser.parse_intermixed_args()
    from record import cores, keep, versions  # they import jax

    ours = Path(__file__).resolve().parent.parent
    trees = {"other": options.tree.resolve(), "this": ours}
    chosen = [n for n in ROWS if not options.rows or any(w in n for w in options.rows)]
    rounds = 1 if options.quick else options.rounds
    words = ["TREE" if word == str(options.tree) else word for word in sys.argv[1:]]
    load = os.getloadavg()
    print(f"{'seconds of training':24}{'other':>9}{'this':>9}{'ratio':>8}")
    rows = [measured(name, trees, rounds) for name in chosen]
    if not options.quick:
        report = {
            "question": (__doc__ or "").partition("\n")[0],
            "command": " ".join(["python", "bench/beside.py", *words]),
            "versions": versions(),
            "device": {"kind": "cpu"},
            "cores": cores(),
            "load": {"before": load, "after": os.getloadavg()},
            "rows": rows,
        }
        keep("beside", report)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2], *map(int, sys.argv[3:]))
    else:
        main()
