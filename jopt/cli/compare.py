"""`jopt compare`: tune each optimizer on its own rates, and rank them."""

import argparse
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jopt.cli import studies
from jopt.cli.parsers import parser_of

if TYPE_CHECKING:
    from rich.console import Console

    from jopt.studies import Comparison

WIDE = 160  # columns of the table without a terminal

DESCRIPTION = """\
Tune each optimizer over its own range of learning rates, extend a range whose best rate
is at an end, and rank the optimizers on fresh seeds, with confidence intervals. All
optimizers have the same schedule, decay, seeds and steps.
"""

EXAMPLES = """\
examples:
  jopt compare adamw muon soap lion --task text --steps 400
  jopt compare adamw muon --rates muon=3e-3:0.3:9 --set muon.beta=0.9,0.95
  jopt compare adamw muon --decay 0,0.3,1 --horizons 0.5,0.7,1,1.4,2 --steps 300
  jopt compare adamw optax.contrib.prodigy my_optimizer.py:mine --task my_task.py:task
  jopt compare adamw sgd --task digits,text --steps 300
  jopt compare adamw sgd --dry-run

OPTIMIZER is a name as in `jopt sweep`, optax.contrib.NAME, or FILE.py:NAME, a function
of the learning rate. If the task has a width, Muon and similar optimizers update its
hidden matrices, and AdamW the rest. muon.adam_share=0.3,1,3 tunes the ratio of
AdamW's rate to Muon's.

files in DIR:
  compare.html, compare.png   the page, and its picture
  compare.csv                 one row per optimizer: rate, loss, intervals, verdict
  pairs.csv, rates.csv, curves.csv, compare.json
  NAME/tune ...               records of the stages; the same command resumes them

exit status: 0; 2 after bad input, if the baseline diverged at every rate, or if files
cannot be written; 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP.
"""


def add_to(commands: Any) -> None:
    """Add the command's options to the parser's `commands`."""
    says = "tune several optimizers and rank them"
    parser = parser_of(commands, "compare", says, DESCRIPTION, EXAMPLES)
    parser.add_argument(
        "optimizers", nargs="+", metavar="OPTIMIZER", help="two or more optimizers"
    )
    add = parser.add_argument_group("comparison").add_argument
    add(
        "--task",
        default="digits",
        metavar="TASKS",
        help="tasks to train, separated by commas (default: digits)",
    )
    add(
        "--baseline",
        metavar="NAME",
        help="the optimizer to compare with (default: adamw, or the first)",
    )
    add(
        "--rates",
        action="append",
        default=[],
        metavar="NAME=VALUES",
        help="rates of one optimizer, as in muon=3e-3:0.3:9 (default: 9 around its "
        "usual rate)",
    )
    add(
        "--set",
        action="append",
        default=[],
        metavar="NAME.FIELD=VALUES",
        help="tune another hyperparameter, as in muon.beta=0.9,0.95",
    )
    add(
        "--schedule",
        default="cosine",
        metavar="NAMES",
        help="one or more of cosine, linear, constant (default: cosine)",
    )
    add(
        "--decay",
        default="0",
        metavar="VALUES",
        help="total independent weight decay over the run (default: 0)",
    )
    add(
        "--confirm",
        type=int,
        default=8,
        metavar="K",
        help="number of fresh seeds for the ranking (default: 8)",
    )
    add(
        "--horizons",
        metavar="VALUES",
        help="train the baseline for these multiples of the steps, including 1",
    )
    studies.add_training(parser.add_argument_group("training").add_argument)
    studies.add_files(parser.add_argument_group("files").add_argument, "TASK-compare")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    # Import late, so that `jopt compare --help` stays fast.
    from jopt.cli import lookup, streams
    from jopt.cli.values import numbers
    from jopt.studies import across, compare, compare_cost

    entered = contenders(options)
    names = options.task.split(",")
    given: dict[str, Any] = studies.training(options)
    given["schedule"] = options.schedule.split(",")
    given["decay"] = numbers(options.decay, "--decay")
    given |= {"baseline": options.baseline, "confirm": options.confirm}
    if options.horizons is not None:
        given["horizons"] = numbers(options.horizons, "--horizons")
    tasks = {name: (lookup.task(name), wider(name)) for name in names}
    console = streams.console()
    for task, wide in tasks.values():
        cost = compare_cost(task, entered, wider=wide, timed=options.dry_run, **given)
        studies.print_cost(console, task.name, cost)
    if options.dry_run:
        return 0
    first = next(iter(tasks.values()))[0]
    path = studies.directory(options, f"{first.name}-compare")
    found: dict[str, Comparison] = {}
    status = 0
    for task, wide in tasks.values():
        own = path / task.name if len(tasks) > 1 else path
        result, where, files, own_status = studies.run_study(
            console,
            own,
            lambda show, task=task, wide=wide, own=own: compare(
                task,
                entered,
                wider=wide,
                directory=own,
                overwrite=options.overwrite,
                progress=show,
                **given,
            ),
        )
        if result is None:
            return own_status
        status = max(status, own_status)
        found[task.name] = result
        summary(console, result, where, files)
    if len(found) > 1:
        console.print(_across(across(found)))
    return status


