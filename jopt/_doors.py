"""What an argument must be, as its annotation says: checked where it is given."""

import contextlib
import difflib
import functools
import inspect
import itertools
import os
import reprlib
import sys
import traceback
import types
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, ParamSpec, TypeAlias, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_ARRAYS = (jax.Array, np.ndarray, np.generic)


class Kind(NamedTuple):
    """What an argument must be, in words, and whether a value is."""

    words: str
    fits: Callable[[Any], bool]
    error: type[Exception] = TypeError
    hint: str = ""
    late: bool = False  # asked only after the function failed: it reads every leaf


def is_number(value: Any) -> bool:
    """Whether it is a real number that a float can hold, or an array of them."""
    if isinstance(value, _ARRAYS):
        kinds = (jnp.integer, jnp.floating)
        return any(jnp.issubdtype(value.dtype, kind) for kind in kinds)
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) <= sys.float_info.max
    return isinstance(value, float) or hasattr(value, "__jax_array__")


def is_array(value: Any) -> bool:
    """Whether JAX takes it as an array: of numbers, bools or keys."""
    if isinstance(value, (bool, float, complex)):
        return True
    if isinstance(value, int):
        return -(2**31) <= value < 2**31
    kind = getattr(getattr(value, "dtype", None), "kind", "O")
    numeric = hasattr(value, "shape") and kind not in tuple("OSUMm")
    key = isinstance(value, jax.Array)
    return numeric or key or hasattr(value, "__jax_array__")


def is_integer(value: Any) -> bool:
    """Whether it is an integer of 32 bits, signed or not."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        return False
    return -(2**31) <= int(value) < 2**32


def _is_seed(value: Any) -> bool:
    return is_integer(value) and value >= 0


def is_count(value: Any) -> bool:
    """Whether it is an integer from 1 to 2**31 - 1."""
    return is_integer(value) and 1 <= value < 2**31


def _is_key(value: Any) -> bool:
    kinds = (jax.dtypes.prng_key, jnp.integer)
    array = isinstance(value, _ARRAYS)
    return is_integer(value) or (
        array and any(jnp.issubdtype(value.dtype, kind) for kind in kinds)
    )


def _is_tree(value: Any) -> bool:
    return value is not None and all(map(is_array, jax.tree.leaves(value)))


def _is_float_tree(value: Any) -> bool:
    leaves = jax.tree.leaves(value) if _is_tree(value) else []
    return bool(leaves) and all(
        jnp.issubdtype(jnp.result_type(leaf), jnp.inexact) for leaf in leaves
    )


def _is_state(value: Any) -> bool:
    return not jax.tree_util.all_leaves([value]) and value is not None


def is_path(value: Any) -> bool:
    """Whether it is a path that a file can have."""
    return isinstance(value, (str, os.PathLike)) and "\0" not in os.fspath(value)


def is_dtype(value: Any) -> bool:
    """Whether it is a floating dtype, or None."""
    if value is None:
        return True
    try:
        return jnp.issubdtype(jnp.dtype(value), jnp.floating)
    except TypeError:
        return False


DType: TypeAlias = Annotated[
    Any, Kind("a floating dtype or None", is_dtype, hint="Give jnp.bfloat16, say.")
]

FilePath: TypeAlias = Annotated[
    str | os.PathLike[str], Kind("a path, without a NUL in it", is_path)
]
Seed: TypeAlias = Annotated[int, Kind("an integer from 0 to 2**32 - 1", _is_seed)]
Count: TypeAlias = Annotated[int, Kind("an integer of at least 1", is_count)]
Key: TypeAlias = Annotated[Any, Kind("a key of jax.random.key or an integer", _is_key)]
Arrays: TypeAlias = Annotated[Any, Kind("a tree of arrays", _is_tree, late=True)]
Params: TypeAlias = Annotated[
    Any, Kind("a tree of arrays of floats", _is_float_tree, late=True)
]
State: TypeAlias = Annotated[
    Any, Kind("the state that init returned", _is_state, late=True)
]

_KINDS: dict[Any, Kind] = {
    float: Kind("a number", is_number),
    int: Kind("an integer", is_integer),
    bool: Kind("True or False", lambda value: isinstance(value, (bool, np.bool_))),
    str: Kind("a string", lambda value: isinstance(value, str)),
    type(None): Kind("None", lambda value: value is None),
}
_ARRAY = Kind("an array", lambda value: isinstance(value, _ARRAYS))


def kind_of(annotation: Any) -> Kind | None:
    """Return what an annotation asks of a value; None if that may be anything."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return parts[1]
    if origin in (typing.Union, types.UnionType):
        # A number may be an array of numbers: not any array.
        single = [p for p in parts if p is not jax.Array or float not in parts]
        kinds = [_ARRAY if p is jax.Array else kind_of(p) for p in single]
        known = [kind for kind in kinds if kind is not None]
        return _either(known) if len(known) == len(kinds) else None
    if origin is typing.Literal:
        words = f"one of {', '.join(map(str, parts))}"
        return Kind(
            words, lambda value: any(_same(value, p) for p in parts), ValueError
        )
    if annotation in _KINDS:
        return _KINDS[annotation]
    if origin is Callable:
        return Kind("a function", callable)
    if origin is Sequence or (origin is tuple and parts[1:] == (...,)):
        return _list_of(kind_of(parts[0]))
    if origin is tuple and len(set(parts)) == 1:
        return _tuple_of(kind_of(parts[0]), len(parts))
    cls = origin or annotation
    # Of another class, of the user's or of JAX, anything alike may come.
    ours = getattr(cls, "__module__", "").startswith(("jopt.", "collections.abc"))
    ours = ours or cls is dict
    if not isinstance(cls, type) or not ours or getattr(cls, "_is_protocol", False):
        return None
    name = {"Schedule": "schedule", "Mapping": "dict"}.get(cls.__name__, cls.__name__)
    return Kind(f"a {name}", lambda value: isinstance(value, cls))


