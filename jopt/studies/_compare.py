"""`compare`: tune each optimizer on its own ladder of rates, rank on fresh seeds."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jopt.core import (
    FilePath,
    Number,
    argument_error,
    checked,
    close_match,
    is_integer,
    is_real,
    shown,
)
from jopt.studies._comparison import Comparison, Confirmed, Tuned
from jopt.studies._contender import Contender, Made, ScheduleName, hidden_matrices
from jopt.studies._ladder import MORE, Ladder
from jopt.studies._shapes import metrics_on_test, parameters, steps_of
from jopt.studies._stages import (
    Cost,
    Stages,
    StudyProgress,
    arguments,
    losses_of,
    seconds_of,
)
from jopt.sweep import SweepResult, Task, Trial
from jopt.training import roles, shapes_of

SCHEDULES = "cosine", "linear", "constant"


@checked
def compare(
    task: Task,
    contenders: Mapping[str, Contender | Callable[..., Any]],
    *,
    baseline: str | None = None,
    wider: Task | None = None,
    steps: int | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    valid_examples: int | None = None,
    schedule: str | Sequence[str] = "cosine",
    warmup: Number = 0.1,
    decay: Any = 0.0,
    seeds: int = 3,
    confirm: int = 8,
    extend: int = 3,
    horizons: Sequence[float] = (),
    level: Number = 0.95,
    seed: int = 0,
    block: int | None = None,
    directory: FilePath | None = None,
    overwrite: bool = False,
    devices: Sequence[Any] | None = None,
    memory: int | None = None,
    progress: Callable[[StudyProgress], None] | None = None,
) -> Comparison:
    """Tune each optimizer on its own rates, and rank them on fresh seeds.

        found = studies.compare(digits(), {"adamw": jopt.adamw, "muon": jopt.muon})
        print(found.outcome)
        found.save("which")  # tables, pictures and a page

    1. *Tune*: train every rate of a contender's ladder, with the same seeds for all. A
       rate is judged by the mean of its last validation metric; a rate with a diverged
       seed is worst.
    2. *Extend*: add three rates, at most `extend` times, while the best rate is at an
       end of the ladder, or next to an end that is as good within the spread over the
       seeds. If the best is still at an end, `edge` is "open": it is not tuned.
    3. *Refine*: train half a step on each side of the best, then take the lowest point
       of a parabola through the best rates.
    4. *Confirm*: train with fresh seeds, each an init and an order of the examples, the
       same for all contenders. Only these rank. The least loss of many tuning trials is
       too low, more so for a method with a narrow valley.
    5. *Horizons*: train the baseline at other lengths, off by default. Its final losses
       tell how many times longer it must train for a contender's loss. Without them the
       ratio is of steps within one run, where the baseline has not cooled down: it is
       too high, and labelled so.

    All contenders have the same schedule, decay, seeds, steps and, before extensions,
    number of rates. Differences to the baseline are of pairs with the same seed; they
    count as better or worse by Holm's p values below 1 - `level`.

    Args:
      task: the task to train.
      contenders: by name, each a function of the learning rate or a `Contender`.
      baseline: the name of the one that the others are compared with; by default
        "adamw" if there is one, else the first.
      wider: the same task at another width, such as digits(width=128). Its shapes tell
        the hidden matrices, for Muon and its kin, from embedding and readout, for
        AdamW. Without it Muon gets all matrices.
      steps: steps of each trial.
      epochs: in place of steps; by default the task's.
      batch_size, valid_examples: as of `sweep.run`.
      schedule: "cosine", "linear" or "constant" after a warmup, or several: each
        contender is confirmed with its better one, at a larger budget.
      warmup: share of the steps in the warmup, in [0, 1).
      decay: sum of the weight decay over the run, independent of the rate and shaped
        like the schedule, at least 0; or several values to tune. Schedule-Free has its
        own decay, of the same sum.
      seeds: keys with which each rate is tuned.
      confirm: fresh seeds, at least 2; 0 leaves intervals and verdicts out.
      extend: largest number of extensions of a ladder.
      horizons: multiples of the steps, at least 0.1, 1 among them.
      level: confidence level of the intervals, in (0, 1).
      seed: seed of everything random.
      block: trials trained together, by default picked by timing in each first stage.
      directory: directory of the stages' records; a second call resumes the study.
      overwrite: whether to remove a study that the directory holds.
      devices, memory: as of `sweep.run`.
      progress: called after each block.

    Returns:
      The `Comparison`: a row per contender, intervals and verdicts, pictures, a page.

    Raises:
      TypeError: an argument has the wrong type.
      ValueError: an argument breaks its rule; the baseline diverged at every rate; the
        directory has a study with other arguments.
    """
    given = {name: value for name, value in locals().items() if name != "progress"}
    return _Study.of(**given).run(progress)


@checked
def compare_cost(
    task: Task,
    contenders: Mapping[str, Contender | Callable[..., Any]],
    *,
    timed: bool = False,
    **options: Any,
) -> Cost:
    """Return what `compare` of these arguments costs before it starts.

    Args:
      task, contenders: as for `compare`.
      timed: whether the seconds are estimated: each program is compiled, and one block
        of it is trained for one segment.
      **options: the other arguments of `compare`.
    """
    study = _Study.of(**arguments(compare, task, contenders, **options))
    return study.cost._replace(seconds=study.seconds) if timed else study.cost


@dataclasses.dataclass(frozen=True)
class _Study:
    """A comparison whose arguments have been checked."""

    task: Task
    contenders: dict[str, Contender]
    baseline: str
    steps: int
    schedules: tuple[ScheduleName, ...]
    warmup: float
    decays: tuple[float, ...]
    seeds: int
    confirm: int
    extend: int
    horizons: tuple[float, ...]
    level: float
    hidden: Any
    batch: dict[str, Any]  # batch size, validation examples and seed
    block: int | None
    directory: Path | None
    overwrite: bool
    machine: dict[str, Any]

    @classmethod
    def of(
        cls,
        task: Task,
        contenders: Mapping[str, Any],
        *,
        baseline: str | None,
        wider: Task | None,
        steps: int | None,
        epochs: int | None,
        batch_size: int | None,
        valid_examples: int | None,
        schedule: Any,
        warmup: Any,
        decay: Any,
        seeds: int,
        confirm: int,
        extend: int,
        horizons: Any,
        level: Any,
        seed: int,
        block: int | None,
        directory: Any,
        overwrite: bool,
        devices: Any,
        memory: int | None,
    ) -> "_Study":
        entered = {
            name: c if isinstance(c, Contender) else Contender(c)
            for name, c in contenders.items()
        }
        if len(entered) < 2:
            raise ValueError(
                f"compare: contenders must be at least 2, got {len(entered)}; a single "
                "optimizer is tuned by sweep.run."
            )
        if baseline is None:
            baseline = "adamw" if "adamw" in entered else next(iter(entered))
        if baseline not in entered:
            raise ValueError(
                f"compare: baseline must be a contender, got {baseline!r}"
                f"{close_match(baseline, list(entered))}; they are "
                f"{', '.join(entered)}."
            )
        named = isinstance(schedule, str)
        schedules: Any = (schedule,) if named else tuple(schedule)
        decays = _decays(decay)
        _check(schedules, decays, float(warmup), float(level), seeds, confirm, extend)
        for name, contender in entered.items():
            contender.check(f"compare: {name}")
            if any(decays) and contender.own_schedule and not contender.can_decay:
                raise ValueError(
                    f"compare: decay must be 0 with {name}, whose rate is its own, so "
                    "that the sum of its decay is not known; leave one of the two out."
                )
        horizons = tuple(sorted(map(float, horizons)))
        if horizons:
            _check_horizons(horizons, entered[baseline], schedules, confirm)
        return cls(
            task,
            entered,
            baseline,
            steps_of("compare", task, steps, epochs, batch_size),
            schedules,
            float(warmup),
            decays,
            seeds,
            confirm,
            extend,
            horizons,
            float(level),
            _hidden(task, wider),
            {"batch_size": batch_size, "valid_examples": valid_examples, "seed": seed},
            block,
            None if directory is None else Path(directory),
            overwrite,
            {"devices": devices, "memory": memory},
        )

    @property
    def cost(self) -> Cost:
        trials = {name: self.planned(name) for name in self.contenders}
        planned, most = sum(trials.values()), 0
        for contender in self.contenders.values():
            if len(contender.ladder) > 1:
                most += self.seeds * MORE * self.extend
        steps = sum(self.trial_steps(name) for name in trials)
        programs = sum(len(self.programs(name)) for name in trials)
        planned += self.at_each_horizon * len(self.horizons)
        return Cost(planned, planned + most, steps, steps + most * self.steps, programs)

    @property
    def seconds(self) -> float:
        """The seconds of the planned trials, estimated from a block of each program."""
        total = 0.0
        for name in self.contenders:
            programs = self.programs(name)
            share = self.trial_steps(name) / len(programs)
            for trials in programs:
                given = {**self.batch, **self.machine, "block": self.block}
                given["seeds"] = self.seeds
                total += seconds_of(self.task, trials, self.steps, share, **given)
        return total

    @property
    def at_each_horizon(self) -> int:
        """The trials of the baseline at a horizon: three rates."""
        return 3 * min(self.seeds, self.confirm)

    def planned(self, name: str) -> int:
        """Return how many trials a contender has before extensions and horizons."""
        contender = self.contenders[name]
        ladder, others = len(contender.ladder), len(self.combinations(contender))
        beside = 2 if ladder > 1 else 0
        return self.seeds * (ladder * others + beside) + self.confirm

    def trial_steps(self, name: str) -> int:
        """Return the steps of a contender's planned trials."""
        steps = self.planned(name) * self.steps
        if name == self.baseline and self.horizons:
            longest = math.ceil(self.horizons[-1] * self.steps)
            steps += self.at_each_horizon * len(self.horizons) * longest
        return steps

    def programs(self, name: str) -> list[list[Trial]]:
        """Return the trials of a contender's ladders, grouped by program."""
        made, contender = self.made(name), self.contenders[name]
        found: dict[Any, list[Trial]] = {}
        for setting in self.combinations(contender):
            for rate in contender.ladder:
                trial = Trial.of(made, {"learning_rate": rate, **setting})
                found.setdefault(jax.tree.structure(trial.config), []).append(trial)
        return list(found.values())

    def made(self, name: str) -> Made:
        decays = any(self.decays)
        return Made(self.contenders[name], self.steps, self.warmup, decays, self.hidden)

    def combinations(self, contender: Contender) -> list[dict[str, Any]]:
        """Return the settings of all hyperparameters but the rate."""
        axes: dict[str, Any] = {"schedule": self.schedules, "decay": self.decays}
        axes |= contender.space
        values = itertools.product(*axes.values())
        return [dict(zip(axes, each, strict=True)) for each in values]

    def run(self, progress: Callable[[StudyProgress], None] | None) -> Comparison:
        asked = {
            "study": "compare",
            "task": self.task.name,
            "contenders": {
                name: [c.name, c.ladder, dict(c.space), c.own_schedule]
                for name, c in self.contenders.items()
            },
            "baseline": self.baseline,
            "schedule": self.schedules,
            "hidden": self.hidden,
        }
        asked |= {
            name: getattr(self, name)
            for name in ("steps", "warmup", "decays", "seeds", "confirm", "extend")
        }
        asked |= {"horizons": self.horizons, **self.batch}
        stages = Stages(
            "compare",
            self.directory,
            self.overwrite,
            asked,
            self.cost.trial_steps,
            progress,
            self.machine,
        )
        tuned = {name: self.tuned(stages, name) for name in self.contenders}
        if tuned[self.baseline].ladder.diverged:
            raise ValueError(
                f"compare: the baseline {self.baseline} diverged at every rate, from "
                f"{tuned[self.baseline].ladder.rates[0]:.3g} on: give it lower ones."
            )
        confirmed: dict[str, Confirmed] = {}
        for name, one in tuned.items():
            if self.confirm and not one.ladder.diverged:
                confirmed[name] = self.confirmed(stages, name, one)
        at = self.at_horizons(stages, tuned[self.baseline]) if self.horizons else None
        info = {
            "task": self.task.name,
            "metric": self.task.metric,
            "mode": self.task.mode,
            "baseline": self.baseline,
            "steps": self.steps,
            "seeds": self.seeds,
            "confirm": self.confirm,
            "level": self.level,
            "schedule": list(self.schedules),
            "warmup": self.warmup,
            "decay": list(self.decays),
            "horizons": list(self.horizons),
            "hidden_matrices": self.hidden is not None,
            "trials": stages.trials,
            "compiles": stages.compiles,
            "train_seconds": stages.seconds,
        }
        return Comparison.of(tuned, confirmed, at, info)

    def tuned(self, stages: Stages, name: str) -> Tuned:
        """Tune a contender: its ladder, the extensions, and half steps."""
        contender, made = self.contenders[name], self.made(name)
        others = self.combinations(contender)
        ladders = [Ladder() for _ in others]
        sweeps: list[SweepResult] = []

        def train(stage: str, rates: Sequence[float], which: Sequence[int]) -> None:
            settings = [
                {"learning_rate": rate, **others[i]} for i in which for rate in rates
            ]
            block = self.block
            if block is None and sweeps and len(sweeps[0].info["block"]) == 1:
                block = min(sweeps[0].info["block"][0], len(settings) * self.seeds)
            result = stages.run(
                f"{name}/{stage}",
                self.task,
                [Trial.of(made, setting) for setting in settings],
                self.steps,
                seeds=self.seeds,
                block=block,
                **self.batch,
            )
            sweeps.append(result)
            losses = losses_of(result, np.arange(len(result.trials)))
            rows = losses.reshape(len(which), len(rates), self.seeds)
            for i, of_setting in zip(which, rows, strict=True):
                pairs = zip(rates, of_setting, strict=True)
                ladders[i].losses |= {float(rate): row for rate, row in pairs}

        def leading() -> int:
            return int(np.argmin([ladder.means.min() for ladder in ladders]))

        train("tune", contender.ladder, range(len(others)))
        for number in range(1, self.extend + 1):
            best = leading()
            if not (more := ladders[best].beyond()):
                break
            ladders[best].extensions += 1
            train(f"extend-{number}", more, [best])
        best = leading()
        if (more := ladders[best].beside()) and ladders[best].edge != "open":
            train("refine", more, [best])
        own = {k: v for k, v in others[best].items() if k in contender.space}
        kept = {"schedule": others[best]["schedule"], "decay": others[best]["decay"]}
        return Tuned(ladders[best], kept, own, contender.own_schedule, tuple(sweeps))

    def confirmed(self, stages: Stages, name: str, tuned: Tuned) -> Confirmed:
        """Train a contender's best rate with seeds that it has not seen."""
        setting = {"learning_rate": tuned.ladder.best.rate, **tuned.shared, **tuned.own}
        blocks = tuned.sweeps[0].info["block"]
        block = min(blocks[0], self.confirm) if len(blocks) == 1 else None
        result = stages.run(
            f"{name}/confirm",
            self.task,
            [Trial.of(self.made(name), setting)],
            self.steps,
            seeds=range(self.seeds, self.seeds + self.confirm),
            block=self.block or block,
            models=True,
            **self.batch,
        )
        return Confirmed(
            losses_of(result, np.arange(self.confirm)),
            result,
            metrics_on_test(self.task, result),
        )

    def at_horizons(self, stages: Stages, tuned: Tuned) -> np.ndarray:
        """Return the baseline's best mean loss at each horizon."""
        rate, half = tuned.ladder.best.rate, math.sqrt(tuned.ladder.factor)
        seeds = range(self.seeds, self.seeds + min(self.seeds, self.confirm))
        settings = [
            {"learning_rate": rate * k, **tuned.shared, **tuned.own, "horizon": h}
            for h in self.horizons
            for k in (1 / half, 1.0, half)
        ]
        result = stages.run(
            f"{self.baseline}/horizons",
            self.task,
            [Trial.of(self.made(self.baseline), setting) for setting in settings],
            math.ceil(self.horizons[-1] * self.steps),
            seeds=seeds,
            block=self.block,
            **self.batch,
        )
        losses = losses_of(result, np.arange(len(result.trials)))
        means = losses.reshape(len(self.horizons), 3, len(seeds)).mean(axis=2)
        return means.min(axis=1)


