"""What a sweep was asked for, noted beside its files so that it can be resumed."""

import argparse
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

COMMAND, JOURNAL = "command.json", "journal.jsonl"
ANEW = ("resume", "memory", "devices", "tensorboard", "keep")  # may be given again
NOT_ASKED = ("run", "defaults")
DAMAGED = "go on with jopt.sweep.resume(directory), which does without it."


@contextlib.contextmanager
def noted(options: argparse.Namespace, directory: Path) -> Iterator[None]:
    """Note what is asked for; take it back if the sweep ends before it has begun."""
    path, journal = directory / COMMAND, directory / JOURNAL
    before, header = _bytes(path), _bytes(journal).partition(b"\n")[0]
    asked = {n: value for n, value in vars(options).items() if n not in NOT_ASKED}
    plain = {k: str(v) if isinstance(v, Path) else v for k, v in asked.items()}
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
            error.add_note(go_on(directory))
        raise


def go_on(directory: Path) -> str:
    """Return the command that resumes the sweep."""
    return f"Go on with: jopt sweep --resume {directory}"


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def as_begun(options: argparse.Namespace) -> argparse.Namespace:
    """Return the options that the sweep to resume began with.

    Those of the machine and of what is written are taken anew. Raises a ValueError in a
    sentence for any other beside --resume, and a FileNotFoundError where no sweep was
    started.
    """
    path = options.resume / COMMAND
    if not path.exists():
        raise FileNotFoundError(
            f"There is no {COMMAND} in {options.resume}: no sweep of the command line "
            "was started there; one of Python's goes on with sweep.resume(directory)."
        )
    for name, default in options.defaults.items():
        if name not in ANEW and getattr(options, name) != default:
            raise ValueError(
                f"--resume goes on with what the sweep was asked for, and takes no "
                f"other {name.replace('_', ' ')}; leave it out, or start a new sweep."
            )
    begun = _begun(path, set(options.defaults))
    given = {n: getattr(options, n) for n in ANEW}
    if options.keep == options.defaults["keep"]:
        del given["keep"]
    return argparse.Namespace(**{**begun, **given})


def _begun(path: Path, names: set[str]) -> dict[str, Any]:
    try:
        begun = json.loads(path.read_text())
        missing = names - begun.keys()
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path} is damaged ({error}); {DAMAGED}") from None
    if missing:
        raise ValueError(f"{path} is damaged (no {min(missing)}); {DAMAGED}")
    return begun


def started(directory: Path) -> bool:
    """Return whether there is a whole line in the journal: something to go on from."""
    journal = directory / JOURNAL
    return journal.exists() and b"\n" in journal.read_bytes()
