"""The curves that schedules are made of."""

import jax.numpy as jnp

from jopt._numbers import as_number


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


def floats(numbers):
    """Return numbers as a tuple, Python's integers as floats."""
    return tuple(map(as_number, numbers))


WAYS = {"linear": lambda f: f, "cosine": lambda f: 1 - half_cosine(f)}


def interpolate(count, value, boundaries, scales, interpolate_type):
    """Return `value` times all scales whose boundary is passed, and a way between."""
    way, left = WAYS[interpolate_type], jnp.zeros(())
    result = jnp.broadcast_to(value, count.shape)
    for right, scale in zip(boundaries, scales, strict=True):
        fraction = jnp.clip((count - left) / jnp.maximum(right - left, 1), 0, 1)
        between = value + (value * scale - value) * way(fraction)
        result = jnp.where(count < left, result, between)
        value, left = value * scale, right
        result = jnp.where(count < right, result, value)
    return result
