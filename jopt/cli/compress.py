"""`jopt compress`: find the smallest model that is as good as the dense one."""

import argparse
import functools
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jopt.cli import cache
from jopt.cli.directory import prepare, rescue
from jopt.cli.parsers import add_task, parser_of
from jopt.cli.signals import INTERRUPTED

if TYPE_CHECKING:
    from rich.console import Console

    from jopt.studies import Compression

DESCRIPTION = """\
Train all sparsities and bit widths at once, each with several learning rates and
seeds, and find the smallest model that is as good as the dense one. A trained model
can be the start, with or without further training, or the teacher.
"""

EXAMPLES = """\
examples:
  jopt compress
  jopt compress mnist --sparsity 0,0.9,0.95 --bits 3,4,32 --steps 400
  jopt compress digits --sparsity 0..0.97:6 --learning-rate 3e-3:3e-2:3 --seeds 5
  jopt compress digits --start sweeps/digits-1             compress it and train on
  jopt compress digits --start sweeps/digits-1 --steps 0   compress it without training
  jopt compress digits --teacher sweeps/digits-1           learn from its predictions
  jopt compress my_task.py:task --metric loss --mode min --tolerance 0.05

values are those of `jopt sweep`: LOW:HIGH:COUNT on a log axis, LOW..HIGH:COUNT on a
linear one, or a list. Tasks and optimizers are those of `jopt sweep`, too. --start
and --teacher take the directory of a sweep (its best model is used), a checkpoint
(DIR/best/1), or a compressed.safetensors file.

files in DIR, in addition to those of `jopt sweep`:
  compress.png             the metric by bytes, the front, the dense model
  compress.csv             one row per level: sparsity, bits, best rate, metric, bytes
  compress.json            the same, the smallest good model, its test metrics
  compressed.safetensors   that model, quantized and without its zeros
  best/1                   the best trial of all, which may be dense

exit status: 0; 2 after bad input or if files cannot be written; 130 after
Ctrl-C, 143 after SIGTERM, 129 after SIGHUP; the results so far are saved.
"""


def add_to(commands: Any) -> None:
    """Add the command's options to the parser's `commands`."""
    says = "find the smallest model that is as good as the dense one"
    parser = parser_of(commands, "compress", says, DESCRIPTION, EXAMPLES)
    add_task(parser)
    _add_levels(parser.add_argument_group("levels").add_argument)
    _add_training(parser.add_argument_group("training").add_argument)
    _add_files(parser.add_argument_group("files").add_argument)
    parser.set_defaults(run=run)


def _add_levels(add: Any) -> None:
    add(
        "--sparsity",
        default="0,0.5,0.75,0.875,0.9375",
        metavar="VALUES",
        help="sparsities: fractions of weights set to 0 (default: %(default)s)",
    )
    add(
        "--bits",
        default="2,3,4,8,32",
        metavar="VALUES",
        help="bits per weight, 2 to 16; 32 means unquantized (default: %(default)s)",
    )
    add(
        "--tolerance",
        type=float,
        default=0.01,
        metavar="X",
        help="how much worse than the dense model a good one may be (default: 0.01)",
    )
    add(
        "--metric",
        default="accuracy",
        metavar="NAME",
        help="validation metric that compares models (default: accuracy)",
    )
    add(
        "--mode",
        choices=("min", "max"),
        help="whether a low or a high metric is better",
    )


