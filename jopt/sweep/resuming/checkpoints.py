"""Checkpoints of a sweep while it runs: the last two, whole or not there."""

import contextlib
import functools
import logging
import math
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jopt._pytree import PyTree
from jopt.sweep.resuming import leaves, manifest
from jopt.sweep.resuming.manifest import DamagedCheckpoint as DamagedCheckpoint

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
        # orbax refuses arrays of size 0; their kinds say all there is.
        arrays = {name: array for name, array in arrays.items() if array.size}
        partial, final = self.directory / PARTIAL, self.directory / str(segment)
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            for leftover in self.directory.glob(f"{PARTIAL}*"):
                shutil.rmtree(leftover)
            _write(partial, arrays)
            manifest.write(partial, kinds)
            if final.exists():
                shutil.rmtree(final)
            partial.rename(final)
            manifest.to_disk(self.directory)
            for other in self.segments():
                if not segment - KEPT < other <= segment:
                    shutil.rmtree(self.directory / str(other))
        except (OSError, ValueError) as error:  # TensorStore's are ValueErrors
            raise OSError(
                f"The checkpoint of segment {segment + 1} cannot be written to "
                f"{self.directory}: {_reason(error)}"
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
        empty = {name: leaves.zeros(leaf) for name, leaf in named.items()}
        empty = {name: array for name, array in empty.items() if not array.size}
        arrays = empty | _read(path, [name for name in named if name not in empty])
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


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    checkpointer, ocp = _orbax()
    with _quiet():
        checkpointer.save(path, ocp.args.PyTreeSave(arrays))


def _read(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    checkpointer, ocp = _orbax()
    plain = ocp.RestoreArgs(restore_type=np.ndarray)
    with _quiet():
        return checkpointer.restore(
            path,
            ocp.args.PyTreeRestore(
                dict.fromkeys(names, 0), restore_args=dict.fromkeys(names, plain)
            ),
        )


@functools.cache
def _orbax() -> tuple[Any, Any]:
    import orbax.checkpoint as ocp  # slow to load

    # Uncompressed: half the time, and parameters hardly shrink.
    handler = ocp.PyTreeCheckpointHandler(use_zarr3=True, use_compression=False)
    return ocp.Checkpointer(handler), ocp


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what orbax logs, errors that it raises as well, from the terminal."""
    logger = logging.getLogger("absl")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _reason(error: Exception) -> str:
    """Return the words of the operating system, if it was its error."""
    code = re.search(r"os_error_code='(\d+)'", str(error))  # within TensorStore's
    if code:
        return os.strerror(int(code[1]))
    return getattr(error, "strerror", None) or str(error).partition("\n")[0]
