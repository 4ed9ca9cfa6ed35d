"""Spaces: the ranges of a factory's hyperparameters, nested by choices."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from itertools import product
from typing import Any, cast

import jax
import numpy as np

from jopt.core import argument_error, error_about, is_real, named_class, shown
from jopt.sweep._equality import Identities, same
from jopt.sweep.space._distributions import Distribution, share_in
from jopt.sweep.space._factories import NestedFactory, check_names


@named_class
@dataclasses.dataclass(frozen=True, eq=False, init=False)
class Choice(Distribution):
    """Draw one of several values, all equally likely; repeated values count repeatedly.

    From a dict of spaces, a name is drawn, and with it the hyperparameters of its
    space:

        choice({"adamw": Space(jopt.adamw, ...), "muon": Space(jopt.muon, ...)})

    Args:
      values: names, numbers, bools, tuples, functions or arrays, in a fixed order; at
        least one. NumPy's numbers become Python's. Or a dict of spaces by name, for a
        hyperparameter of a `Space`.

    Raises:
      TypeError: if `values` is neither, or has no order, such as a set.
      ValueError: if there are no values, or a name has a dot.
    """

    values: tuple[Any, ...] | Mapping[str, "Space"]

    def __init__(self, values: Iterable[Any] | Mapping[str, "Space"]):
        held: Any = dict(values) if isinstance(values, Mapping) else _listed(values)
        if not held:
            raise ValueError("Choice: values must not be empty; give at least one.")
        if isinstance(held, dict):
            _check_spaces(held)
        elif any(isinstance(value, Space) for value in held):
            raise TypeError(
                "Choice: values must give spaces by name, got a list of them; give "
                "sweep.choice({name: sweep.Space(...)}), as the table shows the names."
            )
        object.__setattr__(self, "values", held)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Choice) and same(self.values, other.values)

    def __hash__(self) -> int:
        return hash((Choice, len(self.values)))

    def at(self, u: float) -> Any:
        """Return the value, or the name, at `u`."""
        return tuple(self.values)[math.floor(share_in(u) * len(self.values))]

    def clip(self, value: Any) -> Any:
        """Return the nearest value among numbers, else the value itself."""
        known = tuple(self.values)
        for one in known:
            if same(one, value):
                return one
        if not all(map(is_real, (value, *known))) or math.isnan(value):
            listed = ", ".join(map(repr, known))
            raise ValueError(f"Choice: value must be one of {listed}; got {value!r}.")
        return min(known, key=lambda one: abs(one - value))

    def beside(self, value: Any) -> list[Any]:
        """Return the values before and after a value; one of them at an end."""
        known = tuple(self.values)
        at = next(i for i, v in enumerate(known) if v is self.clip(value))
        return [known[i] for i in (at - 1, at + 1) if 0 <= i < len(known)]


choice = Choice


@named_class
@dataclasses.dataclass(frozen=True, eq=False, repr=False, init=False)
class Space:
    """The ranges of a factory's hyperparameters, for `grid` and `sample`.

        space = Space(
            network,
            width=[16, 32],
            optimizer=choice(
                {
                    "adamw": Space(jopt.adamw, learning_rate=log_uniform(1e-5, 1)),
                    "muon": Space(jopt.muon, learning_rate=log_uniform(1e-4, 1)),
                }
            ),
        )

    The factory gets the result of an inner space's factory: here `optimizer`, a
    transformation. A trial's hyperparameters are flat: `width`, `optimizer` (the chosen
    name), and `optimizer.adamw.learning_rate` or `optimizer.muon.learning_rate`, so
    that each name has one range. A trial has values only for its own branch. The
    hyperparameters of an inner space without a choice, such as
    `loss=Space(Focal, gamma=uniform(0, 5))`, are named `loss.gamma`.

    Spaces are equal by value. A call of a space with a flat setting returns its
    factory's result.

    Args:
      factory: any callable that builds a config from its arguments by name; or a space,
        whose ranges are used where no others are given.
      static: as in `grid`; a branch's static names count when it is chosen.
      **ranges: by name, a distribution, a space, a choice of spaces, a sequence of
        values, or a single value. `grid` takes all values of a sequence, `sample` draws
        one.

    Raises:
      ValueError: `factory` does not take a name, or needs another; a sequence is
        empty; a name has a dot, in a space that holds spaces.
      TypeError: `factory` is not callable; a sequence has no order, or holds
        distributions or spaces.
    """

    factory: Callable[..., Any]
    ranges: Mapping[str, Any]
    static: tuple[str, ...]

    def __init__(
        self,
        factory: Callable[..., Any],
        /,
        *,
        static: tuple[str, ...] = (),
        **ranges: Any,
    ):
        listed = isinstance(static, (tuple, list))
        if not listed or not all(isinstance(name, str) for name in static):
            rule = "a tuple of names of hyperparameters"
            raise argument_error("Space", "static", static, rule, TypeError)
        if not callable(factory):
            rule = "callable, such as jopt.adamw"
            raise argument_error("Space", "factory", factory, rule, TypeError)
        if isinstance(factory, Space):
            static = *factory.static, *static
            factory, ranges = factory.factory, {**factory.ranges, **ranges}
        check_names(factory, ranges)
        ranges = {name: _range(name, value) for name, value in ranges.items()}
        _check_dots(ranges)
        held = {"factory": factory, "ranges": ranges, "static": tuple(static)}
        for name, value in held.items():
            object.__setattr__(self, name, value)

    def __call__(self, **setting: Any) -> Any:
        return self.maker(**setting)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Space) and same(vars(self), vars(other))

    def __hash__(self) -> int:
        return hash((Space, frozenset(self.ranges)))

    def __repr__(self) -> str:
        given = [getattr(self.factory, "__name__", None) or repr(self.factory)]
        given += [f"static={self.static}"] if self.static else []
        given += [f"{name}={value!r}" for name, value in self.ranges.items()]
        return f"Space({', '.join(given)})"

    @property
    def maker(self) -> Callable[..., Any]:
        """The factory that takes flat settings; it has no ranges."""
        inner: dict[str, Any] = {}
        for name, value in self.ranges.items():
            if isinstance(value, Space):
                inner[name] = value.maker
            elif is_branching(value):
                inner[name] = {n: space.maker for n, space in value.values.items()}
        return NestedFactory(self.factory, inner) if inner else self.factory

    @property
    def size(self) -> int:
        """The number of combinations."""
        sizes = [
            sum(space.size for _, _, space in _spaces(name, value))
            or (len(value) if type(value) is tuple else 1)
            for name, value in self.ranges.items()
        ]
        return math.prod(sizes)

    @property
    def dimensions(self) -> int:
        """The number of uniform numbers that `drawn` takes."""
        return sum(
            (type(value) is tuple or isinstance(value, Distribution))
            + sum(space.dimensions for _, _, space in _spaces(name, value))
            for name, value in self.ranges.items()
        )

    def combinations(self, prefix: str = "") -> list[dict[str, Any]]:
        """Return all flat settings; the last range varies fastest.

        Raises TypeError for a range that is not a list of values.
        """
        columns: list[list[dict[str, Any]]] = []
        for name, value in self.ranges.items():
            place = prefix + name
            inner = [
                {**({} if chosen is None else {place: chosen}), **setting}
                for chosen, inside, space in _spaces(place, value)
                for setting in space.combinations(inside)
            ]
            if not inner and isinstance(value, Distribution):
                raise TypeError(
                    f"grid: {place} must be values, got {value!r}, from which they are "
                    "drawn; use sweep.sample."
                )
            values = value if type(value) is tuple else (value,)
            columns.append(inner or [{place: one} for one in values])
        return [
            {k: v for part in row for k, v in part.items()} for row in product(*columns)
        ]

    def drawn(self, shares: Iterator[float], prefix: str = "") -> dict[str, Any]:
        """Return the flat setting of a point, given its numbers in [0, 1).

        Each branch takes its numbers, whether it is chosen or not.
        """
        setting: dict[str, Any] = {}
        for name, value in self.ranges.items():
            place = prefix + name
            source = Choice(value) if type(value) is tuple else value
            if isinstance(source, Distribution):
                setting[place] = source.at(next(shares))
            elif not isinstance(source, Space):
                setting[place] = source
            for chosen, inside, space in _spaces(place, source):
                inner = space.drawn(shares, inside)
                setting |= inner if setting.get(place) == chosen else {}
        return setting

    def chosen(
        self, choose: Callable[[str, Distribution], Any], prefix: str = ""
    ) -> dict[str, Any]:
        """Return the flat setting of the values that `choose` returns one by one.

        Args:
          choose: (flat name, distribution) -> a value of it. It is called in the order
            of the ranges, and only for the chosen branches.
          prefix: the prefix of the flat names.
        """
        setting: dict[str, Any] = {}
        for name, value in self.ranges.items():
            place = prefix + name
            source = Choice(value) if type(value) is tuple else value
            if isinstance(source, Distribution):
                setting[place] = choose(place, source)
            elif not isinstance(source, Space):
                setting[place] = source
            for branch, inside, space in _spaces(place, source):
                if setting.get(place) == branch:
                    setting |= space.chosen(choose, inside)
        return setting

    def distributions(self, prefix: str = "") -> dict[str, Distribution]:
        """Return the distributions of all branches, by their flat names."""
        found: dict[str, Distribution] = {}
        for name, value in self.ranges.items():
            place = prefix + name
            source = Choice(value) if type(value) is tuple else value
            if isinstance(source, Distribution):
                found[place] = source
            for _, inside, space in _spaces(place, source):
                found |= space.distributions(inside)
        return found

    def static_names(self, setting: Mapping[str, Any], prefix: str = "") -> list[str]:
        """Return the static names of a flat setting, including its branches' names."""
        names = list(self.static)
        for name, value in self.ranges.items():
            for chosen, inside, space in _spaces(prefix + name, value):
                if setting.get(prefix + name) == chosen:
                    names += space.static_names(setting, inside)
        return list(dict.fromkeys(names))


