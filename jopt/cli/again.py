"""What a sweep was asked for, noted beside its files so that it can be resumed."""

import argparse
import json
import shutil
from pathlib import Path

COMMAND, JOURNAL = "command.json", "journal.jsonl"
ANEW = ("resume", "memory", "devices", "tensorboard", "keep")  # may be given again
NOT_ASKED = ("run", "defaults")


def begin(options: argparse.Namespace, directory: Path) -> None:
    """Note what is asked for; remove what a sweep that is overwritten left."""
    for left in (JOURNAL, "checkpoints"):
        path = directory / left
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    asked = {n: value for n, value in vars(options).items() if n not in NOT_ASKED}
    plain = {k: str(v) if isinstance(v, Path) else v for k, v in asked.items()}
    file, colon, name = options.task.rpartition(":")
    if colon:
        plain["task"] = f"{Path(file).resolve()}:{name}"
    (directory / COMMAND).write_text(json.dumps(plain, indent=2) + "\n")


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
    begun = json.loads(path.read_text())
    given = {n: getattr(options, n) for n in ANEW}
    if options.keep == options.defaults["keep"]:
        del given["keep"]
    return argparse.Namespace(**{**begun, **given})


def started(directory: Path) -> bool:
    """Return whether there is a whole line in the journal: something to go on from."""
    journal = directory / JOURNAL
    return journal.exists() and b"\n" in journal.read_bytes()
