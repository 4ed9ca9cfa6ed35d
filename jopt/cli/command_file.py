"""`command.json`: the options of a sweep, saved in its directory for `--resume`."""

import argparse
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

COMMAND, JOURNAL = "command.json", "journal.jsonl"
NOT_SAVED = ("run", "defaults", "with_resume")  # set by the parser, not by the user
DAMAGED = "go on with jopt.sweep.resume(directory), which does without it."


@contextlib.contextmanager
def saved(options: argparse.Namespace, directory: Path) -> Iterator[None]:
    """Save the options; restore the old file if the sweep ends before it has begun."""
    path, journal = directory / COMMAND, directory / JOURNAL
    before, header = _bytes(path), _bytes(journal).partition(b"\n")[0]
    given = {n: value for n, value in vars(options).items() if n not in NOT_SAVED}
    plain = {k: str(v) if isinstance(v, Path) else v for k, v in given.items()}
    file, colon, name = options.task.rpartition(":")
    if colon:
        plain["task"] = f"{Path(file).resolve()}:{name}"
    path.write_text(json.dumps(plain, indent=2) + "\n")
    try:
        yield
    except BaseException as error:
        if _bytes(journal).partition(b"\n")[0] == header:
            path.write_bytes(before) if before else path.unlink()
            if not _bytes(journal):
                journal.unlink(missing_ok=True)
        else:
            error.add_note(how_to_resume(directory))
        raise


def how_to_resume(directory: Path) -> str:
    """Return a sentence with the command that resumes the sweep."""
    return f"Go on with: jopt sweep --resume {directory}"


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def resumed(options: argparse.Namespace) -> argparse.Namespace:
    """Return the options that the sweep in the directory `--resume` was started with.

    An option that the file lacks, because it is newer than the file, has its default.
    The options in `options.with_resume` are taken from `options` instead.

    Raises:
      FileNotFoundError: if the directory has no `command.json`.
      ValueError: if any other option was given beside `--resume`, or if the file is
        damaged.
    """
    path = options.resume / COMMAND
    if not path.exists():
        raise FileNotFoundError(
            f"There is no {COMMAND} in {options.resume}: no sweep of the command line "
            "was started there; one of Python's goes on with sweep.resume(directory)."
        )
    for name, default in options.defaults.items():
        if name not in options.with_resume and getattr(options, name) != default:
            raise ValueError(
                f"--resume goes on with what the sweep was asked for, and takes no "
                f"other {name.replace('_', ' ')}; leave it out, or start a new sweep."
            )
    given = {name: getattr(options, name) for name in options.with_resume}
    if options.keep == options.defaults["keep"]:
        del given["keep"]
    return argparse.Namespace(**{**options.defaults, **_read(path), **given})


def _read(path: Path) -> dict[str, Any]:
    try:
        options = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); {DAMAGED}") from None
    # Every version has written the task.
    if not isinstance(options, dict) or "task" not in options:
        raise ValueError(f"{path} is damaged (no task); {DAMAGED}")
    return options


def has_begun(directory: Path) -> bool:
    """Return whether the journal has a whole line, from which a sweep can resume."""
    journal = directory / JOURNAL
    return journal.exists() and b"\n" in journal.read_bytes()