def is_several(value: Any) -> bool:
    """Return whether `value` is a collection of values rather than one value.

    A string, a dict, a named tuple, a dataclass, a function, a transformation, an array
    of rank 0 and a key, typed or raw, are one value each.
    """
    single = isinstance(value, (str, bytes, Mapping)) or hasattr(value, "_fields")
    if single or not isinstance(value, Iterable) or getattr(value, "ndim", 1) == 0:
        return False
    if isinstance(value, type):  # an Enum class stands for its members
        return True
    made = dataclasses.is_dataclass(value) or callable(value)
    return not made and not _is_raw_key(value)


def _range(name: str, value: Any) -> Any:
    """Return a range; several values become a tuple without duplicates."""
    with error_about(value):
        return _checked_range(name, value)


def _checked_range(name: str, value: Any) -> Any:
    if isinstance(value, type) and issubclass(value, Distribution):
        raise TypeError(
            f"The hyperparameter {name} got the class {value.__name__}; give it ends."
        )
    named = isinstance(value, Mapping) and any(
        isinstance(inner, Space) for inner in value.values()
    )
    if named:
        raise TypeError(
            f"The hyperparameter {name} must be a range, got a dict of spaces; give "
            f"{name}=sweep.choice({{name: sweep.Space(...)}})."
        )
    if not is_several(value):
        return value
    if isinstance(value, (set, frozenset)):
        raise TypeError(
            f"The hyperparameter {name} must have its values in an order, got "
            f"{shown(value)}; give a list."
        )
    items = value.tolist() if isinstance(value, np.ndarray) else list(cast(Any, value))
    if not items:
        raise ValueError(f"The hyperparameter {name} has no values; give at least one.")
    for item in items:
        if isinstance(item, Space):
            raise TypeError(
                f"The hyperparameter {name} must be values, got a list of spaces; give "
                "sweep.choice({name: sweep.Space(...)}), as the table shows the names."
            )
        if isinstance(item, Distribution):
            raise TypeError(
                f"The hyperparameter {name} must be values or one distribution, got "
                f"{item!r} in a list; draw from it alone, by sweep.sample."
            )
    return tuple(Identities().first_of_each(items))


