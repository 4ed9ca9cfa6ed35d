"""`transfer`: predict the rate of a wider model by laws of the best rate by width."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jopt.core import FilePath, Number, by_path, chain, checked, is_integer, path_text
from jopt.studies._contender import Contender, Made, hidden_matrices
from jopt.studies._ladder import MORE, Ladder
from jopt.studies._shapes import parameters, steps_of
from jopt.studies._stages import (
    Cost,
    Stages,
    StudyProgress,
    arguments,
    losses_of,
    seconds_of,
)
from jopt.studies._study_files import columns_of
from jopt.studies._transferred import Transfer
from jopt.sweep import Model, Setup, Supervised, SweepResult, Task, Trial
from jopt.training import Role, ScaledOptimizer, Scaling, roles, scaling, shapes_of
from jopt.transforms import scale_leaves

RULES = "sp", "mup", "spectral"
# How the updates of factories scale; all others are of Adam's kind.
FAMILIES: dict[str, ScaledOptimizer] = {
    "sgd": "sgd",
    "noisy_sgd": "sgd",
    "lion": "lion",
    "sign_sgd": "lion",
    "signum": "lion",
    "muon": "muon",
    "normuon": "muon",
    "soap": "soap",
}
AROUND = 1 / 3, 1.0, 3.0  # the rates of a check, over the predicted one
SHOWN = 64  # examples whose predictions the check of coordinates compares


@checked
def transfer(
    make_task: Callable[..., Task],
    factory: Contender | Callable[..., Any],
    widths: Sequence[int],
    *,
    rules: Sequence[str] = ("sp", "mup"),
    optimizer: ScaledOptimizer | None = None,
    overrides: Mapping[str, str] | None = None,
    to: int | None = None,
    check: bool = False,
    coordinates: int = 0,
    steps: int | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    valid_examples: int | None = None,
    schedule: str = "cosine",
    warmup: Number = 0.1,
    seeds: int = 3,
    extend: int = 3,
    level: Number = 0.95,
    seed: int = 0,
    block: int | None = None,
    directory: FilePath | None = None,
    overwrite: bool = False,
    devices: Sequence[Any] | None = None,
    memory: int | None = None,
    progress: Callable[[StudyProgress], None] | None = None,
) -> Transfer:
    """Tune the rate at several widths, and predict the rate of a wider model.

        found = studies.transfer(digits, jopt.adamw, [32, 64, 128], to=512)
        print(found.outcome)

    At each width, under each rule of `scaling`, a ladder of rates is trained, extended
    where the best is at an end, and the best rate is the lowest point of a parabola. By
    rule, the best rate follows

        log rate = a + exponent log width

    with intervals by bootstrap over the seeds. A rule under which the exponent is near
    0 has the rate of the narrow model at every width. The rules are shown side by side,
    and none is the default: on some tasks the standard parametrization with its law
    predicts better. The narrowest width is the base of the factors. Depth, batch and
    number of steps are the same at all widths, and the weight decay is 0: nothing is
    said about other ones.

    Args:
      make_task: width -> task of supervised learning, such as `digits`.
      factory: a function of the learning rate, or a `Contender`, whose rates are the
        ladder at the narrowest width and at all others.
      widths: ascending, at least 2; with 2 the law has no interval.
      rules: among "sp", "mup" and "spectral".
      optimizer: how updates scale, see `scaling`; by default by the factory's name.
      overrides: kinds of parameters by path, see `roles`.
      to: the width whose rate is predicted.
      check: whether the model of width `to` is trained at a third, one and three times
        the predicted rate.
      coordinates: steps after which the changes of all parameters are compared by
        width; 0 leaves it out. Where a rule is right, their exponents are near 0.
      steps, epochs, batch_size, valid_examples: as for `compare`.
      schedule, warmup, seeds, extend, level, seed, block: as for `compare`.
      directory, overwrite, devices, memory, progress: as for `compare`.

    Returns:
      The `Transfer`: the best rate by width and rule, the laws, and the prediction.

    Raises:
      TypeError: an argument has the wrong type.
      ValueError: an argument breaks its rule; a parameter's role is ambiguous; every
        rate diverged at a width.
    """
    given = {name: value for name, value in locals().items() if name != "progress"}
    return _Study.of(**given).run(progress)


@checked
def transfer_cost(
    make_task: Callable[..., Task],
    factory: Contender | Callable[..., Any],
    widths: Sequence[int],
    *,
    timed: bool = False,
    **options: Any,
) -> Cost:
    """Return what `transfer` of these arguments costs before it starts.

    Args:
      make_task, factory, widths: as for `transfer`.
      timed: whether the seconds are estimated: the program of each width is compiled,
        and one block of it is trained for one segment.
      **options: the other arguments of `transfer`.
    """
    study = _Study.of(**arguments(transfer, make_task, factory, widths, **options))
    return study.cost._replace(seconds=study.seconds) if timed else study.cost


@dataclasses.dataclass(frozen=True)
class _Scaled:
    """The factory of trials: a width, a rule and a rate -> a task and a config."""

    made: Made
    schedule: Any
    tasks: tuple[tuple[int, Task], ...]
    factors: tuple[tuple[tuple[int, str], Scaling], ...]

    def __call__(self, width: int, rule: str, learning_rate: float) -> Setup:
        found = dict(self.factors)[width, rule]
        tx = self.made(learning_rate, self.schedule)
        tx = chain(tx, scale_leaves(found.rate))
        return Setup(Supervised(tx, init_scale=found.init), dict(self.tasks)[width])


@dataclasses.dataclass(frozen=True)
class _Study:
    """A transfer whose arguments have been checked."""

    tasks: dict[int, Task]  # by width, that of `to` included where it is trained
    widths: tuple[int, ...]
    contender: Contender
    rules: tuple[str, ...]
    roles: dict[int, dict[str, Role]]
    factors: dict[tuple[int, str], Scaling]
    hidden: Any
    to: int | None
    check: bool
    coordinates: int
    steps: int
    schedule: Any
    warmup: float
    seeds: int
    extend: int
    level: float
    batch: dict[str, Any]
    block: int | None
    directory: Path | None
    overwrite: bool
    machine: dict[str, Any]
    family: str

    @classmethod
    def of(
        cls,
        make_task: Callable[..., Task],
        factory: Any,
        widths: Sequence[int],
        *,
        rules: Sequence[str],
        optimizer: ScaledOptimizer | None,
        overrides: Any,
        to: int | None,
        check: bool,
        coordinates: int,
        steps: int | None,
        epochs: int | None,
        batch_size: int | None,
        valid_examples: int | None,
        schedule: str,
        warmup: Any,
        seeds: int,
        extend: int,
        level: Any,
        seed: int,
        block: int | None,
        directory: Any,
        overwrite: bool,
        devices: Any,
        memory: int | None,
    ) -> "_Study":
        contender = factory if isinstance(factory, Contender) else Contender(factory)
        widths, rules = tuple(widths), tuple(rules)
        numbers = float(warmup), seeds, extend, float(level), coordinates
        _check(widths, rules, to, check, schedule, *numbers)
        contender.check("transfer")
        if contender.space or len(contender.ladder) < 3:
            raise ValueError(
                "transfer: the optimizer must have a ladder of rates and no other "
                f"space, got {contender.name} with {len(contender.ladder)} rates and "
                f"{list(contender.space)}."
            )
        tasks = {w: make_task(w) for w in (*widths, *([to] if check and to else []))}
        first = tasks[widths[0]]
        if first.mode == "max":
            raise ValueError(
                "transfer: the task's metric must be one of which less is better, got "
                f"{first.metric} of {first.name}; give it another, such as its loss."
            )
        shapes = {width: parameters("transfer", task) for width, task in tasks.items()}
        base, found = widths[0], {}
        for width in tasks:
            # Roles take two widths: of the base itself, only kinds and sizes are used.
            other = widths[1] if width == base else base
            found[width] = roles(shapes[other], shapes[width], overrides=overrides)
        family = optimizer or FAMILIES.get(contender.name, "adam")
        factors = {
            (width, rule): scaling(
                found[width],
                "sp" if width == base else rule,  # pyright: ignore[reportArgumentType]
                family,
            )
            for width in tasks
            for rule in rules
        }
        return cls(
            tasks,
            widths,
            contender,
            rules,
            found,
            factors,
            hidden_matrices(found[base], shapes_of(shapes[base])),
            to,
            check,
            coordinates,
            steps_of("transfer", tasks[base], steps, epochs, batch_size),
            schedule,
            float(warmup),
            seeds,
            extend,
            float(level),
            {"batch_size": batch_size, "valid_examples": valid_examples, "seed": seed},
            block,
            None if directory is None else Path(directory),
            overwrite,
            {"devices": devices, "memory": memory},
            family,
        )

    @property
    def cost(self) -> Cost:
        ladders = len(self.widths) * len(self.rules)
        trials = ladders * len(self.contender.ladder) * self.seeds
        most = ladders * MORE * self.extend * self.seeds
        checked = len(AROUND) * len(self.rules) * self.seeds if self.check else 0
        steps, most_steps = (trials + checked) * self.steps, most * self.steps
        moved = 2 * ladders if self.coordinates else 0
        steps += moved * self.coordinates
        trials += checked + moved
        return Cost(trials, trials + most, steps, steps + most_steps, len(self.tasks))

    @property
    def seconds(self) -> float:
        """The seconds of the ladders and the check, by a block of each width."""
        total, factory = 0.0, self.factory(self.steps, self.schedule, self.warmup)
        for width in self.tasks:
            rates = self.contender.ladder if width in self.widths else AROUND
            settings = [
                {"width": width, "rule": rule, "learning_rate": float(rate)}
                for rule in self.rules
                for rate in rates
            ]
            total += seconds_of(
                self.tasks[self.widths[0]],
                [Trial.of(factory, setting) for setting in settings],
                self.steps,
                len(settings) * self.seeds * self.steps,
                seeds=self.seeds,
                block=self.block,
                **self.batch,
                **self.machine,
            )
        return total

    def factory(self, steps: int, schedule: str, warmup: float) -> _Scaled:
        made = Made(self.contender, steps, warmup, hidden=self.hidden)
        own = tuple(
            (width, dataclasses.replace(task, test=None))
            for width, task in self.tasks.items()
        )
        return _Scaled(made, schedule, own, tuple(self.factors.items()))

    def run(self, progress: Callable[[StudyProgress], None] | None) -> Transfer:
        names = ("widths", "rules", "to", "check", "coordinates", "steps", "schedule")
        names += ("warmup", "seeds", "extend", "family")
        asked = {name: getattr(self, name) for name in names}
        asked |= {"study": "transfer", "task": self.tasks[self.widths[0]].name}
        asked |= {"optimizer": [self.contender.name, self.contender.ladder]}
        stages = Stages(
            "transfer",
            self.directory,
            self.overwrite,
            asked | self.batch,
            self.cost.trial_steps,
            progress,
            self.machine,
        )
        ladders = self.tuned(stages)
        for (rule, width), ladder in ladders.items():
            if ladder.diverged:
                raise ValueError(
                    f"transfer: every rate diverged at width {width} under {rule}, "
                    f"from {ladder.rates[0]:.3g} on: give lower ones."
                )
        counts = {
            width: sum(math.prod(shape) for shape in shapes_of(made).values())
            for width in self.widths
            for made in [parameters("transfer", self.tasks[width])]
        }
        info = {
            "task": self.tasks[self.widths[0]].name,
            "metric": self.tasks[self.widths[0]].metric,
            **asked,
            "optimizer": self.contender.name,
            "base": self.widths[0],
            "level": self.level,
        }
        found = Transfer.of(ladders, counts, self.to, info)
        if self.check:
            found = dataclasses.replace(found, check=self.checked(stages, found))
        if self.coordinates:
            moved = self.moved(stages, found)
            found = dataclasses.replace(found, coordinates=moved)
        info |= {"trials": stages.trials, "compiles": stages.compiles}
        return dataclasses.replace(
            found, info={**info, "train_seconds": stages.seconds}
        )

    def train(
        self,
        stages: Stages,
        name: str,
        settings: list[dict[str, Any]],
        factory: _Scaled,
        steps: int,
        **given: Any,
    ) -> SweepResult:
        return stages.run(
            name,
            self.tasks[self.widths[0]],
            [Trial.of(factory, setting) for setting in settings],
            steps,
            block=self.block,
            **self.batch,
            **given,
        )

    def tuned(self, stages: Stages) -> dict[tuple[str, int], Ladder]:
        """Train the ladders of all rules and widths, and extend them."""
        ladders = {(r, w): Ladder() for r in self.rules for w in self.widths}
        factory = self.factory(self.steps, self.schedule, self.warmup)
        more = dict.fromkeys(ladders, self.contender.ladder)
        for number in range(self.extend + 1):
            settings = [
                {"width": width, "rule": rule, "learning_rate": rate}
                for (rule, width), rates in more.items()
                for rate in rates
            ]
            result = self.train(
                stages,
                f"extend-{number}" if number else "tune",
                settings,
                factory,
                self.steps,
                seeds=self.seeds,
            )
            losses = losses_of(result, np.arange(len(result.trials)))
            rows = losses.reshape(len(settings), self.seeds)
            for setting, row in zip(settings, rows, strict=True):
                ladder = ladders[setting["rule"], setting["width"]]
                ladder.losses[float(setting["learning_rate"])] = row
            more = {key: ladder.beyond() for key, ladder in ladders.items()}
            more = {key: rates for key, rates in more.items() if rates}
            if not more:
                break
            if number < self.extend:
                for key in more:
                    ladders[key].extensions += 1
        return ladders

    def checked(self, stages: Stages, found: Transfer) -> dict[str, np.ndarray]:
        """Train the target around the predicted rates."""
        assert self.to is not None
        settings = [
            {"width": self.to, "rule": str(rule), "learning_rate": float(rate * k)}
            for rule, rate in zip(
                found.laws["rule"], found.laws["rate_at"], strict=True
            )
            if np.isfinite(rate)
            for k in AROUND
        ]
        if not settings:
            return {}
        factory = self.factory(self.steps, self.schedule, self.warmup)
        result = self.train(
            stages, "check", settings, factory, self.steps, seeds=self.seeds
        )
        losses = losses_of(result, np.arange(len(result.trials)))
        rows = losses.reshape(len(settings), self.seeds)
        return {
            "rule": np.asarray([s["rule"] for s in settings]),
            "times": np.tile(AROUND, len(settings) // len(AROUND)),
            "learning_rate": np.asarray([s["learning_rate"] for s in settings]),
            "loss": rows.mean(axis=1),
            "sd": rows.std(axis=1, ddof=1) if self.seeds > 1 else rows[:, 0] * np.nan,
        }

    def moved(self, stages: Stages, found: Transfer) -> dict[str, np.ndarray]:
        """Return how far the parameters move in a few steps, by width.

        The rate 0 leaves the parameters where they begin.
        """
        rate = float(found.table["best_rate"][0])
        settings = [
            {"width": width, "rule": rule, "learning_rate": r}
            for rule in self.rules
            for width in self.widths
            for r in (0.0, rate)
        ]
        factory = self.factory(self.coordinates, "constant", 0.0)
        result = self.train(
            stages,
            "coordinates",
            settings,
            factory,
            self.coordinates,
            models=True,
            segments=1,
            shuffle="sweep",
        )
        rows: list[dict[str, Any]] = []
        for at in range(0, len(settings), 2):
            width, rule = settings[at]["width"], settings[at]["rule"]
            before, after = result.model(at), result.model(at + 1)
            moves = changes(before, after, self.roles[width])
            task = self.tasks[width]
            if task.predict is not None:
                batch = jax.tree.map(lambda a: a[:SHOWN], task.valid)
                gap = _gap(*(task.predict(model, batch) for model in (before, after)))
                moves["predictions"] = "predictions", gap
            for leaf, (kind, change) in moves.items():
                row = {"rule": rule, "leaf": leaf, "kind": kind, "width": width}
                rows.append({**row, "change": change})
        return columns_of(rows)


def changes(
    before: Model, after: Model, kinds: Mapping[str, Role]
) -> dict[str, tuple[str, float]]:
    """Return the kind of each parameter and the size of its change.

    |W - W_0|_2 / sqrt(fan_out / fan_in)    of hidden matrices and readouts
    |W - W_0|_2 / sqrt(fan_out)             of embeddings, whose inputs are one-hot
    root mean square                        of vectors and other parameters
    """
    first, found = by_path(before.params), {}
    for path, leaf in by_path(after.params).items():
        role = kinds[path_text(path)]
        change = np.asarray(leaf, np.float64) - np.asarray(first[path], np.float64)
        if role.kind in ("vector", "fixed"):
            size = float(np.sqrt(np.mean(change**2)))
        else:
            matrix = change.reshape(role.fan_in, role.fan_out)
            ins = 1 if role.kind == "input" else role.fan_in
            size = float(np.linalg.norm(matrix, 2) / np.sqrt(role.fan_out / ins))
        found[path_text(path)] = role.kind, size
    return found


def _gap(before: Any, after: Any) -> float:
    """Return the root mean square of the change of predictions."""
    squares = jax.tree.map(lambda a, b: jnp.mean((a - b) ** 2), before, after)
    return float(np.sqrt(np.mean([float(s) for s in jax.tree.leaves(squares)])))


def _check(
    widths: tuple[int, ...],
    rules: tuple[str, ...],
    to: int | None,
    check: bool,
    schedule: str,
    warmup: float,
    seeds: int,
    extend: int,
    level: float,
    coordinates: int,
) -> None:
    """Raise a ValueError for an argument that breaks its rule."""
    whole = all(map(is_integer, widths)) and list(widths) == sorted(set(widths))
    if len(widths) < 2 or not whole or widths[0] < 1:
        raise ValueError(
            "transfer: widths must be at least 2 ascending integers of at least 1, got "
            f"{list(widths)}."
        )
    wrong = [rule for rule in rules if rule not in RULES]
    if wrong or not rules or len(set(rules)) < len(rules):
        raise ValueError(
            f"transfer: rules must be different ones among {', '.join(RULES)}, got "
            f"{list(rules)}."
        )
    if schedule not in ("cosine", "linear", "constant"):
        raise ValueError(
            'transfer: schedule must be "cosine", "linear" or "constant", got '
            f"{schedule!r}."
        )
    if check and to is None:
        raise ValueError("transfer: check needs the width that is predicted: give to.")
    if to is not None and to <= widths[-1]:
        raise ValueError(
            f"transfer: to must be above the widths that are trained, {list(widths)}, "
            f"got {to}."
        )
    if not 0 <= warmup < 1:
        raise ValueError(f"transfer: warmup must be in [0, 1), got {warmup}.")
    least_of = (seeds, 1), (extend, 0), (coordinates, 0)
    names = "seeds", "extend", "coordinates"
    for name, (value, least) in zip(names, least_of, strict=True):
        if value < least:
            raise ValueError(f"transfer: {name} must be at least {least}, got {value}.")
    if not 0 < level < 1:
        raise ValueError(f"transfer: level must be in (0, 1), got {level}.")
