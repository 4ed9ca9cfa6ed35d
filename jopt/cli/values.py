"""Values of hyperparameters in the syntax of the command line.

    1e-4,1e-3      a list: of numbers, of `true` and `false`, or of words
    1e-5:1:64      64 values from 1e-5 to 1, evenly spaced on a log axis
    0..1:5         5 values from 0 to 1, evenly spaced on a linear axis

When settings are drawn, a range without a count is a distribution:

    1e-5:1         floats, uniform on a log axis
    0..0.99        floats, uniform on a linear axis
    16:256:int     integers, uniform on a log axis
    1..8:int       integers, uniform on a linear axis
    0.9            a fixed value; from a list, or a range with a count, one is drawn
"""

import re
from collections.abc import Callable, Container, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from jopt.sweep.space import Choice, Integers, LogInt, LogUniform, Uniform

_GRID = "LOW:HIGH:COUNT, as in 1e-5:1:64, or a list, as in 1e-4,1e-3"
_DRAWN = "LOW:HIGH, as in 1e-5:1, LOW..HIGH, as in 0..0.9, or a list, as in 1e-4,1e-3"
_BOOLS = {"true": True, "false": False}
_MOST = 1_000_000  # most values of a range: more than any sweep has


def assignments(
    texts: Sequence[str], option: str, form: str, taken: Container[str] = ()
) -> Iterator[tuple[str, str]]:
    """Split texts of the form NAME=TEXT into pairs, one at a time.

    Args:
      texts: the values of the option, one each time it was given.
      option: the option's name, such as "--set", for error messages.
      form: the right form with an example, for error messages.
      taken: names that are not allowed.

    Raises:
      ValueError: if a text is malformed, or a name is not allowed or given twice.
    """
    seen: set[str] = set()
    for text in texts:
        name, equals, given = text.partition("=")
        if not equals or not name:
            raise ValueError(f"{option} got {text!r}; write {form}.")
        if name in taken or name in seen:
            raise ValueError(f"{option} gives {name} a second time; give it once.")
        seen.add(name)
        yield name, given


def values(text: str, what: str) -> list[float] | list[int] | list[bool] | list[str]:
    """Return the values of a text: a list, or a range with a count.

    Args:
      text: LOW:HIGH:COUNT for that many values, evenly spaced on a log axis, or
        LOW..HIGH:COUNT on a linear axis, both ends included; else a list with commas.
        Its values are integers if all of them are, else floats, bools (`true` and
        `false`) or words.
      what: the option that has the text, for error messages.

    Raises:
      ValueError: if the text is malformed.
    """
    if (ends := _range(text, what, _GRID)) is not None:
        return _spaced(ends, text, what)
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
    """Return `values` as floats, or raise ValueError if they are not numbers."""
    found = values(text, what)
    if any(isinstance(value, (bool, str)) for value in found):
        raise ValueError(f"{what} got {text!r}, not numbers; write {_GRID}.")
    return [float(value) for value in found]


def distribution(
    text: str, what: str, listed: Callable[[str, str], Sequence[Any]] = values
) -> Any:
    """Return the distribution of a text, or the value if there is only one.

    Args:
      text: LOW:HIGH for `LogUniform`, LOW..HIGH for `Uniform`, LOW:HIGH:int for
        `LogInt`, LOW..HIGH:int for `Integers`, both ends included; or anything that
        `listed` reads, for a `Choice`.
      what: the option that has the text, for error messages.
      listed: `values` or `numbers`.

    Raises:
      ValueError: if the text is malformed.
    """
    ends = _range(text, what, _DRAWN)
    if ends is not None and ends.last in ("", "int"):
        floats, integers = (LogUniform, LogInt) if ends.log else (Uniform, Integers)
        try:
            return (integers if ends.last else floats)(ends.low, ends.high)
        except ValueError as error:
            hint = " LOW..HIGH has a linear axis." if ends.log else ""
            raise ValueError(f"{what} got {text!r}. {error}{hint}") from error
    found = listed(text, what)
    return found[0] if len(found) == 1 else Choice(tuple(found))


def interval(text: str, what: str) -> tuple[float | None, float | None]:
    """Return the ends of LOW..HIGH; None for one that is left out.

    Raises:
      ValueError: if the text is malformed.
    """
    low, dots, high = text.partition("..")
    ends = [float(end) if _is_number(end) else None for end in (low, high)]
    known = [end for end in ends if end is not None]
    words = [end for end in (low, high) if end.strip()]
    ordered = known == sorted(known) and np.isfinite(known).all()
    if not dots or not known or len(words) > len(known) or not ordered:
        raise ValueError(
            f"{what} got {text!r}; write LOW..HIGH with LOW <= HIGH, as in 1000..3000; "
            "..3000 is at most 3000, and 0.9.. at least 0.9."
        )
    return ends[0], ends[1]


class _Range(NamedTuple):
    low: float
    high: float
    log: bool  # whether the axis is logarithmic
    last: str  # the text after the ends: a count, "int" or nothing


def _range(text: str, what: str, forms: str) -> _Range | None:
    """Read a range; return None for a text without a colon or two dots."""
    if ":" not in text and ".." not in text:
        return None
    parts = re.fullmatch(r"([^:]*?)(:|\.\.)([^:]*)(?::([^:]+))?", text)
    if not parts or not _is_number(parts[1]) or not _is_number(parts[3]):
        raise ValueError(f"{what} got {text!r}, a malformed range; write {forms}.")
    log, last = parts[2] == ":", (parts[4] or "").strip()
    return _Range(float(parts[1]), float(parts[3]), log, last)


def _spaced(given: _Range, text: str, what: str) -> list[float]:
    low, high, log, last = given
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
