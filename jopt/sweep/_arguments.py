"""The kinds of a sweep's arguments: what is of none is said before anything is read."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jopt.core import is_integer, is_path, shown
from jopt.sweep._task import Task
from jopt.sweep._trial import Trial
from jopt.sweep.pruners import Pruner


class Kind(NamedTuple):
    """What an argument must be, in words, and whether a value is."""

    words: str
    fits: Callable[[Any], bool]


def has(*methods: str) -> Callable[[Any], bool]:
    """Return whether an object, and no class, has these methods."""
    return lambda value: (
        not isinstance(value, type) and all(hasattr(value, m) for m in methods)
    )


def list_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Return whether it is a list, tuple or array of what fits."""
    kinds = (Sequence, np.ndarray)
    return lambda value: isinstance(value, kinds) and all(map(fits, value))


def takes_one(value: Any) -> bool:
    """Return whether it is a function that can be called with one argument."""
    if not callable(value):
        return False
    try:
        inspect.signature(value).bind(None)
    except TypeError:
        return False
    except ValueError:  # of a builtin that tells none
        return True
    return True


INTEGER = Kind("an integer", lambda value: is_integer(value) and value < 2**31)
FUNCTION = Kind("a function", callable)
KINDS: Mapping[str, Kind] = {
    "task": Kind(
        "a sweep.Task, such as digits()", lambda value: isinstance(value, Task)
    ),
    "trials": Kind(
        "a list of sweep.Trial, as sweep.grid and sweep.sample return",
        list_of(lambda value: isinstance(value, Trial)),
    ),
    "steps": Kind("an integer", is_integer),
    "epochs": INTEGER,
    "seeds": INTEGER,
    "folds": INTEGER,
    "batch_size": INTEGER,
    "block": INTEGER,
    "segments": INTEGER,
    "seed": Kind(
        "an integer or a key of jax.random.key",
        lambda value: is_integer(value) or isinstance(value, (jax.Array, np.ndarray)),
    ),
    "pruner": Kind(
        "a pruner, such as sweep.SuccessiveHalving()",
        lambda value: isinstance(value, Pruner),
    ),
    "population": Kind(
        "a population, such as sweep.PopulationBasedTraining(mutations)",
        has("check", "reachable", "due", "step"),
    ),
    "overwrite": Kind("True or False", lambda value: isinstance(value, bool)),
    "directory": Kind("a path", is_path),
    "devices": Kind(
        "a list of devices, as jax.local_devices() returns", list_of(has("platform"))
    ),
    "memory": Kind(
        "an integer, in bytes, such as 2 * 10**9",
        lambda value: is_integer(value) and value < 2**63,
    ),
    "progress": FUNCTION,
    "callbacks": Kind("a list of functions", list_of(callable)),
    "factory": Kind("a function, such as jopt.adamw", callable),
    "sampler": Kind("a sampler, such as sweep.Sobol()", has("points")),
}


# What a sweep calls with one argument: the rule, and the functions in a value.
CALLED: Mapping[str, tuple[str, Callable[[Any], Sequence[Any]]]] = {
    "progress": ("progress must take one argument, the Progress", lambda f: [f]),
    "callbacks": ("callbacks must take one argument, the Segment", list),
    "pruner": ("pruner.keep must take one argument, the Reports", lambda p: [p.keep]),
}


OPTIONAL = (  # may be None, whatever the function
    "steps",
    "epochs",
    "batch_size",
    "block",
    "pruner",
    "population",
    "devices",
    "memory",
    "progress",
)


def check(function: str, optional: Iterable[str] = (), **given: Any) -> None:
    """Raise a TypeError in a sentence for an argument that is not of its kind.

    optional: the names of more that may be None.
    """
    for name, value in given.items():
        left_out = value is None and name in (*OPTIONAL, *optional)
        if left_out:
            continue
        if not KINDS[name].fits(value):
            raise TypeError(
                f"{function}: {name} must be {KINDS[name].words}, got {_got(value)}."
            )
        rule, functions = CALLED.get(name, ("", lambda value: []))
        for called in functions(value):
            if not takes_one(called):
                raise TypeError(f"{function}: {rule}, and {_got(called)} does not.")


def _got(value: Any) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}; call it, as in {value.__name__}()"
    if inspect.isroutine(value):
        return f"the function {value.__name__}"
    return shown(value)
