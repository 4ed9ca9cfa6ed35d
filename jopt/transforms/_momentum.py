"""Running sums and means of the updates: trace, ema."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jopt.core import (
    DType,
    GradientTransformation,
    Number,
    PyTree,
    bias,
    check,
    full_like,
    increment,
    map_leaves,
    mix,
    pytree,
    static,
)


class TraceState(NamedTuple):
    """The decaying sum of the updates."""

    trace: PyTree  # like params


class EmaState(NamedTuple):
    """The exponential moving average of the updates, before debiasing."""

    count: jax.Array  # int32[], updates made
    ema: PyTree  # like params


@pytree
class Trace(GradientTransformation):
    """Replace the updates by their decaying sum: momentum.

        t <- g + decay t        u = t, or g + decay t with Nesterov

    Args:
      decay: share of the sum that is kept, in [0, 1]; 1 sums all updates.
      nesterov: look ahead by one decay.
      accumulator_dtype: dtype of the sum; by default the params', but at least float32.

    Polyak 1964; Sutskever et al. 2013,
    http://proceedings.mlr.press/v28/sutskever13.html.
    """

    decay: Number
    nesterov: bool = static(default=False)
    accumulator_dtype: DType = static(default=None)

    shapeless = True

    def __post_init__(self):
        check(self, "decay", least=0, most=1)

    def init(self, params):
        return TraceState(trace=full_like(params, dtype=self.accumulator_dtype))

    def update(self, updates, state, params=None, **extra):
        def rule(g, t):
            t = g + self.decay * t
            return (g + self.decay * t if self.nesterov else t), t

        updates, trace = map_leaves(rule, updates, state.trace)
        return updates, TraceState(trace=trace)


@pytree
class Ema(GradientTransformation):
    """Replace the updates by their exponential moving average.

        m <- decay m + (1 - decay) g        u = m / (1 - decay ** t), or m

    Args:
      decay: share of the mean that is kept, in [0, 1).
      debias: divide by the total weight of the t updates, 1 - decay ** t.
      accumulator_dtype: dtype of the mean; by default the params', but at least
        float32.

    The debiasing is Kingma & Ba 2014, https://arxiv.org/abs/1412.6980, section 3.
    """

    decay: Number
    debias: bool = static(default=True)
    accumulator_dtype: DType = static(default=None)

    shapeless = True

    def __post_init__(self):
        check(self, "decay", least=0, below=1)

    def init(self, params):
        ema = full_like(params, dtype=self.accumulator_dtype)
        return EmaState(count=jnp.zeros((), jnp.int32), ema=ema)

    def update(self, updates, state, params=None, **extra):
        count = increment(state.count)
        weight = bias(self.decay, count) if self.debias else 1

        def rule(g, m):
            m = mix(m, g, self.decay)
            return m / weight, m

        updates, mean = map_leaves(rule, updates, state.ema)
        return updates, EmaState(count=count, ema=mean)


trace = Trace
ema = Ema
