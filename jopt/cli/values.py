"""Values of hyperparameters, as they are typed: `1e-5:1:64`, `0,1e-4`, `true,false`."""

import numpy as np


def values(text: str, what: str) -> list[float] | list[bool] | list[str]:
    """Return the values that `text` stands for.

    LOW:HIGH:COUNT is that many, evenly spaced on a log axis, both ends included; a
    comma separates others: numbers, `true` and `false`, or words.

    Raises a ValueError that names `what` if `text` is malformed.
    """
    if ":" in text:
        return _log_spaced(text, what)
    words = [word.strip() for word in text.split(",")]
    if "" in words:
        raise ValueError(
            f"{what} got {text!r}, which has an empty value; write {_FORMS}."
        )
    if all(word.lower() in _BOOLS for word in words):
        return [_BOOLS[word.lower()] for word in words]
    if all(_is_number(word) for word in words):
        return [float(word) for word in words]
    if any(_is_number(word) for word in words):
        raise ValueError(
            f"{what} got {text!r}, numbers and words mixed; write {_FORMS}."
        )
    return words


def numbers(text: str, what: str) -> list[float]:
    """`values` that must be numbers."""
    found = values(text, what)
    if not all(type(value) is float for value in found):
        raise ValueError(f"{what} got {text!r}, not numbers; write {_FORMS}.")
    return [float(value) for value in found]


_FORMS = "LOW:HIGH:COUNT, as in 1e-5:1:64, or a list, as in 1e-4,1e-3"
_BOOLS = {"true": True, "false": False}


def _log_spaced(text: str, what: str) -> list[float]:
    parts = text.split(":")
    if len(parts) != 3 or not all(map(_is_number, parts)):
        raise ValueError(f"{what} got {text!r}, a malformed range; write {_FORMS}.")
    low, high, count = map(float, parts)
    if not (0 < low <= high < np.inf and count >= 1 and count == int(count)):
        raise ValueError(
            f"{what} got {text!r}; a range needs 0 < LOW <= HIGH and a whole COUNT of "
            "at least 1."
        )
    return np.geomspace(low, high, int(count)).tolist()


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
