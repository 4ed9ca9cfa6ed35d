"""`hyperparameters` and `replace`: read and change numbers by name."""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Annotated, Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import GetAttrKey, tree_leaves_with_path

from jopt.core._arguments import checked
from jopt.core._errors import close_match
from jopt.core._kinds import Kind, State
from jopt.core._pytree import PyTree
from jopt.core._schedule import Schedule
from jopt.core._transformation import GradientTransformation, Transformation

Tx = TypeVar("Tx")
Path = tuple[str, ...]
_REPLACED = Kind("a transformation or a schedule", lambda value: _is_node(value))


@checked
def hyperparameters(tx: Transformation, state: State) -> dict[str, Any]:
    """Return every current number of `tx` by name, schedules at the state's step.

        tx = jopt.adamw(jopt.linear_schedule(1e-3, 0.0, 100))
        jopt.hyperparameters(tx, tx.init(params))["learning_rate"]  # 1e-3

    A name that stands in several parts is given with as much of its path as tells them
    apart: `0.b1` and `1.b1`, or `slow.b1` and `fast.b1` in a named chain. A schedule is
    one number: the value that the next update will use. Numbers that are off (None) are
    left out. Works on arrays and on tracers.
    """
    found = dict(_numbers(tx, state, ()))
    return {_name(path, list(found)): value for path, value in found.items()}


@checked
def replace(tx: Annotated[Tx, _REPLACED], **changes: Any) -> Tx:
    """Return `tx` with the named numbers, schedules or static fields changed.

        jopt.replace(tx, learning_rate=1e-4)
        jopt.replace(tx, **{"0.b1": 0.8})

    A name is a field's, at any depth: a schedule's `peak_value` too. Where several
    parts have it, give more of the path. A state stays valid as long as numbers replace
    numbers. What is made is checked like what a factory makes.

    Raises a ValueError that lists the paths if a name is unknown or ambiguous, or if
    two changes meet: a schedule and a number inside the one it replaces.
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


def _numbers(node: Any, state: PyTree, path: Path) -> Iterator[tuple[Path, Any]]:
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


def children(node: Any) -> list[tuple[str, Any]]:
    """Return what is inside a node of a transformation, each with its word of the path.

    The node itself is a transformation, a schedule, a dict or a tuple, else the list is
    empty.
    """
    if _is_labelled(node):
        return list(zip(node.labels, node.transforms, strict=True))
    if isinstance(node, dict):
        return list(node.items())
    if type(node) is tuple:
        return [(str(i), child) for i, child in enumerate(node)]
    if isinstance(node, (GradientTransformation, Schedule)):
        return [(f.name, getattr(node, f.name)) for f in dataclasses.fields(node)]  # pyright: ignore[reportArgumentType]
    return []


def _is_node(node: Any) -> bool:
    known = (GradientTransformation, Schedule)
    return isinstance(node, known) or bool(children(node))


def _is_labelled(node: Any) -> bool:
    """Whether it is a chain or a partition: parts with words of their own."""
    return isinstance(node, GradientTransformation) and hasattr(node, "labels")


def _is_number(value: Any) -> bool:
    if isinstance(value, (jax.Array, np.ndarray, np.number)):
        return bool(jnp.issubdtype(value.dtype, jnp.number))
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_static(node: Any, name: str) -> bool:
    """Whether it is a field that changes the program: structure, though an integer."""
    fields = dataclasses.fields(node) if dataclasses.is_dataclass(node) else ()
    return any(f.name == name and f.metadata.get("static") for f in fields)


_COUNTS = tuple(map(GetAttrKey, ("count", "step_count", "t", "gradient_step")))


def _count(state: PyTree) -> Any:
    """The count in a part's state: optax's parts nest it, ours have it on top."""
    for path, leaf in tree_leaves_with_path(state):
        if path and path[-1] in _COUNTS:
            return leaf
    raise ValueError(
        "hyperparameters: a schedule needs the count of its state, but the state has "
        "none; give the state that this transformation's own init and update made."
    )


def _name(path: Path, paths: list[Path]) -> str:
    """The last word of `path`, after as much of its start as no other path has."""
    for length in range(len(path)):
        short = (*path[:length], path[-1])
        if sum(_starts(short, other) for other in paths) == 1:
            return ".".join(short)
    return ".".join(path)


def _starts(words: Path, path: Path) -> bool:
    """Whether `words` are the start of `path` and its last word."""
    return path[: len(words) - 1] == words[:-1] and path[-1] == words[-1]


def _paths(node: Any, path: Path = ()) -> Iterator[Path]:
    for label, child in children(node):
        if not isinstance(child, (GradientTransformation, dict)):
            yield (*path, label)
        yield from _paths(child, (*path, label))


def _find(name: str, paths: list[Path]) -> Path:
    # Joined, for a label may have dots. A whole path is its own meaning, whatever is
    # like it; then comes what `hyperparameters` calls it.
    whole = [path for path in paths if name == ".".join(path)]
    starts = [path for path in paths if name in _starts_of(path)]
    ends = [path for path in paths if name in _ends_of(path)]
    for found in (whole, starts, ends):
        if len(found) == 1:
            return found[0]
    if found := list(dict.fromkeys(starts + ends)):
        raise ValueError(
            f"replace: {name} is ambiguous, it stands at {_listed(found)}; "
            "give the path, as in replace(tx, **{path: value})."
        )
    close = close_match(name.rpartition(".")[2], [path[-1] for path in paths])
    raise ValueError(
        f"replace: there is no {name} here{close}; there is "
        f"{_listed(paths) or 'nothing to replace'}."
    )


def _starts_of(path: Path) -> list[str]:
    return [".".join((*path[:i], path[-1])) for i in range(len(path))]


def _ends_of(path: Path) -> list[str]:
    return [".".join(path[i:]) for i in range(len(path))]


def _listed(paths: list[Path]) -> str:
    return ", ".join(map(".".join, paths))


def _rebuilt(node: Any, path: Path, changes: dict[Path, Any]) -> Any:
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
