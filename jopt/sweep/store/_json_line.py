"""A record as one line of strict JSON, from which its floats come back bit for bit."""

import json
import math
from typing import Any

import numpy as np

NOT_FINITE = "$float"


def encode(record: dict[str, Any]) -> bytes:
    """Return a record as a line of strict JSON.

    Floats are written so that they read back bit for bit; those JSON has no word for
    become {"$float": "nan"}, "inf" or "-inf". NumPy's and JAX's numbers and arrays
    become Python's, tuples lists. Raises a TypeError for anything else.
    """
    return json.dumps(_plain(record), allow_nan=False).encode() + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """Return the record of a line. Raises a ValueError if it is not a JSON object."""
    record = json.loads(line.decode(), object_hook=_float)
    if not isinstance(record, dict):
        raise ValueError(f"A line must be a JSON object, got {type(record).__name__}.")
    return record


def _plain(value: Any) -> Any:
    if isinstance(value, (bool, int, str)) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {NOT_FINITE: repr(float(value))}
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str) or key == NOT_FINITE:
                raise TypeError(f"A record's keys must be other strings, got {key!r}.")
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "dtype") and np.asarray(value).dtype.kind in "biufVU":
        return _plain(np.asarray(value).tolist())
    raise TypeError(
        "A record must be made of numbers, strings, lists, dicts and arrays, got "
        f"{type(value).__name__}."
    )


def _float(found: dict[str, Any]) -> Any:
    return float(found[NOT_FINITE]) if list(found) == [NOT_FINITE] else found
