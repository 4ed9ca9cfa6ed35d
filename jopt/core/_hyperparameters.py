"""Hyperparameters by name: read them, and replace them.

A hyperparameter has a path, such as ("0", "b1") for `b1` of the first part of a chain.
Its name is the last component of the path: "b1". If several paths end in it, the
shortest start of the path that makes it unique comes first: "0.b1" and "1.b1".
"""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Annotated, Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import GetAttrKey, all_leaves, tree_leaves_with_path

from jopt.core._arguments import checked
from jopt.core._errors import close_match
from jopt.core._kinds import Kind, State
from jopt.core._pytree import PyTree, TreePath
from jopt.core._schedule import Schedule
from jopt.core._transformation import GradientTransformation, Transformation

Tx = TypeVar("Tx")
_REPLACED = Kind("a transformation or a schedule", lambda value: _is_node(value))


@checked
def hyperparameters(tx: Transformation, state: State) -> dict[str, Any]:
    """Return the current value of every hyperparameter of a transformation, by name.

        tx = jopt.adamw(jopt.linear_schedule(1e-3, 0.0, 100))
        jopt.hyperparameters(tx, tx.init(params))["learning_rate"]  # 1e-3

    A name that occurs in several parts follows the shortest start of its path that
    makes it unique: `0.b1` and `1.b1`, or `slow.b1` and `fast.b1` in a named chain.

    Args:
      tx: a transformation.
      state: its state; arrays or tracers.

    Returns:
      The values by name. A schedule counts as one number: the value that the next
      update will use. Numbers that are off (None) are left out.

    Raises:
      ValueError: if there is a schedule, and the state has no count for it.
    """
    found = dict(_numbers(tx, state, ()))
    return {_name(path, list(found)): value for path, value in found.items()}


@checked
def replace(tx: Annotated[Tx, _REPLACED], **changes: Any) -> Tx:
    """Return `tx` with the named numbers, schedules or static fields changed.

        jopt.replace(tx, learning_rate=1e-4)
        jopt.replace(tx, **{"0.b1": 0.8})

    A state stays valid as long as numbers replace numbers.

    Args:
      tx: a transformation or a schedule.
      **changes: new values by name. A name is that of a field at any depth, including
        fields of a schedule, such as `peak_value`. If several parts have the field,
        give more of its path, as in `hyperparameters`.

    Returns:
      A new object, whose values are checked as in the constructor.

    Raises:
      ValueError: if a name is unknown or ambiguous (the error lists the paths), or if
        one change lies inside another, such as a schedule and a number of the schedule
        that it replaces.
    """
    paths = list(_paths(tx))
    found = {name: _find(name, paths) for name in changes}
    for outer, inner in itertools.permutations(found, 2):
        if found[inner][: len(found[outer])] == found[outer]:
            raise ValueError(
                f"replace: {outer} and {inner} change the same place, "
                f"{'.'.join(found[inner])}; give one of them."
            )
    return _rebuilt(tx, (), {found[name]: value for name, value in changes.items()})


def _numbers(
    node: PyTree, state: PyTree, path: TreePath
) -> Iterator[tuple[TreePath, Any]]:
    parts = node.parts(state) if isinstance(node, GradientTransformation) else {}
    for label, child in children(node):
        here = (*path, label)
        if label in parts:
            part, part_state = parts[label]
            yield from _numbers(part, part_state, here)
        elif isinstance(child, Schedule):
            yield here, child(_count(state))
        elif children(child):
            yield from _numbers(child, state, here)
        elif _is_number(child) and not _is_static(node, label):
            yield here, child


def children(node: PyTree) -> list[tuple[str, PyTree]]:
    """Return the children of a node, each with its component of the path.

    Transformations, schedules and other objects of `pytree` classes, dicts and tuples
    have children; for other nodes the list is empty.
    """
    if _is_labelled(node):
        return list(zip(node.labels, node.transforms, strict=True))
    if isinstance(node, dict):
        return list(node.items())
    if type(node) is tuple:
        return [(str(i), child) for i, child in enumerate(node)]
    if dataclasses.is_dataclass(node) and not all_leaves([node]):
        return [(f.name, getattr(node, f.name)) for f in dataclasses.fields(node)]
    return []


