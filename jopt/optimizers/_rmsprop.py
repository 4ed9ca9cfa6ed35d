"""RMSprop, plain and centered."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jopt.core import (
    Chain,
    GradientTransformation,
    Number,
    PyTree,
    ScalarOrSchedule,
    abs_sq,
    bias,
    chain,
    check,
    checked,
    full_like,
    increment,
    map_leaves,
    mix,
    pytree,
    root,
    static,
)
from jopt.transforms import identity, scale_by_learning_rate, trace


class ScaleByRmsState(NamedTuple):
    """Mean square of the gradients."""

    nu: PyTree  # like params, real


class ScaleByRmsWithCountState(NamedTuple):
    """Mean square of the gradients, and the number of updates."""

    count: jax.Array  # int32[], updates made
    nu: PyTree  # like params, real


class ScaleByRStdDevState(NamedTuple):
    """Mean and mean square of the gradients."""

    mu: PyTree  # like params
    nu: PyTree  # like params, real


class ScaleByRStdDevWithCountState(NamedTuple):
    """Mean and mean square of the gradients, and the number of updates."""

    count: jax.Array  # int32[], updates made
    mu: PyTree  # like params
    nu: PyTree  # like params, real


@pytree
class ScaleByRms(GradientTransformation):
    """Divide by the root of the mean square.

        v <- decay v + (1 - decay) |g|^2        u = g / sqrt(v' + eps)
        v' = v, or v / (1 - decay^t) with bias correction

    The state holds a count only with bias correction.

    Args:
      decay: share of v that a step keeps, in [0, 1). PyTorch's default is 0.99.
      eps: at least 0; in units of the gradients squared inside the root, in units of
        the gradients outside it.
      initial_scale: start of v, at least 0.
      eps_in_sqrt: whether eps is inside the root. False is u = g / (sqrt(v') + eps), as
        in PyTorch.
      bias_correction: whether v is divided by 1 - decay^t.

    Tieleman & Hinton 2012, Lecture 6.5 of Neural Networks for Machine Learning,
    https://www.cs.toronto.edu/~hinton/coursera/lecture6/lec6.pdf.
    """

    decay: Number = 0.9
    eps: Number = 1e-8
    initial_scale: Number = 0.0
    eps_in_sqrt: bool = static(default=True)
    bias_correction: bool = static(default=False)

    shapeless = True

    def __post_init__(self):
        _check(self)

    def init(self, params):
        nu = full_like(params, self.initial_scale, real=True)
        if self.bias_correction:
            return ScaleByRmsWithCountState(count=jnp.zeros((), jnp.int32), nu=nu)
        return ScaleByRmsState(nu=nu)

    def update(self, updates, state, params=None, **extra):
        count, weight = _counted(self, state)

        def rule(g, v):
            v = mix(v, abs_sq(g), self.decay)
            return g * _inverse_root(v / weight, self.eps, self.eps_in_sqrt), v

        updates, nu = map_leaves(rule, updates, state.nu)
        return updates, state._replace(nu=nu, **count)


@pytree
class ScaleByStddev(GradientTransformation):
    """Divide by the root of the variance.

        m <- decay m + (1 - decay) g        v <- decay v + (1 - decay) |g|^2
        u = g / sqrt(v' - |m'|^2 + eps)
        m', v' = m, v, or both over 1 - decay^t with bias correction

    The variance is at least 0, where rounding would take it below.

    Args:
      decay, eps, initial_scale, eps_in_sqrt, bias_correction: see `ScaleByRms`.

    Graves 2013, https://arxiv.org/abs/1308.0850, equations 38 to 41.
    """

    decay: Number = 0.9
    eps: Number = 1e-8
    initial_scale: Number = 0.0
    eps_in_sqrt: bool = static(default=True)
    bias_correction: bool = static(default=False)

    shapeless = True

    def __post_init__(self):
        _check(self)

    def init(self, params):
        mu, nu = full_like(params), full_like(params, self.initial_scale, real=True)
        if self.bias_correction:
            zero = jnp.zeros((), jnp.int32)
            return ScaleByRStdDevWithCountState(count=zero, mu=mu, nu=nu)
        return ScaleByRStdDevState(mu=mu, nu=nu)

    def update(self, updates, state, params=None, **extra):
        count, weight = _counted(self, state)

        def rule(g, m, v):
            m, v = mix(m, g, self.decay), mix(v, abs_sq(g), self.decay)
            variance = jnp.maximum(v / weight - abs_sq(m / weight), 0)
            return g * _inverse_root(variance, self.eps, self.eps_in_sqrt), m, v

        updates, mu, nu = map_leaves(rule, updates, state.mu, state.nu)
        return updates, state._replace(mu=mu, nu=nu, **count)


def _check(self: ScaleByRms | ScaleByStddev) -> None:
    check(self, "decay", least=0, below=1)
    check(self, "eps", "initial_scale", least=0)


def _counted(
    self: ScaleByRms | ScaleByStddev, state: PyTree
) -> tuple[dict[str, jax.Array], Number]:
    """Return the next count, if the state has one, and the weight of the means."""
    if not self.bias_correction:
        return {}, 1
    count = increment(state.count)
    return {"count": count}, bias(self.decay, count)


def _inverse_root(x: jax.Array, eps: Number, eps_in_sqrt: bool) -> jax.Array:
    return jax.lax.rsqrt(x + eps) if eps_in_sqrt else 1 / (root(x) + eps)


scale_by_rms = ScaleByRms
scale_by_stddev = ScaleByStddev


@checked
def rmsprop(
    learning_rate: ScalarOrSchedule,
    decay: Number = 0.9,
    eps: Number = 1e-8,
    initial_scale: Number = 0.0,
    eps_in_sqrt: bool = True,
    centered: bool = False,
    momentum: Number | None = None,
    nesterov: bool = False,
    bias_correction: bool = False,
) -> Chain:
    """Step along the gradient, divided by the root of the mean square.

        p <- p - learning_rate u,  u of `ScaleByRms`

    The momentum is of steps that the learning rate has scaled, as in TensorFlow; in
    PyTorch it is of the directions.

    Args:
      learning_rate: step size, at least 0, in units of params; a number or a schedule.
      decay, eps, initial_scale, eps_in_sqrt, bias_correction: see `ScaleByRms`.
      centered: whether to divide by the root of the variance, u of `ScaleByStddev`.
      momentum: share of a decaying sum of the steps that a step keeps, in [0, 1). None
        keeps no sum.
      nesterov: see `trace`.

    Tieleman & Hinton 2012; Graves 2013, https://arxiv.org/abs/1308.0850.
    """
    kind = scale_by_stddev if centered else scale_by_rms
    direction = kind(decay, eps, initial_scale, eps_in_sqrt, bias_correction)
    steps = trace(momentum, nesterov) if momentum is not None else identity()
    return chain(direction, scale_by_learning_rate(learning_rate), steps)
