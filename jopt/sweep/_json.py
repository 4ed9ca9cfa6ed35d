"""Strict JSON: exact for records, readable for people.

JSON has no non-finite numbers. A record writes NaN as {"$float": "nan"}, and text for
people as "nan". NumPy's and JAX's numbers become Python's. `_object_names` writes

JSON has no word for numbers that are not finite: a record has {"$float": "nan"}, and
objects, as {"$object": name}.
"""

import functools
import json
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jopt.sweep._object_names import lasting

FEW = 8  # the longest array whose numbers are all shown
NOT_FINITE = "$float"
DEEPEST = 64  # deeper than any JSON that jopt writes


def encode(value: dict[str, Any], indent: int | None = None) -> bytes:
    """Return a dict as exact strict JSON that ends with a newline.

    Without an `indent` it is one line.
    """
    held = json.dumps(plain(value, exact=True), allow_nan=False, indent=indent)
    return held.encode() + b"\n"


def in_words(value: Any, indent: int | None = None) -> str:
    """Return any value as strict JSON for people; one line without an `indent`."""
    marks = (",", ":") if indent is None else None
    held = plain(value, exact=False)
    return json.dumps(held, allow_nan=False, indent=indent, separators=marks)


def decode(text: bytes) -> dict[str, Any]:
    """Return the dict that `encode` wrote.

    Raises:
      ValueError: the text is not strict JSON, is nested too deeply, or is not an
        object.
    """
    try:
        found = json.loads(text.decode(), object_hook=_float, parse_constant=_refused)
    except RecursionError:
        raise ValueError(f"it is nested more than {DEEPEST} deep") from None
    if not isinstance(found, dict):
        raise ValueError(f"it must be a JSON object, got {type(found).__name__}")
    level: list[Any] = [found]
    for _ in range(DEEPEST):
        parts = (x.values() if isinstance(x, dict) else x for x in level)
        level = [x for part in parts for x in part if isinstance(x, (dict, list))]
    if level:
        raise ValueError(f"it is nested more than {DEEPEST} deep")
    return found


def plain(value: Any, exact: bool) -> Any:
    """Return a value made of JSON's types; tuples become lists.

    Args:
      value: numbers, strings, None, and lists, tuples and dicts of them.
      exact: True for a value that `decode` restores: floats bit for bit, non-finite
        ones as {"$float": "nan"}, "inf" or "-inf", and NumPy's and JAX's numbers and
        arrays as Python's. False for people: "nan" for NaN, and arrays and other
        objects as tables show them.

    Raises:
      TypeError: if `exact`, and a part has another type, or a key is not a string or is
        "$float".
    """
    if isinstance(value, dict):
        wrong = [key for key in value if not isinstance(key, str) or key == NOT_FINITE]
        if exact and wrong:
            raise TypeError(f"A record's keys must be other strings, got {wrong[0]!r}.")
        return {key: plain(item, exact) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, exact) for item in value]
    if value is not None and not isinstance(value, (bool, int, float, str)):
        return plain(_numbers(value), exact) if exact else plain(shown(value), exact)
    if isinstance(value, float) and not math.isfinite(value):
        return {NOT_FINITE: repr(float(value))} if exact else repr(float(value))
    return value


def shown(value: Any) -> Any:
    """Return a value as tables show it: plain, or else in words."""
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


def _is_array(value: Any) -> bool:
    return isinstance(value, (np.generic, np.ndarray, jax.Array))


def _numbers(value: Any) -> Any:
    if hasattr(value, "dtype") and np.asarray(value).dtype.kind in "biufVU":
        return np.asarray(value).tolist()
    raise TypeError(
        "A record must be made of numbers, strings, lists, dicts and arrays, got "
        f"{type(value).__name__}."
    )


def _float(found: dict[str, Any]) -> Any:
    if list(found) != [NOT_FINITE]:
        return found
    if found[NOT_FINITE] not in ("nan", "inf", "-inf"):
        raise ValueError(f'"{NOT_FINITE}" must be nan, inf or -inf')
    return float(found[NOT_FINITE])


def _refused(constant: str) -> None:
    raise ValueError(f"it holds {constant}, which is not strict JSON")