def _either(kinds: list[Kind]) -> Kind:
    words = list(dict.fromkeys(kind.words for kind in kinds))
    # A schedule may be a bare function.
    if "a schedule" in words:
        words.remove("a function")
    error = ValueError if any(k.error is ValueError for k in kinds) else TypeError
    hint = " ".join(filter(None, (kind.hint for kind in kinds)))
    fits = lambda value: any(kind.fits(value) for kind in kinds)  # noqa: E731
    return Kind(" or ".join(words), fits, error, hint)


def _list_of(each: Kind | None) -> Kind:
    name, fits = ("values", None) if each is None else (_several(each), each.fits)

    def all_fit(value: Any) -> bool:
        if isinstance(value, _ARRAYS):
            return value.ndim > 0
        return isinstance(value, (tuple, list)) and all(map(fits or _any, value))

    return Kind(f"a list of {name}", all_fit)


def _tuple_of(each: Kind | None, size: int) -> Kind:
    listed = _list_of(each)
    words = f"a tuple of {size} {listed.words.removeprefix('a list of ')}"
    return Kind(words, lambda value: listed.fits(value) and len(value) == size)


def _several(kind: Kind) -> str:
    return f"{kind.words.removeprefix('a ').removeprefix('an ')}s"


def _any(value: Any) -> bool:
    return True


def _same(value: Any, other: Any) -> bool:
    return type(value) is type(other) and value == other


def close_match(name: str, known: Iterable[str]) -> str:
    """Return " (did you mean x?)" of the known name that is most like `name`, or ""."""
    found = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {found[0]}?)" if found else ""


def refusal(
    title: str, name: str, value: Any, rule: str, error: type[Exception], hint: str = ""
) -> Exception:
    """Return the error that says in a sentence what an argument must be."""
    sentence = f"{title}: {name} must be {rule}, got {shown(value)}. {hint}".rstrip()
    made: Any = error(sentence)
    made.refused = name, sentence, value
    return made


@contextlib.contextmanager
def refused(value: Any) -> Iterator[None]:
    """Let an error about `value` say, too, which argument of a function that is."""
    try:
        yield
    except (TypeError, ValueError) as error:
        cast(Any, error).refused = "", str(error), value
        raise


