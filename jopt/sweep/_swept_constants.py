"""Find numbers that functions in transformations hold, and that are compiled in."""

import functools
import itertools
import types
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from jopt.core import Labels, children
from jopt.sweep._equality import contents, same
from jopt.sweep._shown_values import told_apart
from jopt.sweep._trial import Trial


def swept_constant(
    trials: Sequence[Trial], parts: Sequence[Sequence[int]]
) -> str | None:
    """Return a sentence about a number that makes programs differ, or None.

    A function in a field of a transformation holds the number: in a closure, a default,
    a partial's argument, or a bound method's object.

    Args:
      trials: the trials of a sweep.
      parts: the positions of each group's trials, as `groups` returns them.
    """
    firsts = [trials[rows[0]] for rows in parts]
    for one, other in itertools.pairwise(firsts):
        ours, theirs = _held(one.config), _held(other.config)
        for place in filter(theirs.__contains__, ours):
            pair = ours[place], theirs[place]
            if not same(*pair):
                field, name = place
                values = " and ".join(map(str, told_apart(pair)))
                return (
                    f"the function in the field {field} of {type(one.config).__name__} "
                    f"holds {name} ({values}), and what a function holds is a constant "
                    f"of its program; give {name} to a transformation or a schedule of "
                    "jopt as a number (to optax's by jopt.lift), and one program "
                    "trains all its values"
                )
    return None


def _held(tx: Any) -> dict[tuple[str, str], Any]:
    """Return the numbers that functions hold, by the function's field and name."""
    return {
        (".".join(path), name): number
        for path, value in _ends(tx, ())
        for name, number in _numbers("", value, set())
    }


def _ends(node: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    inside = children(node)
    for label, child in inside:
        yield from _ends(child, (*path, label))
    if not inside:
        yield path, node


def _numbers(name: str, value: Any, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Yield the numbers in a function and in the functions it holds, with names."""
    if id(value) in seen:  # a recursive function
        return
    seen.add(id(value))
    for inner, part in _parts(value):
        numbers = (int, float, complex, np.generic, np.ndarray, jax.Array)
        if isinstance(part, numbers) and not isinstance(part, bool):
            yield inner or name, part
        else:
            yield from _numbers(inner or name, part, seen)


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the values that a function holds, with the names of its code."""
    if isinstance(value, Labels):
        yield "", value.function
    elif isinstance(value, types.FunctionType):
        named = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
        yield from ((name, part) for name, cell in named for part in contents(cell))
        positional = value.__code__.co_varnames[: value.__code__.co_argcount]
        defaults = value.__defaults__ or ()
        yield from zip(reversed(positional), reversed(defaults), strict=False)
        yield from (value.__kwdefaults__ or {}).items()
    elif isinstance(value, functools.partial):
        yield "", value.func
        yield from ((f"argument {i}", part) for i, part in enumerate(value.args))
        yield from value.keywords.items()
    elif isinstance(value, types.MethodType):
        yield "", value.__func__
        yield from getattr(value.__self__, "__dict__", {}).items()
    elif isinstance(value, tuple):  # such as optax's pair
        yield from (("", part) for part in value)
    elif hasattr(value, "__wrapped__"):  # by jax.jit, functools.cache
        yield "", value.__wrapped__
