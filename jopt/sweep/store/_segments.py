"""The file of a segment: what its trials gave, written once and whole."""

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
    """What the file of a segment holds."""

    notes: dict[str, Any]  # what JSON can hold
    arrays: dict[str, np.ndarray]


def write_segment(
    path: Path, notes: dict[str, Any], arrays: Mapping[str, np.ndarray]
) -> None:
    """Write the file of a segment: an `.npz`, which `numpy.load` reads, with notes.

    Args:
      path: of the file.
      notes: what JSON can hold.
      arrays: by names that files may have.

    Raises an OSError if it cannot be written; a file that was there stays.
    """
    with replacing(path) as partial, zipfile.ZipFile(partial, "x") as file:
        file.writestr(NOTES, encode(notes))
        for name, array in arrays.items():
            held = io.BytesIO()
            np.save(held, np.ascontiguousarray(array), allow_pickle=False)
            file.writestr(f"{name}.npy", held.getvalue())


def read_segment(path: Path) -> Kept:
    """Return what `write_segment` wrote.

    It allocates at most the size of the file, whatever the headers in the file claim,
    and evaluates nothing in it.

    Raises:
      FileNotFoundError: there is no file.
      DamagedRecord: it is not as it was written; the sentence names it.
    """
    try:
        content = read_file(path)
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            held = {name: _member(file, name, len(content)) for name in file.namelist()}
        notes = decode(held.pop(NOTES, b""))
        arrays = {name.removesuffix(".npy"): _array(held[name]) for name in held}
    except FileNotFoundError:
        raise
    except (ValueError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
        raise damaged(path, error) from error
    return Kept(notes, arrays)


def _member(file: zipfile.ZipFile, name: str, size: int) -> bytes:
    """Return a member, of which the checksum is compared."""
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
