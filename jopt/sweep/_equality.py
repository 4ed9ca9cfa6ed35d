"""Equality of arbitrary values, by value and dtype."""

import dataclasses
import functools
import hashlib
import types
from collections.abc import Callable, Hashable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jopt.sweep import _object_names as object_names

MOST = 10_000  # parts; a value with more equals only itself
DEEPEST = 200  # levels; likewise
ROWS = 1 << 12  # rows of an array that are hashed at a time

_NUMBERS = (bool, int, float, complex)
_DTYPES = tuple(map(np.dtype, _NUMBERS))
_WRAPPERS: Any = (type(jax.jit(lambda: None)), type(functools.cache(lambda: None)))
_NAMED = (type, types.ModuleType, types.BuiltinFunctionType)


class Identities:
    """Number values so that two values share a number if and only if they are equal.

        identities = Identities()
        identities.of(0.1) == identities.of(np.float64(0.1))  # one value, one dtype

    Numbers and arrays are equal if their dtype, shape and bits are. This holds across
    NumPy scalars, arrays of rank 0 and Python numbers, with NumPy's dtypes for these.
    PRNG keys are equal if their kind and words are. Containers, dataclasses and other
    objects are equal if their types and parts are. Functions are equal if their code,
    module, defaults and closure cells are, so functions that a factory makes twice are
    equal. Their line numbers and the globals that they use do not count. An object that
    Python cannot take apart (a lock, a file) equals only itself.
    """

    def __init__(self):
        self._known: dict[Hashable, int] = {}
        self._kept: dict[int, Any] = {}  # kept alive, so that no id is reused
        self._found: dict[int, Any] = {}

    def of(self, value: Any) -> int:
        """Return the number of a value."""
        return _Walk(self._number, self._itself, self._found, self._kept).of(value)

    def first_of_each(self, values: Iterable[Any]) -> list[Any]:
        """Return the values that are not equal to an earlier one."""
        found: dict[int, Any] = {}
        for value in values:
            found.setdefault(self.of(value), value)
        return list(found.values())

    def _number(self, parts: Hashable) -> int:
        return self._known.setdefault(parts, len(self._known))

    def _itself(self, value: Any) -> Hashable:
        self._kept[id(value)] = value
        return id(value)


def same(first: Any, second: Any) -> bool:
    """Return whether two values are equal, as `Identities` says."""
    identities = Identities()
    return first is second or identities.of(first) == identities.of(second)


def digest(value: Any) -> str:
    """Return a digest that equal values share in every process of one Python.

    An object that equals only itself is represented by its type.
    """

    def combined(parts: Hashable) -> str:
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    return _Walk(combined, _title, {}, {}).of(value)


def structure(form: Any, identities: Identities) -> Hashable:
    """Return a hashable treedef, equal to others whose static parts are equal."""
    data = form.node_data()
    if data is None:  # a leaf
        return None
    kind, fixed = data
    children = tuple(structure(child, identities) for child in form.children())
    return kind, identities.of(fixed), children


def _title(value: Any) -> str:
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}:{named.__qualname__}"


class _TooMuch(Exception):
    """A value has more than MOST parts, or more than DEEPEST levels."""


