"""Trials: settings of the hyperparameters, listed or drawn, and their configs."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jopt.core import (
    Kind,
    PyTree,
    Seed,
    checked,
    checked_class,
    close_match,
    is_integer,
    noted,
    shown as got,
)
from jopt.sweep._config import as_config, names_in, wrong_leaf
from jopt.sweep._equality import Identities, structure
from jopt.sweep._task import Task
from jopt.sweep.space import Random, Sampler, Space

Factory: TypeAlias = Annotated[
    Callable[..., Any], Kind("callable, such as jopt.adamw", callable)
]
_CONFIG = Kind(
    "a tree of numbers, such as a transformation of jopt's",
    lambda value: wrong_leaf(value) is None,
    hint="Trial.of wraps another library's, and jopt.lift makes its numbers leaves.",
)
_NAMES = Kind(
    "a tuple of names of hyperparameters",
    lambda value: (
        isinstance(value, (tuple, list))
        and all(isinstance(name, str) for name in value)
    ),
)
_SAMPLER = Kind(
    "a sampler, such as sweep.Sobol()",
    lambda value: not isinstance(value, type) and hasattr(value, "points"),
)
MOST_TRIALS = 1_000_000


def _at_least(least: int) -> Kind:
    words = f"an integer of at least {least}"
    return Kind(words, lambda value: is_integer(value) and value >= least, ValueError)


@checked_class
@dataclasses.dataclass(frozen=True)
class Setup:
    """A factory's return value that chooses more than the config.

        @functools.cache
        def network(width): ...  # a Task

        def factory(learning_rate, width, batch_size):
            return sweep.Setup(jopt.adamw(learning_rate), network(width), batch_size)

    Trials share a program if their batch sizes are equal and their tasks are equal by
    value. If all have the same task object, its data are not compared.

    Args:
      config: a transformation, or another config that the task takes.
      task: replaces the sweep's task.
      batch_size: replaces the sweep's batch size.
    """

    config: Any
    task: Task | None = None
    batch_size: int | None = None


@checked_class
@dataclasses.dataclass(frozen=True)
class Trial:
    """One setting of the hyperparameters, to be trained with one seed.

    Trials of one seed start from the same parameters and see the same randomness. They
    differ only in their hyperparameters.

    Args:
      hyperparameters: by name.
      config: the factory's return value, a tree whose leaves are numbers. Everything
        else in it is part of its structure, and trials of one structure share a
        program.
      seed: from 0 to 2**32 - 1.
      fold: which part of the examples is held out, in a sweep with folds.
      task: replaces the sweep's task.
      batch_size: replaces the sweep's batch size.
      factory: makes the config from the hyperparameters; needed if they change in
        training.
      static: names of the config's numbers that are part of the program.
    """

    hyperparameters: dict[str, Any]
    config: Annotated[Any, _CONFIG]
    seed: Seed = 0
    fold: int = 0
    task: Task | None = None
    batch_size: int | None = None
    factory: Callable[..., Any] | None = None
    static: Annotated[tuple[str, ...], _NAMES] = ()

    @classmethod
    @checked
    def of(
        cls,
        factory: Factory,
        setting: dict[str, Any],
        static: Annotated[tuple[str, ...], _NAMES] = (),
    ) -> "Trial":
        """Return the trial of a setting; `factory` makes its config.

        The factory returns the config, or a `Setup` with one. Its floats, ints and
        arrays are numbers. Bools, strings, None and functions are static, as are the
        numbers of dict entries and fields that `static` names. If the factory is a
        `Space`, the setting is flat, like the hyperparameters of its trials.

        An error that `factory` raises gets a note with the setting.
        """
        if isinstance(factory, Space):
            static = *static, *factory.static_names(setting)
            factory = factory.maker
        given = ", ".join(f"{name}={value}" for name, value in setting.items())
        with noted(f"In the trial with {given}."):
            made = factory(**setting)
            setup = made if isinstance(made, Setup) else Setup(made)
            config = as_config(setup.config, static)
        own = {"task": setup.task, "batch_size": setup.batch_size}
        fixed = {"factory": factory, "static": tuple(dict.fromkeys(static))}
        return cls(dict(setting), config, **own, **fixed)

    @checked
    def changed(self, setting: dict[str, Any]) -> "Trial":
        """Return this trial with other hyperparameters, of the same seed and fold."""
        if self.factory is None:
            raise ValueError(
                "A trial's hyperparameters can change in training only if the trial "
                "knows its factory; make it with sweep.grid, sweep.sample or Trial.of."
            )
        made = Trial.of(self.factory, setting, self.static)
        return dataclasses.replace(made, seed=self.seed, fold=self.fold)


@checked
def grid(
    factory: Factory,
    /,
    *,
    static: Annotated[tuple[str, ...], _NAMES] = (),
    **values: Any,
) -> list[Trial]:
    """Return a trial for every combination of `values`.

        grid(jopt.adamw, learning_rate=np.logspace(-5, 0, 64), weight_decay=[0, 1e-4])

    The factory is called once a trial, on plain numbers:

        lambda peak: jopt.adamw(jopt.warmup_cosine_decay_schedule(0, peak, 50, 500))

    Another task takes what it needs, for example a dict of numbers:

        grid(dict, learning_rate=[1e-4, 1e-3], entropy=[0.0, 0.01])

    Values that change the structure (bools, names) make groups of trials, and each
    group is compiled once. A value that is listed twice counts once: values are
    compared by value and dtype, functions by their code and closures.

    Args:
      factory: any callable that builds a config, such as a transformation, or a
        `Setup`, from its arguments by name; or a `Space`, for all combinations of all
        branches.
      static: names of numbers of the config that are part of the program, such as a
        width: each of their values makes a group with its own program.
      **values: a sequence by name, or a single value, such as a string, a dict, a
        transformation or a key; they replace a space's.

    Raises:
      ValueError: `factory` does not take a name, or a sequence is empty; `static` has a
        name that is in no config.
      TypeError: a value is a distribution, which is for `sample`.
      Exception: whatever `factory` raises, with a note of its setting.
    """
    space = Space(factory, static=static, **values)
    check_number("grid: the number of trials", space.size)
    return _made(space, space.combinations())


@checked
def sample(
    factory: Factory,
    n: Annotated[int, _at_least(1)],
    /,
    *,
    static: Annotated[tuple[str, ...], _NAMES] = (),
    sampler: Annotated[Sampler, _SAMPLER] = Random(),  # noqa: B008, it is immutable
    seed: Annotated[int, _at_least(0)] = 0,
    **ranges: Any,
) -> list[Trial]:
    """Return n trials whose hyperparameters are drawn from their ranges.

        sample(
            jopt.adamw,
            64,
            sampler=sweep.Sobol(),
            learning_rate=sweep.log_uniform(1e-5, 1),
            weight_decay=sweep.log_uniform(1e-6, 1e-1),
            nesterov=sweep.choice([False, True]),
            b1=0.9,
        )

    A setting that is drawn again is left out, as it would repeat a training. So a space
    of few settings gives fewer than n trials.

    Structure may be drawn too: by `choice([jopt.adamw, jopt.lion])`, by bools, or by a
    width or a batch size that the factory puts into a `Setup`. Each structure is
    compiled once for all its trials.

    Args:
      factory: as in `grid`; a choice of spaces draws one branch a trial.
      n: settings, at least 1.
      sampler: Random, Sobol, Halton or LatinHypercube.
      seed: the sampler's seed, an integer of at least 0. The same arguments give the
        same trials.
      static: as in `grid`.
      **ranges: by name, a distribution, a sequence of equally likely values, or a
        single value; they replace a space's.

    Raises:
      ValueError: `factory` does not take a name, or nothing is drawn; `static` has a
        name that is in no config.
      ImportError: the sampler needs SciPy.
      Exception: whatever `factory` raises, with a note of its setting.
    """
    check_number("sample: n", n)
    space = Space(factory, static=static, **ranges)
    if not space.dimensions:
        raise ValueError(
            "sample: nothing is drawn, as no value is a distribution; give one, as in "
            "learning_rate=sweep.log_uniform(1e-5, 1), or use sweep.grid."
        )
    points = sampler.points(int(n), space.dimensions, int(seed)).tolist()
    settings = [space.drawn(iter(point)) for point in points]
    return _made(space, Identities().first_of_each(settings))


def _made(space: Space, settings: Iterable[dict[str, Any]]) -> list[Trial]:
    """Return a trial for each of a space's settings.

    Raises ValueError if `static` has a name that is in no trial's config.
    """
    trials = [Trial.of(space, setting) for setting in settings]
    for name in dict.fromkeys(name for trial in trials for name in trial.static):
        configs = [trial.config for trial in trials if name in trial.static]
        if not any(name in names_in(config) for config in configs):
            known = sorted(names_in(configs[0]))
            raise ValueError(
                f"static must name numbers of the config, got {name!r}"
                f"{close_match(name, known)}; it has {', '.join(known) or 'no names'}."
            )
    return trials


def check_number(what: str, number: int) -> None:
    """Raise ValueError if there are more trials than a sweep can train."""
    if number > MOST_TRIALS:
        raise ValueError(f"{what} must be at most {MOST_TRIALS:,}, got {got(number)}.")


def repeated(
    trials: Sequence[Trial], seeds: int | Sequence[int], folds: int = 1
) -> list[Trial]:
    """Return each trial once a seed and fold, those of a setting side by side.

    Args:
      trials: one a setting.
      seeds: their number, or the seeds themselves. With 1, trials keep theirs.
      folds: the number of folds.
    """
    number = seeds if isinstance(seeds, int) else len(seeds)
    for name, least in {"seeds": number, "folds": folds}.items():
        if least < 1:
            raise ValueError(f"A sweep needs {name} of at least 1, got {least}.")
    what = "A sweep's settings times seeds times folds"
    check_number(what, len(trials) * number * folds)
    of_all = range(seeds) if isinstance(seeds, int) else seeds
    if len(set(of_all)) < number:
        raise ValueError(f"A sweep needs seeds that differ, got {got(seeds)}.")
    return [
        dataclasses.replace(trial, seed=seed, fold=fold)
        for trial in _sharing_tasks(trials)
        for seed in ([trial.seed] if seeds == 1 else of_all)
        for fold in range(folds)
    ]


def _sharing_tasks(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials, with one object for all tasks that are equal by value."""
    own = {id(t.task): t.task for t in trials if t.task is not None}
    if len(own) < 2:  # without comparing data
        return list(trials)
    identities, first = Identities(), dict[int, Task]()
    same = {
        key: first.setdefault(identities.of(task), task) for key, task in own.items()
    }
    return [dataclasses.replace(t, task=same.get(id(t.task))) for t in trials]


