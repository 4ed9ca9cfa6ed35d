"""Common parts of `jopt compare` and `jopt transfer`: options, display, files."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from jopt.cli import cache
from jopt.cli.directory import prepare, rescue
from jopt.cli.signals import INTERRUPTED

if TYPE_CHECKING:
    from rich.console import Console

    from jopt.studies import Cost, StudyProgress

TRAINING = ("steps", "epochs", "batch_size", "valid_examples", "seeds", "extend")
TRAINING += ("warmup", "level", "seed", "block")


def add_training(add: Any) -> None:
    """Add the training options to a parser's group."""
    add("--steps", type=int, metavar="N", help="steps per trial")
    add("--epochs", type=int, metavar="N", help="epochs (default: the task's)")
    add(
        "--batch-size",
        type=int,
        metavar="N",
        help="examples per step (default: the task's)",
    )
    add(
        "--valid-examples",
        type=int,
        metavar="N",
        help="number of validation examples to use (default: all)",
    )
    add(
        "--seeds",
        type=int,
        default=3,
        metavar="K",
        help="number of random seeds per learning rate (default: 3)",
    )
    add(
        "--extend",
        type=int,
        default=3,
        metavar="N",
        help="most extensions of a range whose best rate is at an end (default: 3)",
    )
    add(
        "--warmup",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="fraction of the steps for warmup (default: 0.1)",
    )
    add(
        "--level",
        type=float,
        default=0.95,
        metavar="X",
        help="confidence level of the intervals (default: 0.95)",
    )
    add(
        "--block",
        type=int,
        metavar="N",
        help="trials trained together (default: chosen by timing)",
    )
    add("--seed", type=int, default=0, metavar="N", help="random seed (default: 0)")
    add(
        "--dry-run",
        action="store_true",
        help="only print the counts of trials, steps and programs, and the time",
    )
    cache.add_options(add)


def add_files(add: Any, stem: str) -> None:
    """Add the file options to a parser's group."""
    add(
        "--out",
        type=Path,
        metavar="DIR",
        help=f"where to write (default: sweeps/{stem}-1, ...); a study in DIR is "
        "resumed",
    )
    add("--overwrite", action="store_true", help="start again in a DIR that has files")


def training(options: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of a study that set its training."""
    return {name: getattr(options, name) for name in TRAINING}


def directory(options: argparse.Namespace, stem: str) -> Path:
    """Return the directory of the study: a new one, or one to resume."""
    from jopt.studies import is_study

    out: Path | None = options.out
    if out is not None and not options.overwrite and is_study(out):
        return out
    return prepare(options, stem)


def print_cost(console: "Console", name: str, cost: "Cost") -> None:
    """Print the cost of a study."""
    console.print(
        f"{name}: {cost.trials:,} trials, {cost.trial_steps:,} trial-steps, "
        f"{cost.programs} programs; with every extension {cost.most_trials:,} trials, "
        f"{cost.most_trial_steps:,} trial-steps."
    )
    if cost.seconds is not None:
        from jopt.report import shown_seconds

        console.print(
            f"{name}: about {shown_seconds(cost.seconds)} on this machine, estimated "
            "from one block of each program."
        )


class Display:
    """A context manager: a live bar on a terminal, else a line per stage."""

    def __init__(self, console: "Console"):
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        self.console = console
        self.bar = Progress(
            TextColumn("{task.fields[stage]}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[left]} left"),
            console=console,
            disable=not console.is_terminal,
            refresh_per_second=2,
        )
        self.row = self.bar.add_task("", total=None, stage="compiling", left="-")

    def __enter__(self) -> "Display":
        self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.stop()

    def __call__(self, now: "StudyProgress") -> None:
        """Show the progress."""
        left = f"{now.seconds_left:.0f} s"
        total = now.trial_steps + now.trial_steps_left
        shown: dict[str, Any] = {"stage": now.stage, "left": left}
        self.bar.update(self.row, total=total, completed=now.trial_steps, **shown)
        ended = now.sweep.last_block and now.sweep.segment == now.sweep.segments
        if ended and not self.console.is_terminal:
            self.console.print(
                f"{now.stage}: {now.sweep.trials} trials, {now.trial_steps:,} of "
                f"{total:,} trial-steps, about {left} left"
            )


def run_study(
    console: "Console", path: Path, study: Callable[[Display], Any]
) -> tuple[Any, Path, list[Path], int]:
    """Run a study and save it; return its result, directory, files and exit status.

    The result is None if the study was interrupted.
    """
    try:
        with Display(console) as show:
            found = study(show)
    except KeyboardInterrupt:
        print(
            f"jopt: interrupted. Go on with the same command and --out {path}",
            file=sys.stderr,
        )
        return None, path, [], INTERRUPTED
    try:
        return found, path, found.save(path), 0
    except OSError as error:
        print(f"jopt: {path} could not be written: {error}.", file=sys.stderr)
        return found, *rescue(found), 2


def print_files(console: "Console", path: Path, files: list[Path]) -> None:
    """Print the picture, the page and all files."""
    for file in files:
        if file.suffix in (".png", ".html"):
            console.print(f"{'Picture' if file.suffix == '.png' else 'Page'}: {file}")
    console.print(f"Files in {path}: {', '.join(file.name for file in files)}")
