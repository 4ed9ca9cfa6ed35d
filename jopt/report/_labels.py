"""Labels: numbers and names as short texts, equal only for equal values."""

from collections.abc import Sequence
from typing import Any

import numpy as np

LONGEST = 60  # most letters of a name in a figure


def number(value: Any) -> str:
    """Return a value as text: four digits, `true` and `false`, or words."""
    if isinstance(value, (bool, np.bool_)):
        return str(value).lower()
    if not isinstance(value, (float, np.floating)):
        return str(value)
    digits, e, power = f"{value:.4g}".partition("e")
    return f"{digits}e{int(power)}" if e else digits


def told_apart(values: Sequence[Any]) -> list[str]:
    """Return values as texts of few digits; in full if distinct ones look equal."""
    short = list(map(number, values))
    first: dict[str, Any] = {}
    alike = {
        text
        for text, value in zip(short, values, strict=True)
        if repr(first.setdefault(text, value)) != repr(value)
    }
    full = [
        (repr(value) if isinstance(value, float) else str(value))
        if text in alike
        else text
        for text, value in zip(short, values, strict=True)
    ]
    return cut_apart(full)


def cut(text: str, most: int = LONGEST) -> str:
    """Return a text on one line; a long one is cut in the middle."""
    line = " ".join(text.split())
    # Replace control characters, which pictures cannot show.
    line = "".join(letter if letter.isprintable() else "\ufffd" for letter in line)
    part = most // 2 - 1
    return line if len(line) <= most else f"{line[:part]}…{line[-part:]}"


def cut_apart(texts: Sequence[str], most: int = LONGEST) -> list[str]:
    """Return texts cut in the middle, and numbered if distinct ones become equal."""
    found: dict[str, str] = {}
    taken: dict[str, int] = {}
    for text in texts:
        if text in found:
            continue
        short = cut(text, most)
        count = taken[short] = taken.get(short, 0) + 1
        found[text] = short if count == 1 else f"{short} #{count}"
    return [found[text] for text in texts]
