"""Folds: cut the examples into parts, each of which is held out once."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jopt.core import PyTree, check, checked_class, noted


@checked_class
@dataclasses.dataclass(frozen=True)
class Folds:
    """Cut the examples at random, balanced by class, by group or both.

        folds = sweep.Folds(5, stratify=lambda examples: examples[1])
        sweep.run(task, trials, folds=folds)

    The host calls both functions once, on the training and validation examples
    together, a tree of NumPy arrays. They return one value an example.

    Groups are taken in a random order, the largest first. Each goes to the part that
    holds the least of its classes:

        argmin over parts of sum over classes c of (share of c) (share of c in the part)

    Args:
      n: parts, at least 2.
      stratify: examples -> classes. The parts' counts of each class differ by at most
        one example; with groups, by as little as the groups allow.
      groups: examples -> groups, such as the person that an example is from. Each group
        is in one part.
    """

    n: int
    stratify: Callable[[PyTree], Any] | None = None
    groups: Callable[[PyTree], Any] | None = None

    def __post_init__(self):
        check(self, "n", least=2)

    def parts(self, examples: PyTree, random: np.random.Generator) -> list[np.ndarray]:
        """Return the rows of each part, ascending: a partition of the examples.

        Raises:
          ValueError: there are fewer examples, groups, or examples of a class than
            parts; or a function does not return one value an example.
        """
        size = len(jax.tree.leaves(examples)[0])
        if self.n > size:
            raise ValueError(
                f"Folds: n must be at most the {size} examples, got {self.n}."
            )
        order = random.permutation(size)
        classes = np.zeros(size, int)
        if self.stratify is not None:
            names, classes = _values("stratify", self.stratify, examples, size)
            sizes = np.bincount(classes)
            if sizes.min() < self.n:
                raise ValueError(
                    f"Folds: stratify must give each class at least {self.n} examples, "
                    f"one a part, got {sizes.min()} of the class "
                    f"{names[sizes.argmin()]}; ask for fewer parts, or join classes."
                )
        if self.groups is not None:
            names, groups = _values("groups", self.groups, examples, size)
            if len(names) < self.n:
                raise ValueError(
                    f"Folds: groups must be at least {self.n}, one a part, got "
                    f"{len(names)}; ask for fewer parts."
                )
            part_of_group = self._dealt(groups, classes, random)
            parts = [np.flatnonzero(part_of_group[groups] == i) for i in range(self.n)]
        elif self.stratify is not None:
            order = order[np.argsort(classes[order], kind="stable")]
            parts = [order[first :: self.n] for first in range(self.n)]
        else:
            parts = np.array_split(order, self.n)
        return [np.sort(part) for part in parts]

    def _dealt(
        self, groups: np.ndarray, classes: np.ndarray, random: np.random.Generator
    ) -> np.ndarray:
        """Return the part of each group, int[groups]."""
        counts = np.zeros((groups.max() + 1, classes.max() + 1))
        np.add.at(counts, (groups, classes), 1)
        sizes, shares = counts.sum(axis=1), counts / counts.sum(axis=0)
        order = random.permutation(len(sizes))
        order = order[np.argsort(-sizes[order], kind="stable")]
        held = np.zeros((self.n, shares.shape[1]))  # shares of each class, by part
        filled = np.zeros(self.n)  # examples
        dealt = np.zeros(len(sizes), int)
        for group in order:
            # Rounded, so that equal parts are equal on every machine.
            overlap = np.round(held @ shares[group], 12)
            dealt[group] = part = np.lexsort((filled, overlap))[0]
            held[part] += shares[group]
            filled[part] += sizes[group]
        return dealt


def _values(
    name: str, function: Callable[[PyTree], Any], examples: PyTree, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the values that differ, and the place among them of each example's."""
    with noted(f"In {name} of the folds, on all {size} examples."):
        values = np.asarray(function(examples))
    if values.shape != (size,):
        raise ValueError(
            f"Folds: {name} must return one value an example, of the shape ({size},), "
            f"got {values.shape}."
        )
    found, places = np.unique(values, return_inverse=True)
    return found, places