def stack(trees: Sequence[PyTree]) -> PyTree:
    """Return the stacked trees of one structure; numbers get a leading trial axis.

    Numbers become float32, or float64 if JAX enables it; arrays keep their dtype.
    Static parts are those of the first tree, which equal the others' by value.
    """

    def leaf(*values: Any) -> jax.Array:
        if all(isinstance(value, float) for value in values):
            return jnp.asarray(np.asarray(values, jnp.result_type(float)))
        return jnp.stack(
            [jnp.asarray(value, jnp.result_type(value)) for value in values]
        )

    leaves = zip(*map(jax.tree.leaves, trees), strict=True)
    return jax.tree.structure(trees[0]).unflatten(itertools.starmap(leaf, leaves))


def settings_of(trials: Sequence[Trial]) -> list[np.ndarray]:
    """Return the positions of each setting's trials, ordered by the first trial."""
    identities, found = Identities(), dict[Any, list[int]]()
    for position, trial in enumerate(trials):
        # Include the factory, since two factories may take the same numbers.
        setting = identities.of(trial.factory), identities.of(trial.hyperparameters)
        found.setdefault(setting, []).append(position)
    return [np.asarray(rows) for rows in found.values()]


def groups(trials: Sequence[Trial]) -> list[list[int]]:
    """Return the positions of the trials by structure, one program each.

    Static parts are compared by value, so a function that a factory makes for each
    trial counts as one function.
    """
    identities, known = Identities(), dict[Any, Any]()
    by_structure: dict[Any, list[int]] = {}
    for position, trial in enumerate(trials):
        leaves, form = jax.tree.flatten(trial.config)
        if form not in known:
            known[form] = structure(form, identities)
        kinds = tuple((np.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)
        program = known[form], kinds, id(trial.task), trial.batch_size
        by_structure.setdefault(program, []).append(position)
    return list(by_structure.values())
