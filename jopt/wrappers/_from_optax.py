"""optax's factories by name, lifted."""

from collections.abc import Mapping
from typing import Any

from jopt.wrappers.lift import Lifted, lift


def from_optax(name: str, arguments: Mapping[str, Any], *fixed: str) -> Lifted:
    """Return what that factory of optax makes; numbers named `fixed` are no leaves."""
    import optax
    import optax.contrib

    library = optax.contrib if hasattr(optax.contrib, name) else optax
    return lift(getattr(library, name), fixed)(**arguments)
