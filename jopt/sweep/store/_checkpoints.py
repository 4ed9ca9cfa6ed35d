"""Checkpoints of a sweep while it runs: the last two, whole or not there."""

import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax

from jopt.core import PyTree
from jopt.sweep import _array_files as array_files
from jopt.sweep.store import _leaves as leaves, _manifest as manifest
from jopt.sweep.store._manifest import DamagedCheckpoint

NAME = "checkpoints"
KEPT = 2  # the newest, and one in case it is damaged
PARTIAL = "partial"


class Newest(NamedTuple):
    """What `Checkpoints.newest` found."""

    segment: int | None  # None: no checkpoint is whole
    tree: PyTree  # None then
    said: list[str]  # a sentence for each damaged one that was passed over


class Checkpoints:
    """Keep the last two of a sweep's trees in `directory/checkpoints/SEGMENT`.

    Each is an orbax checkpoint of the leaves by their paths, with a manifest of their
    shapes and the files' checksums. It is written under another name, and renamed when
    all of it is on the disk.

    Leaves are arrays of JAX (keys too) or NumPy, of any size and dtype of numbers, or
    Python's numbers. They come back bit for bit.
    """

    def __init__(self, directory: str | os.PathLike[str]):
        self.directory = Path(directory).absolute() / NAME

    def segments(self) -> list[int]:
        """Return the segments that have a checkpoint, whole or damaged, ascending."""
        names = os.listdir(self.directory) if self.directory.is_dir() else []
        return sorted(int(name) for name in names if name.isdecimal())

    def save(self, segment: int, tree: PyTree) -> None:
        """Write the checkpoint of a segment; drop all but it and the one before it.

        Raises an OSError in a sentence if it cannot be written; those before are kept.
        """
        named = leaves.by_name(tree)
        kinds = {name: leaves.kind(leaf) for name, leaf in named.items()}
        arrays = {name: leaves.array(leaf) for name, leaf in named.items()}
        partial, final = self.directory / PARTIAL, self.directory / str(segment)
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            for leftover in self.directory.glob(f"{PARTIAL}*"):
                shutil.rmtree(leftover)
            array_files.write_arrays(partial, arrays)
            manifest.write(partial, kinds)
            if final.exists():
                shutil.rmtree(final)
            partial.rename(final)
            manifest.to_disk(self.directory)
            for other in self.segments():
                if not segment - KEPT < other <= segment:
                    shutil.rmtree(self.directory / str(other))
        except OSError as error:
            raise OSError(
                f"The checkpoint of segment {segment + 1} cannot be written to "
                f"{self.directory}: {error.strerror or error}"
            ) from error

    def restore(self, like: PyTree, segment: int) -> PyTree:
        """Return the tree of a segment, its leaves of the kinds and devices of `like`.

        like: arrays, or `jax.ShapeDtypeStruct`s, and numbers. Raises a
        DamagedCheckpoint if files are missing or changed, a ValueError if it is the
        checkpoint of another tree than `like`.
        """
        path = self.directory / str(segment)
        kinds, named = manifest.read(path), leaves.by_name(like)
        wanted = {name: leaves.kind(leaf) for name, leaf in named.items()}
        for name in [*wanted, *kinds]:
            then, now = kinds.get(name, "missing"), wanted.get(name, "missing")
            if then != now:
                raise ValueError(
                    f"{path} is the checkpoint of another sweep: its leaf {name} is "
                    f"{then}, and here it is {now}."
                )
        arrays = array_files.read_arrays(path, list(named))
        found = [leaves.like(leaf, arrays[name]) for name, leaf in named.items()]
        return jax.tree.unflatten(jax.tree.structure(like), found)

    def newest(self, like: Callable[[int], PyTree], upto: float = math.inf) -> Newest:
        """Return the newest whole checkpoint, of segment `upto` or before.

        like: a segment -> a tree as `restore` takes it. Raises a ValueError if the
        checkpoint is of another tree.
        """
        said: list[str] = []
        for segment in reversed(self.segments()):
            if segment > upto:
                continue
            try:
                return Newest(segment, self.restore(like(segment), segment), said)
            except DamagedCheckpoint as error:
                said.append(str(error))
        return Newest(None, None, said)