def _hidden(task: Task, wider: Task | None) -> Any:
    """Return which parameters are hidden matrices, None if nothing says so."""
    if wider is None:
        return None
    ours, theirs = parameters("compare", task), parameters("compare", wider)
    return hidden_matrices(roles(ours, theirs), shapes_of(ours))


def _decays(given: Any) -> tuple[float, ...]:
    """Return the sums of decay, one or several."""
    plain = given.tolist() if hasattr(given, "tolist") else given
    several = plain if isinstance(plain, (list, tuple)) else [plain]
    if not all(map(is_real, several)):
        rule = "a number, or a list of numbers"
        raise argument_error("compare", "decay", given, rule, TypeError)
    return tuple(map(float, several))


def _check_horizons(
    horizons: tuple[float, ...],
    baseline: Contender,
    schedules: tuple[str, ...],
    confirm: int,
) -> None:
    if 1.0 not in horizons or horizons[0] < 0.1 or not horizons[-1] < math.inf:
        raise ValueError(
            "compare: horizons must be at least 0.1 and have 1 among them, got "
            f"{list(horizons)}."
        )
    if len(horizons) < 3 or len(set(horizons)) < len(horizons):
        raise ValueError(
            "compare: horizons must be at least 3 different ones for a curve, got "
            f"{list(horizons)}."
        )
    if "constant" in schedules or baseline.own_schedule or len(baseline.ladder) < 3:
        raise ValueError(
            "compare: horizons must be left out unless the baseline has a ladder of "
            "rates and a schedule that ends; its losses at shorter lengths are else "
            "those of a run that has not cooled down."
        )
    if not confirm:
        raise ValueError(
            "compare: horizons must be left out without confirm; they are read with "
            "confirmed losses."
        )


