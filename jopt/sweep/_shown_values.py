"""Values of hyperparameters, formatted for tables and files."""

import math
import re
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from jopt.core import is_real
from jopt.sweep._equality import Identities
from jopt.sweep._json import shown
from jopt.sweep._trial import Trial

# A table's reserved columns. Hyperparameters with these names get the prefix `param_`.
OWN = re.compile(
    "(param_)*(trials?|seed|fold|status|steps|within_bounds|confirmed|train_.*|valid_.*)"
)


def told_apart(values: Sequence[Any]) -> list[Any]:
    """Format values for tables, equal texts for equal values only.

    If `shown` gives different values one text, their types are added: `float32(0.5)`
    beside `0.5`. If the texts still agree, they are numbered: `<lambda> #2`.
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
    """Return groups of equal texts in a column; one string makes all strings."""
    text = any(isinstance(word, str) for word in words.values())
    found: dict[Hashable, list[int]] = {}
    for number, word in words.items():
        written = "" if word is None else str(word)
        found.setdefault(written if text else word, []).append(number)
    return [numbers for numbers in found.values() if len(numbers) > 1]


def _typed(value: Any) -> str:
    if hasattr(value, "dtype") and value.ndim == 0:
        return f"{value.dtype}({shown(value)})"
    return repr(value) if isinstance(value, (bool, int, float, str)) else shown(value)


def shown_settings(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Return each trial's hyperparameters as tables show them, by name.

    For one name, equal texts mean equal values.
    """
    found: list[dict[str, Any]] = [{} for _ in trials]
    for name in dict.fromkeys(name for t in trials for name in t.hyperparameters):
        rows = [row for row, t in enumerate(trials) if name in t.hyperparameters]
        values = told_apart([trials[row].hyperparameters[name] for row in rows])
        for row, value in zip(rows, values, strict=True):
            found[row][name] = value
    return found


def space(trials: Sequence[Trial]) -> dict[str, list[Any]]:
    """Return the values of each column of `columns`, in the order of the trials."""
    found: dict[str, dict[Any, Any]] = {}
    for setting in shown_settings(trials):
        for name, value in setting.items():
            # Compare by repr, since NaN is not equal to NaN.
            found.setdefault(column_of(name), {}).setdefault(repr(value), value)
    return {name: list(values.values()) for name, values in found.items()}


def column_of(name: str) -> str:
    """Return the table's column of a hyperparameter, such as `param_seed` for `seed`.

    Two hyperparameters never share a column.
    """
    return f"param_{name}" if OWN.fullmatch(name) else name


def columns(trials: Sequence[Trial]) -> dict[str, np.ndarray]:
    """Return the hyperparameters of all trials as columns of a table.

    A trial without a hyperparameter has NaN in numeric columns, and None in others.
    """
    settings = shown_settings(trials)
    found: dict[str, np.ndarray] = {}
    for name in dict.fromkeys(name for setting in settings for name in setting):
        values = [setting[name] for setting in settings if name in setting]
        none = math.nan if all(map(is_real, values)) else None
        found[column_of(name)] = np.asarray([s.get(name, none) for s in settings])
    return found
