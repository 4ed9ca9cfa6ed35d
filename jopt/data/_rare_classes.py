"""Rare classes: weights for a loss, and batches that have more of them."""

import dataclasses
import functools
import math

import jax
import numpy as np

from jopt.core import PyTree, argument_error, check, checked, checked_class


@checked
def class_weights(labels: np.ndarray, *, power: float = 1.0) -> np.ndarray:
    """Return a weight for each class, for `losses.ClassWeighted`.

        w_c ~ n_c^-power,   the mean of w over the examples is 1

    Args:
      labels: labels of the training examples, integers from 0 on.
      power: at 1, scikit-learn's "balanced"; at 0.5, the square root; at 0, all are 1.

    Returns:
      float32[classes].

    Raises:
      ValueError: a label is not a class, a class has no example, or the power is not
        finite.
    """
    counts = _counts("class_weights", labels)
    _check_power("class_weights", power)
    weights = counts**-power
    return (weights * counts.sum() / (weights * counts).sum()).astype(np.float32)


@checked_class
@dataclasses.dataclass(frozen=True, eq=False)
class BalancedBatches:
    """Draw batches in which rare classes are more frequent than in the data.

        p_c ~ n_c^(1 - power)    the probability of class c; its examples are equally
        likely

        batches = data.BalancedBatches(train, train[1], batch_size=64)
        Task.from_model(..., train=sweep.by_step(batches))

    Examples are drawn with replacement, and a batch depends only on the seed and the
    step. They are drawn from the training part, not copied before the split, so no
    example is in both the training and the validation part.

    Args:
      examples: a tree of arrays whose first axis is the example.
      labels: the class of each example, integers from 0 on.
      batch_size: examples of a batch, at least 1.
      power: at 1 all classes are equally frequent, at 0 as frequent as in the data.
      seed: the seed of the draws.

    Raises:
      TypeError: the examples are not a tree of arrays.
      ValueError: a label is not a class, the labels are not as many as the examples, a
        class has no example, or a number breaks its rule.
    """

    examples: PyTree
    labels: np.ndarray
    batch_size: int = 64
    power: float = 1.0
    seed: int = 0

    def __post_init__(self):
        check(self, "batch_size", least=1)
        check(self, "seed", least=0)
        _check_power("BalancedBatches", self.power)
        _counts("BalancedBatches", self.labels)
        leaves = jax.tree.leaves(self.examples)
        if not leaves or not all(getattr(leaf, "shape", ()) for leaf in leaves):
            rule = "a tree of arrays whose first axis is the example"
            given = self.examples
            raise argument_error("BalancedBatches", "examples", given, rule, TypeError)
        sizes = {len(leaf) for leaf in leaves}
        if sizes != {len(self.labels)}:
            rule = f"as many as the {', '.join(map(str, sorted(sizes)))} examples"
            given = len(self.labels)
            raise argument_error("BalancedBatches", "labels", given, rule, ValueError)

    @functools.cached_property
    def _ends(self) -> np.ndarray:
        """The upper ends of the examples' shares of [0, 1]."""
        labels = np.asarray(self.labels)
        shares = (np.bincount(labels).astype(float) ** -self.power)[labels]
        return np.cumsum(shares / shares.sum())

    def __call__(self, step: int) -> PyTree:
        """Return the batch of a step."""
        drawn = np.random.default_rng((self.seed, step)).random(self.batch_size)
        rows = np.searchsorted(self._ends, drawn, side="right")
        rows = np.minimum(rows, len(self._ends) - 1)
        return jax.tree.map(lambda array: np.asarray(array)[rows], self.examples)


def _check_power(title: str, power: float) -> None:
    if not math.isfinite(power):
        raise argument_error(title, "power", power, "finite", ValueError)


def _counts(title: str, labels: np.ndarray) -> np.ndarray:
    """Return the examples of each class, in float64."""
    given = np.asarray(labels)
    if given.ndim != 1 or not given.size or given.dtype.kind not in "iu":
        rule = "classes, integers on one axis"
        raise argument_error(title, "labels", labels, rule, ValueError)
    if given.min() < 0:
        raise argument_error(title, "labels", given.min(), "0 or above", ValueError)
    counts = np.bincount(given)
    if not counts.all():
        raise ValueError(
            f"{title}: labels must have an example of every class up to "
            f"{len(counts) - 1}, got none of class {int(counts.argmin())}; number the "
            "classes that there are."
        )
    return counts.astype(float)
