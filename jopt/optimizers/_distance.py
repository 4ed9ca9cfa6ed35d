"""The estimate of the distance to a solution that D-Adaptation and Prodigy share."""

import jax
import jax.numpy as jnp


def farther(d: jax.Array, numerator: jax.Array, denominator: jax.Array) -> jax.Array:
    """Return the greater of `d` and the quotient, or `d` where there is no quotient."""
    none = denominator == 0
    quotient = numerator / jnp.where(none, 1, denominator)
    return jnp.maximum(d, jnp.where(none, 0, quotient))
