"""How each command begins: its name, its texts, and the task that it trains."""

import argparse
from typing import Any


def parser_of(
    commands: Any, name: str, says: str, description: str, examples: str
) -> argparse.ArgumentParser:
    """Return the parser of a new command, whose texts are shown as they are written."""
    return commands.add_parser(
        name,
        help=says,
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_task(parser: argparse.ArgumentParser) -> None:
    """Add the task, which may be left out."""
    parser.add_argument(
        "task",
        nargs="?",
        default="digits",
        metavar="TASK",
        help="what to train (default: digits)",
    )
