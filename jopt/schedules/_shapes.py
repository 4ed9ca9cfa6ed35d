"""The curves that schedules are made of."""

import jax.numpy as jnp


def half_cosine(way):
    """Return a cosine that falls from 1 at 0 to 0 at 1, and stays."""
    return 0.5 * (1 + jnp.cos(jnp.pi * jnp.clip(way, 0, 1)))


def power(base, exponent):
    """Return `base ** exponent` for a base of at least 0, of no gradient at 0.

    Below an exponent of 1 that gradient is infinite, and a schedule ends at 0.
    """
    positive = base > 0
    return jnp.where(positive, jnp.where(positive, base, 1) ** exponent, 0)


def fraction(count, steps, begin):
    """Return how far from `begin` to `begin + steps` the count is, in [0, 1]."""
    past = jnp.maximum(count - jnp.maximum(begin, 0), 0)
    moving = steps > 0
    return jnp.where(moving, jnp.minimum(past / jnp.where(moving, steps, 1), 1), 0)
