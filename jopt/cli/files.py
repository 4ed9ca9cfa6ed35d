"""Where a command writes: a directory found before anything is computed, or another."""

import argparse
import itertools
import tempfile
from pathlib import Path
from typing import Any


def prepare(options: argparse.Namespace, stem: str) -> Path:
    """Make the directory for the files, before anything is computed for it.

    Raises an OSError in a sentence if it is not empty or cannot be written.
    """
    directory: Path = options.out or _free(Path("sweeps"), stem)
    hint = "give another with --out DIR"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory) as probe:
            probe.write(b"room")
        taken = any(directory.iterdir())
    except OSError as error:
        raise OSError(
            f"{directory} cannot be written ({error.strerror or error}); {hint}."
        ) from error
    if taken and not options.overwrite:
        if (directory / "journal.jsonl").exists():
            hint += ", go on with its sweep with --resume DIR"
        raise FileExistsError(
            f"{directory} is not empty; {hint}, or write into it with --overwrite."
        )
    return directory


def rescue(result: Any) -> tuple[Path, list[Path]]:
    """Save what was computed somewhere else; at worst print the table."""
    try:
        directory = Path(tempfile.mkdtemp(prefix="jopt-"))
        return directory, result.save(directory)
    except OSError:
        print(",".join(result.table))
        for row in zip(*result.table.values(), strict=True):
            print(",".join(map(str, row)))
        return Path("nowhere (the table is printed above)"), []


def _free(parent: Path, stem: str) -> Path:
    """The first of STEM-1, STEM-2, ... that has no files."""
    paths = (parent / f"{stem}-{number}" for number in itertools.count(1))
    return next(p for p in paths if not p.exists() or not any(p.iterdir()))
