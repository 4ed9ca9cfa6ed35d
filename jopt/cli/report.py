"""`jopt report`: build the page of a sweep from its record."""

import argparse
from pathlib import Path
from typing import Any

from jopt.cli.parsers import parser_of

DESCRIPTION = """\
Build report.html from the record of a sweep, also while the sweep runs. The page needs
no network. It shows the metric against each hyperparameter, learning curves, parallel
coordinates of all trials, the importance of the hyperparameters, the surviving trials
and the table.
"""

EXAMPLES = """\
examples:
  jopt report sweeps/digits-1
  jopt report sweeps/digits-1 --out digits.html
  jopt report study.journal

exit status: 0; 2 if the record is missing or damaged, or the page cannot be written.
"""


def add_to(commands: Any) -> None:
    """Add the command's options to the parser's `commands`."""
    says = "build the HTML report of a sweep from its record"
    parser = parser_of(commands, "report", says, DESCRIPTION, EXAMPLES)
    add = parser.add_argument
    add(
        "directory",
        metavar="DIR|PATH|URL",
        help="directory of a sweep, or storage of a search that workers share",
    )
    add(
        "--out",
        type=Path,
        metavar="FILE",
        help="file to write (default: DIR/report.html; report.html for a storage)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    # Import late, so that `jopt report --help` stays fast.
    from jopt import report, sweep

    shared = sweep.is_storage(options.directory)
    result = sweep.load(options.directory)
    folder = Path() if shared else Path(options.directory)
    path = options.out or folder / "report.html"
    try:
        report.write(result, path)
    except OSError as error:
        raise OSError(
            f"{path} cannot be written ({error.strerror or error}); give another with "
            "--out FILE."
        ) from error
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    return 0
