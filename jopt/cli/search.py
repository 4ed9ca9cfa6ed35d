"""`jopt search`: train batches of settings, each proposed from earlier results."""

import argparse
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from jopt.cli import streams
from jopt.cli.directory import prepare
from jopt.cli.parsers import add_task, parser_of
from jopt.cli.signals import INTERRUPTED
from jopt.cli.sweep import add_machine, add_seeds, add_training, finish

if TYPE_CHECKING:
    from jopt.sweep import Place

STUDY = "jopt"  # default name of a shared study
DESCRIPTION = """\
Search for the best setting of an optimizer. Each batch of settings is trained at once,
in one compiled program, and is proposed from the results of earlier batches.
Without arguments: 256 settings of AdamW on scikit-learn's digits, by TPE.
"""

EXAMPLES = """\
examples:
  jopt search
  jopt search mnist --trials 128 --batch 16 --learning-rate 1e-4:1e-1 --epochs 2
  jopt search --set weight_decay=1e-4:1 --set b2=0.9..0.9999 --seeds 3 --confirm 8
  jopt search --optimizer adamw,lion --sampler tpe --pruner halving
  jopt search --sampler sobol --trials 64 --timeout 600
  jopt search my_task.py:task --steps 1000 --out results
  jopt search --storage study.journal --trials 512
  jopt search --resume results
  jopt search --resume results --trials 512

values:
  LOW:HIGH    a range on a log axis; LOW:HIGH:int gives integers
  LOW..HIGH   a range on a linear axis; LOW..HIGH:int gives integers
  a,b,c       a list, from which one value is chosen

samplers:
  tpe        Optuna's tree-structured Parzen estimator (needs 'jopt[search]')
  gp         Optuna's Gaussian process, for few and long trials (needs 'jopt[gp]')
  cmaes      CMA-ES, for ranges of numbers only (needs 'jopt[search]')
  nsga2      NSGA-II, for several objectives (needs 'jopt[search]')
  random, sobol, halton, latin   ignore earlier results

On the seeds that chose it, the best of many settings looks better than it is.
--confirm K trains the K best with fresh seeds, and chooses among them.

Tasks, pruners, objectives, bounds and the files in DIR are those of jopt sweep. The
batches are kept in DIR/batches.

--storage takes the path of a journal, or the URL of a database or of Optuna's proxy.
Any number of jopt worker processes, on any machine that reaches the storage, then
train the same search.

exit status: as in jopt sweep.
"""


def add_to(commands: Any) -> None:
    """Add the command's options to the parser's `commands`."""
    says = "find the best setting of an optimizer, batch by batch"
    parser = parser_of(commands, "search", says, DESCRIPTION, EXAMPLES)
    add_task(parser)
    space = parser.add_argument_group("search space").add_argument
    _add_space(space)
    add_seeds(space)
    add_training(parser.add_argument_group("length and early stopping"))
    machine = parser.add_argument_group("devices and files").add_argument
    actions = [
        machine(
            "--resume", type=Path, metavar="DIR", help="resume the search saved in DIR"
        ),
        *add_machine(machine),
    ]
    names = [action.dest for action in actions]
    defaults = vars(parser.parse_args([]))
    parser.set_defaults(run=run, defaults=defaults, with_resume=names, command="search")


def _add_space(add: Any) -> None:
    add(
        "--optimizer",
        default="adamw",
        metavar="NAMES",
        help="optimizers to try, separated by commas (default: adamw)",
    )
    add(
        "--learning-rate",
        metavar="RANGE",
        help="learning rates to search (default: 1e-5:1)",
    )
    add(
        "--set",
        action="append",
        default=[],
        metavar="NAME=RANGE",
        help="another hyperparameter of the optimizer, argument of the task, or "
        "batch_size; may be repeated",
    )
    add(
        "--trials",
        type=int,
        metavar="N",
        help="total number of settings (default: 256)",
    )
    add(
        "--batch",
        type=int,
        metavar="N",
        help="settings per batch (default: an eighth of the trials, at most 64)",
    )
    add(
        "--sampler",
        default="tpe",
        metavar="NAME[:FIELD=N,...]",
        help="sampler that proposes settings (default: tpe)",
    )
    add(
        "--confirm",
        type=int,
        default=0,
        metavar="K",
        help="train the K best with fresh seeds, and choose among them (default: 0)",
    )
    add(
        "--storage",
        metavar="PATH|URL",
        help="share the search: a journal, a database URL or grpc://HOST:PORT",
    )


