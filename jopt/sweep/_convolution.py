"""A convolution that stays fast when many trials train side by side, or in a loop.

A convolution is bilinear. With images x, a kernel k and a cotangent g of the output,

    T(x, k, g) = <x * k, g>

is linear in each, and the convolution and its two gradients are its derivatives by g,
x and k. One primitive computes all three; a parameter names the operand that it
returns. So its transposes are itself, and derivatives of any order work.

Each is computed by XLA's convolution or by matrix products: the slices of the images
under each position of the kernel, concatenated, times the kernel as a matrix.
"""

import functools
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jopt.core import wide
from jopt.training import in_a_loop

Operand: TypeAlias = Literal["images", "kernel", "output"]


class Window(NamedTuple):
    """How a kernel passes over images; per spatial axis, except `groups`."""

    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]  # in front and behind; may be negative
    lhs_dilation: tuple[int, ...]
    rhs_dilation: tuple[int, ...]
    groups: int
    precision: Any


def conv_general_dilated(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
    out_sharding: Any = None,
) -> jax.Array:
    """Convolve as `jax.lax.conv_general_dilated` does, but fast in a sweep.

        nnx.Conv(3, 32, (3, 3), conv_general_dilated=sweep.conv_general_dilated, ...)

    Under vmap, a convolution whose kernel differs by trial is one of XLA's grouped
    convolutions, and in a loop XLA's CPU backend makes the gradients of a convolution
    10 to 100 times slower (https://github.com/jax-ml/jax/issues/12868). Products have
    neither problem. They are used under vmap for kernels with a trial axis, and in a
    sweep's loops on a CPU for gradients; everything else is XLA's convolution. The
    results agree up to rounding.

    XLA's convolution also takes the inputs that the products do not support: values
    other than real floats of one dtype, a `preferred_element_type` of another dtype,
    batch groups, and arrays of an explicit mesh.

    Args:
      lhs, rhs, window_strides, padding, lhs_dilation, rhs_dilation: as in
        `jax.lax.conv_general_dilated`.
      dimension_numbers, feature_group_count, batch_group_count, precision: likewise.
      preferred_element_type, out_sharding: likewise.

    Returns:
      What `jax.lax.conv_general_dilated` returns.

    Raises:
      TypeError, ValueError: as `jax.lax.conv_general_dilated` does.
    """
    spatial = len(window_strides)
    asked: dict[str, Any] = {
        "window_strides": window_strides,
        "padding": padding,
        "lhs_dilation": lhs_dilation,
        "rhs_dilation": rhs_dilation,
        "dimension_numbers": dimension_numbers,
        "feature_group_count": feature_group_count,
        "batch_group_count": batch_group_count,
        "precision": precision,
        "preferred_element_type": preferred_element_type,
        "out_sharding": out_sharding,
    }
    by_xla = functools.partial(jax.lax.conv_general_dilated, **asked)
    result = jax.eval_shape(by_xla, lhs, rhs)  # also raises lax's errors
    usual = batch_group_count == 1 and out_sharding is None
    if not (usual and _is_plain(lhs) and _is_plain(rhs) and result.dtype == lhs.dtype):
        return by_xla(lhs, rhs)
    numbers = jax.lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    of_lhs, of_rhs, of_out = numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec
    images = jnp.transpose(lhs, (of_lhs[0], *of_lhs[2:], of_lhs[1]))
    kernel = jnp.transpose(rhs, (*of_rhs[2:], of_rhs[1], of_rhs[0]))
    dilation = _integers(rhs_dilation, spatial)
    if isinstance(padding, str):
        sizes = zip(kernel.shape[:spatial], dilation, strict=True)
        spans = [(size - 1) * apart + 1 for size, apart in sizes]
        space = images.shape[1:-1]
        padding = jax.lax.padtype_to_pads(space, spans, window_strides, padding)
    window = Window(
        _integers(window_strides, spatial),
        tuple((int(low), int(high)) for low, high in padding),
        _integers(lhs_dilation, spatial),
        dilation,
        int(feature_group_count),
        precision,
    )
    axes = of_out[0], *of_out[2:], of_out[1]
    shape = tuple(result.shape[axis] for axis in axes)
    options = {"window": window, "in_loop": in_a_loop.value}
    output = convolution_p.bind(images, kernel, of="output", shape=shape, **options)
    return jnp.transpose(output, np.argsort(axes).tolist())


def _is_plain(array: jax.Array) -> bool:
    """Return whether an array has real floats and no explicit sharding."""
    real = jnp.issubdtype(array.dtype, jnp.floating)
    return real and jax.typeof(array).sharding.mesh.empty


def _integers(values: Sequence[int] | None, count: int) -> tuple[int, ...]:
    return (1,) * count if values is None else tuple(map(int, values))


