"""Arithmetic of steps: what happens at a step is decided without a rounded quotient.

XLA may multiply by 1 / n where a program divides by n: 41 / 41 is then below 1.
Differences and remainders are exact.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Way(NamedTuple):
    """How much of a way is gone and how much is left, each to its own rounding.

    Near its end `1 - gone` would keep few digits of what is left.
    """

    gone: jax.Array
    left: jax.Array


def way(past, length):
    """Return how much of `length` steps is gone after `past` of them.

    It is exactly 0 until 0, exactly 1 from `length` on, and without a length all is
    gone at 0.
    """
    arrived = past >= length
    moving = (past > 0) & ~arrived
    span = jnp.where(moving, length, 1)
    return Way(
        jnp.where(moving, past / span, jnp.where(arrived, 1.0, 0.0)),
        jnp.where(moving, (length - past) / span, jnp.where(arrived, 0.0, 1.0)),
    )


@jax.custom_jvp
def whole_and_rest(past, length):
    """Return how many whole lengths are in `past`, and the rest: whole length + rest.

    A quotient that is a whole number but for the rounding of `length` is that number:
    337 / 33.7 is 10, though the float32 next to 33.7 is greater. Integers below 2^24
    are exact.
    """
    rest = jax.lax.rem(past, length)
    whole = jnp.round((past - rest) / length)
    full = length - rest < jnp.finfo(rest.dtype).eps / 2 * past
    return jnp.where(full, whole + 1, whole), jnp.where(full, rest - length, rest)


@whole_and_rest.defjvp
def _(primals, tangents):
    whole, rest = whole_and_rest(*primals)
    past, length = tangents
    return (whole, rest), (jnp.zeros_like(whole), past - whole * length)


def to_whole(steps):
    """Return `steps`, and the whole number where it is one but for rounding.

    As 0.29 of 100 steps, which is 28.999999 in float32. `steps` is at least 0.
    """
    nearest = jnp.round(steps)
    near = jnp.abs(steps - nearest) <= jnp.finfo(steps.dtype).eps * steps
    # The gradient stays that of `steps`.
    return steps + jax.lax.stop_gradient(jnp.where(near, nearest - steps, 0))