class _Walk:
    """Take a value apart, and combine the results of its parts.

    Args:
      combine: the results of a node's parts -> the node's result.
      itself: an object that is not taken apart -> its stand-in.
      found: results of earlier values, by id.
      kept: those values, by id.
    """

    def __init__(
        self,
        combine: Callable[[Hashable], Any],
        itself: Callable[[Any], Hashable],
        found: dict[int, Any],
        kept: dict[int, Any],
    ):
        self.combine, self.itself = combine, itself
        self.found, self.kept = found, kept
        self.above: dict[int, int] = {}  # the depth of each value that is open
        self.parts = 0

    def of(self, value: Any) -> Any:
        try:
            return self._visit(value)[0]
        except _TooMuch:
            return self.combine(("itself", self.itself(value)))

    def _visit(self, value: Any) -> tuple[Any, int]:
        """Return a value's result, and the depth of its highest ancestor reference."""
        depth, place = len(self.above), id(value)
        if place in self.found:
            return self.found[place], depth
        if place in self.above:
            # A recursive function. Use the distance, which is the same at every depth.
            return self.combine(("above", depth - self.above[place])), self.above[place]
        self.parts += 1
        if self.parts > MOST or depth > DEEPEST:
            raise _TooMuch
        tag, parts = self._apart(value)
        self.above[place], highest, children = depth, depth, []
        for part in parts:
            child, reached = self._visit(part)
            children.append(child)
            highest = min(highest, reached)
        del self.above[place]
        if tag[0] in ("dict", "set"):  # unordered containers
            step = 2 if tag[0] == "dict" else 1
            pairs = [children[i : i + step] for i in range(0, len(children), step)]
            children = [child for pair in sorted(pairs, key=repr) for child in pair]
        result = self.combine((tag, *children))
        if highest >= depth:
            self.found[place], self.kept[place] = result, value
        return result, highest

    def _apart(self, value: Any) -> tuple[tuple[Hashable, ...], list[Any]]:
        """Return what identifies a value apart from its parts, and the parts."""
        kind = type(value)
        if isinstance(value, (np.ndarray, np.generic, jax.Array)):
            return self._array(value)
        if kind in _NUMBERS:  # by their repr: NaN equals NaN, and 0 differs from -0
            return (kind.__name__, hex(value) if kind is int else repr(value)), []
        if value is None or kind in (str, bytes):
            return (kind.__name__, value), []
        if kind is types.CellType:
            return ("cell",), contents(value)
        if kind is types.CodeType:
            return _code(value)
        if kind is types.FunctionType:
            module = value.__module__, self.itself(value.__globals__)
            return ("function", *module), [
                value.__code__,
                value.__defaults__,
                value.__kwdefaults__,
                value.__closure__,
                value.__dict__,
            ]
        if kind is types.MethodType:
            return ("method",), [value.__func__, value.__self__]
        if isinstance(value, _WRAPPERS):
            return ("wrapper", self.itself(kind)), [value.__wrapped__]
        if isinstance(value, (dict, types.MappingProxyType)):
            pairs = [part for pair in value.items() for part in pair]
            return ("dict", self.itself(kind)), pairs
        if isinstance(value, (set, frozenset)):
            return ("set", self.itself(kind)), list(value)
        if isinstance(value, (list, tuple)):
            return ("list", self.itself(kind)), list(value)
        if isinstance(value, _NAMED) or object_names.name(value) is not None:
            return ("itself", self.itself(value)), []
        if dataclasses.is_dataclass(value):
            names = tuple(field.name for field in dataclasses.fields(value))
            held = [getattr(value, name, None) for name in names]
            return ("dataclass", self.itself(kind), *names), held
        return self._object(value)

    def _array(self, value: Any) -> tuple[tuple[Hashable, ...], list[Any]]:
        if isinstance(value, Tracer):
            return ("itself", self.itself(value)), []
        if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
            words = jax.random.key_data(value)
            return ("key", str(value.dtype)), [np.asarray(words)]
        array = np.asarray(value)
        if array.ndim == 0 and (array.dtype.kind == "U" or array.dtype in _DTYPES):
            return self._apart(array.item())
        form = array.dtype.name, array.shape
        if array.dtype == object:
            return ("array", *form), array.ravel().tolist()
        return ("array", *form, _bits(array)), []

    def _object(self, value: Any) -> tuple[tuple[Hashable, ...], list[Any]]:
        try:
            made = value.__reduce_ex__(4)
        except Exception:  # a class may raise any error when it is taken apart
            made = ""
        if isinstance(made, str):
            return ("itself", self.itself(value)), []
        make, given, state, *items = (*made, None, None, None)[:5]
        held = [None if part is None else list(part) for part in items]
        return ("object", self.itself(type(value))), [make, given, state, held]


def _bits(array: np.ndarray) -> bytes:
    """Return a digest of an array's bits; a memory-mapped array is read in pieces."""
    digest, rows = hashlib.sha256(), np.atleast_1d(array)
    for first in range(0, len(rows), ROWS):
        digest.update(rows[first : first + ROWS].tobytes())
    return digest.digest()


def contents(cell: types.CellType) -> list[Any]:
    """Return the value of a closure's cell in a list, empty before it is set."""
    try:
        return [cell.cell_contents]
    except ValueError:
        return []


def _code(code: types.CodeType) -> tuple[tuple[Hashable, ...], list[Any]]:
    """Return a function's code without its place in a file."""
    counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount
    names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
    form = code.co_name, code.co_code, code.co_flags, code.co_exceptiontable
    return ("code", *counts, *names, *form), list(code.co_consts)
