"""Exact masks without a sort: which coordinates have the smallest scores.

The bits of a float, read as an integer, order as the float does. So the k-th smallest
of any number of arrays is found bit by bit, from the highest to the lowest, and each
bit takes one count over all arrays. k may be data, `vmap` maps all counts at once, and
between devices only the counts are summed.
"""

from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

_NOWHERE = np.uint32(2**32 - 1)


def smallest(
    scores: Sequence[jax.Array],
    k: jax.Array | Sequence[jax.Array],
    axes: Sequence[int | None] | None = None,
) -> list[jax.Array]:
    """Return the masks of the k smallest scores.

    Among equal scores the first are taken, in the order of the arrays and then of their
    elements. NaN is greater than infinity.

    Args:
      scores: real arrays, compared in float32.
      k: an int32 scalar from 0 to the number of scores: one competition between the
        elements of all arrays. Or a list of such numbers: a competition in each array.
      axes: for such a list, along which axis each array has its competitions; None is
        one competition in the array.

    Returns:
      A bool array like each of `scores`.
    """
    together = isinstance(k, jax.Array)
    wanted = [k] if together else list(k)
    over = [None] * len(scores) if axes is None else list(axes)

    def counts(masks: Iterable[jax.Array]) -> list[jax.Array]:
        found = [
            jnp.sum(mask, axis, keepdims=axis is not None, dtype=jnp.int32)
            for mask, axis in zip(masks, over, strict=True)
        ]
        return [sum(found, start=jnp.zeros((), jnp.int32))] if together else found

    def for_each(found: list[jax.Array]) -> list[jax.Array]:
        return found * len(scores) if together else found

    def kth_smallest(
        values: list[jax.Array], wanted: list[jax.Array], bits: int
    ) -> list[jax.Array]:
        """Return the greatest numbers that have fewer than k values below them."""

        def add_bit(number: jax.Array, found: list[jax.Array]) -> list[jax.Array]:
            bit = jnp.uint32(1) << (bits - 1 - number).astype(jnp.uint32)
            tried = [x | bit for x in found]
            below = counts(v < t for v, t in zip(values, for_each(tried), strict=True))
            rows = zip(below, wanted, tried, found, strict=True)
            return [jnp.where(count < k, t, f) for count, k, t, f in rows]

        none = counts(v < 0 for v in values)
        start = [jnp.zeros_like(count, jnp.uint32) for count in none]
        return jax.lax.fori_loop(0, bits, add_bit, start)

    keys = [_ordered(x) for x in scores]
    found = for_each(kth_smallest(keys, wanted, 32))
    below = [key < limit for key, limit in zip(keys, found, strict=True)]
    # Ties are taken in the order of their places, until k are masked.
    left = [n - count for n, count in zip(wanted, counts(below), strict=True)]
    rows = zip(keys, found, _places(keys, over, together), strict=True)
    ties = [jnp.where(key == limit, place, _NOWHERE) for key, limit, place in rows]
    sizes = [key.size for key in keys]
    most = sum(sizes) if together else max(sizes, default=0)
    last = for_each(kth_smallest(ties, left, most.bit_length()))
    rows = zip(below, ties, last, for_each(wanted), strict=True)
    return [(less | (tie <= end)) & (k > 0) for less, tie, end, k in rows]


def _ordered(x: jax.Array) -> jax.Array:
    """Return uint32 that order as the floats do."""
    x = jax.lax.stop_gradient(x).astype(jnp.float32)
    x = jnp.where(jnp.isnan(x), jnp.nan, x)  # of one sign
    sign = jnp.uint32(1 << 31)
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
    bits = jnp.where(bits == sign, jnp.uint32(0), bits)  # -0 equals 0
    return jnp.where(bits < sign, bits | sign, ~bits)


def _places(
    arrays: Sequence[jax.Array], over: Sequence[int | None], together: bool
) -> list[jax.Array]:
    """Return the place of each element in its competition, uint32."""
    places, start = [], 0
    for x, axis in zip(arrays, over, strict=True):
        place = jnp.zeros(x.shape, jnp.uint32)
        for i, size in enumerate(x.shape):
            if axis in (None, i):
                place = place * size + jax.lax.broadcasted_iota(jnp.uint32, x.shape, i)
        places.append(place + jnp.uint32(start))
        start += x.size if together else 0
    return places
