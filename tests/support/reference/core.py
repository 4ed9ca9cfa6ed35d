"""How references are made: rules become transformations, which can be chained."""

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

Rule = Callable[..., Iterator[tuple[Any, dict[str, Any]]]]


def as_data(factory: Callable[..., Any]) -> Callable[..., Any]:
    """Round the numbers given to `factory`, its defaults too, to those of float32.

    0.999 is no float32: what a program that takes it as data computes with is
    0.99900001287..., and that is the number whose mathematics is compared.
    """
    signature = inspect.signature(factory)

    def rounded(value: Any) -> Any:
        return float(np.float32(value)) if type(value) in (int, float) else value

    @functools.wraps(factory)
    def made(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        for name, value in bound.arguments.items():
            bound.arguments[name] = rounded(value)
        return factory(*bound.args, **bound.kwargs)

    return made


def leafwise(rule: Rule) -> Callable[[Any, Any], tuple[Any, dict[str, Any]]]:
    """Make a transformation of `rule`: (gradients, params) of a leaf to (u, state)s."""

    def transformation(grads: Any, params: Any) -> tuple[Any, dict[str, Any]]:
        leaves, structure = jax.tree.flatten(grads)
        runs = []
        for g, p in zip(leaves, jax.tree.leaves(params), strict=True):
            steps = list(rule(g, p))
            states = [state for _, state in steps]
            fields = {name: np.stack([s[name] for s in states]) for name in states[0]}
            runs.append((np.stack([u for u, _ in steps]), fields))
        updates = structure.unflatten([u for u, _ in runs])
        names = runs[0][1]
        return updates, {
            name: structure.unflatten([state[name] for _, state in runs])
            for name in names
        }

    return transformation


def together(rule):
    """Make a transformation of a rule of the whole tree's coordinates as one vector."""

    def transformation(grads, params, **extra):
        leaves, structure = jax.tree.flatten(grads)
        flat = [
            np.concatenate([x.reshape(len(x), -1) for x in jax.tree.leaves(tree)], 1)
            for tree in (grads, params)
        ]
        steps = list(rule(*flat, **extra))
        ends = np.cumsum([leaf[0].size for leaf in leaves])
        parts = np.split(np.stack([u for u, _ in steps]), ends[:-1], axis=1)
        updates = [
            (part if np.iscomplexobj(leaf) else np.real(part)).reshape(leaf.shape)
            for part, leaf in zip(parts, leaves, strict=True)
        ]
        states = [state for _, state in steps]
        return structure.unflatten(updates), {
            name: np.stack([s[name] for s in states]) for name in states[0]
        }

    return transformation


def chain(*transformations: Any) -> Any:
    """Give each the updates of the one before it."""

    def transformation(updates: Any, params: Any) -> tuple[Any, dict[str, Any]]:
        states: dict[str, Any] = {}
        for part in transformations:
            updates, state = part(updates, params)
            states |= state
        return updates, states

    return transformation


def named_chain(*pairs: tuple[str, Any]) -> Any:
    """`chain`: here the names name nothing."""
    return chain(*(part for _, part in pairs))


def values_at(rate: Any, steps: int) -> Any:
    """A number, or a schedule's values, for each step."""
    if callable(rate):
        return rate(np.arange(steps, dtype=np.float64))
    return np.full(steps, rate)


def dot(a, b):
    return np.sum((np.conj(a) * b).real)


def apply(x, matrices):
    """Multiply `x` along each axis by its matrix."""
    for axis, matrix in enumerate(matrices):
        x = np.moveaxis(np.tensordot(matrix, x, (1, axis)), 0, axis)
    return x


def moments(x):
    """For each axis, the inner products of the slices of `x` along it."""
    rows = [np.moveaxis(x, i, 0).reshape(d, -1) for i, d in enumerate(x.shape)]
    return [(r @ r.conj().T).real for r in rows]


def diagonal(x):
    """Whether a leaf like `x` has no matrices."""
    return x.ndim < 2 or x.size == 0 or np.iscomplexobj(x)