def _add_training(add: Any) -> None:
    add(
        "--learning-rate",
        default="0.003,0.01,0.03",
        metavar="VALUES",
        help="learning rates to try at each level (default: %(default)s)",
    )
    add(
        "--optimizer",
        default="adamw",
        metavar="NAME",
        help="optimizer to train with (default: adamw)",
    )
    add(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another hyperparameter of the optimizer; may be repeated",
    )
    add(
        "--seeds",
        type=int,
        default=3,
        metavar="K",
        help="number of random seeds per level and rate (default: 3)",
    )
    add(
        "--steps",
        type=int,
        metavar="N",
        help="steps per trial, 0 for no training (default: the task's epochs)",
    )
    add(
        "--start",
        type=Path,
        metavar="DIR",
        help="trained model to compress: DIR of a sweep",
    )
    add(
        "--teacher",
        type=Path,
        metavar="DIR",
        help="trained model to distill from: DIR of a sweep",
    )
    add(
        "--temperature",
        type=float,
        metavar="T",
        help="temperature of the teacher's logits (default: 4)",
    )
    add(
        "--teacher-weight",
        type=float,
        metavar="W",
        help="weight of the teacher in the loss (default: 0.9)",
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


def _add_files(add: Any) -> None:
    add(
        "--out",
        type=Path,
        metavar="DIR",
        help="where to write (default: sweeps/TASK-compress-1, ...)",
    )
    add("--overwrite", action="store_true", help="write into a DIR that has files")
    cache.add_options(add)


def run(options: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    # Import late, so that `jopt compress --help` stays fast.
    from jopt.cli import display, lookup, streams
    from jopt.cli.values import numbers, values
    from jopt.studies import compress

    if importlib.util.find_spec("safetensors") is None:
        raise ImportError(
            "jopt compress needs safetensors, which is not installed: "
            "pip install 'jopt[compress]'."
        )
    task = lookup.task(options.task)
    optimizer = lookup.optimizer(options.optimizer)
    given: dict[str, Any] = {
        "sparsity": numbers(options.sparsity, "--sparsity"),
        "bits": values(options.bits, "--bits"),
        "learning_rate": numbers(options.learning_rate, "--learning-rate"),
        "optimizer": functools.partial(optimizer, **_settings(options.set, optimizer)),
        **_distilled(options),
    }
    same = ("tolerance", "metric", "mode", "seeds", "steps", "start", "teacher")
    same += ("batch_size", "block", "seed")
    given |= {name: getattr(options, name) for name in same}
    directory = prepare(options, f"{task.name}-compress")
    console = streams.console()
    names = ["sparsity", "bits"]
    names += [] if options.steps == 0 else ["learning_rate"]
    with display.Display(console, names) as show:
        found = compress(task, **given, progress=show)
    status = INTERRUPTED if found.sweep.info["interrupted"] else 0
    try:
        files = found.save(directory)
    except OSError as error:
        print(f"jopt: {directory} could not be written: {error}.", file=sys.stderr)
        directory, files = rescue(found)
        status = 2
    summary(console, found, directory, files)
    return status


def _settings(texts: list[str], optimizer: Any) -> dict[str, Any]:
    """Return the hyperparameters of `--set`, one value each.

    Raises:
      ValueError: if a text is malformed, has several values, or names a hyperparameter
        that the optimizer does not have.
    """
    from jopt.cli.values import assignments, values
    from jopt.sweep import check_names

    found: dict[str, Any] = {}
    form = "NAME=VALUE, as in b1=0.95"
    for name, given in assignments(texts, "--set", form, taken=("learning_rate",)):
        several = values(given, f"--set {name}")
        if len(several) > 1:
            raise ValueError(
                f"--set {name} got {given!r}; compress takes one value, and jopt sweep "
                "several."
            )
        found[name] = several[0]
    check_names(optimizer, ["learning_rate", *found])
    return found


def _distilled(options: argparse.Namespace) -> dict[str, Any]:
    """Return the distillation loss as an argument; empty for the default loss."""
    from jopt.losses import Distilled

    given = {"temperature": options.temperature, "weight": options.teacher_weight}
    numbers = {name: number for name, number in given.items() if number is not None}
    if numbers and options.teacher is None:
        raise ValueError(
            "--temperature and --teacher-weight are for a --teacher, got none."
        )
    return {"distilled": Distilled(**numbers)} if numbers else {}


def summary(
    console: "Console", found: "Compression", directory: Path, files: list[Path]
) -> None:
    """Print the levels, the smallest good model, how to load it, and the files."""
    console.print(_table(found))
    info = found.sweep.info
    trained = (
        f"of {info['steps']} steps" if "learning_rate" in found.table else "as given"
    )
    console.print(
        f"{info['trials']} trials {trained} in {info['train_seconds']:.1f} s, "
        f"{info['groups']} programs compiled in {info['compile_seconds']:.1f} s."
    )
    console.print(found.outcome)
    if found.remark is not None:
        console.print(found.remark)
    for file in files:
        if file.name in ("compress.png", "report.html"):
            console.print(f"{'Picture' if file.suffix == '.png' else 'Page'}: {file}")
    if found.model is not None:
        console.print("The smallest good model in Python:")
        console.print(found.lines(directory), markup=False)
    console.print(f"Files in {directory}: {', '.join(file.name for file in files)}")


def _table(found: "Compression") -> Any:
    """Return the table of the levels, those on the front marked."""
    from rich.table import Table

    from jopt.training import short_bytes

    levels, metric = found.table, found.metric
    title = "levels, each at its best rate, means of the seeds"
    table = Table(title=title if "learning_rate" in levels else "levels")
    shown = [name for name in ("sparsity", "bits", "learning_rate") if name in levels]
    for name in (*shown, metric, "bytes", ""):
        table.add_column(name.replace("_", " "), justify="right" if name else "left")
    for row in range(len(levels["bytes"])):
        spread = levels[f"{metric}_std"][row]
        value = f"{levels[metric][row]:.4g}"
        marks = ["smallest good" if row == found.smallest else ""]
        marks += ["front" if levels["front"][row] else ""]
        table.add_row(
            *(f"{levels[name][row]:.4g}" for name in shown),
            value if spread != spread else f"{value} ± {spread:.2g}",
            short_bytes(int(levels["bytes"][row])),
            ", ".join(filter(None, marks)),
        )
    return table
