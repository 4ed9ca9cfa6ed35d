"""The stored form of a leaf: all its numbers, or a bitmap and those that are not 0."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np

from jopt.compress._packing import pack, unpack
from jopt.compress._paths import with_leaves
from jopt.compress._quantization import Quantized, is_quantized
from jopt.core import PyTree, TreePath, by_path, check_arrays

Parts: TypeAlias = dict[str, np.ndarray]
"""Arrays by role: "values", or "codes" and "scale"; with them, perhaps a "mask"."""


@dataclasses.dataclass(frozen=True)
class Leaf:
    """An array or a `Quantized` on the host. JAX does not look into it.

    Args:
      numbers: the array, or the codes in its shape.
      dtype: dtype of the array, or of the one that was quantized.
      bits: bits of a code; None for an array.
      scale: scale of the codes; None for an array.
    """

    numbers: np.ndarray
    dtype: np.dtype
    bits: int | None = None
    scale: np.ndarray | None = None

    @classmethod
    def of(cls, leaf: Any) -> "Leaf":
        """Return a leaf of params on the host."""
        if not is_quantized(leaf):
            array = np.asarray(leaf)
            return cls(array, array.dtype)
        codes = unpack(np.asarray(leaf.packed), leaf.bits, math.prod(leaf.shape))
        scale = np.asarray(leaf.scale)
        return cls(codes.reshape(leaf.shape), leaf.dtype, leaf.bits, scale)

    @classmethod
    def restored(
        cls,
        parts: Mapping[str, np.ndarray],
        shape: tuple[int, ...],
        dtype: np.dtype,
        bits: int | None = None,
    ) -> "Leaf":
        """Return the leaf whose `dense` or `sparse` parts these are."""
        size = math.prod(shape)
        mask = None
        if "mask" in parts:
            mask = np.unpackbits(parts["mask"], count=size, bitorder="little") == 1
        stored = size if mask is None else int(mask.sum())
        if bits is None:
            numbers = parts["values"].ravel()
        else:
            numbers = unpack(parts["codes"], bits, stored)
        if mask is not None:
            kept, numbers = numbers, np.zeros(size, numbers.dtype)
            numbers[mask] = kept
        return cls(numbers.reshape(shape), dtype, bits, parts.get("scale"))

    def dense(self) -> Parts:
        """Return the parts that store all numbers."""
        return self._parts(self.numbers)

    def sparse(self) -> Parts:
        """Return the parts that store the nonzero numbers and a bit for each number."""
        kept = self.numbers != 0
        mask = np.packbits(kept.ravel(), bitorder="little")
        return {**self._parts(self.numbers[kept]), "mask": mask}

    def smallest(self) -> Parts:
        """Return the smaller of `dense` and `sparse`."""
        return min(self.dense(), self.sparse(), key=bytes_of)

    def on_device(self) -> Any:
        """Return the array or the `Quantized`."""
        if self.bits is None or self.scale is None:
            return jnp.asarray(self.numbers, self.dtype)
        packed = jnp.asarray(pack(self.numbers.ravel(), self.bits))
        scale, shape = jnp.asarray(self.scale), self.numbers.shape
        return Quantized(packed, scale, shape, self.dtype, self.bits)

    def _parts(self, numbers: np.ndarray) -> Parts:
        if self.bits is None or self.scale is None:
            return {"values": numbers}
        return {"codes": pack(numbers.ravel(), self.bits), "scale": self.scale}


def bytes_of(parts: Parts) -> int:
    """Return the bytes of the parts of a leaf."""
    return sum(array.nbytes for array in parts.values())


def leaves_on_host(title: str, params: PyTree) -> dict[TreePath, Leaf]:
    """Return the leaves of params by path; raise TypeError if one is not an array.

    Args:
      title: the function named in errors.
      params: a tree of arrays and `Quantized`.
    """
    check_arrays(title, "params", params)
    return by_path(with_leaves(Leaf.of, params, Quantized))
