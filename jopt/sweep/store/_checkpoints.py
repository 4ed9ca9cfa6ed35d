"""Checkpoints of a running sweep: the last two, each written atomically."""

import math
import os
import shutil
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jopt.core import PyTree, is_typed_key
from jopt.sweep import _array_files as array_files, _processes as processes
from jopt.sweep._json import decode, encode
from jopt.sweep._whole_files import own_directory, read_file, to_disk
from jopt.sweep.store._forms import DamagedRecord, misfit
from jopt.sweep.store._segments import read_segment, write_segment

NAME = "checkpoints"
ENDED = "ended"
KEPT = 2  # the newest, and one more in case it is damaged
PARTIAL = "partial"
MANIFEST = "jopt.json"
BITS = "bits.npz"  # bits of the arrays, in place of orbax's files
READ = 1 << 24  # bytes read at a time


class Newest(NamedTuple):
    """The result of `Checkpoints.newest`."""

    segment: int | None  # None if no checkpoint is whole
    tree: PyTree  # None if no checkpoint is whole
    said: list[str]  # a sentence for each damaged checkpoint that was skipped


# The schema of a checkpoint's manifest.
FORM = {"sweep": (str, None), "segment": range(2**53), "leaves": {str: str}}


class Checkpoints:
    """Keep pytrees of a sweep in `directory/NAME/NUMBER`, by default the last two.

    Each is an orbax checkpoint of the leaves by their paths, with a manifest of the
    sweep, the segment, the leaves' shapes and the files' checksums. It is written under
    a temporary name, and renamed once all of it is on disk.

    In a job of several processes, orbax would write NumPy arrays only in the first. The
    other processes write the bits of theirs into one file.

    Leaves are arrays of JAX (keys too) or NumPy, of any size and numeric dtype, or
    Python numbers. They are restored bit for bit.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        name: str = NAME,
        most: int | None = KEPT,
    ):
        self.directory, self.most = Path(directory).absolute() / name, most

    def segments(self) -> list[int]:
        """Return the segments that have a checkpoint, whole or damaged, ascending."""
        names = os.listdir(self.directory) if self.directory.is_dir() else []
        return sorted(int(name) for name in names if name.isdecimal())

    def save(self, segment: int, tree: PyTree, sweep: str | None = None) -> None:
        """Write the checkpoint of a segment, and delete the oldest.

        Args:
          segment: its number.
          tree: of arrays and numbers.
          sweep: the id of the sweep; None for unknown.

        Raises OSError if it cannot be written; earlier checkpoints are kept.
        """
        named = by_name(tree)
        kinds = {name: kind(leaf) for name, leaf in named.items()}
        arrays = {name: _array(leaf) for name, leaf in named.items()}
        partial, final = self.directory / PARTIAL, self.directory / str(segment)
        try:
            own_directory(self.directory)
            for leftover in self.directory.glob(f"{PARTIAL}*"):
                shutil.rmtree(leftover)
            if processes.index() > 0:
                _write_bits(partial, arrays)
            else:
                array_files.write_arrays(partial, arrays)
            content = {"sweep": sweep, "segment": segment, "leaves": kinds}
            write_manifest(partial, content)
            if final.exists():
                shutil.rmtree(final)
            partial.rename(final)
            to_disk(self.directory)
            if self.most is not None:
                kept = range(segment - self.most + 1, segment + 1)
                for other in set(self.segments()).difference(kept):
                    shutil.rmtree(self.directory / str(other))
        except OSError as error:
            raise OSError(
                f"The checkpoint of segment {segment + 1} cannot be written to "
                f"{self.directory}: {error.strerror or error}"
            ) from error

    def restore(self, like: PyTree, segment: int, sweep: str | None = None) -> PyTree:
        """Return the tree of a segment, with leaves of the types and devices of `like`.

        Args:
          like: a tree of arrays, `jax.ShapeDtypeStruct`s and numbers.
          segment: one of `segments()`.
          sweep: the id of the sweep; None for any.

        Raises:
          DamagedRecord: if files are missing or changed, or of another segment or
            sweep.
          ValueError: if the checkpoint is of a tree unlike `like`.
        """
        path = self.directory / str(segment)
        manifest, named = read_manifest(path), by_name(like)
        if (said := misfit(manifest, FORM)) is not None:
            raise DamagedRecord(f"{path} is damaged: in {MANIFEST}, {said}.")
        there, kinds = manifest["segment"], manifest["leaves"]
        if there != segment:
            raise DamagedRecord(f"{path} is the checkpoint of segment {there + 1}.")
        if None not in (sweep, manifest["sweep"]) and manifest["sweep"] != sweep:
            raise DamagedRecord(f"{path} is the checkpoint of another sweep.")
        wanted = {name: kind(leaf) for name, leaf in named.items()}
        for name in [*wanted, *kinds]:
            then, now = kinds.get(name, "missing"), wanted.get(name, "missing")
            if then != now:
                raise ValueError(
                    f"{path} is the checkpoint of another sweep: its leaf {name} is "
                    f"{then}, and here it is {now}."
                )
        kept = {name: _form(leaf) for name, leaf in named.items()}
        try:
            if processes.index() > 0:
                arrays = _read_bits(path, kept)
            else:
                shapes = {name: form.shape for name, form in kept.items()}
                arrays = array_files.read_arrays(path, shapes)
        except ValueError as error:
            raise DamagedRecord(f"{path} is damaged: {error}") from error
        found = [_like(leaf, arrays[name]) for name, leaf in named.items()]
        return jax.tree.unflatten(jax.tree.structure(like), found)

    def newest(
        self,
        like: Callable[[int], PyTree],
        upto: float = math.inf,
        sweep: str | None = None,
    ) -> Newest:
        """Return the newest whole checkpoint up to segment `upto`.

        `like` returns the first argument of `restore`, by segment; `sweep` is as there.
        Raises ValueError if the checkpoint holds another tree.
        """
        said: list[str] = []
        for segment in reversed(self.segments()):
            if segment > upto:
                continue
            try:
                return Newest(
                    segment, self.restore(like(segment), segment, sweep), said
                )
            except DamagedRecord as error:
                said.append(str(error))
        return Newest(None, None, said)


def write_manifest(directory: Path, content: Any) -> None:
    """Write `content` and all files' checksums; return once they are on disk."""
    paths = sorted(directory.rglob("*"))
    files = [path for path in paths if path.is_file()]
    checksums = {str(path.relative_to(directory)): _checksum(path) for path in files}
    text = encode({"content": content, "files": checksums})
    checksum = b"%08x" % zlib.crc32(text.removesuffix(b"\n"))
    (directory / MANIFEST).write_bytes(checksum + b" " + text)
    for path in (*files, directory / MANIFEST):
        with path.open("r+b") as file:
            os.fsync(file.fileno())
    for path in (*paths, directory):
        if path.is_dir():
            to_disk(path)


