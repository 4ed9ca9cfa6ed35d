"""`jopt lr-find`: try many learning rates for a few steps, and suggest one."""

import argparse
import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jopt.cli import cache
from jopt.cli.directory import prepare, rescue
from jopt.cli.parsers import add_task, parser_of
from jopt.cli.signals import INTERRUPTED

if TYPE_CHECKING:
    from rich.console import Console

    from jopt.studies import LearningRateRange

DESCRIPTION = """\
Train with many constant learning rates and a few seeds for a few steps, all in one
compiled program. Suggest a rate.
"""

EXAMPLES = """\
examples:
  jopt lr-find
  jopt lr-find mnist --optimizer lion --set weight_decay=0.1
  jopt lr-find --optimizer sgd --set momentum=0.9 --low 1e-4 --steps 300
  jopt lr-find my_task.py:task --optimizer optax.adan --out found

tasks and optimizers are those of `jopt sweep`.

files in DIR:
  lr_find.png    the losses by rate, where training diverges, the suggestions
  lr_find.csv    one row per rate: mean loss, diverged seeds, the loss of each seed
  lr_find.json   the suggestion, its rule, the other rule's suggestion, the run

The suggestion is for a constant rate or the peak of a schedule. A training that is
much longer than this test may need a smaller rate, especially with lion.

exit status: 0; 2 after bad input or if files cannot be written; 130 after
Ctrl-C, 143 after SIGTERM, 129 after SIGHUP; the results so far are saved.
"""


def add_to(commands: Any) -> None:
    """Add the command's options to the parser's `commands`."""
    says = "suggest a learning rate from a few steps with many rates"
    parser = parser_of(commands, "lr-find", says, DESCRIPTION, EXAMPLES)
    add = parser.add_argument
    add_task(parser)
    add(
        "--optimizer",
        default="adamw",
        metavar="NAME",
        help="optimizer to train with (default: adamw)",
    )
    add(
        "--low",
        type=float,
        default=1e-6,
        metavar="RATE",
        help="lowest rate (default: 1e-6)",
    )
    add(
        "--high",
        type=float,
        default=10.0,
        metavar="RATE",
        help="highest rate (default: 10)",
    )
    add(
        "--rates",
        type=int,
        default=64,
        metavar="N",
        help="number of rates, evenly spaced on a log axis (default: 64)",
    )
    add(
        "--seeds",
        type=int,
        default=3,
        metavar="K",
        help="number of random seeds per rate (default: 3)",
    )
    add(
        "--steps",
        type=int,
        default=100,
        metavar="N",
        help="steps per trial (default: 100)",
    )
    add(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another hyperparameter of the optimizer; may be repeated",
    )
    add(
        "--batch-size",
        type=int,
        metavar="N",
        help="examples per step (default: the task's)",
    )
    add(
        "--block",
        type=int,
        metavar="N",
        help="trials trained together (default: chosen by timing)",
    )
    add("--seed", type=int, default=0, metavar="N", help="random seed (default: 0)")
    add(
        "--out",
        type=Path,
        metavar="DIR",
        help="where to write (default: sweeps/TASK-lr-find-1, ...)",
    )
    add("--overwrite", action="store_true", help="write into a DIR that has files")
    cache.add_options(add)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    # Import late, so that `jopt lr-find --help` stays fast.
    from jopt.cli import display, lookup, streams
    from jopt.studies import lr_range

    task = lookup.task(options.task)
    factory, given = lookup.optimizer(options.optimizer), settings(options.set)
    directory = prepare(options, f"{task.name}-lr-find")
    console = streams.console()
    console.print(f"{task.name}: {options.rates} rates, {options.seeds} seeds")
    with display.Display(console, ["learning_rate"]) as show:
        found = lr_range(
            task,
            factory,
            low=options.low,
            high=options.high,
            rates=options.rates,
            seeds=options.seeds,
            steps=options.steps,
            batch_size=options.batch_size,
            block=options.block,
            seed=options.seed,
            progress=show,
            **given,
        )
    status = INTERRUPTED if found.info["interrupted"] else 0
    try:
        files = found.save(directory)
    except OSError as error:
        print(f"jopt: {directory} could not be written: {error}.", file=sys.stderr)
        directory, files = rescue(found)
        status = 2
    summary(console, found, directory, files)
    return status


def settings(texts: list[str]) -> dict[str, Any]:
    """Return the hyperparameters of `--set`, one value each.

    Raises:
      ValueError: if a text is malformed, has several values, or names an option of the
        command itself.
    """
    from jopt.cli.values import assignments, values
    from jopt.studies import lr_range

    found: dict[str, Any] = {}
    options = inspect.signature(lr_range).parameters
    for name, given in assignments(texts, "--set", "NAME=VALUE, as in b1=0.95"):
        several = values(given, f"--set {name}")
        if len(several) > 1:
            raise ValueError(
                f"--set {name} got {given!r}; lr-find takes one value, and jopt sweep "
                "several."
            )
        if name == "learning_rate":
            raise ValueError("--set got learning_rate, which --low and --high give.")
        if name in options:
            raise ValueError(
                f"--set got {name}, which is an option of lr-find itself; for a "
                f"hyperparameter of that name use Python's studies.lr_range."
            )
        found[name] = several[0]
    return found


def summary(
    console: "Console", found: "LearningRateRange", directory: Path, files: list[Path]
) -> None:
    """Print the rate of each rule, the suggestion in a sentence, and the files."""
    from rich.table import Table

    if found.suggestions:
        table = Table(title="learning rates by rule")
        table.add_column("rule")
        table.add_column("rate", justify="right")
        for name, rate in found.suggestions.items():
            table.add_row(name, f"{rate:.3g}")
        console.print(table)
    if found.edge is not None:
        console.print(f"Training diverges from {found.edge:.3g} on.")
    if found.suggestion is None:
        console.print(f"No learning rate is suggested. {found.rule}")
    else:
        console.print(f"Suggested learning rate: {found.suggestion:.3g}. {found.rule}")
    for file in files:
        if file.suffix == ".png":
            console.print(f"Picture: {file}")
    console.print(f"Files in {directory}: {', '.join(file.name for file in files)}")
