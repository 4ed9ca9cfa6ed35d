"""Clipping by leaf or by unit: clip_by_block_rms, adaptive_grad_clip."""

import jax
import jax.numpy as jnp

from jopt.core import (
    Arrays,
    EmptyState,
    GradientTransformation,
    Number,
    abs_sq,
    check,
    checked,
    map_leaves,
    needed,
    pytree,
    rms,
    root,
    shrink,
    static,
    wide,
)


@pytree
class ClipByBlockRms(GradientTransformation):
    """Shrink each leaf until its root mean square is at most `threshold`.

        u = g min(1, threshold / rms(g)),  rms(g) = root of the mean of the squares

    Args:
      threshold: greatest root mean square of a leaf, at least 0, in units of the
        updates. Each leaf of the tree is a block.

    Shazeer & Stern 2018, https://arxiv.org/abs/1804.04235, section 6.
    """

    threshold: Number

    def __post_init__(self):
        check(self, "threshold", least=0)

    def init(self, params):
        return EmptyState()

    def update(self, updates, state, params=None, **extra):
        return map_leaves(lambda g: shrink(rms(g), self.threshold) * g, updates), state


@checked
def unitwise_norm(x: Arrays, axis: int | tuple[int, ...] | None = None) -> jax.Array:
    """Return the norm of each unit, repeated at each coordinate of the unit.

    A unit is the set of weights that feed one output: a column of a matrix, a filter of
    a convolution.

    Args:
      x: array, real or complex.
      axis: axes within a unit. The default depends on the shape: all axes if at most
        one is longer than 1; else axis 0 of an array with two or three axes, and all
        axes but the last (the output's, in HWIO and DHWIO kernels) with four or five.

    Returns:
      A real array of the shape of `x`, in at least float32.

    Raises:
      ValueError: if `x` has more than five axes and `axis` is not given.
    """
    x = wide(x)
    squares = jnp.sum(abs_sq(x), axis=_unit(x) if axis is None else axis, keepdims=True)
    return jnp.broadcast_to(root(squares), x.shape)


@checked
def unitwise_clip(
    g_norm: jax.Array, max_norm: jax.Array, grad: jax.Array, div_eps: Number = 1e-6
) -> jax.Array:
    """Return `grad`, shrunk where `g_norm` is not below `max_norm`.

        u = g, or g max_norm / max(g_norm, div_eps)

    Args:
      g_norm: norm at each coordinate, of the shape of `grad`, as from `unitwise_norm`.
      max_norm: greatest norm at each coordinate, of the shape of `grad`.
      grad: gradient.
      div_eps: least divisor, above 0, in units of the gradients.

    Returns:
      An array of the shape of `grad`.

    Raises:
      ValueError: if the shapes differ.
    """
    shapes = {"g_norm": jnp.shape(g_norm), "max_norm": jnp.shape(max_norm)}
    for name, shape in shapes.items():
        if shape != jnp.shape(grad):
            raise ValueError(
                f"unitwise_clip: {name} must have the shape of grad, "
                f"{jnp.shape(grad)}, got {shape}; unitwise_norm returns it."
            )
    factor = max_norm / jnp.maximum(g_norm, div_eps)
    return grad * jnp.where(g_norm < max_norm, 1, factor)


@pytree
class AdaptiveGradClip(GradientTransformation):
    """Shrink each unit's gradient to a fraction of the norm of its parameters.

        u = g min(1, clipping max(|p|, eps) / |g|),  |x| = norm of the unit

    `update` needs `params`. A kernel with three axes counts as a stack of linear maps,
    with axis 0 within a unit; for a convolution along one dimension give axis=(0, 1).

    Args:
      clipping: greatest ratio of the two norms, at least 0.
      eps: least norm of the parameters, at least 0, in units of params; parameters that
        start at zero can move because of it.
      axis: axes within a unit, an integer or a tuple; see `unitwise_norm` for the
        default.

    Raises:
      ValueError: if `update` is given no `params`.

    Brock et al. 2021, https://arxiv.org/abs/2102.06171, equation 3.
    """

    clipping: Number
    eps: Number = 1e-3
    axis: int | tuple[int, ...] | None = static(default=None)

    def __post_init__(self):
        check(self, "clipping", "eps", least=0)

    def init(self, params):
        return EmptyState()

    def update(self, updates, state, params=None, **extra):
        params = needed(params, self, "the parameters whose norms are the measure")

        def rule(g, p):
            most = self.clipping * jnp.maximum(unitwise_norm(p, self.axis), self.eps)
            return unitwise_clip(unitwise_norm(g, self.axis), most, g)

        return map_leaves(rule, updates, params), state


def _unit(x: jax.Array) -> int | tuple[int, ...] | None:
    if sum(length != 1 for length in x.shape) <= 1:
        return None
    if x.ndim <= 3:
        return 0
    if x.ndim <= 5:
        return tuple(range(x.ndim - 1))
    raise ValueError(
        f"unitwise_norm: an array without axis must have at most 5 axes, got shape "
        f"{x.shape}; give axis, the axes within a unit."
    )


clip_by_block_rms = ClipByBlockRms
adaptive_grad_clip = AdaptiveGradClip
AdaptiveGradClipState = EmptyState
