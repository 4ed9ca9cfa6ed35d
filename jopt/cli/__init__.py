"""The `jopt` command."""

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import jopt
from jopt.cli import sweep


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 2 after bad input, in one sentence."""
    parser = argparse.ArgumentParser(
        prog="jopt",
        description="Optimizers as data, and sweeps in one compiled JAX program.",
    )
    parser.add_argument("--version", action="version", version=jopt.__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    sweep.add_to(commands)
    options = parser.parse_args(arguments)
    try:
        return options.run(options)
    except (ValueError, TypeError, OSError, ImportError) as error:
        if os.environ.get("JOPT_TRACEBACK"):
            raise
        print(f"jopt: {_sentence(error)}", file=sys.stderr)
        return 2


def _sentence(error: Exception) -> str:
    """The error's first paragraph, and where a file of the user's raised it."""
    text = " ".join(str(error).split("\n\n")[0].split()) or type(error).__name__
    frames: Any = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "site-packages" not in f.filename]
    users = [
        f for f in own if not f.filename.startswith(os.path.dirname(jopt.__file__))
    ]
    users = [f for f in users if f.filename.endswith(".py")]
    if users and not isinstance(error, OSError):
        return f"{text} ({users[-1].filename}, line {users[-1].lineno})"
    return text
