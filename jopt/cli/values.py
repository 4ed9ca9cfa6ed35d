"""Values of hyperparameters, as they are typed.

    1e-4,1e-3      these: numbers, `true` and `false`, or words
    1e-5:1:64      64 values from 1e-5 to 1, evenly spaced on a log axis
    0..1:5         5 values from 0 to 1, evenly spaced

Where settings are drawn, a range without a count is what they are drawn from:

    1e-5:1         floats, evenly on a log axis
    0..0.99        floats, all equally likely
    16:256:int     integers, evenly on a log axis
    1..8:int       integers, all equally likely
    0.9            fixed; of several values, by a list or with a count, one is drawn
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jopt.sweep.space import Choice, Integers, LogInt, LogUniform, Uniform


def values(text: str, what: str) -> list[float] | list[int] | list[bool] | list[str]:
    """Return the values that `text` stands for.

    LOW:HIGH:COUNT is that many, evenly spaced on a log axis, LOW..HIGH:COUNT on a
    linear one, both ends included. A comma separates others: integers, if all of them
    are, floats, `true` and `false`, or words.

    Raises a ValueError that names `what` if `text` is malformed.
    """
    if _is_range(text):
        return _spaced(text, what)
    words = [word.strip() for word in text.split(",")]
    if "" in words:
        raise ValueError(
            f"{what} got {text!r}, which has an empty value; write {_GRID}."
        )
    if all(word.lower() in _BOOLS for word in words):
        return [_BOOLS[word.lower()] for word in words]
    if all(re.fullmatch("[+-]?[0-9]+", word) for word in words):
        return [int(word) for word in words]
    if all(map(_is_number, words)):
        return [float(word) for word in words]
    if any(map(_is_number, words)):
        raise ValueError(
            f"{what} got {text!r}, numbers and words mixed; write {_GRID}."
        )
    return words


def numbers(text: str, what: str) -> list[float]:
    """`values` that must be numbers, as floats."""
    found = values(text, what)
    if any(isinstance(value, (bool, str)) for value in found):
        raise ValueError(f"{what} got {text!r}, not numbers; write {_GRID}.")
    return [float(value) for value in found]


def distribution(
    text: str, what: str, listed: Callable[[str, str], Sequence[Any]] = values
) -> Any:
    """Return the distribution that `text` stands for, or the value if it is just one.

    LOW:HIGH is `LogUniform`, LOW..HIGH `Uniform`; LOW:HIGH:int is `LogInt`,
    LOW..HIGH:int `Integers`, both ends included. Of what else `values` takes it is a
    `Choice`. listed: what reads that: `values` or `numbers`.

    Raises a ValueError that names `what` if `text` is malformed.
    """
    if _is_range(text):
        low, high, log, last = _range(text, what, _DRAWN)
        floats, integers = (LogUniform, LogInt) if log else (Uniform, Integers)
        kind = {"": floats, "int": integers}.get(last)
        if kind is not None:
            try:
                return kind(low, high)
            except ValueError as error:
                hint = " LOW..HIGH has a linear axis." if log else ""
                raise ValueError(f"{what} got {text!r}. {error}{hint}") from error
    found = listed(text, what)
    return found[0] if len(found) == 1 else Choice(tuple(found))


_GRID = "LOW:HIGH:COUNT, as in 1e-5:1:64, or a list, as in 1e-4,1e-3"
_DRAWN = "LOW:HIGH, as in 1e-5:1, LOW..HIGH, as in 0..0.9, or a list, as in 1e-4,1e-3"
_BOOLS = {"true": True, "false": False}
_MOST = 1_000_000  # values of a range: far beyond any sweep, and no strain on memory


class _Range(NamedTuple):
    low: float
    high: float
    log: bool  # else a linear axis
    last: str  # what follows the ends, if anything


def _is_range(text: str) -> bool:
    return ":" in text or ".." in text


def _range(text: str, what: str, forms: str) -> _Range:
    parts = re.fullmatch(r"([^:]*?)(:|\.\.)([^:]*)(?::([^:]+))?", text)
    if not parts or not _is_number(parts[1]) or not _is_number(parts[3]):
        raise ValueError(f"{what} got {text!r}, a malformed range; write {forms}.")
    log, last = parts[2] == ":", (parts[4] or "").strip()
    return _Range(float(parts[1]), float(parts[3]), log, last)


def _spaced(text: str, what: str) -> list[float]:
    low, high, log, last = _range(text, what, _GRID)
    if last in ("", "int"):
        raise ValueError(
            f"{what} got {text!r}, a range without a COUNT; write {_GRID}; or draw "
            "from the range with --sample N."
        )
    if not _is_number(last):
        raise ValueError(f"{what} got {text!r}, a malformed range; write {_GRID}.")
    count, ends = float(last), "0 < LOW <= HIGH" if log else "LOW <= HIGH"
    ordered = (low > 0 if log else low > -np.inf) and low <= high < np.inf
    if not (ordered and count.is_integer() and 1 <= count <= _MOST):
        raise ValueError(
            f"{what} got {text!r}; a range needs {ends} and a whole COUNT of at least "
            f"1 and at most {_MOST:,}."
        )
    space = np.geomspace if log else np.linspace
    return space(low, high, int(count)).tolist()


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
