"""The trials that a command asks for: a grid, drawn settings, or a space."""

import argparse
import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from jopt import sweep
from jopt.cli import lookup
from jopt.cli.values import assignments, distribution, numbers, values
from jopt.sweep import check_names

SAMPLERS = {
    "random": sweep.Random,
    "sobol": sweep.Sobol,
    "halton": sweep.Halton,
    "latin": sweep.LatinHypercube,
}


def trials(options: argparse.Namespace) -> tuple[sweep.Task, list[sweep.Trial]]:
    """Return the task, and the trials that the options ask for, with earlier ones.

    A hyperparameter of `--set` goes to the task's function if the function takes it, to
    the batch size if it is `batch_size`, and otherwise to the optimizer.

    Raises:
      ValueError: if none of them takes a name.
    """
    earlier = [{**asked, "earlier": []} for asked in getattr(options, "earlier", [])]
    if earlier:
        every = [*earlier, {**vars(options), "earlier": []}]
        asked = [argparse.Namespace(**{**vars(options), **own}) for own in every]
        made = [trial for own in asked for trial in trials(own)[1]]
        known = {tuple(trial.hyperparameters.items()): trial for trial in made[::-1]}
        first = dict.fromkeys(tuple(trial.hyperparameters.items()) for trial in made)
        return lookup.task(options.task), [known[setting] for setting in first]
    task, factory, given = _asked(options, drawn=options.sample is not None)
    if options.sample is None:
        values: dict[str, Any] = given
        return task, sweep.grid(factory, **values)
    drawn: dict[str, Any] = {"seed": options.seed, **given}
    drawn["sampler"] = lookup.look_up(options.sampler, SAMPLERS, "sampler")()
    return task, sweep.sample(factory, options.sample, **drawn)


def space(options: argparse.Namespace) -> tuple[sweep.Task, sweep.Space]:
    """Return the task and the space to search; options as in `trials`."""
    task, factory, given = _asked(options, drawn=True)
    return task, sweep.Space(factory, **given)


def _asked(
    options: argparse.Namespace, drawn: bool
) -> tuple[sweep.Task, Callable[..., Any], dict[str, Any]]:
    """Return the task, the trials' factory, and the values or ranges by name."""
    task, make = lookup.task(options.task), lookup.task_maker(options.task)
    optimizers = {name: lookup.optimizer(name) for name in options.optimizer.split(",")}
    given = settings(options, drawn)
    of_task = [name for name in given if name in inspect.signature(make).parameters]
    structural = [*of_task, *(["batch_size"] if "batch_size" in given else [])]
    # Check here, since `grid` and `sample` see the names of only one optimizer, and
    # would take `seed` or `factory` as their own arguments.
    for optimizer in optimizers.values():
        check_names(optimizer, [name for name in given if name not in structural])
    if len(optimizers) == 1 and not structural:
        (factory,) = optimizers.values()
    else:
        factory = SetupFactory(optimizers, make, tuple(of_task))
    if len(optimizers) > 1:
        names = list(optimizers)
        given = {"optimizer": sweep.choice(names) if drawn else names} | given
    return task, factory, given


def settings(options: argparse.Namespace, drawn: bool) -> dict[str, Any]:
    """Return the values of each hyperparameter, or its distribution."""
    rates, what = options.learning_rate, "--learning-rate"
    if not drawn:
        read = values
        found: dict[str, Any] = {"learning_rate": numbers(rates or "1e-5:1:64", what)}
    else:
        read = distribution
        found = {"learning_rate": distribution(rates or "1e-5:1", what, numbers)}
    form = "NAME=VALUES, as in b1=0.9,0.95"
    for name, given in assignments(options.set, "--set", form, taken=found):
        found[name] = read(given, f"--set {name}")
    return found


@dataclasses.dataclass(frozen=True)
class SetupFactory:
    """A factory of trials whose settings choose a task or a batch size too.

    Args:
      optimizers: factories of transformations by name; `optimizer` chooses one.
      task: the function that makes the task.
      of_task: names of the hyperparameters that the task takes.
    """

    optimizers: Mapping[str, Callable[..., Any]]
    task: Callable[..., sweep.Task]
    of_task: tuple[str, ...]

    def __call__(self, **setting: Any) -> sweep.Setup:
        """Return the optimizer, task and batch size of a setting."""
        only = next(iter(self.optimizers))
        optimizer = self.optimizers[setting.pop("optimizer", only)]
        batch_size = setting.pop("batch_size", None)
        of_task = {name: setting.pop(name) for name in self.of_task}
        task = self.task(**of_task) if of_task else None
        return sweep.Setup(optimizer(**setting), task, batch_size)