def read_manifest(directory: Path) -> Any:
    """Return the content of a manifest whose files are all unchanged.

    Raises DamagedRecord, which names the first file that differs.
    """
    try:
        line = read_file(directory / MANIFEST)
    except FileNotFoundError:
        raise DamagedRecord(
            f"{directory} is not whole: {MANIFEST} is missing."
        ) from None
    checksum, _, text = line.removesuffix(b"\n").partition(b" ")
    if checksum != b"%08x" % zlib.crc32(text):
        raise DamagedRecord(
            f"{directory} is damaged: {MANIFEST} is not as it was written."
        )
    form = {"content": object, "files": {str: range(2**32)}}
    try:
        manifest = decode(text)
        if (said := misfit(manifest, form)) is not None:
            raise ValueError(said)
    except ValueError as error:
        raise DamagedRecord(
            f"{directory} is damaged: in {MANIFEST}, {error}."
        ) from error
    for name, expected in manifest["files"].items():
        path = directory / name
        if not path.is_file() or ".." in path.parts:
            raise DamagedRecord(f"{directory} is damaged: {name} is missing.")
        if _checksum(path) != expected:
            raise DamagedRecord(
                f"{directory} is damaged: {name} is not as it was written."
            )
    return manifest["content"]


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while part := file.read(READ):
            checksum = zlib.crc32(part, checksum)
    return checksum


def by_name(tree: PyTree) -> dict[str, Any]:
    """Return the leaves of a tree by their paths."""
    paths, _ = jax.tree_util.tree_flatten_with_path(tree)
    # Number the names, because keystr may give two leaves one name.
    return {f"{i} {jax.tree_util.keystr(p)}": leaf for i, (p, leaf) in enumerate(paths)}


def kind(leaf: Any) -> str:
    """Return an array's dtype and shape, `float32[8,2]`, or a number's type."""
    if not hasattr(leaf, "dtype"):
        return type(leaf).__name__
    return f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"


def _array(leaf: Any) -> np.ndarray:
    """Return a leaf as an array on the host; for a key, its words."""
    return np.asarray(jax.random.key_data(leaf) if is_typed_key(leaf) else leaf)


def _form(leaf: Any) -> Any:
    """Return an object with the shape and dtype of `_array` of a leaf."""
    if is_typed_key(leaf):
        return jax.eval_shape(jax.random.key_data, leaf)
    return leaf if hasattr(leaf, "dtype") else np.asarray(leaf)


def _write_bits(directory: Path, arrays: Mapping[str, np.ndarray]) -> None:
    directory.mkdir()
    bits = {
        str(n): np.frombuffer(array.tobytes(), np.uint8)
        for n, array in enumerate(arrays.values())
    }
    write_segment(directory / BITS, {}, bits)


def _read_bits(directory: Path, forms: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the arrays that `_write_bits` wrote, shaped and typed like `forms`."""
    bits = read_segment(directory / BITS).arrays
    found: dict[str, np.ndarray] = {}
    for number, (name, form) in enumerate(forms.items()):
        held = bits.get(str(number), np.zeros(0, np.uint8))
        if held.size != math.prod(form.shape) * form.dtype.itemsize:
            raise ValueError(f"its array {name} has {held.size} bytes.")
        found[name] = np.array(held.view(form.dtype).reshape(form.shape))
    return found


def _like(leaf: Any, array: np.ndarray) -> Any:
    """Return an array as a leaf with the type and device of `leaf`."""
    if isinstance(leaf, (bool, int, float)):
        return type(leaf)(array.item())
    if isinstance(leaf, np.ndarray):
        return array
    if isinstance(leaf, np.generic):
        return array[()]
    made: Any = array
    if is_typed_key(leaf):
        made = jax.random.wrap_key_data(made, impl=jax.random.key_impl(leaf))
    # An array that is committed where `leaf` is not would cause a recompile.
    committed = getattr(leaf, "committed", True)
    return jax.device_put(made, leaf.sharding if committed else None)