def shown(value: Any) -> str:
    """Return a value as sentences show it, however long it is."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if callable(value) and hasattr(value, "__qualname__"):
        return f"the function {value.__qualname__}"
    if isinstance(value, int) and value.bit_length() > 128:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, int) and not -(2**31) <= value < 2**32:
        return f"{value}, of more than 32 bits"
    return str(value) if isinstance(value, np.generic) else reprlib.repr(value)


def check_kind(title: str, name: str, value: Any, annotation: Any) -> None:
    """Raise a sentence if a value is not of the kind that the annotation names."""
    kind = kind_of(annotation)
    if kind is not None and not kind.fits(value):
        raise refusal(title, name, value, kind.words, kind.error, kind.hint)


class Door:
    """The arguments of a function, by their kinds."""

    def __init__(
        self,
        name: Callable[[], str],
        parameters: Iterable[inspect.Parameter],
        asked: Collection[str] | None = None,
    ):
        self.name = name
        listed = list(parameters)
        asked = [p.name for p in listed] if asked is None else asked
        self._kinds = {
            p.name: kind_of(p.annotation) if p.name in asked else None for p in listed
        }
        self._needed = [
            p.name
            for p in listed
            if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        ]
        spread = [p.name for p in listed if p.kind is p.VAR_POSITIONAL]
        positional = (
            inspect.Parameter.POSITIONAL_ONLY,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
        )
        self._order = [p.name for p in listed if p.kind in positional]
        self._spread = spread[0] if spread else None
        self._takes_any = any(p.kind is p.VAR_KEYWORD for p in listed)

    def check(self, title: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise a sentence for an argument that is missing, unknown or of no kind."""
        given = list(self._given(args, kwargs))
        names = {name for name, _ in given}
        takes = f"its arguments are {', '.join(n for n in self._kinds if n != 'self')}"
        if unknown := [] if self._takes_any else names - self._kinds.keys():
            name = min(unknown)
            raise TypeError(
                f"{self.name()}() got an unexpected keyword argument {name!r}"
                f"{close_match(name, self._kinds)}; {takes}."
            )
        if missing := [name for name in self._needed if name not in names]:
            listed = ", ".join(missing)
            raise TypeError(f"{self.name()}() is missing {listed}; {takes}.")
        self._check_kinds(title, given, late=False)

    def explain(
        self,
        error: Exception,
        title: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        """Raise a sentence if an argument that is asked late is why this error came."""
        given = list(self._given(args, kwargs))
        if not hasattr(error, "refused"):
            self._check_kinds(title, given, late=True)
        if isinstance(error, OverflowError):
            for name, value in given:
                if isinstance(value, int) and not -(2**31) <= value < 2**31:
                    rule = "a number of 32 bits, or a float"
                    raise refusal(title, name, value, rule, TypeError)
        self._name(error, given)

    def _check_kinds(
        self, title: str, given: Iterable[tuple[str, Any]], *, late: bool
    ) -> None:
        for name, value in given:
            kind = self._kinds.get(name)
            if kind is not None and kind.late is late and not kind.fits(value):
                raise refusal(title, name, value, kind.words, kind.error, kind.hint)

    def _name(self, error: Any, given: Iterable[tuple[str, Any]]) -> None:
        """Say in the refusal of a part which argument it is about, if it differs."""
        field, sentence, value = getattr(error, "refused", ("", "", None))
        alike = [name for name, mine in given if sentence and mine is value]
        if alike and field not in alike:
            error.args = (f"{sentence} This is {alike[0]} of {self.name()}.",)

    def _given(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Iterator[tuple[str, Any]]:
        rest = [] if self._spread is None else itertools.repeat(self._spread)
        yield from zip(itertools.chain(self._order, rest), args, strict=False)
        yield from kwargs.items()


def is_said_by_jopt(error: Exception) -> bool:
    """Whether it is a sentence of jopt's."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    raised_in = Path(frames[-1].f_code.co_filename)
    # A TypeError may be Python's own, of jopt's code on what it was given.
    return isinstance(error, ValueError) and Path(__file__).parent in raised_in.parents


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Check a function's arguments by their annotations.

    A refusal by a part that the function makes says, too, which argument it is about.
    """
    return _guarded(function, function.__qualname__)


def checked_class(cls: type[T]) -> type[T]:
    """Check what a class is made of, as `checked` does."""
    cls.__init__ = _guarded(cls.__init__, cls.__name__)
    return cls


def named_class(cls: type[T]) -> type[T]:
    """Let missing and unknown arguments name the class, which checks the others."""
    cls.__init__ = _guarded(cls.__init__, cls.__name__, asked=())
    return cls


def _guarded(
    function: Callable[P, R], title: str, asked: Collection[str] | None = None
) -> Callable[P, R]:
    parameters = inspect.signature(function).parameters.values()
    door = Door(lambda: title, parameters, asked)

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        door.check(title, args, kwargs)
        try:
            return function(*args, **kwargs)
        except Exception as error:
            door.explain(error, title, args, kwargs)
            raise

    return called
