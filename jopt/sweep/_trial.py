"""Trials: settings of the hyperparameters, and the transformations they make."""

import dataclasses
import inspect
import itertools
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jopt.core import (
    GradientTransformation,
    Kind,
    PyTree,
    Seed,
    Transformation,
    as_transformation,
    checked,
    checked_class,
    close_match,
    is_real,
    shown as got,
)
from jopt.sweep._equality import Identities, structure
from jopt.sweep._noted import noted
from jopt.sweep._task import Task
from jopt.sweep._wording import told_apart
from jopt.sweep.space import Distribution, is_several

Factory: TypeAlias = Annotated[
    Callable[..., Any], Kind("callable, such as jopt.adamw", callable)
]
_OURS = Kind(
    "a transformation of jopt's",
    lambda value: isinstance(value, GradientTransformation),
    hint="Trial.of wraps another library's, and jopt.lift makes its numbers leaves.",
)
MOST_TRIALS = 1_000_000

# Columns that a sweep's tables have of their own, and what those would be renamed to.
OWN = re.compile(r"(param_)*(trials?|seed|fold|status|steps|train_loss(_.*)?|valid_.*)")


@checked_class
@dataclasses.dataclass(frozen=True)
class Setup:
    """What a factory returns to choose more than the transformation.

        @functools.cache
        def network(width): ...  # a Task

        def factory(learning_rate, width, batch_size):
            return sweep.Setup(jopt.adamw(learning_rate), network(width), batch_size)

    tx: the transformation. task, batch_size: in place of the sweep's. Trials share a
    program if their tasks are equal by value (or one object, which is found out without
    a look at its data) and their batch sizes are.
    """

    tx: Transformation
    task: Task | None = None
    batch_size: int | None = None


@checked_class
@dataclasses.dataclass(frozen=True)
class Trial:
    """One setting of the hyperparameters, to be trained with one seed.

    Trials of one seed start from the same parameters and see the same randomness: they
    differ by their hyperparameters alone.

    factory: what made `tx` of the hyperparameters, if they may change in training.
    task, batch_size: in place of the sweep's. fold: which part of the examples is held
    out, where a sweep has folds.
    """

    hyperparameters: dict[str, Any]
    tx: Annotated[GradientTransformation, _OURS]
    seed: Seed = 0
    fold: int = 0
    task: Task | None = None
    batch_size: int | None = None
    factory: Callable[..., Any] | None = None

    @classmethod
    @checked
    def of(cls, factory: Factory, setting: dict[str, Any]) -> "Trial":
        """Return the trial that `factory` makes of a setting.

        Raises what `factory` raises, with a note of the setting that it was given.
        """
        given = ", ".join(f"{name}={value}" for name, value in setting.items())
        with noted(f"In the trial with {given}."):
            made = factory(**setting)
            setup = made if isinstance(made, Setup) else Setup(made)
            tx = as_transformation(setup.tx)
        own = {"task": setup.task, "batch_size": setup.batch_size}
        return cls(dict(setting), tx, factory=factory, **own)

    @checked
    def changed(self, setting: dict[str, Any]) -> "Trial":
        """Return this trial with other hyperparameters, of the same seed and fold."""
        if self.factory is None:
            raise ValueError(
                "A trial's hyperparameters can change in training only if the trial "
                "knows its factory; make it with sweep.grid, sweep.sample or Trial.of."
            )
        made = Trial.of(self.factory, setting)
        return dataclasses.replace(made, seed=self.seed, fold=self.fold)


@checked
def grid(factory: Factory, **values: Any) -> list[Trial]:
    """Return a trial for every combination of `values`.

        grid(jopt.adamw, learning_rate=np.logspace(-5, 0, 64), weight_decay=[0, 1e-4])

    factory: any callable that builds a transformation of what it is given by name; it
    is called once a trial, on plain numbers:

        lambda peak: jopt.adamw(jopt.warmup_cosine_decay_schedule(0, peak, 50, 500))

    values: a sequence by name, or a single value, as a string, a dict, a transformation
    or a key is; one that is listed twice counts once. Values are compared by value and
    dtype, functions by their code and what they close over.
    Values that change the structure (bools, names) make groups that are compiled one by
    one.

    Raises a ValueError for a name that `factory` does not take, for an empty sequence,
    a TypeError for what is to be drawn, which is for `sample`, and whatever `factory`
    raises, with a note of the setting that it was given.
    """
    check_names(factory, values)
    columns = {name: _listed(name, value) for name, value in values.items()}
    check_number("grid: the number of trials", math.prod(map(len, columns.values())))
    settings = (
        dict(zip(columns, row, strict=True))
        for row in itertools.product(*columns.values())
    )
    return [Trial.of(factory, setting) for setting in settings]


def check_number(what: str, number: int) -> None:
    """Raise a ValueError for more trials than any sweep trains."""
    if number > MOST_TRIALS:
        raise ValueError(f"{what} must be at most {MOST_TRIALS:,}, got {got(number)}.")


def repeated(trials: Sequence[Trial], seeds: int, folds: int = 1) -> list[Trial]:
    """Return each trial once a seed and fold, those of a setting side by side.

    With seeds of 1, trials keep the seeds that they have.
    """
    for name, number in {"seeds": seeds, "folds": folds}.items():
        if number < 1:
            raise ValueError(f"A sweep needs {name} of at least 1, got {number}.")
    what = "A sweep's settings times seeds times folds"
    check_number(what, len(trials) * seeds * folds)
    return [
        dataclasses.replace(trial, seed=seed, fold=fold)
        for trial in _sharing_tasks(trials)
        for seed in (range(seeds) if seeds > 1 else [trial.seed])
        for fold in range(folds)
    ]


