"""The modules that files of Python's library import, and the parts of `imports`."""

import collections
import re
import sys
from typing import Any

import numpy as np

from jopt.tasks._cache import of_library

LEAST = 4, 3  # least modules of a file, and files of a module

_LINE = re.compile(rb"^(?:from[ \t]+(\w+)[\w.]*[ \t]|import[ \t]+([\w., \t]+))", re.M)


def parts_of_imports(split: int) -> tuple[dict[str, Any], np.ndarray]:
    """Return the examples (file, known modules, one module), and all known modules."""
    imported: dict[str, list[str]] = of_library("imports", read_imports)
    counts = collections.Counter(name for names in imported.values() for name in names)
    names = sorted(name for name, files in counts.items() if files >= LEAST[1])
    place = {name: n for n, name in enumerate(names)}
    each = [[place[n] for n in found if n in place] for found in imported.values()]
    each = [found for found in each if len(found) >= LEAST[0]]
    random = np.random.RandomState(split)
    orders = [random.permutation(found) for found in each]
    known = np.zeros((len(each), len(names)), bool)
    for row, order in zip(known, orders, strict=True):
        row[order[2:]] = True
    held = np.array([order[:3] for order in orders], np.int32)
    files = np.arange(len(each), dtype=np.int32)
    columns = {"valid": 0, "test": 1, "train": 2}
    return {name: (files, known, held[:, c]) for name, c in columns.items()}, known


def rivals(known: np.ndarray) -> dict[str, np.ndarray]:
    """Return the scores of each baseline, float[files, modules], by its name.

    Args:
      known: bool[files, modules].
    """
    together = known.T.astype(float) @ known
    sizes = np.sqrt(np.maximum(np.diagonal(together), 1))
    return {
        "popular modules": np.broadcast_to(known.sum(axis=0), known.shape),
        "nearest modules": known @ (together / np.outer(sizes, sizes)),
    }


def read_imports(sources: dict[str, bytes]) -> dict[str, list[str]]:
    """Return the library's modules that each file imports at its left margin, sorted.

    Args:
      sources: files by path, in any encoding that agrees with ASCII.
    """
    found: dict[str, list[str]] = {}
    for path, source in sources.items():
        names: set[bytes] = set()
        for one, several in _LINE.findall(source):
            words = [one] if one else [w.strip() for w in several.split(b",")]
            names.update(re.split(rb"[.\s]", word)[0] for word in words)
        ours = {name.decode("ascii", "replace") for name in names}
        found[path] = sorted(ours & sys.stdlib_module_names)
    return found
