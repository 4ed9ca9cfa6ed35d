"""`jopt sweep`: train many settings of an optimizer at once."""

import argparse
import itertools
import sys
import tempfile
from pathlib import Path
from typing import Any

DESCRIPTION = """\
Train many settings of an optimizer at once, in one compiled program, and see
which is best and where training diverges. Without arguments: 64 learning rates
of AdamW on scikit-learn's digits.
"""

EXAMPLES = """\
examples:
  jopt sweep
  jopt sweep mnist --learning-rate 1e-4:1e-1:16 --epochs 2
  jopt sweep --optimizer lion --set weight_decay=0,0.01,0.1 --seeds 3
  jopt sweep --optimizer sgd --set momentum=0.9 --set nesterov=true,false
  jopt sweep --optimizer optax.adan --learning-rate 1e-4,1e-3
  jopt sweep my_task.py:task --steps 1000 --out results

values:
  LOW:HIGH:COUNT   COUNT values from LOW to HIGH, evenly spaced on a log axis
  a,b,c            these; numbers, true and false, or words

tasks:
  digits     1,797 images of digits, 8x8, an MLP (nnx)
  mnist      5,000 images of MNIST, a CNN (linen); mnist-nnx is the same in nnx
  FILE.py:NAME   your own: a jopt.sweep.Task, or a function that returns one

files in DIR:
  trials.csv     a row a trial: hyperparameters, seed, status, steps, losses
  curves.npz     the training loss by trial and step
  sweep.json     versions, device, space, block, compiles, times
  best.json      the winner on validation, and its test metrics
  learning_rate.png, curves.png   pictures of both

exit status: 0; 2 after bad input or where files cannot be written; 130 after
Ctrl-C, with what was trained until then saved.
"""


def add_to(commands: Any) -> None:
    """Add the command's options to the parser's `commands`."""
    parser = commands.add_parser(
        "sweep",
        help="train many settings of an optimizer at once",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("task", nargs="?", default="digits", metavar="TASK", help="default: digits")
    add("--optimizer", default="adamw", metavar="NAME", help="default: adamw")
    add(
        "--learning-rate",
        default="1e-5:1:64",
        metavar="VALUES",
        help="default: 1e-5:1:64",
    )
    add(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUES",
        help="any other hyperparameter; may be given several times",
    )
    add("--seeds", type=int, default=1, metavar="K", help="keys a setting; default: 1")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, metavar="N", help="of each trial")
    length.add_argument(
        "--epochs", type=int, metavar="N", help="of each trial; default: the task's"
    )
    add("--batch-size", type=int, metavar="N", help="default: the task's")
    add(
        "--block",
        type=int,
        metavar="N",
        help="trials trained together; default: picked by timing",
    )
    add("--seed", type=int, default=0, metavar="N", help="of all that is random")
    add("--out", type=Path, metavar="DIR", help="default: sweeps/TASK-1, -2, ...")
    add("--overwrite", action="store_true", help="write into a DIR that has files")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    # Here and not above: `jopt sweep --help` waits for none of these.
    from rich.console import Console

    from jopt import sweep
    from jopt.cli import display, named

    task = named.task(options.task)
    trials = sweep.grid(named.optimizer(options.optimizer), **space(options))
    directory = prepare(options, task.name)
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{task.name}: {len(trials) * options.seeds} trials")
    with display.Display(console, list(trials[0].hyperparameters)) as show:
        result = sweep.run(
            task,
            trials,
            steps=options.steps,
            epochs=options.epochs,
            seeds=options.seeds,
            batch_size=options.batch_size,
            block=options.block,
            seed=options.seed,
            progress=show,
        )
    status = 130 if result.info["interrupted"] else 0
    try:
        files = result.save(directory)
    except OSError as error:
        print(f"jopt: {directory} could not be written: {error}.", file=sys.stderr)
        directory, files = rescue(result)
        status = 2
    display.summary(console, result, directory, files)
    return status


def space(options: argparse.Namespace) -> dict[str, Any]:
    """Return the values of each hyperparameter."""
    from jopt.cli.values import numbers, values

    found: dict[str, Any] = {
        "learning_rate": numbers(options.learning_rate, "--learning-rate")
    }
    for text in options.set:
        name, equals, given = text.partition("=")
        if not equals or not name:
            raise ValueError(
                f"--set got {text!r}; write NAME=VALUES, as in b1=0.9,0.95."
            )
        if name in found:
            raise ValueError(f"--set gives {name} a second time; give it once.")
        found[name] = values(given, f"--set {name}")
    return found


def prepare(options: argparse.Namespace, task: str) -> Path:
    """Make the directory for the files, before anything is computed for it.

    Raises an OSError in a sentence if it is not empty or cannot be written.
    """
    directory: Path = options.out or _free(Path("sweeps"), task)
    hint = "give another with --out DIR"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory) as probe:
            probe.write(b"room")
        taken = any(directory.iterdir())
    except OSError as error:
        raise OSError(
            f"{directory} cannot be written ({error.strerror or error}); {hint}."
        ) from error
    if taken and not options.overwrite:
        raise FileExistsError(
            f"{directory} is not empty; {hint}, or write into it with --overwrite."
        )
    return directory


def rescue(result: Any) -> tuple[Path, list[Path]]:
    """Save what was computed somewhere else; at worst print the table."""
    try:
        directory = Path(tempfile.mkdtemp(prefix="jopt-"))
        return directory, result.save(directory)
    except OSError:
        print(",".join(result.table))
        for row in zip(*result.table.values(), strict=True):
            print(",".join(map(str, row)))
        return Path("nowhere (the table is printed above)"), []


def _free(parent: Path, stem: str) -> Path:
    """The first of STEM-1, STEM-2, ... that has no files."""
    paths = (parent / f"{stem}-{number}" for number in itertools.count(1))
    return next(p for p in paths if not p.exists() or not any(p.iterdir()))