def _sharing_tasks(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials with one object for all tasks that are equal by value."""
    own = {id(t.task): t.task for t in trials if t.task is not None}
    if len(own) < 2:  # without a look at the data
        return list(trials)
    identities, first = Identities(), dict[int, Task]()
    same = {
        key: first.setdefault(identities.of(task), task) for key, task in own.items()
    }
    return [dataclasses.replace(t, task=same.get(id(t.task))) for t in trials]


def stack(trees: Sequence[PyTree]) -> PyTree:
    """Return trees of one structure as one, whose numbers have a leading axis.

    Numbers become float32, or float64 where JAX has it (arrays keep their dtype). What
    is static is the first's: in the others it is equal by value, if not for JAX.
    """

    def leaf(*values: Any) -> jax.Array:
        if all(isinstance(value, float) for value in values):
            return jnp.asarray(np.asarray(values, jnp.result_type(float)))
        return jnp.stack(
            [jnp.asarray(value, jnp.result_type(value)) for value in values]
        )

    leaves = zip(*map(jax.tree.leaves, trees), strict=True)
    return jax.tree.structure(trees[0]).unflatten(itertools.starmap(leaf, leaves))


def shown_settings(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Return each trial's hyperparameters as tables show them, by name.

    Those of a name that are shown alike are equal.
    """
    found: list[dict[str, Any]] = [{} for _ in trials]
    for name in dict.fromkeys(name for t in trials for name in t.hyperparameters):
        rows = [row for row, t in enumerate(trials) if name in t.hyperparameters]
        values = told_apart([trials[row].hyperparameters[name] for row in rows])
        for row, value in zip(rows, values, strict=True):
            found[row][name] = value
    return found


def space(trials: Sequence[Trial]) -> dict[str, list[Any]]:
    """Return the values of each column of `columns`, in the order of the trials."""
    found: dict[str, dict[Any, Any]] = {}
    for setting in shown_settings(trials):
        for name, value in setting.items():
            # By how they print, for NaN is not equal to NaN.
            found.setdefault(column_of(name), {}).setdefault(repr(value), value)
    return {name: list(values.values()) for name, values in found.items()}


def column_of(name: str) -> str:
    """Return the table's column of a hyperparameter: `param_seed` of one named `seed`.

    No other hyperparameter has the same.
    """
    return f"param_{name}" if OWN.fullmatch(name) else name


def columns(trials: Sequence[Trial]) -> dict[str, np.ndarray]:
    """Return the hyperparameters of all trials as columns of a table.

    Where a trial has none of a name there is NaN among numbers, None among others.
    """
    settings = shown_settings(trials)
    found: dict[str, np.ndarray] = {}
    for name in dict.fromkeys(name for setting in settings for name in setting):
        values = [setting[name] for setting in settings if name in setting]
        none = math.nan if all(map(is_real, values)) else None
        found[column_of(name)] = np.asarray([s.get(name, none) for s in settings])
    return found


def settings_of(trials: Sequence[Trial]) -> list[np.ndarray]:
    """Return the positions of the trials of each setting, in the order of the first."""
    identities, found = Identities(), dict[Any, list[int]]()
    for position, trial in enumerate(trials):
        # Two factories may take the same numbers.
        setting = identities.of(trial.factory), identities.of(trial.hyperparameters)
        found.setdefault(setting, []).append(position)
    return [np.asarray(rows) for rows in found.values()]


def groups(trials: Sequence[Trial]) -> list[list[int]]:
    """Return the positions of the trials by structure: a program each.

    Static parts are compared by value: what a factory makes anew for each trial, a
    function for one, is one structure.
    """
    identities, known = Identities(), dict[Any, Any]()
    by_structure: dict[Any, list[int]] = {}
    for position, trial in enumerate(trials):
        leaves, form = jax.tree.flatten(trial.tx)
        if form not in known:
            known[form] = structure(form, identities)
        kinds = tuple((np.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)
        program = known[form], kinds, id(trial.task), trial.batch_size
        by_structure.setdefault(program, []).append(position)
    return list(by_structure.values())


def check_names(factory: Callable[..., Any], names: Iterable[str]) -> None:
    """Raise a sentence unless `factory` takes just these names and misses none."""
    if not callable(factory):
        raise TypeError(
            f"The factory of trials must be callable, such as jopt.adamw, got "
            f"{factory!r}."
        )
    try:
        parameters = inspect.signature(factory).parameters
    except ValueError:  # of a builtin
        raise TypeError(
            f"The factory of trials must tell its arguments, got {got(factory)}, which "
            "does not; give a function of your own that calls it."
        ) from None
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    title = getattr(factory, "__name__", repr(factory))
    for name in names:
        if name not in parameters:
            raise ValueError(
                f"{title} has no hyperparameter {name}{close_match(name, parameters)}; "
                f"it has {', '.join(parameters)}."
            )
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in names:
            raise ValueError(f"{title} needs a value for {name}, got none.")


def _listed(name: str, value: Any) -> list[Any]:
    items = (
        list(value.tolist() if isinstance(value, np.ndarray) else value)
        if (is_several(value))
        else [value]
    )
    if not items:
        raise ValueError(f"grid: {name} has no values; give at least one.")
    for item in items:
        if isinstance(item, Distribution):
            raise TypeError(
                f"grid: {name} must be values, got {item!r}, from which they are "
                "drawn; use sweep.sample."
            )
    return Identities().first_of_each(items)
