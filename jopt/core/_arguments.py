"""Checks of the arguments of functions and classes, by their annotations."""

import functools
import inspect
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import ParamSpec, TypeVar

from jopt.core._errors import argument_error, close_match, refused
from jopt.core._kinds import kind_of

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Check the arguments of a function by their annotations at each call.

    If an object that the function builds rejects a value, the error also names the
    function's argument.

    Args:
      function: a function whose annotations are types, aliases such as
        `jopt.core.Count`, or unions of them. Other annotations allow any value.

    Returns:
      The function. It raises TypeError for a missing or unknown argument, and the
      error of the annotation's `Kind` for a value that does not fit.
    """
    return _guarded(function, function.__qualname__)


def checked_class(cls: type[T]) -> type[T]:
    """Check the arguments of a class's `__init__` as `checked` does a function's."""
    cls.__init__ = _guarded(cls.__init__, cls.__name__)
    return cls


def named_class(cls: type[T]) -> type[T]:
    """Check that arguments of a class are neither missing nor unknown.

    The class itself checks the values. Errors name the class.
    """
    cls.__init__ = _guarded(cls.__init__, cls.__name__, asked=())
    return cls


def check_argument(title: str, name: str, value: object, annotation: object) -> None:
    """Raise the error of an annotation's `Kind` if `value` does not fit it.

    Args:
      title: the function or class named in errors.
      name: the argument named in errors.
      value: the value to check.
      annotation: a type or an alias such as `jopt.core.Count`.
    """
    kind = kind_of(annotation)
    if kind is not None and not kind.fits(value):
        raise argument_error(title, name, value, kind.words, kind.error, kind.hint)


class ArgumentChecks:
    """The checks of a function's arguments, made once from its signature.

    Args:
      name: returns the name of the function in errors about its signature; called
        only for an error.
      parameters: the parameters of the function.
      asked: names of the parameters whose values are checked; None for all.
    """

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
        self._required = [
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

    def check(
        self, title: str, args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> None:
        """Raise if an argument is missing, unknown or does not fit its annotation.

        Args:
          title: the function or class named in errors about a value.
          args: the positional arguments.
          kwargs: the keyword arguments.
        """
        given = list(self._given(args, kwargs))
        names = {name for name, _ in given}
        takes = f"its arguments are {', '.join(n for n in self._kinds if n != 'self')}"
        if unknown := [] if self._takes_any else names - self._kinds.keys():
            name = min(unknown)
            raise TypeError(
                f"{self.name()}() got an unexpected keyword argument {name!r}"
                f"{close_match(name, self._kinds)}; {takes}."
            )
        if missing := [name for name in self._required if name not in names]:
            listed = ", ".join(missing)
            raise TypeError(f"{self.name()}() is missing {listed}; {takes}.")
        self._check_kinds(title, given, late=False)

    def explain(
        self,
        error: Exception,
        title: str,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
    ) -> None:
        """Make the late checks, after the function has raised `error`.

        Raise a more precise error if an argument does not fit. Otherwise add the name
        of the argument that `error` is about. Arguments are those of `check`.
        """
        given = list(self._given(args, kwargs))
        if refused(error) is None:
            self._check_kinds(title, given, late=True)
        if isinstance(error, OverflowError):
            for name, value in given:
                if isinstance(value, int) and not -(2**31) <= value < 2**31:
                    rule = "a number of 32 bits, or a float"
                    raise argument_error(title, name, value, rule, TypeError)
        self._add_name(error, given)

    def _check_kinds(
        self, title: str, given: Iterable[tuple[str, object]], *, late: bool
    ) -> None:
        for name, value in given:
            kind = self._kinds.get(name)
            if kind is not None and kind.late is late and not kind.fits(value):
                raise argument_error(
                    title, name, value, kind.words, kind.error, kind.hint
                )

    def _add_name(self, error: Exception, given: Iterable[tuple[str, object]]) -> None:
        """Add this function's argument to an error that names another one."""
        found = refused(error)
        if found is None or not found.sentence:
            return
        alike = [name for name, mine in given if _is_same(mine, found.value)]
        if alike and found.field not in alike:
            error.args = (f"{found.sentence} This is {alike[0]} of {self.name()}.",)

    def _given(
        self, args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> Iterator[tuple[str, object]]:
        rest = [] if self._spread is None else itertools.repeat(self._spread)
        yield from zip(itertools.chain(self._order, rest), args, strict=False)
        yield from kwargs.items()


def _is_same(given: object, found: object) -> bool:
    """Return whether an argument is the rejected value; converters copy integers."""
    copied = type(given) is int and isinstance(found, int) and given == found
    return given is found or copied


def _guarded(
    function: Callable[P, R], title: str, asked: Collection[str] | None = None
) -> Callable[P, R]:
    parameters = inspect.signature(function).parameters.values()
    checks = ArgumentChecks(lambda: title, parameters, asked)

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        checks.check(title, args, kwargs)
        try:
            return function(*args, **kwargs)
        except Exception as error:
            checks.explain(error, title, args, kwargs)
            raise

    return called
