"""`Mask`: which leaves a transformation applies to, as a static value."""

from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from jopt.core._buckets import Buckets
from jopt.core._labels import Labels, Words, named
from jopt.core._pytree import PyTree


class Mask(Labels):
    """`Labels` that are bools: a tree of them, or a function that says them."""

    noun, tree = "bool", "The mask's tree"

    def checked(self, words: Words, label: Any) -> bool:
        kinds = (bool, np.bool_, np.ndarray, jax.Array)
        if isinstance(label, kinds) and not isinstance(label, Tracer):
            label = np.asarray(label)
            if label.dtype == bool and label.ndim == 0:
                return bool(label)
        raise TypeError(
            f"Mask: at {named(words)} there must be a bool, got {label!r}; make the "
            "mask of paths, shapes and dtypes, True where a leaf is chosen."
        )

    def choose(self, params: PyTree, chosen: PyTree, others: PyTree) -> PyTree:
        """Return the leaves of `chosen` where the mask is true, else of `others`.

        Where it is false there may be anything in `chosen`, a masked node for one.
        """
        mask = self.on(params)
        ours, _ = mask.nodes(chosen)
        theirs, structure = mask.nodes(others)
        return structure.unflatten(
            new if yes else old
            for (yes, new), (_, old) in zip(ours, theirs, strict=True)
        )

    def hide(self, tree: PyTree, hidden: PyTree) -> PyTree:
        """Return `tree` with `hidden` where the mask, from `on`, is false.

        Taken apart, buckets are the tree that this returns of what is in them.
        """
        nodes, structure = self.nodes(tree)
        # Without a label there is a node without leaves, and nothing to hide.
        made = structure.unflatten(hidden if yes is False else n for yes, n in nodes)
        if isinstance(tree, Buckets) and isinstance(self._apart, Mask):
            shown = self._apart.hide(tree.layout.numbers, hidden)
            return Buckets(made.vectors, made.leaves, tree.layout.showing(shown))
        return made


def as_mask(given: PyTree) -> Mask | None:
    """Return `given` as a `Mask`; None, which is no mask, as it is.

    Args:
      given: a tree of bools, a function of params that returns one, a mask or None.
    """
    return given if given is None or isinstance(given, Mask) else Mask(given)
