"""`Contender`: an optimizer and the hyperparameters that a comparison tries."""

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from jopt.core import (
    GradientTransformation,
    as_transformation,
    chain,
    checked_class,
    close_match,
    is_real,
    nested,
    shown,
)
from jopt.schedules import (
    warmup_constant_schedule,
    warmup_cosine_decay_schedule,
    warmup_linear_decay_schedule,
)
from jopt.training import Role
from jopt.transforms import MuonDimensionNumbers, add_decayed_weights

ScheduleName: TypeAlias = Literal["cosine", "linear", "constant"]

LADDER = 9  # rates by default
STEP = 2.0  # factor between them
# The rates on which the ladders are centered, by the names of the factories.
USUAL = {
    "sgd": 1e-1,
    "noisy_sgd": 1e-1,
    "lion": 3e-4,
    "sign_sgd": 3e-4,
    "signum": 3e-4,
    "muon": 2e-2,
    "normuon": 2e-2,
    "schedule_free_sgd": 1.0,
    "schedule_free_adamw": 1e-2,
    "adadelta": 1.0,
    "adagrad": 3e-2,
    "adafactor": 1e-2,
    "lamb": 1e-2,
    "lars": 1.0,
    "fromage": 1e-2,
    "rprop": 1e-2,
}
OTHERS = 3e-3  # of the rest, most of Adam's family
OWN = "schedule_free_sgd", "schedule_free_adamw", "dog", "dowg", "cocob"
PARAMETER_FREE = "prodigy", "dadapt_adamw", "dog", "dowg", "cocob"
DECAYS = "weight_decay", "adam_weight_decay"  # arguments with defaults
SHARED = "learning_rate", "schedule", "decay", "horizon"  # set by the comparison
MATRICES = "muon_weight_dimension_numbers"


