"""Exact arithmetic of step counts.

XLA may multiply by 1 / n where a program divides by n: 41 / 41 is then below 1.
Differences and remainders are exact, so they decide at which step something happens.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Progress(NamedTuple):
    """The shares of a span that have elapsed and that remain, each rounded by itself.

    Near the end of the span `1 - elapsed` would keep few digits of what remains.
    """

    elapsed: jax.Array  # share of the span, in [0, 1]
    remaining: jax.Array  # share of the span, in [0, 1]


def progress(past, length):
    """Return the `Progress` of a span of `length` steps after `past` of them.

    `elapsed` is exactly 0 up to step 0, and exactly 1 from step `length` on. A span of
    length 0 has elapsed at step 0.

    Args:
      past: steps made.
      length: length of the span, in steps.
    """
    arrived = past >= length
    moving = (past > 0) & ~arrived
    span = jnp.where(moving, length, 1)
    return Progress(
        jnp.where(moving, past / span, jnp.where(arrived, 1.0, 0.0)),
        jnp.where(moving, (length - past) / span, jnp.where(arrived, 0.0, 1.0)),
    )


@jax.custom_jvp
def divmod_steps(past, length):
    """Return the number of whole lengths in `past`, and the remainder.

        past = whole length + remainder

    A quotient that differs from an integer only by the rounding of `length` is that
    integer: 337 / 33.7 is 10, though the float32 next to 33.7 is greater. Integers
    below 2^24 are exact.

    Args:
      past: steps made, an array of floats, at least 0.
      length: steps of a whole length, above 0, in the dtype of `past`.

    Returns:
      `whole` and `remainder`, in the shape and dtype of `past`.
    """
    rest = jax.lax.rem(past, length)
    whole = jnp.round((past - rest) / length)
    full = length - rest < jnp.finfo(rest.dtype).eps / 2 * past
    return jnp.where(full, whole + 1, whole), jnp.where(full, rest - length, rest)


@divmod_steps.defjvp
def _(primals, tangents):
    whole, rest = divmod_steps(*primals)
    past, length = tangents
    return (whole, rest), (jnp.zeros_like(whole), past - whole * length)


def round_if_close(steps):
    """Return `steps`, rounded if it differs from an integer only by rounding errors.

    For example, 0.29 of 100 steps is 28.999999 in float32. The gradient is that of
    `steps`.

    Args:
      steps: a number of steps, at least 0.
    """
    nearest = jnp.round(steps)
    near = jnp.abs(steps - nearest) <= jnp.finfo(steps.dtype).eps * steps
    return steps + jax.lax.stop_gradient(jnp.where(near, nearest - steps, 0))
