"""`Mask`: which leaves a transformation applies to, as a static value."""

from collections.abc import Callable
from typing import Any

import jax

from jopt._pytree import PyTree


class Mask:
    """A tree of bools, or a function of the params that makes one; hashable.

    A tree may be a prefix of the params: `True` stands for all below it.
    """

    def __init__(self, tree: PyTree | Callable[[PyTree], PyTree]):
        self._function = tree if callable(tree) else None
        self._leaves, self._structure = jax.tree.flatten(tree)

    def choose(self, params: PyTree, chosen: PyTree, others: PyTree) -> PyTree:
        """Return the leaves of `chosen` where the mask is true, else of `others`."""
        leaves, structure = jax.tree.flatten(chosen)
        rows = zip(self.leaves(params), leaves, jax.tree.leaves(others), strict=True)
        return structure.unflatten(a if yes else b for yes, a, b in rows)

    def leaves(self, params: PyTree) -> list[bool]:
        """Return a bool for each leaf of `params`.

        Raises a ValueError if the mask's tree is no prefix of `params`.
        """
        if self._function is not None:
            return Mask(self._function(params)).leaves(params)
        mask = self._structure.unflatten(self._leaves)
        try:
            spread = jax.tree.map(
                lambda chosen, part: jax.tree.map(lambda _: bool(chosen), part),
                mask,
                params,
            )
        except ValueError as error:
            raise ValueError(
                "The mask's tree must be the params' tree, or a prefix of it, with a "
                f"bool at each leaf; {str(error).splitlines()[0]}"
            ) from None
        return jax.tree.leaves(spread)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mask) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        if self._function is not None:
            return repr(self._function)
        return repr(self._structure.unflatten(self._leaves))

    def _key(self) -> Any:
        if self._function is not None:
            return self._function
        return self._structure, tuple(self._leaves)
