"""Arguments are checked where they are given, by the kinds that annotations name."""

import contextlib
import difflib
import functools
import inspect
import itertools
import reprlib
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np

from jopt.core._kinds import kind_of

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


def close_match(name: str, known: Iterable[str]) -> str:
    """Return " (did you mean x?)" of the known name that is most like `name`, or ""."""
    found = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {found[0]}?)" if found else ""


def refusal(
    title: str, name: str, value: Any, rule: str, error: type[Exception], hint: str = ""
) -> Exception:
    """Return the error that says in a sentence what an argument must be."""
    end = hint if hint.startswith(";") else f". {hint}".rstrip()
    sentence = f"{title}: {name} must be {rule}, got {shown(value)}{end}"
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
    """Raise the kind's own error if `value` does not fit the annotation."""
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
        """Raise if an argument is missing, unknown or does not fit its annotation."""
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
        """Raise in place of `error` if an argument that is checked late caused it."""
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
    return (
        isinstance(error, ValueError) and Path(__file__).parents[1] in raised_in.parents
    )


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
