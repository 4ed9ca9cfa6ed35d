"""A projection to few values that weights share: `Codebook`."""

import jax
import jax.numpy as jnp

from jopt.compress._projections import Projection
from jopt.core import Count, Number, check, pytree, quotient, static


@pytree
class Codebook(Projection):
    """Let the weights of a leaf share few values, found by k-means.

        c_i spread evenly from min w to max w at first; then `iterations` times:
            c_i <- mean of the weights that are nearest to c_i
        w <- the nearest c_i

    0 stays 0 and belongs to no value, so that a pruned leaf can be shared too.

    Args:
      size: values of each leaf, from 1 to `most`; it can be swept.
      most: the greatest size, static. The work grows with it.
      iterations: iterations of k-means, static, at least 1.

    Han et al. 2015, https://arxiv.org/abs/1510.00149, section 3.
    """

    size: Number = 16.0
    most: Count = static(default=16)
    iterations: Count = static(default=8)

    def __post_init__(self):
        check(self, "size", least=1, most=self.most, hint="A larger one needs most=.")

    def __call__(self, weights, count):
        return jax.tree.map(self._shared, weights)

    def _shared(self, w: jax.Array) -> jax.Array:
        used = w != 0
        low = jnp.min(w, initial=jnp.inf, where=used)
        high = jnp.max(w, initial=-jnp.inf, where=used)
        low, high = (jnp.where(jnp.any(used), x, 0) for x in (low, high))
        number = jnp.arange(self.most, dtype=w.dtype)
        spread = low + (high - low) * number / jnp.maximum(self.size - 1, 1)
        values = jnp.where(number < self.size, spread, jnp.inf)

        # Arrays of [*w.shape, most], which XLA never writes to memory.
        along = (1,) * w.ndim + (-1,)
        over = tuple(range(w.ndim))

        def members(values: jax.Array) -> jax.Array:
            # The values stay sorted: a weight's value follows the borders below it.
            borders = jax.lax.stop_gradient(values[1:] + values[:-1]) / 2
            below = w[..., None] > borders.reshape(along)
            own = jnp.sum(below, axis=-1, keepdims=True, dtype=w.dtype)
            return used[..., None] & (own == number.reshape(along))

        for _ in range(self.iterations):
            of_each = members(values)
            size = jnp.sum(of_each, over, dtype=w.dtype)
            total = jnp.sum(jnp.where(of_each, w[..., None], 0), over)
            values = jnp.where(size > 0, quotient(total, size), values)
        near = jnp.where(members(values), values.reshape(along), 0)
        return jnp.sum(near, axis=-1)
