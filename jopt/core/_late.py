"""Names of a module that are looked up when they are first used."""

import sys
from collections.abc import Callable, Collection
from typing import Any


def late(
    module: str, names: Collection[str], find: Callable[[str], Any]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the `__getattr__` and `__dir__` of a module with names found when used.

    Args:
      module: the module's `__name__`.
      names: the names that it does not define.
      find: the function that returns the object of a name.
    """

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        return find(name)

    return get, lambda: sorted({*vars(sys.modules[module]), *names})
