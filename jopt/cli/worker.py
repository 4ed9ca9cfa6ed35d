"""`jopt worker`: train blocks of a search that several machines share."""

import argparse
from typing import Any

from jopt.cli import cache
from jopt.cli.parsers import parser_of
from jopt.cli.signals import INTERRUPTED

DESCRIPTION = """\
Join a search that jopt search --storage has started. A worker trains one block of
settings after another until all are trained, and takes over the blocks of dead workers.
Start one worker per device, on any machine that reaches the storage.
"""

EXAMPLES = """\
examples:
  jopt worker study.journal
  jopt worker postgresql://user@host/database#mnist
  jopt worker grpc://host:13000 --devices 1
  jopt worker study.journal my_task.py:task
  sbatch --array=0-31 --gpus=1 --requeue --wrap "jopt worker study.journal"

The search determines the optimizers, the space and the length of trials. If the task is
your own, its file is imported: the search's file, or the file in TASK.

exit status: 0 when all settings are trained; 2 after bad input, or if the storage
cannot be reached; 130 after Ctrl-C, 143 after SIGTERM. Other workers then take over the
block.
"""


def add_to(commands: Any) -> None:
    """Add the command's options to the parser's `commands`."""
    says = "join a search that several machines share"
    parser = parser_of(commands, "worker", says, DESCRIPTION, EXAMPLES)
    add = parser.add_argument
    add(
        "storage", metavar="PATH|URL", help="the storage given to jopt search --storage"
    )
    add(
        "task", nargs="?", metavar="TASK", help="the task on this machine, FILE.py:NAME"
    )
    add(
        "--timeout",
        type=float,
        metavar="SECONDS",
        help="claim no block after this time",
    )
    add(
        "--devices",
        type=int,
        metavar="N",
        help="number of devices to use (default: all)",
    )
    add("--memory", metavar="BYTES", help="memory per device, such as 2G")
    cache.add_options(add)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    # Import late, so that `jopt worker --help` stays fast.
    from jopt import sweep
    from jopt.cli import devices, display, streams
    from jopt.cli.trials import space as space_of

    devices.prepare(options.devices)
    place = sweep.Place.of(options.storage)
    header = sweep.Fleet(place).header()
    asked = None if header is None else header["command"]
    if header is not None and asked is None:
        raise ValueError(
            f"The study in {place} was begun from Python, which knows its task; join "
            "it by sweep.work(storage, task, space)."
        )
    if asked is None:
        raise ValueError(
            f"The study in {place} has not begun yet; start the worker again when "
            "jopt search --storage has begun it."
        )
    begun = argparse.Namespace(**asked)
    begun.task = options.task or begun.task
    if ":" in begun.task:
        print(f"imports {begun.task}")
    task, space = space_of(begun)
    console = streams.console()
    console.print(f"{task.name}: a worker of the study in {place}")
    with display.Display(console, list(space.distributions())) as show:
        result = sweep.work(
            place,
            task,
            space,
            trust=True,  # the command has named what it imports
            timeout=options.timeout,
            devices=devices.first(options.devices),
            memory=devices.memory(options.memory),
            progress=show,
        )
    workers = result.info["workers"]
    console.print(
        f"{sum(workers.values())} settings were trained by {len(workers)} workers; "
        f"jopt report {options.storage} shows them."
    )
    return INTERRUPTED if result.info["interrupted"] else 0
