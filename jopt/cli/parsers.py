"""The common part of all commands' parsers: name, texts and task."""

import argparse
from typing import Any


def parser_of(
    commands: Any, name: str, says: str, description: str, examples: str
) -> argparse.ArgumentParser:
    """Return the parser of a new command; its texts keep their line breaks."""
    return commands.add_parser(
        name,
        help=says,
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_task(parser: argparse.ArgumentParser) -> None:
    """Add the optional task argument."""
    parser.add_argument(
        "task",
        nargs="?",
        default="digits",
        metavar="TASK",
        help="task to train (default: digits)",
    )
