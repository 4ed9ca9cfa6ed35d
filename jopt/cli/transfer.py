"""`jopt transfer`: tune the rate at several widths, and predict it for another."""

import argparse
import functools
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jopt.cli import studies
from jopt.cli.parsers import add_task, parser_of

if TYPE_CHECKING:
    from rich.console import Console

    from jopt.studies import Transfer

DESCRIPTION = """\
Tune the learning rate at several widths, with the standard parametrization and with
muP side by side. Fit the best rate as a power law of the width, and predict the rate
of a wider model.
"""

EXAMPLES = """\
examples:
  jopt transfer text --axis width=16,32,64,128 --to 512 --steps 150
  jopt transfer digits --optimizer muon --rule sp,mup,spectral --check --to 512
  jopt transfer digits --learning-rate 5e-4:1.3e-1:9 --coordinates 10
  jopt transfer my_task.py:task --axis channels=8,16,32 --override head/kernel=output
  jopt transfer text --dry-run

TASK is a task of `jopt sweep` whose function has the argument NAME of --axis. The roles
of parameters are inferred from their shapes at two widths. The narrowest width is
the base of muP's factors. --set gives the task's other arguments, as in length=32 or
heads=2.

files in DIR:
  transfer.html, transfer.png   the page, and its picture
  transfer.csv, laws.csv        best rates by rule and width, and their laws
  rates.csv, transfer.json, check.csv, coordinates.csv, exponents.csv
  tune ...                      records of the stages; the same command resumes them

exit status: 0; 2 after bad input or if files cannot be written; 130 after Ctrl-C,
143 after SIGTERM, 129 after SIGHUP.
"""


def add_to(commands: Any) -> None:
    """Add the command's options to the parser's `commands`."""
    says = "tune the learning rate at small widths, predict it for a larger one"
    parser = parser_of(commands, "transfer", says, DESCRIPTION, EXAMPLES)
    add_task(parser)
    add = parser.add_argument_group("transfer").add_argument
    add(
        "--axis",
        default="width=32,64,128",
        metavar="NAME=SIZES",
        help="the task's width argument and its sizes (default: width=32,64,128)",
    )
    add("--to", type=int, metavar="N", help="predict the rate for this width")
    add(
        "--check",
        action="store_true",
        help="train width --to at 1/3, 1 and 3 times the predicted rate",
    )
    add(
        "--coordinates",
        type=int,
        default=0,
        metavar="K",
        help="coordinate check: compare changes after K steps by width (default: none)",
    )
    add(
        "--rule",
        default="sp,mup",
        metavar="NAMES",
        help="parametrizations: sp, mup, spectral (default: sp,mup)",
    )
    add(
        "--optimizer",
        default="adamw",
        metavar="NAME",
        help="optimizer to train with, or FILE.py:NAME (default: adamw)",
    )
    add(
        "--learning-rate",
        metavar="VALUES",
        help="learning rates to try (default: 9 around the optimizer's usual one)",
    )
    add(
        "--override",
        action="append",
        default=[],
        metavar="PATH=KIND",
        help="set the role of a parameter, as in head/kernel=output",
    )
    add(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another argument of the task, equal at all widths",
    )
    add(
        "--schedule",
        default="cosine",
        metavar="NAME",
        help="schedule: cosine, linear or constant (default: cosine)",
    )
    studies.add_training(parser.add_argument_group("training").add_argument)
    studies.add_files(parser.add_argument_group("files").add_argument, "TASK-transfer")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    # Import late, so that `jopt transfer --help` stays fast.
    from jopt.cli import lookup, streams
    from jopt.cli.values import assignments, numbers
    from jopt.studies import Contender, transfer, transfer_cost

    make, widths = axis(options)
    rates = options.learning_rate
    if rates is not None:
        rates = numbers(rates, "--learning-rate")
    contender = Contender(lookup.optimizer(options.optimizer), rates)
    form = "PATH=KIND, as in head/kernel=output"
    overrides = dict(assignments(options.override, "--override", form))
    given: dict[str, Any] = studies.training(options)
    same = ("to", "check", "coordinates", "schedule")
    given |= {name: getattr(options, name) for name in same}
    given |= {"rules": options.rule.split(","), "overrides": overrides}
    console = streams.console()
    cost = transfer_cost(make, contender, widths, timed=options.dry_run, **given)
    studies.print_cost(console, options.task, cost)
    if options.dry_run:
        return 0
    stem = Path(options.task.rpartition(":")[2]).name
    path = studies.directory(options, f"{stem}-transfer")
    result, where, files, status = studies.run_study(
        console,
        path,
        lambda show: transfer(
            make,
            contender,
            widths,
            directory=path,
            overwrite=options.overwrite,
            progress=show,
            **given,
        ),
    )
    if result is not None:
        summary(console, result, where, files)
    return status


