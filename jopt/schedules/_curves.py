"""The curves of schedules: functions from one `Way` (progress) to another."""

import jax.numpy as jnp

from jopt.core import Progress, as_number, progress, root


def half_cosine(straight):
    """Return the progress along half a cosine: slow, fast, slow."""
    # sin^2 of half the angle: 1 + cos would keep few digits near the end.
    return Progress(*(jnp.sin(jnp.pi / 2 * share) ** 2 for share in straight))


def power(straight, exponent):
    """Return the progress that leaves `left ** exponent`; its gradient at the end is 0.

    For an exponent below 1 the true gradient there is infinite, and every schedule
    reaches its end.
    """
    some = straight.remaining > 0
    left = jnp.where(some, jnp.where(some, straight.remaining, 1) ** exponent, 0)
    near = left > 0.5
    start = jnp.where(near, straight.elapsed, 0)
    return Progress(
        jnp.where(near, -jnp.expm1(exponent * jnp.log1p(-start)), 1 - left), left
    )


def square_root(straight):
    """Return the progress `sqrt(gone)`: fast, then slow."""
    gone = root(straight.elapsed)
    return Progress(gone, straight.remaining / (1 + gone))


def blend(first, last, curve):
    """Return a value between `first` and `last`, without rounding at either end."""
    return first * curve.remaining + last * curve.elapsed


def floats(numbers):
    """Return the numbers as a tuple, with Python integers as floats."""
    return tuple(map(as_number, numbers))


CURVES = {"linear": lambda straight: straight, "cosine": half_cosine}


def interpolate(count, boundaries, values, interpolate_type):
    """Return the value at `count`, interpolated from each boundary to the next.

    Args:
      count: steps, a float array of any shape.
      boundaries: steps, ascending.
      values: one more than boundaries: the value at step 0, then one for each boundary.
      interpolate_type: a key of `CURVES`.
    """
    result, begin = jnp.broadcast_to(values[0], count.shape), 0
    for i, end in enumerate(boundaries):
        curve = CURVES[interpolate_type](progress(count - begin, end - begin))
        piece = blend(values[i], values[i + 1], curve)
        result, begin = jnp.where(count < begin, result, piece), end
    return result
