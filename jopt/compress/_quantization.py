"""`quantize`: weights as integers of few bits, with a scale for each channel."""

import functools
import math
from typing import Annotated, Any, Literal, TypeAlias

import jax
import jax.numpy as jnp

from jopt.compress._chosen import chosen_paths, matrices
from jopt.compress._packing import pack, unpack
from jopt.compress._paths import replaced, with_leaves
from jopt.core import (
    Arrays,
    Kind,
    PyTree,
    by_path,
    checked,
    dtype_of,
    is_integer,
    path_text,
    pytree,
    static,
    wide,
)

Levels: TypeAlias = Literal["symmetric", "full"]
Bits: TypeAlias = Annotated[
    int,
    Kind(
        "an integer from 2 to 16",
        lambda value: is_integer(value) and 2 <= value <= 16,
        ValueError,
        "With 8 bits the codes are int8.",
    ),
]


@pytree
class Quantized:
    """An array of integers in few bits, times a scale for each channel.

    A pytree node with two leaves. Under `vmap` both have the mapped axis.

    Args:
      packed: uint8[ceil(n / 8), bits], the codes in flat order: eight codes in as many
        bytes as a code has bits.
      scale: real array that broadcasts against the codes, float32 (float64 for
        float64).
      shape: shape of the array.
      dtype: dtype of the array.
      bits: bits of a code, from 2 to 16.
    """

    packed: PyTree
    scale: PyTree
    shape: tuple[int, ...] = static()
    dtype: Any = static()
    bits: int = static()

    @property
    def codes(self) -> jax.Array:
        """The codes in the array's shape: int8, or int16 above 8 bits."""
        size = math.prod(self.shape)
        return unpack(self.packed, self.bits, size).reshape(self.shape)

    def array(self) -> jax.Array:
        """Return codes times scale, in the array's shape and dtype."""
        values = self.codes.astype(self.scale.dtype) * self.scale
        return values.astype(self.dtype)

    def __repr__(self) -> str:
        return f"Quantized({self.dtype}{list(self.shape)} in {self.bits} bits)"


def is_quantized(node: object) -> bool:
    """Return whether `node` is a `Quantized` node."""
    return isinstance(node, Quantized)


@checked
def quantize(
    params: Arrays,
    bits: Bits,
    axis: int | None = -1,
    levels: Levels = "symmetric",
    where: PyTree = matrices,
) -> PyTree:
    """Return params whose large leaves are integers in few bits.

        code = clip(round(p / scale), lowest, highest)        p is about code scale
        symmetric: scale = max|p| / (2^(bits-1) - 1), lowest = -highest
        full:      scale = max|p| / (2^(bits-1) - 0.5), lowest = -highest - 1
        highest = 2^(bits-1) - 1; the maximum is over a channel

        small = jopt.quantize(params, bits=4)
        params = jopt.dequantize(small)

    The symmetric levels are torch's, which keep the largest weight exactly. The full
    ones are qwix's, which use one level more: with 2 bits four in place of three. To
    train for the levels, use `straight_through`; this function only rounds.

    Leaves that are `Quantized` already are unchanged, so that a second call can give
    other leaves other bits. No gradient flows through codes. A channel with a NaN
    or an infinity is NaN as a whole. Under `jit`, `bits` is static.

    Args:
      params: a tree of arrays, or an array.
      bits: bits of a code, from 2 to 16. With 8 bits the codes are int8.
      axis: the axis of the channels, each of which has a scale; None for one scale a
        leaf. In Flax's kernels -1 are the outputs.
      levels: "symmetric" or "full", as above.
      where: which leaves are quantized, a mask as in `masked`; by default those with
        two axes or more.

    Returns:
      A tree like the params with a `Quantized` in place of each chosen leaf.

    Raises:
      ValueError: if `bits` is out of range, if `where` chooses no leaf, or if a chosen
        leaf has no such axis.
      TypeError: if a chosen leaf is not of real floats.
    """
    arrays = with_leaves(lambda x: None if is_quantized(x) else x, params, Quantized)
    leaves = by_path(arrays)
    made = {}
    for path in chosen_paths("quantize", where, arrays):
        leaf, name = jnp.asarray(leaves[path]), path_text(path)
        if not jnp.issubdtype(dtype_of(leaf), jnp.floating):
            raise TypeError(
                f"quantize: where must choose leaves of real floats, but {name} is "
                f"{dtype_of(leaf)}; leave it out by where."
            )
        if axis is not None and not -leaf.ndim <= axis < leaf.ndim:
            raise ValueError(
                f"quantize: axis must be an axis of each leaf that where chooses, got "
                f"{axis} for {name} of shape {list(leaf.shape)}; None gives a leaf one "
                "scale."
            )
        steps = 2 ** (bits - 1) - 1 + 0.5 * (levels == "full")
        packed, scale = _quantized(leaf, steps, int(bits), axis, levels == "full")
        made[path] = Quantized(packed, scale, leaf.shape, leaf.dtype, int(bits))
    new = replaced(arrays, made)
    rejoin = lambda old, new: old if is_quantized(old) else new  # noqa: E731
    return jax.tree.map(rejoin, params, new, is_leaf=is_quantized)


def dequantize(params: PyTree) -> PyTree:
    """Return params with an array in place of each `Quantized` leaf.

    Args:
      params: the result of `quantize`.

    Returns:
      A tree of arrays in the shapes and dtypes that were quantized.
    """
    return with_leaves(lambda x: x.array() if is_quantized(x) else x, params, Quantized)


def others(w: jax.Array, axis: int | None) -> tuple[int, ...]:
    """Return the axes along which one slice extends; None means the whole array."""
    own = None if axis is None or w.ndim == 0 else axis % w.ndim
    return tuple(i for i in range(w.ndim) if i != own)


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def _quantized(
    x: jax.Array, steps: float, bits: int, axis: int | None, full: bool
) -> tuple[jax.Array, jax.Array]:
    x = jax.lax.stop_gradient(wide(x))
    inside = others(x, axis)
    top = jnp.max(jnp.abs(x), axis=inside, keepdims=True, initial=0)
    # XLA multiplies by the reciprocal of a scalar, which rounds differently. qwix does
    # so, and with its levels the largest weights are half-way between two codes.
    # Symmetric levels are divided by an array: weights that are on them already, such
    # as those that were trained there, are then unchanged.
    scale = top / (steps if full else jnp.where(top == 0, 1, steps))
    # Devices may flush a subnormal scale to 0, by which nothing can be divided.
    scale = jnp.where(scale < jnp.finfo(scale.dtype).tiny, 0, scale)
    highest = 2 ** (bits - 1) - 1
    codes = jnp.round(x / jnp.where(scale == 0, 1, scale))
    codes = jnp.clip(codes, -highest - full, highest).astype(jnp.int32)
    return pack(codes.ravel(), bits), scale
