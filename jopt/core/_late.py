"""Module attributes that are found when they are first used."""

import sys
from collections.abc import Callable, Collection
from typing import TypeVar

T = TypeVar("T")


def late(
    module: str, names: Collection[str], find: Callable[[str], T]
) -> tuple[Callable[[str], T], Callable[[], list[str]]]:
    """Return the `__getattr__` and `__dir__` of a module with lazy attributes.

        __getattr__, __dir__ = late(__name__, NAMES, find)

    Args:
      module: the module's `__name__`.
      names: the lazy attributes; the module does not define them.
      find: returns the object for one of the names.
    """

    def get(name: str) -> T:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        return find(name)

    return get, lambda: sorted({*vars(sys.modules[module]), *names})
