"""Float arrays in 8 or 4 bits a number: the number formats and the coded array."""

import dataclasses
import functools
import math
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from jopt.core import (
    DType,
    PyTree,
    partition_spec,
    pytree,
    replicated,
    sharded,
    static,
    wide,
)

_PLACES = np.array([[[0], [4]]], np.uint8)
_LOW = 16  # low bits of a float32 that a cell ignores: 128 cells an octave
_LEAST = int(np.float32(1e-7).view(np.int32)) >> _LOW  # the cell of all smaller numbers
_CELLS = (int(np.float32(1).view(np.int32)) >> _LOW) - _LEAST + 1


class Code(Protocol):
    """A number format: a static value, compared by value.

    In both methods `bits` is 8 or 4, and codes are uint8 below 2^bits.
    """

    def quantize(self, z: jax.Array, signed: jax.Array, bits: int) -> jax.Array:
        """Return the codes of `z`.

        Args:
          z: float32 in [-1, 1], and in [0, 1] where not signed.
          signed: bool, broadcasts to the shape of `z`.
          bits: 8 or 4.

        Returns:
          uint8 of the shape of `z`.
        """
        ...

    def values(self, codes: jax.Array, signed: jax.Array, bits: int) -> jax.Array:
        """Return the numbers that `codes` represent.

        Args:
          codes: uint8, below 2^bits.
          signed: bool, broadcasts to the shape of `codes`.
          bits: 8 or 4.

        Returns:
          float32 of the shape of `codes`.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Dynamic:
    """Round to the nearest entry of a map that is finer near zero: a dynamic tree.

    8 bits with a sign: for i = 0 ... 6 the midpoints of 2^i equal parts of [0.1, 1],
    times 10^(i - 6), with both signs; 0; and 1. Without a sign: of 2^(i + 1) parts.
    These are bitsandbytes' maps to the last bit. Of two entries that are equally near
    the lower one is taken.

    4 bits with a sign: the same for i = 0, 1, 2, times 10^(i - 2), torchao's map.
    Without a sign: 0, 1/15, 2/15 ... 1.

    Args:
      keep_positive: static; whether, without a sign, only 0 becomes 0: a positive
        number that is nearest to 0 becomes the least positive entry. Adam divides by
        the root of a mean square, and a mean square rounded to 0 makes steps a thousand
        times too long. False is bitsandbytes' rule.

    Dettmers et al. 2021, https://arxiv.org/abs/2110.02861, section 1.3; for 4 bits, and
    for the effect of 0, Li et al. 2023, https://arxiv.org/abs/2309.01507, section 4.
    """

    keep_positive: bool = True

    def quantize(self, z: jax.Array, signed: jax.Array, bits: int) -> jax.Array:
        """Return the codes of `z`, as in `Code`."""
        keep = self.keep_positive
        # A float's leading bits are its cell. No cell has more than one border between
        # codes, so the code is the cell's first code or the next one.
        cell = (jax.lax.bitcast_convert_type(jnp.abs(z), jnp.int32) >> _LOW) - _LEAST
        line = jnp.where(signed, jnp.where(z < 0, 2 * _CELLS, _CELLS), 0)
        code = _at(_first_codes(bits, keep), line + jnp.clip(cell, 0, _CELLS - 1))
        border = _at(_borders(bits, keep), code + jnp.where(signed, 2**bits, 0))
        return (code + (z > border).astype(jnp.int32)).astype(jnp.uint8)

    def values(self, codes: jax.Array, signed: jax.Array, bits: int) -> jax.Array:
        """Return the numbers that `codes` represent, as in `Code`."""
        entries = np.concatenate([dynamic_map(False, bits), dynamic_map(True, bits)])
        return _at(entries, codes.astype(jnp.int32) + jnp.where(signed, 2**bits, 0))


@dataclasses.dataclass(frozen=True)
class Companded:
    """Round in equal steps of a function that is steep near zero: arithmetic, no table.

        c = 2 z / (1 + |z|)    q = round(127 c)    z = c / (2 - |c|)    with a sign
        c = sqrt(z)            q = round(255 c)    z = c^2              without

    and 7 and 15 for 4 bits. Numbers below 1/500 of the greatest (1/30 in 4 bits) become
    0. FlashOptim's blocks are of 32 numbers.

    Args:
      keep_positive: static; whether, without a sign, only 0 becomes 0, as in `Dynamic`.
        False is FlashOptim's rule.

    FlashOptim, 2026, https://arxiv.org/abs/2602.23349.
    """

    keep_positive: bool = True

    def quantize(self, z: jax.Array, signed: jax.Array, bits: int) -> jax.Array:
        """Return the codes of `z`, as in `Code`."""
        middle, steps = _steps(signed, bits)
        modulus = jnp.abs(z)
        c = jnp.where(signed, 2 * z / (1 + modulus), jnp.sqrt(modulus))
        code = jnp.round(steps * c) + middle
        if self.keep_positive:
            code = jnp.maximum(code, (z > 0).astype(code.dtype))
        return code.astype(jnp.uint8)

    def values(self, codes: jax.Array, signed: jax.Array, bits: int) -> jax.Array:
        """Return the numbers that `codes` represent, as in `Code`."""
        middle, steps = _steps(signed, bits)
        c = (codes.astype(jnp.float32) - middle) / steps
        return jnp.where(signed, c / (2 - jnp.abs(c)), c * c)


def dynamic_map(signed: bool, bits: int) -> np.ndarray:
    """Return the entries of the dynamic map, float32, in ascending order."""
    if bits == 4 and not signed:
        return np.arange(16, dtype=np.float32) / np.float32(15)
    entries = [np.zeros(1, np.float32), np.ones(1, np.float32)]
    for i in range(bits - 1):
        ends = _linspace(2**i if signed else 2 ** (i + 1))
        middles = (ends[:-1] + ends[1:]) / np.float32(2)
        scaled = np.float32(10.0 ** (i - bits + 2)) * middles
        entries += [scaled, -scaled] if signed else [scaled]
    return np.sort(np.concatenate(entries))


def _linspace(parts: int) -> np.ndarray:
    """Return the edges from 0.1 to 1 as torch computes them.

    Each half is computed from its own end, and each sum is rounded once.
    """
    step = np.float64((np.float32(1) - np.float32(0.1)) / np.float32(parts))
    i = np.arange(parts + 1)
    up, down = np.float64(np.float32(0.1)) + step * i, 1 - step * (parts - i)
    return np.where(i < (parts + 1) // 2, up, down).astype(np.float32)


@functools.cache
def _borders(bits: int, keep_positive: bool) -> np.ndarray:
    """Return the lower borders of the codes from 1 on, unsigned then signed."""
    lines = []
    for signed in (False, True):
        entries = dynamic_map(signed, bits)
        lines.append(np.append((entries[:-1] + entries[1:]) / np.float32(2), np.inf))
    if keep_positive:
        lines[0][0] = 0
    return np.concatenate(lines).astype(np.float32)


@functools.cache
def _first_codes(bits: int, keep_positive: bool) -> np.ndarray:
    """Return the first code of each cell.

    The cells are those of [0, 1] without a sign, then of [0, 1] and [-1, 0] with a
    sign.
    """
    unsigned, signed = np.split(_borders(bits, keep_positive), 2)
    edges = np.arange(_LEAST, _LEAST + _CELLS + 1, dtype=np.int32) << _LOW
    edges = edges.view(np.float32)
    edges[0] = 0
    lows = (unsigned, edges[:-1]), (signed, edges[:-1]), (signed, -edges[1:])
    codes = [np.searchsorted(borders, low) for borders, low in lows]
    return np.concatenate(codes).astype(np.int32)


def _steps(signed: jax.Array, bits: int) -> tuple[jax.Array, jax.Array]:
    """Return the code of zero, and the number of codes from there to 1."""
    most = 2 ** (bits - 1) - 1
    steps = jnp.where(signed, most, 2 * most + 1).astype(jnp.float32)
    return jnp.where(signed, steps, 0), steps


def _at(table: np.ndarray, places: jax.Array) -> jax.Array:
    return jnp.asarray(table).at[places].get(mode="promise_in_bounds")


@pytree
class Coded:
    """A float array in few bits: a pytree node with two leaves.

    The last block is filled with zeros. Half of a block's numbers are in the low bits,
    the other half in the high bits, if `bits` is 4. A block with a NaN or an infinity
    is NaN as a whole; subnormal numbers may become 0. No gradient flows through codes,
    because they are step functions. The codes are replicated over an explicit mesh.

    Leading axes (trials of a sweep) belong to both leaves and are not part of `shape`.

    Args:
      codes: uint8[blocks, block], or [blocks, block / 2] for 4 bits: the numbers in
        flat order.
      scales: float32[blocks, 1] (float64 for float64), the greatest modulus of a block,
        negated if the block has a negative number: only then do its codes have signs.
      shape: shape of the array.
      dtype: dtype of the array.
      bits: 8 or 4.
      code: number format.
      spec: how an explicit mesh shards the array.
    """

    codes: PyTree
    scales: PyTree
    shape: tuple[int, ...] = static()
    dtype: DType = static()
    bits: int = static()
    code: Code = static()
    spec: PartitionSpec = static(default=PartitionSpec())

    @classmethod
    def of(cls, x: jax.Array, bits: int, block: int, code: Code) -> "Coded":
        """Return `x` in `bits` bits a number, with a scale for each `block` numbers.

        Args:
          x: float array.
          bits: 8 or 4.
          block: numbers that share a scale, even.
          code: number format.
        """
        codes, scales = _encoded(replicated(x), bits, block, code)
        return cls(codes, scales, x.shape, x.dtype, bits, code, partition_spec(x))

    def like(self, x: jax.Array) -> "Coded":
        """Return `x` in the format of this array, with the dtype of its scales.

        Args:
          x: float array of the same shape.
        """
        block = self.codes.shape[-1] * 8 // self.bits
        coded = Coded.of(x, self.bits, block, self.code)
        scales = coded.scales.astype(self.scales.dtype)
        return dataclasses.replace(coded, scales=scales)

    def array(self) -> jax.Array:
        """Return the array that the codes represent, in its shape and dtype."""
        ahead = [None] * (self.codes.ndim - 2) if self.spec else []
        return sharded(_decoded(self), PartitionSpec(*ahead, *self.spec))

    def __repr__(self) -> str:
        return f"Coded({self.dtype}{list(self.shape)} in {self.bits} bits, {self.code})"


def decoded(tree: PyTree) -> PyTree:
    """Return `tree` with an array in place of each `Coded` node."""
    return jax.tree.map(
        lambda x: x.array() if is_coded(x) else x, tree, is_leaf=is_coded
    )


def is_coded(node: object) -> bool:
    """Return whether `node` is a `Coded` node."""
    return isinstance(node, Coded)


# Compiled on its own, so that leaves of one shape are traced once.
@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _encoded(
    x: jax.Array, bits: int, block: int, code: Code
) -> tuple[jax.Array, jax.Array]:
    flat = jnp.ravel(jax.lax.stop_gradient(wide(x)))
    blocks = jnp.pad(flat, (0, -flat.size % block)).reshape(-1, block)
    least = jnp.min(blocks, axis=1, keepdims=True)
    greatest = jnp.maximum(jnp.max(blocks, axis=1, keepdims=True), -least)
    signed = least < 0
    # Avoids 1 / 0, and 1 / 1e38, which is subnormal: many devices flush it to 0.
    shrunk = jnp.where(greatest > 2.0**100, 2.0**-100, 1).astype(flat.dtype)
    divisor = jnp.maximum(greatest, jnp.finfo(flat.dtype).tiny) * shrunk
    z = (blocks * shrunk) * (1 / divisor)
    codes = code.quantize(z.astype(jnp.float32), signed, bits)
    scales = jnp.where(jnp.isfinite(greatest), greatest, jnp.nan)
    return _joined(codes, bits), jnp.where(signed, -scales, scales)


@jax.jit
def _decoded(coded: Coded) -> jax.Array:
    codes, scales = _parted(coded.codes, coded.bits), wide(coded.scales)
    values = coded.code.values(codes, scales < 0, coded.bits)
    blocks = values.astype(scales.dtype) * jnp.abs(scales)
    stacked = codes.shape[:-2]
    flat = blocks.reshape(*stacked, math.prod(blocks.shape[-2:]))
    flat = flat[..., : math.prod(coded.shape)]
    return flat.reshape(*stacked, *coded.shape).astype(coded.dtype)


def _joined(codes: jax.Array, bits: int) -> jax.Array:
    """Return the halves of blocks as the low and the high bits of bytes."""
    if bits == 8:
        return codes
    halves = codes.reshape(len(codes), 2, codes.shape[1] // 2)
    # A sum, because XLA's CPU backend takes five times as long to combine slices.
    return jnp.sum(halves << _PLACES, axis=1, dtype=jnp.uint8)


def _parted(codes: jax.Array, bits: int) -> jax.Array:
    """Return one code a byte: the inverse of `_joined`."""
    if bits == 8:
        return codes
    halves = codes[..., None, :] >> _PLACES.reshape(*[1] * (codes.ndim - 1), 2, 1)
    return (halves & 15).reshape(*codes.shape[:-1], 2 * codes.shape[-1])