def shared(options: argparse.Namespace) -> "Place | None":
    """Return the place of the shared study, with the options that begin it."""
    from jopt.cli import command_file
    from jopt.sweep import Place

    if options.storage is None:
        return None
    if options.resume is not None:
        raise ValueError("--storage must be given without --resume; leave one out.")
    options.keep = 0  # the workers keep the models
    place = Place.of(options.storage)
    return place._replace(command=command_file.plain(options))


def how_to_join(place: "Place") -> str:
    """Return a sentence with the command that joins a shared search."""
    name = "" if place.study == STUDY else f"#{place.study}"
    return f"Go on with: jopt worker {place}{name}"


def run(options: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    with streams.aside(options.json) as stdout:
        return _run(options, stdout)


def _run(options: argparse.Namespace, stdout: TextIO) -> int:
    """Run the command; with --json, `stdout` gets only the result."""
    # Import late, so that `jopt search --help` stays fast.
    from jopt import sweep
    from jopt.cli import command_file, devices, display, selection
    from jopt.cli.trials import space as space_of

    devices.prepare(options.devices)
    if options.keep < 0:
        raise ValueError(f"--keep must be at least 0, got {options.keep}.")
    directory, resumed = options.resume, False
    place = shared(options)
    if directory is not None:
        trials = options.trials  # may be more than in the first run
        options.trials = options.defaults["trials"]
        options = command_file.resumed(options, directory)
        options.trials = options.trials if trials is None else trials
        resumed = command_file.has_begun(directory)
        if ":" in options.task:
            print(f"imports {options.task}")
    task, space = space_of(options)
    if directory is None:
        directory = prepare(options, task.name)
    console, count = streams.console(), options.trials or 256
    more = ", resumed" if resumed else ""
    console.print(f"{task.name}: search of {count} settings{more}")
    show = display.Display(console, list(space.distributions()))
    try:
        begun = contextlib.nullcontext()
        if place is None:
            begun = command_file.saved(options, directory)
        with begun, show:
            result = sweep.search(
                task,
                space,
                trials=count,
                batch=options.batch,
                sampler=selection.sampler(options.sampler),
                confirm=options.confirm,
                timeout=options.timeout,
                steps=options.steps,
                epochs=options.epochs,
                seeds=options.seeds,
                folds=options.folds,
                batch_size=options.batch_size,
                block=options.block,
                segments=options.segments,
                seed=options.seed,
                metric=options.metric,
                mode=options.mode,
                keep="best" if options.best_moment else "last",
                objectives=selection.objectives(options.objective),
                bounds=selection.bounds(options.bound),
                pruner=selection.pruner(options.pruner),
                directory=directory if place is None else None,
                storage=place,
                overwrite=options.overwrite and not resumed,
                devices=devices.first(options.devices),
                memory=devices.memory(options.memory),
                progress=show,
            )
        go_on = None if place is None else how_to_join(place)
        return finish(console, options, task, result, directory, stdout, go_on)
    except KeyboardInterrupt:  # the second Ctrl-C: the first lets the segment end
        left = "Nothing was trained."
        if place is not None:
            left = how_to_join(place)
        elif command_file.has_begun(directory):
            left = command_file.how_to_resume(directory, "search")
        print(f"jopt: stopped at once. {left}", file=sys.stderr)
        return INTERRUPTED
