"""The `jopt` command."""

import argparse
import os
import sys
import sysconfig
import traceback
import warnings
from collections.abc import Sequence
from typing import NoReturn

import jopt
from jopt.cli import lr_find, report, sweep


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in a sentence, and where help is."""

    def error(self, message: str) -> NoReturn:
        """End the program with status 2."""
        self.exit(2, f"{self.prog}: {message}\n{self.prog} --help shows all options.\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 2 after bad input, in one sentence."""
    parser = Parser(
        prog="jopt",
        description="Optimizers as data, and sweeps in one compiled JAX program.",
    )
    parser.add_argument("--version", action="version", version=jopt.__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    sweep.add_to(commands)
    lr_find.add_to(commands)
    report.add_to(commands)
    options = parser.parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show
            return options.run(options)
    except KeyboardInterrupt:
        print("jopt: interrupted; nothing was saved.", file=sys.stderr)
        return 130
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
    """The first paragraph, and the place if a file of the user's raised it."""
    text = " ".join(str(error).split("\n\n")[0].split("\n---")[0].split())
    if place is None:
        return text or type(error).__name__
    hint = "JOPT_TRACEBACK=1 shows the traceback"
    return f"{type(error).__name__} at {place}: {text} ({hint})"


def _place_in_users_file(error: Exception) -> str | None:
    """The line of the user's own code that raised the error, if there is one."""
    ours = (os.path.dirname(jopt.__file__), sysconfig.get_path("stdlib"), "<")
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = frame.filename
        if not file.startswith(ours) and "site-packages" not in file:
            return f"{file}, line {frame.lineno}"
    return None
