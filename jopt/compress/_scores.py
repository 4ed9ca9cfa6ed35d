"""Scores of units: those with the smallest scores are pruned first."""

from typing import Annotated, TypeAlias

import jax
import jax.numpy as jnp

from jopt.compress._units import Unit, norm, total
from jopt.core import (
    Key,
    Kind,
    Number,
    PyTree,
    check,
    full_like,
    initial_key,
    map_leaves,
    mix,
    pytree,
    resolve_seed,
    static,
)


class Score:
    """The worth of each unit: a frozen pytree of numbers.

    Subclasses are `pytree` classes. They define `__call__`, and `init` and `update` if
    they remember what they have seen.
    """

    def init(self, weights: PyTree) -> PyTree:
        """Return the state before the first update.

        Args:
          weights: a tree of the leaves that may be pruned, arrays or shapes.
        """
        return ()

    def update(self, state: PyTree, grads: PyTree, weights: PyTree) -> PyTree:
        """Return the state after an update has seen gradients.

        Args:
          state: the state before.
          grads: the gradients, a tree like `weights`, in at least float32.
          weights: the weights at which they were taken, in at least float32.
        """
        return state

    def __call__(
        self, state: PyTree, grads: PyTree, weights: PyTree, unit: Unit
    ) -> PyTree:
        """Return the score of each unit: a tree of real arrays of units.

        Args:
          state: the state, this update's gradients included.
          grads, weights: as in `update`.
          unit: the coordinates that share a score.
        """
        raise NotImplementedError


@pytree
class Magnitude(Score):
    """Score a unit by its L2 norm, an element by its modulus.

    Han et al. 2015, https://arxiv.org/abs/1506.02626.
    """

    def __call__(self, state, grads, weights, unit):
        return jax.tree.map(lambda w: norm(w, unit), weights)


@pytree
class Gradient(Score):
    """Score a unit by the change of the loss without it, estimated from one gradient.

        sum of |g p| over the unit

    The gradient is that of the update that prunes. With a constant sparsity that is
    the first one: this is SNIP, which prunes before training.

    Lee et al. 2018, https://arxiv.org/abs/1810.02340.
    """

    def __call__(self, state, grads, weights, unit):
        return jax.tree.map(lambda g, p: total(_change(g, p), unit), grads, weights)


@pytree
class Taylor(Score):
    """Score a unit by the change of the loss without it, estimated from many gradients.

        s <- decay s + (1 - decay) |g p|        summed over the unit

    Args:
      decay: share of s that an update keeps, in [0, 1).

    Molchanov et al. 2019, https://arxiv.org/abs/1906.10771, equation 8, of first order.
    """

    decay: Number = 0.9

    def __post_init__(self):
        check(self, "decay", least=0, below=1)

    def init(self, weights):
        return full_like(weights, real=True)

    def update(self, state, grads, weights):
        rule = lambda s, g, p: mix(s, _change(g, p), self.decay)  # noqa: E731
        return map_leaves(rule, state, grads, weights)

    def __call__(self, state, grads, weights, unit):
        return jax.tree.map(lambda s: total(s, unit), state)


@pytree
class Movement(Score):
    """Score a unit by how far training moves it away from 0.

        s <- s - g p        summed over the unit

    A step along -g makes a weight larger where -g p is positive. Weights that training
    moves towards 0 are pruned first, whatever their size, which suits fine-tuning.

    Sanh et al. 2020, https://arxiv.org/abs/2005.07683.
    """

    def init(self, weights):
        return full_like(weights, real=True)

    def update(self, state, grads, weights):
        return map_leaves(lambda s, g, p: s - (g * p).real, state, grads, weights)

    def __call__(self, state, grads, weights, unit):
        return jax.tree.map(lambda s: total(s, unit), state)


@pytree
class Random(Score):
    """Score units at random, the same at every update.

    Args:
      key: key of the random numbers, a key of `jax.random.key` or a seed; by default
        the seed 0. A key is data and can be swept.
      seed: a whole number, in place of `key`.

    Raises:
      ValueError: if key and seed are both given.
    """

    key: Key | None = None
    seed: int | None = static(default=None, kw_only=True)

    def __post_init__(self):
        resolve_seed(self)

    def __call__(self, state, grads, weights, unit):
        key = initial_key(self.key, self.seed)
        leaves, structure = jax.tree.flatten(Magnitude()((), grads, weights, unit))
        return structure.unflatten(
            jax.random.uniform(jax.random.fold_in(key, i), units.shape)
            for i, units in enumerate(leaves)
        )


AnyScore: TypeAlias = Annotated[
    Score, Kind("a score, such as jopt.Magnitude()", lambda x: isinstance(x, Score))
]
"""An argument that is a score."""


def _change(g: jax.Array, p: jax.Array) -> jax.Array:
    """Return the first-order change of the loss if each parameter were 0."""
    return jnp.abs((g * p).real)