def _is_node(node: object) -> bool:
    known = (GradientTransformation, Schedule)
    return isinstance(node, known) or bool(children(node))


def _is_labelled(node: PyTree) -> bool:
    """Return whether `node` is a chain or a partition: its parts have labels."""
    return isinstance(node, GradientTransformation) and hasattr(node, "labels")


def _is_number(value: object) -> bool:
    if isinstance(value, (jax.Array, np.ndarray, np.number)):
        return bool(jnp.issubdtype(value.dtype, jnp.number))
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_static(node: object, name: str) -> bool:
    """Return whether a field is static: structure, even if it is an integer."""
    fields = dataclasses.fields(node) if dataclasses.is_dataclass(node) else ()
    return any(f.name == name and f.metadata.get("static") for f in fields)


_COUNTS = tuple(map(GetAttrKey, ("count", "step_count", "t", "gradient_step")))


def _count(state: PyTree) -> jax.Array:
    """Return the count in a part's state; states of optax's parts are nested."""
    for path, leaf in tree_leaves_with_path(state):
        if path and path[-1] in _COUNTS:
            return leaf
    raise ValueError(
        "hyperparameters: a schedule needs the count of its state, but the state has "
        "none; give the state that this transformation's own init and update made."
    )


def _abbreviations(path: TreePath) -> list[TreePath]:
    """Return the last component of `path` after 0, 1, ... components of its start."""
    return [(*path[:length], path[-1]) for length in range(len(path))]


def _name(path: TreePath, paths: list[TreePath]) -> str:
    """Return the shortest abbreviation of `path` that no other path has."""
    for short in _abbreviations(path):
        if sum(short in _abbreviations(other) for other in paths) == 1:
            return ".".join(short)
    return ".".join(path)


def _paths(node: PyTree, path: TreePath = ()) -> Iterator[TreePath]:
    for label, child in children(node):
        if not isinstance(child, (GradientTransformation, dict)):
            yield (*path, label)
        yield from _paths(child, (*path, label))


def _find(name: str, paths: list[TreePath]) -> TreePath:
    """Return the path that a name means, or raise ValueError."""
    # Names are compared as text, because a label may contain dots. A whole path takes
    # precedence, then a name that `hyperparameters` returns, then any end of a path.
    whole = [path for path in paths if name == ".".join(path)]
    starts = [path for path in paths if name in map(".".join, _abbreviations(path))]
    ends = [path for path in paths if name in _ends_of(path)]
    for found in (whole, starts, ends):
        if len(found) == 1:
            return found[0]
    if found := list(dict.fromkeys(starts + ends)):
        raise ValueError(
            f"replace: {name} is ambiguous, it occurs at {_listed(found)}; "
            "give the path, as in replace(tx, **{path: value})."
        )
    close = close_match(name.rpartition(".")[2], [path[-1] for path in paths])
    raise ValueError(
        f"replace: there is no {name} here{close}; there is "
        f"{_listed(paths) or 'nothing to replace'}."
    )


def _ends_of(path: TreePath) -> list[str]:
    return [".".join(path[i:]) for i in range(len(path))]


def _listed(paths: list[TreePath]) -> str:
    return ", ".join(map(".".join, paths))


def _rebuilt(node: PyTree, path: TreePath, changes: dict[TreePath, Any]) -> PyTree:
    if path in changes:
        return changes[path]
    if not any(changed[: len(path)] == path for changed in changes):
        return node
    rebuilt = {
        label: _rebuilt(child, (*path, label), changes)
        for label, child in children(node)
    }
    if _is_labelled(node):
        return dataclasses.replace(node, transforms=tuple(rebuilt.values()))
    if isinstance(node, tuple):
        return tuple(rebuilt.values())
    if isinstance(node, dict):
        return type(node)(rebuilt)
    return dataclasses.replace(node, **rebuilt)
