"""The sparsity: a schedule over the steps, and a share for each layer."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jopt.core import Number, Schedule, check, progress, pytree, quotient


@pytree
class CubicSparsity(Schedule):
    """Raise the sparsity fast at first, and slowly where few weights are left.

        s(t) = final + (initial - final) (1 - f)^3
        f = clip((t - begin) / (end - begin), 0, 1)

    Args:
      final: sparsity from `end` on, in [0, 1).
      begin: first step of the rise, at least 0. Until then the sparsity is `initial`.
      end: last step of the rise; if it is `begin`, the sparsity jumps there.
      initial: sparsity until `begin`, in [0, 1).

    Zhu & Gupta 2017, https://arxiv.org/abs/1710.01878, equation 1.
    """

    final: Number
    begin: Number
    end: Number
    initial: Number = 0.0

    def __post_init__(self):
        check(self, "final", "initial", least=0, below=1)
        check(self, "begin", "end", least=0)

    def __call__(self, count):
        left = progress(count - self.begin, self.end - self.begin).remaining
        rising = self.final + (self.initial - self.final) * left**3
        return jnp.where(count < self.begin, self.initial, rising)


cubic_sparsity = CubicSparsity


def erk(shapes: Sequence[tuple[int, ...]], sparsity: jax.Array) -> list[jax.Array]:
    """Return the sparsity of each leaf by the rule of Erdős, Rényi and kernels.

        density of a leaf = min(1, c (sum of its sides) / (product of its sides))

    Large leaves are sparser than small ones. c is such that all leaves together have
    the wanted sparsity.

    Args:
      shapes: the shapes of the leaves.
      sparsity: the sparsity of all together.

    Evci et al. 2020, https://arxiv.org/abs/1911.11134, section 3.
    """
    size = jnp.asarray([float(math.prod(shape)) for shape in shapes])
    sides = jnp.asarray([float(sum(shape) or 1) for shape in shapes])
    wanted = (1 - sparsity) * jnp.sum(size)

    def densities(full: jax.Array) -> jax.Array:
        rest = wanted - jnp.sum(jnp.where(full, size, 0))
        # The product of the sides of a leaf is its size.
        c = quotient(rest, jnp.sum(jnp.where(full, 0, sides)))
        return jnp.where(full, 1, c * quotient(sides, size))

    def fill(_: int, full: jax.Array) -> jax.Array:
        return full | (densities(full) > 1)

    # A full leaf raises the density of the others, so a round may fill more of them.
    none = jnp.zeros(len(shapes), bool)
    full = jax.lax.fori_loop(0, len(shapes), fill, none)
    return list(1 - densities(full))
