"""What is asked of a sweep, beside its task and its trials."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jopt.core import is_integer, shown
from jopt.sweep import _references as references
from jopt.sweep._constants import swept_constant
from jopt.sweep._noted import noted
from jopt.sweep._plan import Plan
from jopt.sweep._task import Task, examples
from jopt.sweep._trial import MOST_TRIALS, Trial, groups, settings_of
from jopt.sweep.population import Population
from jopt.sweep.pruners import Pruner

RULES = ("pruner", "population")
MOST = 2**31 - 1  # steps: they are counted in int32


@dataclasses.dataclass(frozen=True)
class Options:
    """What is asked of a sweep, beside its task and its trials: arguments of `run`."""

    steps: int
    batch_size: int
    key: jax.Array
    seeds: int = 1
    folds: int = 1
    segments: int = 10
    blocks: tuple[int, ...] | None = None  # by group, or one for all; None: by timing
    pruner: Pruner | None = None
    population: Population | None = None

    def plan(self, task: Task, trial: Trial, room: float = math.inf) -> Plan:
        """Return what is done to a trial, and to those that share its program.

        room: bytes of a device. Examples that would take more than half of it come
        with the batches.
        """
        task = trial.task or task
        size = self.batch_size if trial.batch_size is None else trial.batch_size
        plan = Plan(task, size, self.steps, self.segments, self.key, self.folds)
        most = examples(plan.examples)
        if self.folds > 1:
            most -= max(map(len, plan.held_out))
        if not is_integer(size):
            raise ValueError(f"A sweep's batch size must be an integer, got {size!r}.")
        if not 1 <= size <= most:
            raise ValueError(
                f"A sweep's batch size must be between 1 and the {most} training "
                f"examples of {task.name}, got {shown(size)}."
            )
        bytes_ = sum(np.asarray(a).nbytes for a in jax.tree.leaves(plan.examples))
        return dataclasses.replace(plan, streams=bytes_ > room / 2)

    def as_json(self) -> dict[str, Any]:
        """Return what `from_json` gives back, also after JSON; rules by their names."""
        key = {"impl": str(jax.random.key_impl(self.key))}
        key |= {"words": np.asarray(jax.random.key_data(self.key)).tolist()}
        plain = {
            field.name: getattr(self, field.name) for field in dataclasses.fields(self)
        }
        rules = {name: references.written(plain[name]) for name in RULES}
        return {**plain, "key": key, **rules}

    @classmethod
    def from_json(cls, held: dict[str, Any]) -> "Options":
        """Return the options that `as_json` gave.

        Raises a ValueError in a sentence if a rule cannot be found by its name.
        """
        words = jnp.asarray(held["key"]["words"], jnp.uint32)
        key = jax.random.wrap_key_data(words, impl=held["key"]["impl"])
        rules = {name: references.from_json(held[name]) for name in RULES}
        blocks = tuple(held["blocks"]) if held["blocks"] else None
        return cls(**{**held, "key": key, "blocks": blocks, **rules})

    def check(self, task: Task, trials: Sequence[Trial]) -> None:
        """Raise a sentence if these options do not fit all trials, seeds and folds."""
        sizes = {"steps": self.steps, "segments": self.segments}
        for name, value in {**sizes, "block": min(self.blocks or (1,))}.items():
            if value < 1:
                raise ValueError(f"A sweep needs {name} of at least 1, got {value}.")
        if self.blocks and max(self.blocks) > MOST_TRIALS:
            raise ValueError(
                f"A sweep needs block of at most {MOST_TRIALS:,}, got "
                f"{max(self.blocks)}."
            )
        if self.steps > MOST:
            raise ValueError(
                f"A sweep needs steps of at most 2^31 - 1, got {self.steps}."
            )
        plan = self.plan(task, trials[0])
        size = examples(plan.examples)
        if self.folds > size:
            raise ValueError(
                f"A sweep needs folds of at most the {size} examples of {task.name}, "
                f"got {self.folds}."
            )
        if self.pruner is not None:
            with noted(f"In {self.pruner}."):
                self.pruner.check(plan.segments, len(settings_of(trials)))
        if self.population is None:
            return
        with noted(f"In {self.population}."):
            self.population.check(plan.segments, [t.hyperparameters for t in trials])
        if self.pruner is not None:
            raise ValueError("A sweep takes a pruner or a population, got both.")
        if self.folds > 1:
            raise ValueError(
                "A population cannot have folds: a trial would go on with parameters "
                f"that were trained on what it is validated on; got {self.folds}."
            )
        reachable = [
            trial.changed(setting)
            for trial in trials
            for setting in self.population.reachable(trial.hyperparameters)
        ]
        parts = groups(everyone := [*trials, *reachable])
        if len(parts) > 1:
            why = swept_constant(everyone, parts) or "let numbers change alone"
            raise ValueError(
                "A population's trials must have one structure, whatever becomes of "
                f"them, for one to copy the other; {self.population} makes them "
                f"differ: {why}."
            )
