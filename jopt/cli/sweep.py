"""`jopt sweep`: train many settings of an optimizer at once."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from jopt.cli import cache, streams
from jopt.cli.directory import prepare, rescue
from jopt.cli.parsers import add_task, parser_of
from jopt.cli.signals import INTERRUPTED

if TYPE_CHECKING:
    from jopt.sweep import SweepResult

DESCRIPTION = """\
Train many settings of an optimizer at once, in one compiled program, and see
which is best and where training diverges. Without arguments: 64 learning rates
of AdamW on scikit-learn's digits.
"""

EXAMPLES = """\
examples:
  jopt sweep
  jopt sweep mnist --learning-rate 1e-4:1e-1:16 --epochs 2
  jopt sweep --set weight_decay=0,0.01,0.1 --set b2=0.9,0.99 --pruner halving
  jopt sweep --optimizer adamw,lion --set width=32,64 --seeds 3
  jopt sweep --sample 100 --set weight_decay=1e-4:1 --pruner hyperband
  jopt sweep --learning-rate 1e-4:1:32 --evolve learning_rate=1e-5:1
  jopt sweep --folds 5 --keep 5
  jopt sweep my_task.py:task --steps 1000 --out results
  jopt sweep my_task.py:task --objective accuracy:max --objective bytes:min
  jopt sweep --metric accuracy --mode max --bound loss=..0.5
  jopt sweep --timeout 600 --out results
  jopt sweep --resume results
  jopt sweep --extend results --steps 2000
  jopt sweep --extend results --learning-rate 1:10:8
  jopt sweep --pruner halving --keep-pruned --out results
  jopt sweep --extend results --revive 3,17

values:
  LOW:HIGH:COUNT   COUNT values from LOW to HIGH, evenly spaced on a log axis;
  LOW..HIGH:COUNT  on a linear one
  a,b,c            a list: of numbers, of true and false, or of words
  With --sample, values are drawn from LOW:HIGH (log axis), LOW..HIGH (linear
  axis), or a list. A range that ends in :int gives integers.

tasks:
  digits     1,797 images of digits, 8x8, an MLP (nnx)
  mnist      5,000 images of MNIST, a CNN (linen); mnist-nnx is the same in nnx
  text       characters of Python's own help, a small transformer (nnx)
  docstrings   Python's docstrings by subject, a transformer; --set model=gru
  diabetes   442 patients, a small regression (nnx); diabetes-linen is the same
  co2        weekly CO2, 52 weeks ahead, an LSTM
  imports    recommend modules that a file imports, by a factorization
  longtail   digits with rare classes, by macro F1; --set tau=0,1,1.5
  FILE.py:NAME   your task: a jopt.sweep.Task, or a function that returns one

pruners: halving, hyperband, median, patient, threshold, spike. Fields follow a
colon, as in --pruner halving:reduction_factor=3,min_resource=2. All pruners
have the fields metric, mode and cooled: --pruner median:metric=loss,mode=min

objectives: repeat --objective to find the Pareto front, the settings that no
other dominates. The first objective ranks settings, unless --metric is given.
Settings out of bounds cannot win, nor be on the front: ..3000 is at most 3000,
0.9.. at least 0.9, 1..5 between.

files in DIR:
  report.html    everything on one page
  trials.csv     a row a trial: hyperparameters, seed, status, steps, losses
  curves.npz     the training loss by trial and step
  sweep.json     versions, device, space, block, compiles, times
  best.json      the winner on validation, and its test metrics
  best/1, ...    the best models, as orbax checkpoints
  command.json, record/   read by --resume, --extend and jopt report
  learning_rate.png, curves.png, front.png (with objectives)   pictures

