"""Trials: settings of the hyperparameters, and the transformations they make."""

import dataclasses
import difflib
import inspect
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jopt._core import (
    GradientTransformation,
    as_transformation,
)
from jopt._pytree import PyTree


@dataclasses.dataclass(frozen=True)
class Trial:
    """One setting of the hyperparameters, to be trained with one seed.

    Trials of one seed start from the same parameters and see the same randomness: they
    differ by their hyperparameters alone.
    """

    hyperparameters: dict[str, Any]
    tx: GradientTransformation
    seed: int = 0


def grid(factory: Callable[..., Any], **values: Any) -> list[Trial]:
    """Return a trial for every combination of `values`.

        grid(jopt.adamw, learning_rate=np.logspace(-5, 0, 64), weight_decay=[0, 1e-4])

    factory: any callable that builds a transformation of what it is given by name; it
    is called once a trial, on plain numbers:

        lambda peak: jopt.adamw(jopt.warmup_cosine_decay_schedule(0, peak, 50, 500))

    values: a sequence by name, or a single value. Values that change the structure
    (bools, names) make groups that are compiled one by one.

    Raises a ValueError for a name that `factory` does not take, for an empty sequence,
    and whatever `factory` raises, with the setting that it was given.
    """
    _check_names(factory, values)
    columns = {name: _listed(name, value) for name, value in values.items()}
    settings = (
        dict(zip(columns, row, strict=True))
        for row in itertools.product(*columns.values())
    )
    return [Trial(setting, _made(factory, setting)) for setting in settings]


def with_seeds(trials: Sequence[Trial], seeds: int) -> list[Trial]:
    """Return each trial once a seed, the seeds of a setting side by side."""
    if seeds < 1:
        raise ValueError(f"A sweep needs seeds of at least 1, got {seeds}.")
    if seeds == 1:
        return list(trials)
    return [dataclasses.replace(t, seed=s) for t in trials for s in range(seeds)]


def stack(trees: Sequence[PyTree]) -> PyTree:
    """Return trees of one structure as one, whose numbers have a leading axis.

    Numbers become float32 (arrays keep their dtype).
    """

    def leaf(*values: Any) -> jax.Array:
        if all(isinstance(value, float) for value in values):
            return jnp.asarray(np.asarray(values, np.float32))
        return jnp.stack([jnp.asarray(value) for value in values])

    return jax.tree.map(leaf, *trees)


def space(trials: Sequence[Trial]) -> dict[str, list[Any]]:
    """Return the values that each hyperparameter takes, in the order of the trials."""
    names = trials[0].hyperparameters
    return {n: list(dict.fromkeys(t.hyperparameters[n] for t in trials)) for n in names}


def groups(trials: Sequence[Trial]) -> list[list[int]]:
    """Return the positions of the trials by structure: a program each."""
    by_structure: dict[Any, list[int]] = {}
    for position, trial in enumerate(trials):
        by_structure.setdefault(jax.tree.structure(trial.tx), []).append(position)
    return list(by_structure.values())


def _check_names(factory: Callable[..., Any], names: Iterable[str]) -> None:
    parameters = inspect.signature(factory).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    title = getattr(factory, "__name__", repr(factory))
    for name in names:
        if name not in parameters:
            close = difflib.get_close_matches(name, parameters, n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise ValueError(
                f"{title} has no hyperparameter {name}{hint}; "
                f"it has {', '.join(parameters)}."
            )
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in names:
            raise ValueError(f"{title} needs a value for {name}, got none.")


def _listed(name: str, value: Any) -> list[Any]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        return [value]
    items = value.tolist() if isinstance(value, np.ndarray) else list(value)
    if not items:
        raise ValueError(f"grid: {name} has no values; give at least one.")
    return items


def _made(factory: Callable[..., Any], setting: dict[str, Any]) -> Any:
    try:
        return as_transformation(factory(**setting))
    except (TypeError, ValueError) as error:
        given = ", ".join(f"{name}={value}" for name, value in setting.items())
        raise type(error)(f"{error} (the trial with {given})") from error