def _check(
    schedules: tuple[str, ...],
    decays: tuple[float, ...],
    warmup: float,
    level: float,
    seeds: int,
    confirm: int,
    extend: int,
) -> None:
    """Raise a ValueError for a number out of its range."""
    for name in schedules:
        if name not in SCHEDULES:
            raise ValueError(
                f"compare: schedule must be among {', '.join(SCHEDULES)}, got {name!r}"
                f"{close_match(str(name), SCHEDULES)}."
            )
    if not schedules or not decays:
        raise ValueError("compare: schedule and decay must have at least one value.")
    rules = {
        "decay": ("at least 0 and finite", decays, lambda x: 0 <= x < math.inf),
        "warmup": ("in [0, 1)", [warmup], lambda x: 0 <= x < 1),
        "level": ("in (0, 1)", [level], lambda x: 0 < x < 1),
        "seeds": ("at least 1", [seeds], lambda x: is_integer(x) and x >= 1),
        "extend": ("at least 0", [extend], lambda x: is_integer(x) and x >= 0),
        "confirm": (
            "at least 2, or 0 for no verdict, as one seed has no interval",
            [confirm],
            lambda x: is_integer(x) and (x == 0 or x >= 2),
        ),
    }
    for name, (rule, values, fits) in rules.items():
        for value in values:
            if not (is_real(value) and fits(value)):
                raise ValueError(f"compare: {name} must be {rule}, got {shown(value)}.")