def contenders(options: argparse.Namespace) -> dict[str, Any]:
    """Return the contenders by name, with the rates and spaces of the options.

    Raises:
      ValueError: if a name is given twice, or an option names an unknown contender.
    """
    from jopt.cli import lookup
    from jopt.cli.values import assignments, numbers, values
    from jopt.core import close_match
    from jopt.studies import Contender

    factories: dict[str, Callable[..., Any]] = {}
    for text in options.optimizers:
        file, colon, attribute = text.rpartition(":")
        name = attribute if colon and file.endswith(".py") else text
        if name in factories:
            raise ValueError(
                f"The optimizer {name} is given a second time; leave it out."
            )
        factories[name] = lookup.optimizer(text)

    def known(name: str, option: str) -> str:
        if name not in factories:
            raise ValueError(
                f"{option} must name one of the optimizers, got {name!r}"
                f"{close_match(name, list(factories))}; they are "
                f"{', '.join(factories)}."
            )
        return name

    form = "NAME=VALUES, as in muon=3e-3:0.3:9"
    rates = {
        known(name, "--rates"): numbers(text, f"--rates {name}")
        for name, text in assignments(options.rates, "--rates", form)
    }
    spaces: dict[str, dict[str, Any]] = {name: {} for name in factories}
    form = "NAME.FIELD=VALUES, as in muon.beta=0.9,0.95"
    for text, given in assignments(options.set, "--set", form):
        name, dot, field = text.rpartition(".")
        if not dot:
            raise ValueError(f"--set got {text!r}; write {form}.")
        spaces[known(name, "--set")][field] = values(given, f"--set {text}")
    return {
        name: Contender(factory, rates.get(name), spaces[name])
        for name, factory in factories.items()
    }


def wider(name: str) -> Any:
    """Return the task at twice its width; None if its function has no width."""
    from jopt.cli import lookup

    make = lookup.task_maker(name)
    width = inspect.signature(make).parameters.get("width")
    if width is None or not isinstance(width.default, int):
        return None
    return make(width=2 * width.default)


def summary(
    console: "Console", found: "Comparison", path: Path, files: list[Path]
) -> None:
    """Print the table, the findings in sentences, and the files."""
    if not console.is_terminal:
        console.width = max(console.width, WIDE)
    console.print(_table(found))
    console.print(found.outcome)
    for remark in found.remarks:
        console.print(remark)
    info = found.info
    console.print(
        f"{info['trials']} trials in {info['train_seconds']:.1f} s of training, "
        f"{info['compiles']} compiles."
    )
    studies.print_files(console, path, files)


def _table(found: "Comparison") -> Any:
    """Return the table of the optimizers, the best first."""
    from rich.table import Table

    table, info = found.table, found.info
    share = f"{info['level']:.0%}"
    log = info["scale"] == "log"
    made = Table(
        title=f"{info['task']}, {info['steps']} steps, {info['confirm']} fresh seeds"
    )
    gap = f"{'relative ' if log else ''}difference to {info['baseline']}"
    heads = ["rank", "optimizer", "rate", "edge", f"{info['metric']} ({share})"]
    heads += [gap, "verdict", "steps", "time", "trials"]
    for head in heads:
        made.add_column(head, justify="left" if head == "optimizer" else "right")
    for row in range(len(table["rank"])):
        made.add_row(
            str(table["rank"][row]),
            str(table["optimizer"][row]),
            f"{table['learning_rate'][row]:.2g}",
            str(table["edge"][row]),
            _ends(table, "loss", row),
            _ends(table, "difference", row, "+.2g"),
            str(table["verdict"][row]),
            _ends(table, "step_ratio", row, ".3g"),
            f"{table['time_ratio'][row]:.2f}",
            str(table["trials"][row]),
        )
    return made


def _ends(table: Any, name: str, row: int, form: str = ".4g") -> str:
    """Return a value with the ends of its interval, or a dash without a value."""
    value, low, high = (table[f"{name}{end}"][row] for end in ("", "_low", "_high"))
    if value != value:
        return "-"
    ends = "" if low != low else f" [{low:{form}} {high:{form}}]"
    return f"{value:{form}}{ends}"


def _across(rows: Any) -> Any:
    from rich.table import Table

    made = Table(title="all tasks: log ratio of loss to the baseline's, 95 %")
    for head in ("optimizer", "tasks", "log ratio", "verdict"):
        made.add_column(head, justify="right")
    for row in range(len(rows["optimizer"])):
        low, high = rows["low"][row], rows["high"][row]
        made.add_row(
            str(rows["optimizer"][row]),
            str(rows["tasks"][row]),
            f"{rows['log_ratio'][row]:+.3f} [{low:+.3f} {high:+.3f}]",
            str(rows["verdict"][row]),
        )
    return made
