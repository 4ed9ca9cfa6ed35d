"""The directory that a command writes to, and a temporary one if that fails."""

import argparse
import itertools
import tempfile
from pathlib import Path
from typing import Any

from jopt.cli.command_file import has_begun


def prepare(options: argparse.Namespace, stem: str) -> Path:
    """Make the directory for the files before any computation.

    Args:
      options: `out` is the directory, or None for a new one in `sweeps`; `overwrite` is
        whether it may have files.
      stem: the beginning of a new directory's name.

    Raises:
      OSError: if the directory is not empty or cannot be written.
    """
    directory: Path = options.out or _first_free(Path("sweeps"), stem)
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
        if has_begun(directory):
            hint += ", go on with its sweep with --resume DIR"
        raise FileExistsError(
            f"{directory} is not empty; {hint}, or write into it with --overwrite."
        )
    return directory


def rescue(result: Any) -> tuple[Path, list[Path]]:
    """Save a result in a temporary directory, or print its table if that fails.

    Returns:
      The directory, or a sentence in its place, and the files.
    """
    try:
        directory = Path(tempfile.mkdtemp(prefix="jopt-"))
        return directory, result.save(directory)
    except OSError:
        print(",".join(result.table))
        for row in zip(*result.table.values(), strict=True):
            print(",".join(map(str, row)))
        return Path("nowhere (the table is printed above)"), []


def _first_free(parent: Path, stem: str) -> Path:
    """Return the first of STEM-1, STEM-2, ... that has no files."""
    paths = (parent / f"{stem}-{number}" for number in itertools.count(1))
    return next(p for p in paths if not p.exists() or not any(p.iterdir()))