def _products(images: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """Return the output (batch, ..., out).

    Args:
      images: (batch, ..., channels).
      kernel: (..., channels of a group, out).
      window: how the kernel passes.
    """
    *sizes, inputs, out = kernel.shape
    groups = window.groups
    edges = zip(window.padding, window.lhs_dilation, strict=True)
    around = [(low, high, apart - 1) for (low, high), apart in edges]
    zero = jnp.zeros((), images.dtype)
    images = jax.lax.pad(images, zero, [(0, 0, 0), *around, (0, 0, 0)])
    slices = [_seen(images, at, sizes, window) for at in np.ndindex(*sizes)]
    kernel = kernel.reshape(len(slices), inputs, out)
    if inputs == 1 and groups > 1:  # depthwise: products of scalars
        ones = [1] * (images.ndim - 1)
        kernel = wide(kernel.reshape(len(slices), *ones, groups, out // groups))
        pairs = zip(slices, kernel, strict=True)
        output = sum(wide(part)[..., None] * scale for part, scale in pairs)
        return jnp.reshape(output, (*slices[0].shape[:-1], out)).astype(images.dtype)
    product = functools.partial(jnp.einsum, precision=window.precision)
    if groups == 1:
        rows = jnp.concatenate(slices, axis=-1)  # (batch, ..., positions * channels)
        return product("...i,io->...o", rows, kernel.reshape(-1, out))
    rows = jnp.stack(slices, axis=-2).reshape(
        *slices[0].shape[:-1], len(slices), groups, inputs
    )
    kernel = kernel.reshape(len(slices), inputs, groups, out // groups)
    output = product("...kgi,kigo->...go", rows, kernel)
    return output.reshape(*output.shape[:-2], out)


def _seen(
    images: jax.Array, at: tuple[int, ...], sizes: Sequence[int], window: Window
) -> jax.Array:
    """Return the slice of padded images that one position of the kernel sees."""
    starts, ends = [0], [len(images)]
    axes = zip(
        at,
        sizes,
        images.shape[1:-1],
        window.strides,
        window.rhs_dilation,
        strict=True,
    )
    for place, size, length, stride, apart in axes:
        steps = max((length - (size - 1) * apart - 1) // stride + 1, 0)
        starts.append(place * apart)
        ends.append(place * apart + max((steps - 1) * stride + 1, 0))
    *_, channels = images.shape
    strides = (1, *window.strides, 1)
    return jax.lax.slice(images, [*starts, 0], [*ends, channels], strides)


def _convolution(images: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """Return the same output as `_products`, by XLA's convolution."""
    space = "".join(map(chr, range(ord("a"), ord("a") + len(window.strides))))
    return jax.lax.conv_general_dilated(
        images,
        kernel,
        window.strides,
        window.padding,
        window.lhs_dilation,
        window.rhs_dilation,
        (f"N{space}C", f"{space}IO", f"N{space}C"),
        window.groups,
        precision=window.precision,
    )


def _derivative(
    function: Any,
    first: jax.Array,
    second: jax.Array,
    of: Operand,
    shape: tuple[int, ...],
    window: Window,
) -> jax.Array:
    """Return the missing operand, from the two others.

    Args:
      function: (images, kernel, window) -> output.
      first, second: two of images, kernel and output, in this order.
      of: the operand that is missing.
      shape: its shape.
      window: how the kernel passes.
    """
    if of == "output":
        return function(first, second, window)
    missing = jax.ShapeDtypeStruct(shape, first.dtype)
    if of == "images":
        forward = lambda images: function(images, first, window)  # noqa: E731
    else:
        forward = lambda kernel: function(first, kernel, window)  # noqa: E731
    (found,) = jax.linear_transpose(forward, missing)(second)
    return found


@functools.partial(jax.jit, static_argnames=("of", "shape", "window", "in_loop"))
def _computed(
    first: jax.Array,
    second: jax.Array,
    *,
    of: Operand,
    shape: tuple[int, ...],
    window: Window,
    in_loop: bool,
) -> jax.Array:
    # XLA's CPU backend is fast at the convolution itself in a loop, too.
    function = _products if in_loop and of != "output" else _convolution
    return _derivative(function, first, second, of, shape, window)


def _over_trials(
    operands: Sequence[jax.Array],
    axes: Sequence[Any],
    *,
    of: Operand,
    shape: tuple[int, ...],
    window: Window,
    in_loop: bool,
) -> tuple[jax.Array, int]:
    """Map over an axis more: by products, or as more images of the same kernel."""
    options = {"of": of, "window": window}
    others = {"output": 0, "images": 1}  # which operand is not the kernel
    mapped = [axis is not None for axis in axes]
    if of in others and mapped == [others[of] == 0, others[of] == 1]:
        at = others[of]
        many = jnp.moveaxis(operands[at], axes[at], 0)
        folded = (many.shape[0] * shape[0], *shape[1:])
        given = list(operands)
        given[at] = many.reshape(-1, *many.shape[2:])
        found = convolution_p.bind(*given, shape=folded, in_loop=in_loop, **options)
        return found.reshape(many.shape[0], *shape), 0
    derivative = functools.partial(_derivative, _products, shape=shape, **options)
    return jax.vmap(derivative, tuple(axes))(*operands), 0


def _transposed(place: int, cotangent: Any, first: Any, second: Any, **given: Any):
    """Return the cotangent of the operand at a place, 0 or 1, of the two."""
    of: Operand = given.pop("of")
    del given["shape"]
    present: list[Operand] = [o for o in ("images", "kernel", "output") if o != of]
    held = {of: cotangent, present[1 - place]: (second, first)[place]}
    missing = present[place]
    shape = (first, second)[place].aval.shape
    pair = [held[o] for o in ("images", "kernel", "output") if o != missing]
    return convolution_p.bind(*pair, of=missing, shape=shape, **given)


convolution_p = Primitive("sweep_convolution")
convolution_p.def_impl(_computed)
convolution_p.def_abstract_eval(
    lambda first, second, *, shape, **_: ShapedArray(shape, first.dtype)
)
ad.defbilinear(
    convolution_p,
    functools.partial(_transposed, 0),
    functools.partial(_transposed, 1),
)
batching.primitive_batchers[convolution_p] = _over_trials
mlir.register_lowering(convolution_p, mlir.lower_fun(_computed, multiple_results=False))
