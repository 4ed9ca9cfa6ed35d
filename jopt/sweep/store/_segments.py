"""The file of a segment: its trials' results, written once and atomically."""

import io
import math
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jopt.sweep._json import decode, encode
from jopt.sweep._whole_files import read_file, replacing
from jopt.sweep.store._forms import damaged

NOTES = "notes.json"
# The header of an array in the .npy format, version 1.0, without code in it.
_NPY = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '([<|][bfiu]\d)', 'fortran_order': False, "
    rb"'shape': \(([\d, ]{0,60})\), \} *\n",
    re.DOTALL,
)


class Kept(NamedTuple):
    """The contents of a segment's file."""

    notes: dict[str, Any]  # values for JSON
    arrays: dict[str, np.ndarray]


def write_segment(
    path: Path, notes: dict[str, Any], arrays: Mapping[str, np.ndarray]
) -> None:
    """Write the file of a segment: an `.npz` with notes, which `numpy.load` reads.

    Args:
      path: the path of the file.
      notes: values for JSON.
      arrays: by name; each name must be a valid file name.

    Raises OSError if it cannot be written; an existing file stays.
    """
    with replacing(path) as partial:
        partial.write_bytes(packed(notes, arrays))


def packed(notes: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return the bytes of a segment's file, arguments as in `write_segment`."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "x") as file:
        file.writestr(NOTES, encode(notes))
        for name, array in arrays.items():
            held = io.BytesIO()
            np.save(held, np.ascontiguousarray(array), allow_pickle=False)
            file.writestr(f"{name}.npy", held.getvalue())
    return content.getvalue()


def read_segment(path: Path) -> Kept:
    """Return the contents of a file that `write_segment` wrote.

    Raises:
      FileNotFoundError: there is no file.
      DamagedRecord: the file was changed or damaged; the message names it.
    """
    try:
        return unpacked(read_file(path))
    except FileNotFoundError:
        raise
    except ValueError as error:
        raise damaged(path, error) from error


def unpacked(content: bytes) -> Kept:
    """Return the arguments of `packed`, from its result.

    It allocates at most the size of the content, whatever the headers claim, and it
    evaluates nothing.

    Raises ValueError if the content was changed or damaged.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            held = {name: _member(file, name, len(content)) for name in file.namelist()}
    except (EOFError, RuntimeError, zipfile.BadZipFile) as error:
        raise ValueError(str(error)) from error
    notes = decode(held.pop(NOTES, b""))
    arrays = {name.removesuffix(".npy"): _array(held[name]) for name in held}
    return Kept(notes, arrays)


def _member(file: zipfile.ZipFile, name: str, size: int) -> bytes:
    """Return a member of the archive, after a check of its checksum."""
    found = file.getinfo(name)
    if found.compress_type != zipfile.ZIP_STORED or found.file_size > size:
        raise ValueError(f"{name[:80]!r} is not as it was written")
    return file.read(name)


def _array(content: bytes) -> np.ndarray:
    found = _NPY.match(content)
    if found is None:
        raise ValueError("an array is not as NumPy writes it")
    dtype = np.dtype(found[1].decode())
    shape = tuple(int(size) for size in found[2].split(b",") if size.strip())
    left = content[found.end() :]
    if dtype.itemsize * math.prod(shape) != len(left):
        raise ValueError(f"an array claims to be {dtype} of shape {shape}")
    return np.frombuffer(left, dtype).reshape(shape)
