"""Compressed parameters in files: codes, scales and bitmaps, by safetensors."""

import contextlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jopt.compress._paths import replaced, with_leaves
from jopt.compress._quantization import Quantized
from jopt.compress._storage import Leaf, leaves_on_host
from jopt.core import (
    FilePath,
    PyTree,
    TreePath,
    by_path,
    check_arrays,
    checked,
    nested,
    path_text,
)

_KEY = "jopt"  # of the description of the leaves in the file's metadata


class _Entry(NamedTuple):
    """The description of a leaf in a file."""

    path: list[str]
    shape: list[int]
    dtype: str
    bits: int | None
    parts: list[str]

    def names(self) -> dict[str, str]:
        """Return the names of the arrays in the file by their role."""
        name = "/".join(self.path) or "params"
        alone = self.parts == ["values"]
        return {part: name if alone else f"{name}.{part}" for part in self.parts}


@checked
def save_compressed(path: FilePath, params: PyTree) -> None:
    """Write params to a safetensors file, without their zeros and in their codes.

        jopt.save_compressed("small.safetensors", jopt.quantize(params, bits=4))

    A leaf is stored dense, under its path, or as the numbers that are not 0 and a
    bitmap, whichever is smaller. A `Quantized` leaf is stored as its packed codes and
    scales. The arrays take the bytes that `size(params, "bitmap")` says. The file is
    written under another name and then renamed, so that a file at `path` is replaced by
    a whole one.

    Args:
      path: the file.
      params: a tree of arrays and of `Quantized` leaves.

    Raises:
      TypeError: if a leaf is not an array, or safetensors lacks its dtype.
      ValueError: if two leaves have the same name in the file.
      ImportError: if safetensors is not installed.
      OSError: if the file cannot be written.
    """
    save = _safetensors("save_compressed").numpy.save_file
    entries, arrays = [], {}
    for place, leaf in leaves_on_host("save_compressed", params).items():
        parts = leaf.smallest()
        shape, dtype = list(leaf.numbers.shape), np.dtype(leaf.dtype).name
        entry = _Entry([*place], shape, dtype, leaf.bits, [*parts])
        entries.append(entry)
        for part, name in entry.names().items():
            if name in arrays:
                raise ValueError(
                    f"save_compressed: two leaves of params have the name {name} in "
                    "the file; rename a key that has a / or a . in it."
                )
            if parts[part].dtype.name not in _DTYPES:
                raise TypeError(
                    f"save_compressed: params at {path_text(place)} is {dtype}, which "
                    "safetensors has not; convert it or leave it out."
                )
            arrays[name] = np.ascontiguousarray(parts[part])
    described = json.dumps([entry._asdict() for entry in entries])
    with _replacing(Path(path)) as partial:
        save(arrays, partial, metadata={_KEY: described})


@checked
def load_compressed(path: FilePath, like: PyTree = None) -> PyTree:
    """Return the params of a file that `save_compressed` has written.

        params = jopt.dequantize(jopt.load_compressed("small.safetensors", like=params))

    Args:
      path: the file.
      like: a tree of arrays or shapes with the paths, shapes and dtypes of the params,
        such as `jax.eval_shape(make, key)`; the result has its nodes. Without it the
        result is a tree of nested dicts.

    Returns:
      The params, with a `Quantized` for each leaf that was one: see `dequantize`.

    Raises:
      FileNotFoundError: if there is no file.
      ValueError: if the file is another one, or of another model than `like`; it names
        the first leaf that differs.
      ImportError: if safetensors is not installed.
    """
    found = _read(Path(path))
    table = {place: leaf.on_device() for place, leaf in found.items()}
    if like is None:
        return nested(table)
    check_arrays("load_compressed", "like", like, shapes=True)
    shapes = with_leaves(_shape, jax.eval_shape(lambda x: x, like), Quantized)
    _check_alike(path, table, by_path(shapes))
    return replaced(shapes, table)


def _read(path: Path) -> dict[TreePath, Leaf]:
    safetensors = _safetensors("load_compressed")
    try:
        with safetensors.safe_open(path, "numpy") as file:
            described = (file.metadata() or {}).get(_KEY)
            if described is None:
                raise ValueError(
                    f"load_compressed: {path} is a safetensors file that "
                    "save_compressed has not written; load it by safetensors."
                )
            table = {}
            for found in json.loads(described):
                entry = _Entry(**found)
                names = entry.names().items()
                parts = {part: file.get_tensor(name) for part, name in names}
                shape, dtype = tuple(entry.shape), jax.numpy.dtype(entry.dtype)
                leaf = Leaf.restored(parts, shape, dtype, entry.bits)
                table[tuple(entry.path)] = leaf
            return table
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"load_compressed: {path} is not a safetensors file, or not whole "
            f"({error})."
        ) from None


def _check_alike(
    file: Any, theirs: Mapping[TreePath, Any], ours: Mapping[TreePath, Any]
) -> None:
    """Raise ValueError at the first leaf where the file and the model differ."""
    for path in [*ours, *theirs]:
        has, wanted = (_described(leaves.get(path)) for leaves in (theirs, ours))
        if has != wanted:
            raise ValueError(
                f"load_compressed: {file} is of another model: it has {has} at "
                f"{path_text(path)}, where like has {wanted}."
            )


def _described(leaf: Any) -> str:
    return "no leaf" if leaf is None else f"{leaf.dtype}{list(leaf.shape)}"


def _shape(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`, and rename it to `path` at the end."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        yield partial
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _safetensors(title: str) -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(
            f"{title} needs safetensors: pip install 'jopt[compress]'."
        ) from error
    return safetensors


_DTYPES = {
    *("bool", "bfloat16", "float16", "float32", "float64"),
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
}
