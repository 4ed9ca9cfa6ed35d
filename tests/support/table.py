"""Every transformation and schedule, once: the contract tests run over these tables.

New ones add rows, in the file of their family under `rows`. Costly tests run over the
simplest rows in the quick run, and over all with `--all`.
"""

import contextlib
import dataclasses
import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rows

import jopt

FAMILIES = {
    module.name: importlib.import_module(f"rows.{module.name}").ROWS
    for module in pkgutil.iter_modules(rows.__path__)
}
SCHEDULES = FAMILIES.pop("schedules")
TRANSFORMATIONS = {
    name: row for family in FAMILIES.values() for name, row in family.items()
}


def parts(tree: Any) -> set[type]:
    """Return the classes that a transformation consists of."""
    if isinstance(tree, (list, tuple)):
        return set().union(*map(parts, tree))
    if isinstance(tree, dict):
        return parts(list(tree.values()))
    if not dataclasses.is_dataclass(tree):
        return set()
    fields = [getattr(tree, field.name) for field in dataclasses.fields(tree)]
    return {type(tree)} | parts(fields)


def simplest() -> set[str]:
    """Return the rows that together have every part, those of few parts first."""
    found = {name: parts(row(jopt)) for name, row in TRANSFORMATIONS.items()}
    seen: set[type] = set()
    chosen = set()
    for name in sorted(found, key=lambda name: len(found[name])):
        if not found[name] <= seen:
            chosen.add(name)
            seen |= found[name]
    return chosen


SIMPLEST = simplest()


def simplest_first(names: Iterable[str]) -> list[Any]:
    """Return pytest's parameters for these rows; all but the simplest are slow."""
    slow = pytest.mark.slow("its parts are those of simpler rows")
    return [
        pytest.param(name, marks=() if name in SIMPLEST else slow) for name in names
    ]


def numbers(tree: Any) -> dict[str, Any]:
    """Every number of a transformation or schedule by its path."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def values(number: float) -> tuple[float, float, float]:
    """A number and two others that are as lawful."""
    return number, number / 2, 0.01 if abs(number) < 0.01 else number / 4


def variations(tree: Any) -> list[Any]:
    """`tree` with three values for each of its numbers in turn, the others kept."""
    leaves, structure = jax.tree.flatten(tree)
    return [
        structure.unflatten([*leaves[:i], value, *leaves[i + 1 :]])
        for i, number in enumerate(leaves)
        for value in values(number)
    ]


def stack(trees: list[Any]) -> Any:
    """Trees of one structure as one tree, whose leaves gain a leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def assert_close(got: Any, wanted: Any, rtol: float, scale: float = 2e-7) -> None:
    """Compare trees of arrays; axis 0 of their leaves is the step.

    `scale` is of the greatest of the coordinate's own values, for where it passes
    through zero: a sum keeps the rounding of its terms.
    """
    ours, theirs = jax.tree.leaves(got), jax.tree.leaves(wanted)
    assert len(ours) == len(theirs)
    for x, y in zip(ours, theirs, strict=True):
        y = np.asarray(y)
        size = np.max(np.abs(y), axis=0, initial=0, keepdims=True)
        slack = rtol * np.abs(y) + scale * size
        np.testing.assert_array_less(np.abs(np.asarray(x) - y), slack + 1e-30)


def counted(function: Callable[..., Any], **settings: Any) -> tuple[Any, list[Any]]:
    """`function` compiled, and a list that grows by one whenever it is traced."""
    traces = []

    def traced(*args: Any) -> Any:
        traces.append(args)
        return function(*args)

    return jax.jit(traced, **settings), traces


def once(function: Callable[..., Any], *args: Any) -> Any:
    """What `function` returns, compiled without optimizations: all it costs."""
    options: Any = {"xla_backend_optimization_level": 0}
    return jax.jit(function).lower(*args).compile(options)(*args)


@contextlib.contextmanager
def relaxed() -> Iterator[None]:
    """JAX's own promotion rules, which optax relies on."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield
