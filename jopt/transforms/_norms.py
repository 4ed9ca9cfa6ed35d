"""Scaling by norms: of the parameters, of the updates, and their ratio."""

from collections.abc import Callable

import jax.numpy as jnp

from jopt.core import (
    EmptyState,
    GradientTransformation,
    Mask,
    Number,
    PyTree,
    check,
    global_norm,
    map_leaves,
    needed,
    norm,
    pytree,
    rms,
    static,
)


def _or_all(mask: PyTree | Callable[..., PyTree] | None) -> Mask:
    return Mask(True if mask is None else mask)


@pytree
class ScaleByTrustRatio(GradientTransformation):
    """Scale each leaf so that its norm is a fraction of its parameters' norm.

        u = trust_coefficient |p|' / (|g|' + eps) g,  |x|' = max(|x|, min_norm)
        u = g where |p|' or |g|' is 0

    Norms are summed in at least float32. `update` needs `params`. (optax has no `mask`
    here: it wraps `masked` around the transformation.)

    Args:
      min_norm: least norm, at least 0, in units of params and of the updates alike;
        with 0, a leaf that starts at zero moves by its plain update.
      trust_coefficient: fraction of the parameters' norm, at least 0.
      eps: added to the updates' norm, at least 0, in units of the updates.
      mask: which leaves are scaled, see `add_decayed_weights`; None is all leaves.

    Raises:
      ValueError: if `update` is given no `params`.

    You et al. 2017, https://arxiv.org/abs/1708.03888, Algorithm 1.
    """

    min_norm: Number = 0.0
    trust_coefficient: Number = 1.0
    eps: Number = 0.0
    mask: PyTree = static(converter=_or_all, default=None, kw_only=True)

    def __post_init__(self):
        check(self, "min_norm", "trust_coefficient", "eps", least=0)

    def groups(self, params):
        return [None if scaled else () for scaled in self.mask.leaves(params)]

    def init(self, params):
        return EmptyState()

    def update(self, updates, state, params=None, **extra):
        params = needed(params, self, "the parameters whose norms the updates follow")

        def rule(g, p):
            ours = jnp.maximum(norm(p), self.min_norm)
            theirs = jnp.maximum(norm(g), self.min_norm)
            some = (ours > 0) & (theirs > 0)
            ratio = ours / jnp.where(some, theirs + self.eps, 1)
            return jnp.where(some, self.trust_coefficient * ratio, 1) * g

        scaled = map_leaves(rule, updates, params)
        return self.mask.choose(params, scaled, updates), state


@pytree
class ScaleByParamBlockNorm(GradientTransformation):
    """Multiply each leaf by the norm of its parameters.

        u = max(|p|, min_scale) g

    `update` needs `params`.

    Args:
      min_scale: least factor, at least 0, in units of params; with 0, a leaf that
        starts at zero stays there.

    Raises:
      ValueError: if `update` is given no `params`.
    """

    min_scale: Number = 1e-3

    def __post_init__(self):
        check(self, "min_scale", least=0)

    def init(self, params):
        return EmptyState()

    def update(self, updates, state, params=None, **extra):
        return _scaled(self, norm, updates, params), state


@pytree
class ScaleByParamBlockRms(GradientTransformation):
    """Multiply each leaf by the root mean square of its parameters.

        u = max(rms(p), min_scale) g,  rms(p) = root of the mean of the squares

    `update` needs `params`.

    Args:
      min_scale: least factor, at least 0, in units of params; with 0, a leaf that
        starts at zero stays there.

    Raises:
      ValueError: if `update` is given no `params`.

    Shazeer & Stern 2018, https://arxiv.org/abs/1804.04235, section 8.
    """

    min_scale: Number = 1e-3

    def __post_init__(self):
        check(self, "min_scale", least=0)

    def init(self, params):
        return EmptyState()

    def update(self, updates, state, params=None, **extra):
        return _scaled(self, rms, updates, params), state


@pytree
class NormalizeByUpdateNorm(GradientTransformation):
    """Divide all updates together by their norm.

        u = scale_factor g / (|g| + eps),  |g| = root of the sum of all squares

    The norm is summed in at least float32 over all leaves. If all gradients are 0 the
    updates are 0.

    Args:
      scale_factor: norm of the new updates, any number; negative to descend.
      eps: added to the norm, at least 0, in units of the updates.
    """

    scale_factor: Number = 1.0
    eps: Number = 1e-6

    shapeless = True

    def __post_init__(self):
        check(self, "eps", least=0)

    def init(self, params):
        return EmptyState()

    def update(self, updates, state, params=None, **extra):
        size = global_norm(updates) + self.eps
        factor = self.scale_factor / jnp.where(size > 0, size, 1)
        return map_leaves(lambda g: factor * g, updates), state


@pytree
class Centralize(GradientTransformation):
    """Subtract from each slice along axis 0 its mean.

        u = g - mean of g over all axes but the first

    Scalars and vectors are left as they are. The paper subtracts the mean of the
    weights that feed one output. That is a slice along axis 0 in PyTorch, but a slice
    along the last axis in Flax, whose kernels have their outputs last.

    Yong et al. 2020, https://arxiv.org/abs/2004.01461, equation 1.
    """

    def init(self, params):
        return EmptyState()

    def update(self, updates, state, params=None, **extra):
        def rule(g):
            slices = tuple(range(1, g.ndim))
            return g - jnp.mean(g, slices, keepdims=True) if slices else g

        return map_leaves(rule, updates), state


def _scaled(self, size, updates, params):
    params = needed(params, self, "the parameters that set the scale")
    return map_leaves(
        lambda g, p: g * jnp.maximum(size(p), self.min_scale), updates, params
    )


scale_by_trust_ratio = ScaleByTrustRatio
ScaleByTrustRatioState = EmptyState
scale_by_param_block_norm = ScaleByParamBlockNorm
scale_by_param_block_rms = ScaleByParamBlockRms
normalize_by_update_norm = NormalizeByUpdateNorm
centralize = Centralize