@checked_class
@dataclasses.dataclass(frozen=True)
class Contender:
    """An optimizer in a comparison.

        studies.Contender(jopt.muon, space={"beta": [0.9, 0.95]})

    Args:
      factory: learning_rate -> transformation; keyword arguments of it may be in
        `space`. The arguments `weight_decay` and `adam_weight_decay`, where it has
        them, are 0 unless `space` gives them: the decay is the comparison's.
      rates: the ladder, ascending, at least 3, or a single one for a parameter-free
        method. By default 9 rates around the optimizer's usual one, a factor of 2
        apart, and the rate 1 alone for Prodigy, D-Adaptation, DoG, DoWG and COCOB.
      space: other hyperparameters by name, each a list of values: every combination is
        tried, which is a larger budget. `adam_share` of Muon and its kin is the rate of
        their Adam part over their own.
      schedule: "shared", the comparison's, or "own": the factory gets a number, and
        `warmup_steps` if it takes it. By default "own" for Schedule-Free, DoG, DoWG and
        COCOB.
    """

    factory: Callable[..., Any]
    rates: Sequence[float] | np.ndarray | None = None
    space: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict)
    schedule: Literal["shared", "own"] | None = None

    @property
    def name(self) -> str:
        """The name of the factory."""
        inner = self.factory
        while isinstance(inner, functools.partial):
            inner = inner.func
        return getattr(inner, "__name__", "")

    @property
    def ladder(self) -> list[float]:
        """The rates to begin with."""
        if self.rates is not None:
            return [float(rate) for rate in self.rates]
        if self.name in PARAMETER_FREE:
            return [1.0]
        center = USUAL.get(self.name, OTHERS)
        return [center * STEP ** (k - LADDER // 2) for k in range(LADDER)]

    @property
    def own_schedule(self) -> bool:
        """Whether the factory gets a number in place of the shared schedule."""
        by_default = "own" if self.name in OWN else "shared"
        return (self.schedule or by_default) == "own"

    @property
    def can_decay(self) -> bool:
        """Whether the optimizer's own schedule allows a decay of a given sum."""
        known = "weight_decay" in self.arguments
        return known and self.name not in PARAMETER_FREE

    @property
    def arguments(self) -> Mapping[str, inspect.Parameter]:
        """The arguments of the factory."""
        return inspect.signature(self.factory).parameters

    def check(self, title: str) -> None:
        """Raise ValueError for rates or a space that no comparison can try."""
        rates = self.ladder
        ordered = rates == sorted(set(rates)) and all(map(is_real, rates))
        if not ordered or not 0 < rates[0] <= rates[-1] < math.inf:
            raise ValueError(
                f"{title}: rates must be above 0, finite and ascending, got "
                f"{shown(rates)}."
            )
        if len(rates) not in (1, *range(3, 1000)):
            raise ValueError(
                f"{title}: rates must be at least 3, or 1 for a parameter-free method, "
                f"got {len(rates)}; with 2 the best is always at an end."
            )
        known = [*self.arguments, "adam_share"]
        anything = any(
            p.kind is inspect.Parameter.VAR_KEYWORD for p in self.arguments.values()
        )
        for name, values in self.space.items():
            if name in SHARED:
                raise ValueError(
                    f"{title}: space must leave {name} out: it is the comparison's own."
                )
            if name not in known and not anything:
                raise ValueError(
                    f"{title}: space must name arguments of {self.name}, got {name!r}"
                    f"{close_match(name, known)}."
                )
            if name == "adam_share" and "adam_learning_rate" not in self.arguments:
                raise ValueError(
                    f"{title}: adam_share is for Muon and its kin, and {self.name} has "
                    "no part of Adam."
                )
            if isinstance(values, str) or not len(values):
                raise ValueError(
                    f"{title}: space must have a list of values for {name}, got "
                    f"{shown(values)}."
                )


@dataclasses.dataclass(frozen=True)
class Made:
    """The factory of a contender's trials.

    Args:
      contender: the contender.
      steps: steps of the run, the length of its schedule.
      warmup: share of the steps in the warmup.
      decays: whether weights decay, which is part of the program.
      hidden: paths of hidden matrices, for Muon and its kin; None for all matrices.
    """

    contender: Contender
    steps: int
    warmup: float
    decays: bool = False
    hidden: tuple[tuple[tuple[str, ...], bool], ...] | None = None

    def __call__(
        self,
        learning_rate: float,
        schedule: ScheduleName = "cosine",
        decay: float = 0.0,
        horizon: float = 1.0,
        adam_share: float | None = None,
        **space: Any,
    ) -> GradientTransformation:
        steps = horizon * self.steps
        warm = max(1.0, self.warmup * steps)
        own, known = self.contender.own_schedule, self.contender.arguments
        given = {name: 0.0 for name in DECAYS if _decays(known.get(name))} | space
        if self.hidden is not None and MATRICES in known:
            given.setdefault(MATRICES, _matrices(self.hidden))
        if adam_share is not None:
            given["adam_learning_rate"] = (
                adam_share * learning_rate
                if own
                else _scheduled(schedule, adam_share * learning_rate, warm, steps)
            )
        if not own:
            rate = _scheduled(schedule, learning_rate, warm, steps)
            tx = as_transformation(self.contender.factory(rate, **given))
            if not self.decays:
                return tx
            total = steps - warm / 2 if schedule == "constant" else steps / 2
            shaped = _scheduled(schedule, decay / total, warm, steps)
            return chain(tx, add_decayed_weights(shaped, flip_sign=True))
        if "warmup_steps" in known:
            given.setdefault("warmup_steps", warm)
        if self.decays and "weight_decay" in known:
            given["weight_decay"] = decay / (learning_rate * (steps - warm / 2))
        return as_transformation(self.contender.factory(learning_rate, **given))


def _decays(argument: inspect.Parameter | None) -> bool:
    """Return whether an argument is a weight decay that is on by default."""
    return argument is not None and is_real(argument.default) and argument.default != 0


def _scheduled(name: ScheduleName, peak: float, warm: float, steps: float) -> Any:
    """Return the shared schedule: a line up to the peak, then the decay."""
    if name == "constant":
        return warmup_constant_schedule(0.0, peak, warm)
    if name == "linear":
        return warmup_linear_decay_schedule(0.0, peak, warm, steps)
    return warmup_cosine_decay_schedule(0.0, peak, warm, steps)


def _matrices(hidden: tuple[tuple[tuple[str, ...], bool], ...]) -> Any:
    """Return Muon's dimension numbers for hidden matrices, None for other leaves."""
    return nested({path: MuonDimensionNumbers() if h else None for path, h in hidden})


def hidden_matrices(
    roles: Mapping[str, Role], shapes: Mapping[tuple[str, ...], tuple[int, ...]]
) -> tuple[tuple[tuple[str, ...], bool], ...]:
    """Return, for each path, whether it is a hidden matrix of two axes."""
    return tuple(
        (path, len(shape) == 2 and roles["/".join(path)].kind == "hidden")
        for path, shape in shapes.items()
    )
