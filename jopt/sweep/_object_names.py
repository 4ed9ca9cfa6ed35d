"""Write objects to a record by the names that they are imported by.

Reading an object back imports its module, which runs its code, and calls a dataclass
with its fields. Objects of jopt are always found. Other names are imported only if the
caller trusts the record.
"""

import base64
import dataclasses
import functools
import importlib
import inspect
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

PLAIN = (bool, int, float, str, type(None))
# Keys that mark values that JSON lacks, and the types of what they hold.
_MARKS = {"$bytes": str, "$numpy": str, "$tuple": list, "$object": str}
_MARKS |= {"$dataclass": str, "$repr": str}
AGAIN = "give the task, trials, folds, pruner or population again, as they were"


def name(value: Any) -> str | None:
    """Return "module:name" of a function or class; None if it has no such name.

    It is None for lambdas, for objects defined in a function, and for objects of
    `__main__`, which another process does not have.
    """
    module = getattr(value, "__module__", None)
    qualified = getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(qualified, str):
        return None
    if module == "__main__" or "<" in qualified:
        return None
    try:
        found = _find(module, qualified)
    except (ImportError, AttributeError):
        return None
    return f"{module}:{qualified}" if found is value else None


def find(name: str, trust: bool) -> Any:
    """Return the object of the name "module:name".

    Args:
      name: the name of the object.
      trust: whether modules outside of jopt may be imported.

    Raises:
      ValueError: the object cannot be imported, or its module is not trusted.
    """
    module, _, qualified = name.partition(":")
    if trust or _is_own(module):
        try:
            found = _find(module, qualified)
        except Exception as error:  # an import may raise any error
            raise ValueError(
                f"The sweep was started with {name}, which cannot be imported now "
                f"({type(error).__name__}: {error}); resume where it can be, or "
                f"{AGAIN}."
            ) from error
        if trust or _is_own(getattr(found, "__module__", None)):
            return found
    raise ValueError(
        f"The sweep was started with {name}, which is not jopt's, and importing it "
        f"runs its code: resume with trust=True, or {AGAIN}."
    )


def to_json(value: Any, title: str = "The value") -> Any:
    """Return a value for JSON, which `from_json` restores exactly.

    Args:
      value: a number, string, bool or None, of Python or NumPy; bytes; a list, tuple or
        dict of these; a dataclass whose fields are these; or any object that has a
        `name`.
      title: how an error message calls the value.

    Raises:
      ValueError: the value is anything else.
    """
    if type(value) in PLAIN:
        return value
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, np.generic):
        return {"$numpy": value.dtype.name, "value": value.item()}
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return {"$tuple": [to_json(item, title) for item in value]}
    if isinstance(value, list):
        return [to_json(item, title) for item in value]
    if isinstance(value, Mapping) and all(_is_word(key) for key in value):
        return {key: to_json(item, title) for key, item in value.items()}
    known = name(value)
    if known is not None:
        return {"$object": known}
    made_by = None if isinstance(value, type) else name(type(value))
    if dataclasses.is_dataclass(value) and made_by is not None:
        given = (field.name for field in dataclasses.fields(value) if field.init)
        fields = {field: to_json(getattr(value, field), title) for field in given}
        return {"$dataclass": made_by, "fields": fields}
    raise ValueError(
        f"{title} is {value!r}, which cannot be written down: it is neither plain nor "
        "importable by a name. To resume the sweep, " + AGAIN + "."
    )


def written(value: Any) -> Any:
    """Return `to_json` of a value, or a placeholder that `from_json` refuses.

    The placeholder is the value's repr without addresses: the same in every process.
    """
    try:
        return to_json(value)
    except ValueError:
        return {"$repr": lasting(repr(value))}


def from_json(value: Any, trust: bool = False) -> Any:
    """Return the value that was given to `to_json`, or raise ValueError.

    `trust` is whether modules outside of jopt may be imported.
    """
    if isinstance(value, list):
        return [from_json(item, trust) for item in value]
    if not isinstance(value, dict):
        return value
    for mark, kind in _MARKS.items():
        if mark in value and not isinstance(value[mark], kind):
            raise ValueError(f"{mark} must be {kind.__name__}, got {value[mark]!r}.")
    if "$bytes" in value:
        return base64.b64decode(value["$bytes"])
    if "$numpy" in value:
        try:
            return np.dtype(value["$numpy"]).type(value["value"])
        except (TypeError, KeyError, OverflowError) as error:
            raise ValueError(f"{value} is no number of NumPy's.") from error
    if "$tuple" in value:
        return tuple(from_json(item, trust) for item in value["$tuple"])
    if "$object" in value:
        return find(value["$object"], trust)
    if "$repr" in value:
        raise ValueError(
            f"The sweep was started with {value['$repr']}, which is not importable by "
            f"a name; {AGAIN}."
        )
    if "$dataclass" not in value:
        return {key: from_json(item, trust) for key, item in value.items()}
    made_by = find(value["$dataclass"], trust)
    if not (isinstance(made_by, type) and dataclasses.is_dataclass(made_by)):
        raise ValueError(f"{value['$dataclass']} is no dataclass any more; {AGAIN}.")
    fields = value.get("fields")
    if not isinstance(fields, dict):
        raise ValueError(f"{value['$dataclass']} must have fields, got {fields!r}.")
    try:
        return _made(made_by, from_json(fields, trust))
    except TypeError as error:
        raise ValueError(
            f"{value['$dataclass']} has other fields than when the sweep was started "
            f"({error}); {AGAIN}."
        ) from error


def lasting(text: str) -> str:
    """Return a text without the addresses of objects, which differ by process."""
    return re.sub(r" at 0x[0-9a-fA-FX]+", "", text)


def _find(module: str, qualified: str) -> Any:
    return functools.reduce(
        getattr, qualified.split("."), importlib.import_module(module)
    )


def _made(made_by: type, fields: dict[str, Any]) -> Any:
    """Return an object made of its fields by its constructor."""
    places, named = list[Any](), dict(fields)
    for name, parameter in inspect.signature(made_by).parameters.items():
        if parameter.kind is parameter.POSITIONAL_ONLY and name in named:
            places.append(named.pop(name))
        if parameter.kind is parameter.VAR_KEYWORD:
            named |= dict(named.pop(name, {}))
    return made_by(*places, **named)


def _is_own(module: Any) -> bool:
    return isinstance(module, str) and module.partition(".")[0] == "jopt"


def _is_word(key: Any) -> bool:
    return isinstance(key, str) and not key.startswith("$")