def axis(options: argparse.Namespace) -> tuple[Any, list[int]]:
    """Return the function from a width to the task, and the widths.

    Raises:
      ValueError: if the task's function does not take the axis, or an argument.
    """
    from jopt.cli import lookup
    from jopt.cli.values import assignments, values
    from jopt.core import close_match

    maker = lookup.task_maker(options.task)
    known = list(inspect.signature(maker).parameters)
    form = "NAME=SIZES, as in width=32,64,128"
    ((name, text),) = assignments([options.axis], "--axis", form)
    fixed: dict[str, Any] = {}
    for field, given in assignments(options.set, "--set", "NAME=VALUE", taken=(name,)):
        (fixed[field],) = values(given, f"--set {field}")
    for option, field in (("--axis", name), *(("--set", f) for f in fixed)):
        if field not in known:
            raise ValueError(
                f"{option} must name an argument of the task {options.task}, got "
                f"{field!r}{close_match(field, known)}; it takes "
                f"{', '.join(known) or 'none'}."
            )
    widths = values(text, "--axis")
    if not all(isinstance(width, int) for width in widths):
        raise ValueError(f"--axis got {text!r}, not whole sizes; write {form}.")
    return functools.partial(_made, maker, name, fixed), [int(w) for w in widths]


def _made(maker: Any, name: str, fixed: dict[str, Any], width: int) -> Any:
    return maker(**{name: width}, **fixed)


def summary(
    console: "Console", found: "Transfer", path: Path, files: list[Path]
) -> None:
    """Print the best rates by rule and width, the findings, and the files."""
    from rich.table import Table

    table = found.table
    made = Table(title=f"{found.info['task']}, {found.info['optimizer']}: best rates")
    widths = list(dict.fromkeys(table["width"].tolist()))
    for head in ("rule", *(f"width {width}" for width in widths), "with its rate"):
        made.add_column(head, justify="right")
    for rule in found.laws["rule"]:
        of = table["rule"] == rule
        marks = [" (edge)" if edge == "open" else "" for edge in table["edge"][of]]
        pairs = zip(table["best_rate"][of], marks, strict=True)
        cells = [f"{rate:.2g}{mark}" for rate, mark in pairs]
        made.add_row(str(rule), *cells, f"{table['penalty'][of][-1]:+.1%} loss")
    console.print(made)
    console.print(found.outcome)
    if found.check:
        console.print(_check(found))
    if found.coordinates:
        console.print(_exponents(found))
    info = found.info
    console.print(
        f"{info['trials']} trials in {info['train_seconds']:.1f} s of training, "
        f"{info['compiles']} compiles."
    )
    studies.print_files(console, path, files)


def _check(found: "Transfer") -> Any:
    from rich.table import Table

    made = Table(title=f"width {found.to}, around the predicted rates")
    for head in ("rule", "rate", "loss"):
        made.add_column(head, justify="right")
    check = found.check
    for row in range(len(check["rule"])):
        spread = check["sd"][row]
        ends = "" if spread != spread else f" ± {spread:.2g}"
        made.add_row(
            str(check["rule"][row]),
            f"{check['times'][row]:.2g} x {check['learning_rate'][row]:.2g}",
            f"{check['loss'][row]:.4g}{ends}",
        )
    return made


def _exponents(found: "Transfer") -> Any:
    from rich.table import Table

    made = Table(title="exponent of each parameter's change by width; 0 is right")
    rules = found.laws["rule"].tolist()
    for head in ("parameter", "kind", *rules):
        made.add_column(head, justify="right")
    rows = found.exponents
    for leaf in dict.fromkeys(rows["leaf"].tolist()):
        of = rows["leaf"] == leaf
        values = [f"{value:+.2f}" for value in rows["exponent"][of]]
        made.add_row(str(leaf), str(rows["kind"][of][0]), *values)
    return made
