"""Trials from what is typed: a grid, or settings that are drawn."""

import argparse
import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from jopt import sweep
from jopt.cli import named, rules
from jopt.cli.values import distribution, numbers, values
from jopt.sweep import check_names


def trials(options: argparse.Namespace) -> tuple[sweep.Task, list[sweep.Trial]]:
    """Return the task, and the trials that the options ask for.

    What `--set` names goes to the task's function if that takes it, to the batch size
    if it is `batch_size`, else to the optimizer.

    Raises a ValueError in a sentence for a name that none of them takes.
    """
    task, make = named.task(options.task), named.task_maker(options.task)
    optimizers = {name: named.optimizer(name) for name in options.optimizer.split(",")}
    given = settings(options)
    of_task = [name for name in given if name in parameters(make)]
    structural = [*of_task, *(["batch_size"] if "batch_size" in given else [])]
    for optimizer in optimizers.values():
        check_names(optimizer, [name for name in given if name not in structural])
    if len(optimizers) == 1 and not structural:
        (factory,) = optimizers.values()
    else:
        factory = Factory(optimizers, make, tuple(of_task))
    if len(optimizers) > 1:
        names = list(optimizers)
        given = {"optimizer": sweep.choice(names) if options.sample else names} | given
    if options.sample is None:
        return task, sweep.grid(factory, **given)
    drawn: dict[str, Any] = {"seed": options.seed, **given}
    drawn["sampler"] = rules.sampler(options.sampler)
    return task, sweep.sample(factory, options.sample, **drawn)


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return the values of each hyperparameter, or what they are drawn from."""
    rates = options.learning_rate
    if options.sample is None:
        found: dict[str, Any] = {
            "learning_rate": numbers(rates or "1e-5:1:64", "--learning-rate")
        }
    else:
        range_ = rates or "1e-5:1"
        found = {"learning_rate": distribution(range_, "--learning-rate", numbers)}
    read = values if options.sample is None else distribution
    for text in options.set:
        name, equals, given = text.partition("=")
        if not equals or not name:
            raise ValueError(
                f"--set got {text!r}; write NAME=VALUES, as in b1=0.9,0.95."
            )
        if name in found:
            raise ValueError(f"--set gives {name} a second time; give it once.")
        found[name] = read(given, f"--set {name}")
    return found


@dataclasses.dataclass(frozen=True)
class Factory:
    """What a setting means where it chooses more than an optimizer's numbers."""

    optimizers: Mapping[str, Callable[..., Any]]
    task: Callable[..., sweep.Task]
    of_task: tuple[str, ...]  # hyperparameters that the task takes

    def __call__(self, **setting: Any) -> sweep.Setup:
        """Return the optimizer, task and batch size of a setting."""
        only = next(iter(self.optimizers))
        optimizer = self.optimizers[setting.pop("optimizer", only)]
        batch_size = setting.pop("batch_size", None)
        of_task = {name: setting.pop(name) for name in self.of_task}
        task = self.task(**of_task) if of_task else None
        return sweep.Setup(optimizer(**setting), task, batch_size)


def parameters(function: Callable[..., Any]) -> list[str]:
    """Return the names of what a function takes."""
    return list(inspect.signature(function).parameters)
