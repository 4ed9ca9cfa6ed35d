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
    """The mean square."""

    nu: PyTree  # like params, real


class ScaleByRmsWithCountState(NamedTuple):
    """The mean square, and how many steps it is of."""

    count: jax.Array  # int32[], updates made
    nu: PyTree  # like params, real


class ScaleByRStdDevState(NamedTuple):
    """The mean and the mean square."""

    mu: PyTree  # like params
    nu: PyTree  # like params, real


class ScaleByRStdDevWithCountState(NamedTuple):
    """The mean and the mean square, and how many steps they are of."""

    count: jax.Array  # int32[], updates made
    mu: PyTree  # like params
    nu: PyTree  # like params, real


@pytree
class ScaleByRms(GradientTransformation):
    """Divide by the root of the mean square.

        v <- decay v + (1 - decay) |g|^2        u = g / sqrt(v' + eps)
        v' = v, or v / (1 - decay^t) with bias correction

    decay: in [0, 1). eps: at least 0, in the gradients' units squared inside the root
    (in their units outside it). initial_scale: of v, at least 0. eps_in_sqrt: False is
    u = g / (sqrt(v') + eps), as in PyTorch, whose decay is 0.99 by default.

    The state holds a count only with bias correction.

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

    Arguments as in `scale_by_rms`. The variance is held at 0 or above, where rounding
    would take it below.

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


def _check(self):
    check(self, "decay", least=0, below=1)
    check(self, "eps", "initial_scale", least=0)


def _counted(self, state):
    if not self.bias_correction:
        return {}, 1
    count = increment(state.count)
    return {"count": count}, bias(self.decay, count)


def _inverse_root(x, eps, eps_in_sqrt):
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

        p <- p - learning_rate u,  u of `scale_by_rms`

    learning_rate: at least 0, in units of params; a number or a schedule. centered:
    divide by the root of the variance, u of `scale_by_stddev`. momentum: in [0, 1), a
    decaying sum of the steps; None keeps none. nesterov: see `trace`. The rest: see
    `scale_by_rms`.

    The momentum is of steps that the learning rate has scaled, as in TensorFlow; in
    PyTorch it is of the directions.

    Tieleman & Hinton 2012; Graves 2013, https://arxiv.org/abs/1308.0850.
    """
    kind = scale_by_stddev if centered else scale_by_rms
    direction = kind(decay, eps, initial_scale, eps_in_sqrt, bias_correction)
    steps = trace(momentum, nesterov) if momentum is not None else identity()
    return chain(direction, scale_by_learning_rate(learning_rate), steps)