exit status: 0; 2 after bad input or if files cannot be written; 130 after
Ctrl-C, 143 after SIGTERM, 129 after SIGHUP; the results so far are saved.
"""


def add_to(commands: Any) -> None:
    """Add the command's options to the parser's `commands`."""
    says = "train many settings of an optimizer at once"
    parser = parser_of(commands, "sweep", says, DESCRIPTION, EXAMPLES)
    add_task(parser)
    space = parser.add_argument_group("search space").add_argument
    _add_search_space(space)
    add_seeds(space)
    training = parser.add_argument_group("length and early stopping")
    add_training(training)
    training.add_argument(
        "--evolve",
        action="append",
        default=[],
        metavar="NAME=RANGE",
        help="population-based training: vary this hyperparameter within the range",
    )
    training.add_argument(
        "--keep-pruned",
        action="store_true",
        help="save the states of pruned trials, for --revive",
    )
    machine = parser.add_argument_group("devices and files").add_argument
    names = [option.dest for option in _add_machine(machine)]
    defaults = vars(parser.parse_args([]))
    parser.set_defaults(run=run, defaults=defaults, with_resume=names, command="sweep")


def _add_search_space(add: Any) -> None:
    add(
        "--optimizer",
        default="adamw",
        metavar="NAMES",
        help="optimizers to try, separated by commas (default: adamw)",
    )
    add(
        "--learning-rate",
        metavar="VALUES",
        help="learning rates to try (default: 1e-5:1:64)",
    )
    add(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUES",
        help="another hyperparameter of the optimizer, argument of the task, or "
        "batch_size; may be repeated",
    )
    add("--sample", type=int, metavar="N", help="draw N settings instead of a grid")
    add(
        "--sampler",
        default="random",
        help="sampler of --sample: random, sobol, halton or latin (default: random)",
    )


def add_seeds(add: Any) -> None:
    """Add the options of seeds and folds."""
    add(
        "--seeds",
        type=int,
        default=1,
        metavar="K",
        help="number of random seeds per setting (default: 1)",
    )
    add("--folds", type=int, default=1, metavar="K", help="cross-validate over K folds")
    add("--seed", type=int, default=0, metavar="N", help="random seed (default: 0)")


def add_training(group: Any) -> None:
    """Add the options for the length of trials and for their ranking."""
    length = group.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, metavar="N", help="steps per trial")
    length.add_argument(
        "--epochs", type=int, metavar="N", help="epochs per trial (default: the task's)"
    )
    add = group.add_argument
    add(
        "--batch-size",
        type=int,
        metavar="N",
        help="examples per step (default: the task's)",
    )
    add(
        "--segments",
        type=int,
        default=10,
        metavar="N",
        help="evaluations per trial (default: 10)",
    )
    add(
        "--metric",
        metavar="NAME",
        help="validation metric that ranks settings (default: the task's)",
    )
    add(
        "--mode",
        choices=("min", "max"),
        help="whether a low or a high metric is better (default: the task's)",
    )
    add(
        "--best-moment",
        action="store_true",
        help="use each trial's best evaluation instead of its last",
    )
    add(
        "--objective",
        action="append",
        default=[],
        metavar="NAME:MODE",
        help="one of several metrics for a Pareto front; MODE is min or max",
    )
    add(
        "--bound",
        action="append",
        default=[],
        metavar="NAME=LOW..HIGH",
        help="only settings within the range can win; an end may be left out",
    )
    add("--pruner", metavar="NAME[:FIELD=N,...]", help="stop poor settings early")


def _add_machine(add: Any) -> list[argparse.Action]:
    """Add the machine options; return those that may be given with --resume."""
    resumed = [
        add("--resume", type=Path, metavar="DIR", help="resume the sweep saved in DIR"),
        add(
            "--extend",
            type=Path,
            metavar="DIR",
            help="train the sweep saved in DIR for more steps (--steps: new total), or "
            "with more trials (--sample: new total, or more values)",
        ),
        add(
            "--revive",
            type=_numbers,
            default=[],
            metavar="N,...",
            help="with --extend, train these pruned trials to their end; numbers as in "
            "trials.csv",
        ),
    ]
    return [*resumed, *add_machine(add)]


def _numbers(text: str) -> list[int]:
    """Return the numbers of trials in a list with commas."""
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be numbers of trials, such as 3,17, got {text!r}"
        ) from None


def add_machine(add: Any) -> list[argparse.Action]:
    """Add the options of devices and files; return those that a resume may change."""
    add(
        "--block",
        type=int,
        metavar="N",
        help="trials trained together on a device (default: chosen by timing)",
    )
    add(
        "--out",
        type=Path,
        metavar="DIR",
        help="where to write (default: sweeps/TASK-1, -2, ...)",
    )
    add("--overwrite", action="store_true", help="write into a DIR that has files")
    return [
        add(
            "--timeout",
            type=float,
            metavar="SECONDS",
            help="start no segment (or batch of a search) that would end later",
        ),
        add(
            "--devices",
            type=int,
            metavar="N",
            help="number of devices; on a CPU, split it into N (default: all)",
        ),
        add(
            "--memory",
            metavar="BYTES",
            help="memory per device, such as 2G (default: the free memory)",
        ),
        add(
            "--keep",
            type=int,
            default=1,
            metavar="K",
            help="number of best models to save (default: 1)",
        ),
        add(
            "--json",
            action="store_true",
            help="print the result to stdout as a line of JSON, the rest to stderr",
        ),
        add(
            "--tensorboard",
            action="store_true",
            help="also write TensorBoard logs, with its HParams tab",
        ),
        *cache.add_options(add),
    ]


def run(options: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    # Import late, so that `jopt sweep --help` stays fast.
    from jopt.report import drawing_ahead

    ahead = drawing_ahead(getattr(options, "folder", None))
    with streams.aside(options.json) as stdout, ahead:
        return _run(options, stdout)


def _run(options: argparse.Namespace, stdout: TextIO) -> int:
    """Run the command; with --json, `stdout` gets only the result."""
    from jopt import sweep
    from jopt.cli import command_file, devices, display, selection
    from jopt.cli.trials import trials as trials_of

    devices.prepare(options.devices)
    if options.keep < 0:
        raise ValueError(f"--keep must be at least 0, got {options.keep}.")
    directory, resumed = options.extend or options.resume, False
    steps = options.steps  # with --extend, None if only trials are added
    if options.revive and options.extend is None:
        raise ValueError("--revive needs the sweep's directory; give --extend DIR.")
    if directory is not None:
        options = command_file.resumed(options, directory)
        resumed = command_file.has_begun(directory) or options.extend is not None
        if ":" in options.task:
            print(f"imports {options.task}")
    task, trials = trials_of(options)
    if directory is None:
        directory = prepare(options, task.name)
    console = streams.console()
    many = len(trials) * options.seeds * options.folds
    console.print(f"{task.name}: {many} trials" + (", resumed" if resumed else ""))
    shared: dict[str, Any] = {
        "timeout": options.timeout,
        "devices": devices.first(options.devices),
        "memory": devices.memory(options.memory),
    }
    objectives = selection.objectives(options.objective)
    bounds = selection.bounds(options.bound)
    pruner = selection.pruner(options.pruner)
    population = selection.population(options.evolve)
    try:
        with display.Display(console, list(trials[0].hyperparameters)) as show:
            if options.revive:
                result = sweep.revive(
                    directory, options.revive, task, trials, progress=show, **shared
                )
            elif options.extend is not None:
                with command_file.saved(options, directory):
                    more: dict[str, Any] = {**shared, "steps": steps}
                    result = sweep.extend(
                        directory, task, trials, progress=show, **more
                    )
            elif resumed and getattr(options, "earlier", []):
                result = sweep.extend(directory, task, trials, progress=show, **shared)
            elif resumed:
                result = sweep.resume(directory, task, trials, progress=show, **shared)
            else:
                with command_file.saved(options, directory):
                    result = sweep.run(
                        task,
                        trials,
                        steps=options.steps,
                        epochs=options.epochs,
                        seeds=options.seeds,
                        folds=options.folds,
                        batch_size=options.batch_size,
                        block=options.block,
                        segments=options.segments,
                        seed=options.seed,
                        metric=options.metric,
                        keep="best" if options.best_moment else "last",
                        mode=options.mode,
                        objectives=objectives,
                        bounds=bounds,
                        pruner=pruner,
                        population=population,
                        keep_pruned=options.keep_pruned,
                        directory=directory,
                        overwrite=options.overwrite,
                        progress=show,
                        **shared,
                    )
        return finish(console, options, task, result, directory, stdout)
    except KeyboardInterrupt:  # the second Ctrl-C: the first lets the segment end
        left = "Nothing was trained."
        if command_file.has_begun(directory):
            left = command_file.how_to_resume(directory)
        print(f"jopt: stopped at once. {left}", file=sys.stderr)
        return INTERRUPTED


def finish(
    console: Any,
    options: Any,
    task: Any,
    result: "SweepResult",
    directory: Path,
    stdout: TextIO,
    go_on: str | None = None,
) -> int:
    """Save and print the result; return the exit status.

    `go_on` is the command that continues an interrupted one; by default --resume.
    """
    from jopt.cli import command_file, display

    status = 2 if result.info["unsaved"] else 0
    try:
        files = result.save(directory, keep=options.keep)
        if options.tensorboard:
            from jopt.interop import write_tensorboard

            write_tensorboard(result, directory / "tensorboard")
            files.append(directory / "tensorboard")
    except OSError as error:
        print(f"jopt: {directory} could not be written: {error}.", file=sys.stderr)
        directory, files = rescue(result)
        status = 2
    display.summary(console, result, directory, files)
    scored = task.test is not None or options.folds == 1
    if options.keep > 1 and len(result.top(options.keep)) > 1 and scored:
        display.together(console, task, result, options.keep)
    if options.json:
        print(_answer(result, directory, files), file=stdout)
    if result.info["interrupted"] or result.info["timed_out"]:
        how = command_file.how_to_resume(directory, options.command)
        console.print(go_on or how)
    if result.info["interrupted"]:
        return INTERRUPTED
    return status


def _answer(result: "SweepResult", directory: Path, files: list[Path]) -> str:
    """Return the result for a program, as one line of JSON."""
    from jopt.sweep import in_words

    table, info = result.settings(), result.info
    names = ("task", "metric", "mode", "objectives", "interrupted", "timed_out")
    names += ("unsaved", "trial_steps", "train_seconds")
    rows = zip(*(column.tolist() for column in table.values()), strict=True)
    answer = {
        "directory": str(directory),
        "files": [str(file) for file in files],
        **{name: info[name] for name in names},
        "best": result.best_as_dict(),
        "settings": [dict(zip(table, row, strict=True)) for row in rows],
    }
    return in_words(answer)
