"""The `jopt` command."""

import argparse
import logging
import os
import re
import sys
import sysconfig
import traceback
import warnings
from collections.abc import Sequence
from typing import NoReturn

import jopt
from jopt.cli import (
    cache,
    compare,
    compress,
    lr_find,
    predict,
    report,
    search,
    sweep,
    transfer,
    worker,
)
from jopt.cli.signals import INTERRUPTED, as_interrupts
from jopt.cli.streams import unfailing

TRACEBACK = "Traceback (most recent call last):"


class Parser(argparse.ArgumentParser):
    """A parser whose error message is one sentence and a hint at --help."""

    def error(self, message: str) -> NoReturn:
        """Print the message and end the program with status 2."""
        self.exit(2, f"{self.prog}: {message}\n{self.prog} --help shows all options.\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status.

    Bad input prints one sentence; the exit status is then 2.

    Args:
      arguments: the words of the command line; by default those of `sys.argv`.
    """
    # OpenBLAS reads this when JAX loads it, at the first matrix decomposition. Its
    # threads compete with XLA's, and make the decompositions of SOAP, Shampoo and Kron
    # many times slower.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    parser = Parser(
        prog="jopt",
        description="Optimizers as data, and sweeps in one compiled JAX program.",
    )
    parser.add_argument("--version", action="version", version=jopt.__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    sweep.add_to(commands)
    search.add_to(commands)
    worker.add_to(commands)
    lr_find.add_to(commands)
    compare.add_to(commands)
    transfer.add_to(commands)
    compress.add_to(commands)
    report.add_to(commands)
    predict.add_to(commands)
    with unfailing() as shown, as_interrupts() as came:
        status = _run(parser.parse_args(arguments))
        shown.flush()
        if status == INTERRUPTED and came:
            status = 128 + came[0]
        if shown.failed and not status:
            print(
                f"jopt: the output cannot be written: {shown.failed}", file=sys.stderr
            )
            status = 2
    return status


def _run(options: argparse.Namespace) -> int:
    # matplotlib warns of a home directory that it cannot write, but needs none.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show
            with cache.used(options):
                return options.run(options)
    except KeyboardInterrupt:
        print("jopt: interrupted; nothing was saved.", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        place = _place_in_users_file(error)
        known = isinstance(error, (ValueError, TypeError, OSError, ImportError))
        if os.environ.get("JOPT_TRACEBACK") or not (known or place):
            raise
        print(f"jopt: {_sentence(error, place)}", file=sys.stderr)
        return 2


def _show(message: Warning | str, *where: object) -> None:
    print(f"jopt: {message}", file=sys.stderr)


def _sentence(error: Exception, place: str | None) -> str:
    """Return the error's first paragraph, its place in the user's file, and notes."""
    text = str(error)
    if TRACEBACK in text:  # JAX reports an error in a callback by its whole traceback
        text = text.rstrip().rpartition("\n")[2]
    text = " ".join(text.split("\n\n")[0].split("\n---")[0].split())
    # JAX adds a note, which begins with dashes, about frames that it hides.
    notes = [n for n in getattr(error, "__notes__", []) if not n.startswith("---")]
    text = text or type(error).__name__
    if notes and not text.endswith("."):
        text += "."
    if place is None:
        return " ".join([text, *notes])
    hint = "(JOPT_TRACEBACK=1 shows the traceback)"
    return " ".join([f"{type(error).__name__} at {place}: {text}", *notes, hint])


def _place_in_users_file(error: Exception) -> str | None:
    """Return the file and line of the user's code that raised the error, if any."""
    ours = (os.path.dirname(jopt.__file__), sysconfig.get_path("stdlib"), "<")
    frames = traceback.extract_tb(error.__traceback__)
    lines = [(frame.filename, str(frame.lineno)) for frame in frames]
    if TRACEBACK in str(error):
        lines += re.findall(r'File "([^"]+)", line (\d+)', str(error))
    for file, line in reversed(lines):
        if not file.startswith(ours) and "site-packages" not in file:
            return f"{file}, line {line}"
    return None
