"""Signed integers of 2 to 16 bits, packed into bytes.

The codes are a stream of bits, the lowest bit of the first code first. Eight codes of b
bits are b bytes.
"""

import functools
import operator
from types import ModuleType
from typing import Any

import jax.numpy as jnp
import numpy as np


def pack(codes: Any, bits: int) -> Any:
    """Return codes as bytes.

    Args:
      codes: int[n], from -2^(bits-1) to 2^(bits-1) - 1; NumPy's or JAX's.
      bits: bits of a code, 2 to 16.

    Returns:
      uint8[ceil(n / 8), bits], of the same library. The last codes may be padding, 0.
    """
    xp = _library(codes)
    words = (codes.astype(xp.int32) & (2**bits - 1)).astype(xp.uint32)
    groups = xp.pad(words, (0, -words.size % 8)).reshape(-(-words.size // 8), 8)
    return _recut(groups, bits, 8, xp).astype(xp.uint8)


def unpack(packed: Any, bits: int, size: int) -> Any:
    """Return the codes: the inverse of `pack`.

    Args:
      packed: uint8[groups, bits].
      bits: bits of a code, 2 to 16.
      size: number of codes.

    Returns:
      int8[size] if a code has at most 8 bits, else int16[size].
    """
    xp = _library(packed)
    words = _recut(packed.astype(xp.uint32), 8, bits, xp).reshape(8 * len(packed))
    words = words[:size].astype(xp.int32)
    signed = words - ((words >> (bits - 1)) << bits)
    return signed.astype(xp.int8 if bits <= 8 else xp.int16)


def _recut(words: Any, old: int, new: int, xp: ModuleType) -> Any:
    """Return each row, a stream of words of `old` bits, in words of `new` bits."""
    columns = []
    for start in range(0, words.shape[1] * old, new):
        overlapping = range(start // old, -(-(start + new) // old))
        parts = [_shifted(words[:, k], k * old - start) for k in overlapping]
        columns.append(functools.reduce(operator.or_, parts) & (2**new - 1))
    return xp.stack(columns, axis=1)


def _shifted(word: Any, places: int) -> Any:
    return word << places if places >= 0 else word >> -places


def _library(array: Any) -> ModuleType:
    return np if isinstance(array, np.ndarray) else jnp
