"""The estimate of the distance to a solution that D-Adaptation and Prodigy share."""

import jax
import jax.numpy as jnp

from jopt.core import quotient


def farther(d: jax.Array, numerator: jax.Array, denominator: jax.Array) -> jax.Array:
    """Return the greater of `d` and the quotient, or `d` where there is no quotient."""
    return jnp.maximum(d, quotient(numerator, denominator))
