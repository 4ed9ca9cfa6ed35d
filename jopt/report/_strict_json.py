"""Values as strict JSON, to be read by people and any parser."""

import json
import math
from typing import Any

from jopt.sweep import shown

NOT_FINITE = ("nan", "inf", "-inf")  # numbers that JSON has no word for, as strings


def dumps(value: Any, indent: int | None = None) -> str:
    """Return a value as JSON; what JSON has no word for becomes a string.

    Numbers of NumPy and JAX become Python's, other objects what tables show of them.
    """
    return json.dumps(_plain(value), indent=indent, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(held) for name, held in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(held) for held in value]
    plain = shown(value)
    if isinstance(plain, float) and not math.isfinite(plain):
        return repr(float(plain))
    return plain
