"""The tables of all transformations and schedules, which the contract tests run over.

A new transformation or schedule adds rows: `rows/__init__.py` says where. Without
`--all`, costly tests run over the simplest rows only.
"""

import dataclasses
import importlib
import pkgutil
from collections.abc import Iterable
from typing import Any

import jax
import pytest
import rows
from rows import Row

import jopt

ROOMS: dict[str, dict[str, Row]] = {
    module.name: {
        name: row if isinstance(row, Row) else Row(row)
        for name, row in importlib.import_module(f"rows.{module.name}").ROWS.items()
    }
    for module in pkgutil.iter_modules(rows.__path__)
}
SCHEDULES = ROOMS.pop("schedules")
TRANSFORMATIONS = {name: row for room in ROOMS.values() for name, row in room.items()}


def parts(tree: Any) -> set[type]:
    """Return the classes of a transformation and of the transformations inside it."""
    if isinstance(tree, (list, tuple)):
        return set().union(*map(parts, tree))
    if isinstance(tree, dict):
        return parts(list(tree.values()))
    if not dataclasses.is_dataclass(tree):
        return set()
    fields = [getattr(tree, field.name) for field in dataclasses.fields(tree)]
    return {type(tree)} | parts(fields)


def simplest() -> set[str]:
    """Return rows that together have every part, chosen from few parts to many."""
    found = {name: parts(row(jopt)) for name, row in TRANSFORMATIONS.items()}
    seen: set[type] = set()
    chosen = set()
    for name in sorted(found, key=lambda name: len(found[name])):
        if not found[name] <= seen:
            chosen.add(name)
            seen |= found[name]
    return chosen


# Besides, the smallest rows whose rate is a schedule or a function: optimizers come
# before them and have these parts, too.
SIMPLEST = simplest() | {
    "scale_by_learning_rate, schedule",
    "scale_by_schedule, function",
}


def simplest_first(names: Iterable[str], every: int = 1, first: int = 0) -> list[Any]:
    """Return pytest's parameters for these rows, with all but the simplest as slow.

    Args:
      names: of rows.
      every: how many of the simplest rows there are to a quick one.
      first: of the simplest rows that is quick. Tests of one row look at much of the
        same code, so that they take turns: each has another first row.
    """
    quick = sorted(SIMPLEST)[first::every]
    slow = pytest.mark.slow("its parts are those of simpler rows, or other tests' turn")
    return [pytest.param(name, marks=() if name in quick else slow) for name in names]


def numbers(tree: Any) -> dict[str, Any]:
    """Return every number of a transformation or schedule by its path."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def values(number: float) -> tuple[float, float, float]:
    """Return the number and two others that the same argument may have."""
    return number, number / 2, 0.01 if abs(number) < 0.01 else number / 4


def variations(tree: Any) -> list[Any]:
    """Return copies of `tree`: three for each of its numbers, with only it changed."""
    leaves, structure = jax.tree.flatten(tree)
    return [
        structure.unflatten([*leaves[:i], value, *leaves[i + 1 :]])
        for i, number in enumerate(leaves)
        for value in values(number)
    ]
