"""Values of hyperparameters as tables and files show them."""

import functools
from collections.abc import Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jopt.sweep._equality import Identities
from jopt.sweep._references import lasting

FEW = 8  # numbers of an array that are shown one by one


def shown(value: Any) -> Any:
    """Return a value as tables show it: what is no plain value in words."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if _is_array(value):
        if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
            return f"{value.dtype}({np.asarray(jax.random.key_data(value)).tolist()})"
        if value.ndim == 0 and value.dtype.kind != "c":
            return value.item()
        if value.size > FEW:
            return f"{value.dtype}{list(value.shape)}"
        return f"{value.dtype}({np.asarray(value).tolist()})"
    if isinstance(value, functools.partial):
        return f"partial({shown(value.func)})"
    return getattr(value, "__name__", None) or lasting(repr(value))


def told_apart(values: Sequence[Any]) -> list[Any]:
    """Return the values as tables show them, two as one only where they are equal.

    Where `shown` is the same for different ones, their types are told, `float32(0.5)`
    beside `0.5`, and where that is not enough their numbers, `<lambda> #2`.
    """
    identities = Identities()
    numbers = list(map(identities.of, values))
    first: dict[int, Any] = {}
    for number, value in zip(numbers, values, strict=True):
        first.setdefault(number, value)
    words = {number: shown(value) for number, value in first.items()}
    for alike in _alike(words):
        words |= {number: _typed(first[number]) for number in alike}
    for alike in _alike(words):
        words |= {n: f"{words[n]} #{place}" for place, n in enumerate(alike, start=1)}
    return [words[number] for number in numbers]


def _alike(words: dict[int, Any]) -> list[list[int]]:
    """Which words are the same in a column; text in it makes all of it text."""
    text = any(isinstance(word, str) for word in words.values())
    found: dict[Hashable, list[int]] = {}
    for number, word in words.items():
        written = "" if word is None else str(word)
        found.setdefault(written if text else word, []).append(number)
    return [numbers for numbers in found.values() if len(numbers) > 1]


def _is_array(value: Any) -> bool:
    return isinstance(value, (np.generic, np.ndarray, jax.Array))


def _typed(value: Any) -> str:
    if _is_array(value) and value.ndim == 0:
        return f"{value.dtype}({shown(value)})"
    return repr(value) if isinstance(value, (bool, int, float, str)) else shown(value)
