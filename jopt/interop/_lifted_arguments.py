"""optax's factories by name, lifted."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeAlias

import jax
import numpy as np

from jopt.core import Kind, PyTree, is_transformation
from jopt.interop._lift import Lifted, lift


def _is_mask(given: Any) -> bool:
    leaves = jax.tree.leaves(given)
    bools = bool(leaves) and all(isinstance(x, (bool, np.bool_)) for x in leaves)
    return given is None or callable(given) or bools


def _are_dimensions(given: Any) -> bool:
    tree = not jax.tree_util.all_leaves([given]) and bool(jax.tree.leaves(given))
    return given is None or callable(given) or tree


Mask: TypeAlias = Annotated[
    PyTree | Callable[[PyTree], PyTree] | None,
    Kind("a tree of bools, a function that makes one or None", _is_mask),
]
Dimensions: TypeAlias = Annotated[
    Any,
    Kind("a tree of GaLoreDimensionNumbers, a function or None", _are_dimensions),
]


def _is_line_search(given: Any) -> bool:
    known = given is None or (isinstance(given, str) and given == "zoom")
    return known or is_transformation(given)


LineSearch: TypeAlias = Annotated[
    Any,
    Kind(
        '"zoom", None or a transformation',
        _is_line_search,
        ValueError,
    ),
]


def from_optax(name: str, arguments: Mapping[str, Any], *fixed: str) -> Lifted:
    """Return what that factory of optax makes; numbers named `fixed` are no leaves."""
    import optax
    import optax.contrib

    library = optax.contrib if hasattr(optax.contrib, name) else optax
    return lift(getattr(library, name), fixed)(**arguments)