def is_branching(value: Any) -> bool:
    """Return whether a range is a choice of spaces."""
    return isinstance(value, Choice) and isinstance(value.values, Mapping)


def _spaces(place: str, value: Any) -> Iterator[tuple[str | None, str, Space]]:
    """Yield a range's inner spaces as (name in the choice, prefix, space).

    A space without a choice has the name None.
    """
    if isinstance(value, Space):
        yield None, f"{place}.", value
    elif is_branching(value):
        for name, space in value.values.items():
            yield name, f"{place}.{name}.", space


def _check_dots(ranges: Mapping[str, Any]) -> None:
    """Raise ValueError if nested spaces could give two values one flat name."""
    nested = any(isinstance(v, Space) or is_branching(v) for v in ranges.values())
    for name in ranges if nested else ():
        if "." in name:
            raise ValueError(
                f"The hyperparameter {name} must have a name without a dot beside "
                "spaces, as the dot stands between a branch and its own "
                "hyperparameters; give it to an inner space."
            )


def _check_spaces(spaces: Mapping[Any, Any]) -> None:
    for name, space in spaces.items():
        if not isinstance(space, Space):
            raise TypeError(
                "Choice: values must be a list of values, or a sweep.Space by each "
                f"name, got {shown(space)} by {name!r}."
            )
        if not isinstance(name, str) or not name or "." in name:
            raise ValueError(
                f"Choice: a space must have a name without a dot, got {name!r}; the "
                "dot stands between a branch and its own hyperparameters."
            )


def _listed(values: Any) -> tuple[Any, ...]:
    if not is_several(values) or isinstance(values, Set):
        raise TypeError(
            "Choice: values must be a list of values, or a dict of spaces, got "
            f"{values!r}."
        )
    # Skip arrays of keys, which have no tolist.
    numbers = getattr(values, "ndim", 0) == 1 and hasattr(values, "tolist")
    given = cast(Any, values).tolist() if numbers else values
    return tuple(v.item() if isinstance(v, np.generic) else v for v in given)


def _is_raw_key(value: Any) -> bool:
    """Return whether a value is a key of `jax.random.PRNGKey`, an array of words."""
    if not isinstance(value, jax.Array) or value.dtype != np.uint32:
        return False
    return value.shape == jax.eval_shape(lambda: jax.random.PRNGKey(0)).shape
