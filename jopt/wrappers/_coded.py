"""`Coded`: an array as codes, a byte or half a byte a number, and scales by block."""

import dataclasses
import functools
import math
from typing import Any

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
from jopt.wrappers._codes import Code

_PLACES = np.array([[[0], [4]]], np.uint8)


@pytree
class Coded:
    """A float array in few bits: a pytree node with two leaves.

    codes: uint8[blocks, block], or [blocks, block / 2] of 4 bits: the numbers in flat
    order, the last block filled with zeros. Half a block's numbers are in the low bits,
    the other half in the high ones. scales: float32[blocks, 1] (float64 for float64),
    the greatest modulus of a block, with a minus where the block has a negative number:
    only then do its codes have signs.

    A block with a NaN or an infinity is NaN as a whole; subnormal numbers may be 0. No
    gradient flows through codes: they are steps.

    shape, dtype: of the array. spec: how an explicit mesh divides it; the codes are
    whole on every device. Further axes in front (trials of a sweep) belong to both
    leaves and are no part of `shape`.
    """

    codes: Any
    scales: Any
    shape: tuple[int, ...] = static()
    dtype: DType = static()
    bits: int = static()
    code: Code = static()
    spec: PartitionSpec = static(default=PartitionSpec())

    @classmethod
    def of(cls, x: jax.Array, bits: int, block: int, code: Code) -> "Coded":
        """Return `x` in `bits` bits a number and a scale for each `block` of them."""
        codes, scales = _encoded(replicated(x), bits, block, code)
        return cls(codes, scales, x.shape, x.dtype, bits, code, partition_spec(x))

    def like(self, x: jax.Array) -> "Coded":
        """Return `x` in the format of this one, its scales' dtype too."""
        block = self.codes.shape[-1] * 8 // self.bits
        coded = Coded.of(x, self.bits, block, self.code)
        scales = coded.scales.astype(self.scales.dtype)
        return dataclasses.replace(coded, scales=scales)

    def array(self) -> jax.Array:
        """Return the numbers, as near as the codes are to them."""
        ahead = [None] * (self.codes.ndim - 2) if self.spec else []
        return sharded(_decoded(self), PartitionSpec(*ahead, *self.spec))

    def __repr__(self) -> str:
        return f"Coded({self.dtype}{list(self.shape)} in {self.bits} bits, {self.code})"


def decoded(tree: PyTree) -> PyTree:
    """Return `tree` with an array in the place of each `Coded` node."""
    return jax.tree.map(
        lambda x: x.array() if is_coded(x) else x, tree, is_leaf=is_coded
    )


def is_coded(node: Any) -> bool:
    """Whether it is a `Coded` node."""
    return isinstance(node, Coded)


# Compiled inside, too: leaves of one shape are traced once.
@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _encoded(
    x: jax.Array, bits: int, block: int, code: Code
) -> tuple[jax.Array, jax.Array]:
    flat = jnp.ravel(jax.lax.stop_gradient(wide(x)))
    blocks = jnp.pad(flat, (0, -flat.size % block)).reshape(-1, block)
    least = jnp.min(blocks, axis=1, keepdims=True)
    greatest = jnp.maximum(jnp.max(blocks, axis=1, keepdims=True), -least)
    signed = least < 0
    # Neither 1 / 0 nor 1 / 1e38, which is subnormal: to many devices it is 0.
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
    """Halves of blocks as the low and the high bits of bytes."""
    if bits == 8:
        return codes
    halves = codes.reshape(len(codes), 2, codes.shape[1] // 2)
    # A sum: XLA's CPU backend takes five times as long to combine the two slices.
    return jnp.sum(halves << _PLACES, axis=1, dtype=jnp.uint8)


def _parted(codes: jax.Array, bits: int) -> jax.Array:
    if bits == 8:
        return codes
    halves = codes[..., None, :] >> _PLACES.reshape(*[1] * (codes.ndim - 1), 2, 1)
    return (halves & 15).reshape(*codes.shape[:-1], 2 * codes.shape[-1])
