"""Rprop."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jopt.core import (
    Chain,
    GradientTransformation,
    Number,
    PyTree,
    chain,
    check,
    checked,
    full_like,
    map_leaves,
    pytree,
)
from jopt.transforms import scale


class ScaleByRpropState(NamedTuple):
    """Step size and last update of each coordinate."""

    step_sizes: PyTree  # like params
    prev_updates: PyTree  # like params


@pytree
class ScaleByRprop(GradientTransformation):
    """Step by the sign, the further the longer the sign stays the same.

        s <- clip(s eta_plus, min_step_size, max_step_size) if g u' > 0
        s <- clip(s eta_minus, min_step_size, max_step_size) if g u' < 0
        u = 0 if g u' < 0, else s sign(g)

    where u' is the last update. Real and imaginary part of a complex coordinate each
    have a step size.

    It is meant for gradients without noise, those of the whole data. PyTorch returns u,
    too. optax returns u' in place of u: its steps are late by one, and its first is 0.

    Args:
      learning_rate: size of the first step, above 0, in units of params. Only `init`
        uses it.
      eta_minus: factor where the sign changes, in (0, 1).
      eta_plus: factor where the sign stays, at least 1.
      min_step_size: least step size, above 0, in units of params.
      max_step_size: greatest step size, above 0, in units of params.

    Riedmiller & Braun 1993, https://ieeexplore.ieee.org/document/298623; without
    backtracking as in Igel & Huesken 2003,
    https://doi.org/10.1016/S0925-2312(01)00700-7.
    """

    learning_rate: Number
    eta_minus: Number = 0.5
    eta_plus: Number = 1.2
    min_step_size: Number = 1e-6
    max_step_size: Number = 50.0

    shapeless = True

    def __post_init__(self):
        check(self, "learning_rate", above=0)
        check(self, "eta_minus", above=0, below=1)
        check(self, "eta_plus", least=1)
        check(self, "min_step_size", "max_step_size", above=0)

    def init(self, params):
        def first(size):
            return size + 1j * size if jnp.iscomplexobj(size) else size

        sizes = map_leaves(first, full_like(params, self.learning_rate))
        return ScaleByRpropState(step_sizes=sizes, prev_updates=full_like(params))

    def update(self, updates, state, params=None, **extra):
        def rule(g, size, before):
            if jnp.iscomplexobj(g):
                real = rule(g.real, size.real, before.real)
                imaginary = rule(g.imag, size.imag, before.imag)
                return tuple(map(jax.lax.complex, real, imaginary))
            # Multiply the signs: the product of the numbers themselves can underflow.
            agree = jnp.sign(g) * jnp.sign(before)
            factor = jnp.where(agree > 0, self.eta_plus, self.eta_minus)
            changed = jnp.clip(factor * size, self.min_step_size, self.max_step_size)
            size = jnp.where(agree == 0, size, changed)
            u = jnp.where(agree < 0, 0, size * jnp.sign(g))
            return u, size, u

        updates, sizes, before = map_leaves(
            rule, updates, state.step_sizes, state.prev_updates
        )
        return updates, ScaleByRpropState(step_sizes=sizes, prev_updates=before)


scale_by_rprop = ScaleByRprop


@checked
def rprop(
    learning_rate: Number,
    eta_minus: Number = 0.5,
    eta_plus: Number = 1.2,
    min_step_size: Number = 1e-6,
    max_step_size: Number = 50.0,
) -> Chain:
    """Step by the gradient's sign, each coordinate with its own step size.

        p <- p - u,  u of `ScaleByRprop`

    PyTorch's defaults are the same. `ScaleByRprop` says where optax differs.

    Args:
      learning_rate: size of the first step, above 0, in units of params.
      eta_minus, eta_plus, min_step_size, max_step_size: see `ScaleByRprop`.

    Riedmiller & Braun 1993, https://ieeexplore.ieee.org/document/298623.
    """
    sizes = (eta_minus, eta_plus, min_step_size, max_step_size)
    return chain(scale_by_rprop(learning_rate, *sizes), scale(-1.0))
