"""`size`: the bytes that parameters take when they are stored."""

import dataclasses
import math
import zlib
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from jopt.compress._quantization import Bits, quantize
from jopt.compress._storage import Leaf, bytes_of, leaves_on_host
from jopt.core import PyTree, checked, path_text
from jopt.training import aligned, short_bytes

Coding: TypeAlias = Literal["dense", "bitmap", "csr", "zip"]


class LeafSize(NamedTuple):
    """One leaf: its path, dtype, shape, number of elements and of nonzeros, bytes."""

    path: str  # of the leaf in the tree
    dtype: str  # in which it is stored
    shape: tuple[int, ...]  # of the weights, before packing
    parameters: int  # how many numbers
    nonzero: int  # how many of them are not 0
    bytes: int  # that it takes


@dataclasses.dataclass(frozen=True)
class Size:
    """The bytes that parameters take when stored; it prints as a table.

    Attributes:
      coding: how they are stored, an argument of `size`.
      leaves: one `LeafSize` a leaf, in the order of the tree.
    """

    coding: Coding
    leaves: tuple[LeafSize, ...]

    @property
    def parameters(self) -> int:
        """The number of parameters, zeros as well."""
        return sum(leaf.parameters for leaf in self.leaves)

    @property
    def nonzero(self) -> int:
        """The number of parameters that are not 0."""
        return sum(leaf.nonzero for leaf in self.leaves)

    @property
    def bytes(self) -> int:
        """The bytes of all leaves, with their scales, bitmaps and indices."""
        return sum(leaf.bytes for leaf in self.leaves)

    def __str__(self) -> str:
        rows = [("leaf", "numbers", "shape", "parameters", "nonzero", "bytes")]
        rows += [
            (
                leaf.path,
                leaf.dtype,
                str(list(leaf.shape)),
                f"{leaf.parameters:,}",
                f"{leaf.nonzero:,}",
                short_bytes(leaf.bytes),
            )
            for leaf in self.leaves
        ]
        every = self.parameters
        share = f" ({self.nonzero / every:.1%})" if every else ""
        title = (
            f"{short_bytes(self.bytes)} as {self.coding}: {every:,} parameters, "
            f"{self.nonzero:,} not zero{share}"
        )
        return f"{title}\n\n{aligned(rows)}"


@checked
def size(params: PyTree, coding: Coding = "dense", bits: Bits | None = None) -> Size:
    """Return the bytes that params take when they are stored, leaf by leaf.

        print(jopt.size(params))
        print(jopt.size(params, "bitmap", bits=4))

    The scales of quantized leaves and the bitmaps and indices of sparse ones count. A
    leaf that its zeros do not make smaller is stored dense, whatever the coding. Only
    the file's header is not counted, about 200 bytes a leaf.

    Args:
      params: a tree of arrays and of `Quantized` leaves.
      coding: "dense": all numbers. "bitmap": a bit for each number, and those that are
        not 0, as `save_compressed` writes them. "csr": four bytes for the column of
        each number that is not 0, four for each row, as SciPy has it; leaves of more
        axes are matrices of their last one. "zip": "bitmap", compressed by DEFLATE as
        in a zip file.
      bits: if given, the size is that of `quantize(params, bits)`.

    Returns:
      A `Size`, which prints as a table.

    Raises:
      TypeError: if a leaf is not an array.
      ValueError: if `bits` is out of range.
    """
    if bits is not None:
        params = quantize(params, bits)
    leaves = leaves_on_host("size", params)
    return Size(
        coding,
        tuple(
            LeafSize(
                path_text(path),
                f"{leaf.dtype}" if leaf.bits is None else f"{leaf.bits} bits",
                leaf.numbers.shape,
                leaf.numbers.size,
                int(np.count_nonzero(leaf.numbers)),
                _stored(leaf, coding),
            )
            for path, leaf in leaves.items()
        ),
    )


def _stored(leaf: Leaf, coding: Coding) -> int:
    dense = bytes_of(leaf.dense())
    if coding == "dense":
        return dense
    if coding == "csr":
        parts = leaf.sparse()
        rows = math.prod(leaf.numbers.shape[:-1])
        indices = int(np.count_nonzero(leaf.numbers)) + rows + 1
        return min(dense, bytes_of(parts) - parts["mask"].nbytes + 4 * indices)
    parts = leaf.smallest()
    if coding == "bitmap":
        return bytes_of(parts)
    return sum(map(_deflated, parts.values()))


def _deflated(array: np.ndarray) -> int:
    coder = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return len(coder.compress(array.tobytes())) + len(coder.flush())
