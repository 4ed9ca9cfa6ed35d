"""The settings of a search, proposed batch by batch from earlier results."""

import contextlib
import logging
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from jopt.core import close_match, is_real, shown
from jopt.sweep._equality import Identities, same
from jopt.sweep._task import Mode
from jopt.sweep.proposals._adaptive import Adaptive
from jopt.sweep.space import (
    Choice,
    Distribution,
    Integers,
    LogInt,
    LogUniform,
    Random,
    Sampler,
    Space,
    Uniform,
)

Ending: TypeAlias = Literal["complete", "pruned", "failed"]
Standing: TypeAlias = Literal["complete", "pruned", "failed", "running"]
TRIES = 10  # asks for a new setting before it is drawn at random
RANDOM_TRIES = 200  # further random draws before the space counts as exhausted
RANDOM = 4096  # random points that replace repeated settings of a sampler
BELOW_ONE = float(np.nextafter(1.0, 0.0))
_RANGES = {Uniform: False, LogUniform: True, Integers: False, LogInt: True}


class Earlier(NamedTuple):
    """A setting that is trained outside of this search, and its outcome so far."""

    setting: dict[str, Any]
    values: Sequence[float] | None  # one by objective, with its own sign; or None
    state: Standing = "complete"
    observed: Mapping[int, float] = {}  # by step, of the only objective


class Proposals:
    """Propose new settings, and record their outcomes.

    The settings depend only on the arguments and on the outcomes told before each ask,
    so the same calls give the same settings.

    Args:
      space: the space to search.
      sampler: a sampler of points, or one that learns.
      modes: the modes of the objectives.
      seed: the seed of all randomness.
      count: the number of settings that will be asked for; some samplers balance them.
      begin: the number of settings that others asked for before; pass all to `add`.
    """

    def __init__(
        self,
        space: Space,
        sampler: Sampler | Adaptive,
        modes: Sequence[Mode],
        seed: int,
        count: int = 1,
        begin: int = 0,
    ):
        if not space.dimensions:
            raise ValueError(
                "A search needs a space from which something is drawn, got one "
                "without a distribution or a list; give one, as in "
                "learning_rate=sweep.log_uniform(1e-5, 1)."
            )
        self.space, self.sampler, self.modes, self.seed = space, sampler, modes, seed
        self.count, self.begin = count, begin
        self._known, self._seen = Identities(), set[int]()
        self._settings: list[dict[str, Any]] = []  # asked for, by number
        self._learns = None
        if isinstance(sampler, Adaptive):
            sampler.check(space, len(modes))
            self._learns = _Learning(space, sampler, modes, seed)

    def add(self, earlier: Iterable[Earlier]) -> None:
        """Record settings that were trained before; they are not proposed again."""
        for one in earlier:
            self._is_new(one.setting)
            if self._learns is not None:
                self._learns.add(one)

    def ask(
        self, n: int, first: Sequence[dict[str, Any]] = ()
    ) -> list[tuple[int, dict[str, Any]]]:
        """Return the numbers and settings of n trials; fewer if the space has no more.

        Args:
          n: the number of trials.
          first: settings to begin with, whether they are new or not.
        """
        return self.asking(n, first)()

    def asking(
        self, n: int, first: Sequence[dict[str, Any]] = ()
    ) -> Callable[[], list[tuple[int, dict[str, Any]]]]:
        """Return a function that does what `ask` does, and may run in a thread."""
        begin, first = self.begin + len(self._settings), list(first[:n])
        entropy = np.random.SeedSequence([self.seed, begin]).generate_state(1)[0]
        if self._learns is not None:
            self._learns.begin(n, int(entropy))

        def asked() -> list[tuple[int, dict[str, Any]]]:
            found = list(first)
            for setting in found:
                self._is_new(setting)
            if self._learns is not None:
                self._learns.fix(found)
                found += self._learns.ask(n - len(found), self._is_new)
            else:
                count, axes = max(self.count, begin + n), self.space.dimensions
                sampler: Any = self.sampler
                points = sampler.points(count, axes, self.seed)
                found += self._new(points, n - len(found))
                points = Random().points(RANDOM, axes, int(entropy))
                found += self._new(points, n - len(found))
            self._settings += found
            return list(enumerate(found, start=begin))

        return asked

    def tell(
        self,
        number: int,
        values: Sequence[float] | None,
        state: Standing = "complete",
        observed: Mapping[int, float] | None = None,
    ) -> None:
        """Record the outcome of a setting.

        Args:
          number: the setting's number from `ask`.
          values: one by objective; not finite if the setting diverged.
          state: "complete", "pruned", "failed" or "running".
          observed: values of the only objective, by step.
        """
        if self._learns is not None:
            seen = observed or {}
            setting = self._settings[number - self.begin]
            one = Earlier(setting, values, state, seen)
            self._learns.tell(number, one)

    def _is_new(self, setting: dict[str, Any]) -> bool:
        """Return whether a setting is new; remember it."""
        number = self._known.of(setting)
        new = number not in self._seen
        self._seen.add(number)
        return new

    def _new(self, points: np.ndarray, n: int) -> list[dict[str, Any]]:
        """Return the first n new settings of points; fewer if they run out."""
        found: list[dict[str, Any]] = []
        for point in points.tolist() if n > 0 else ():
            setting = self.space.drawn(iter(point))
            if self._is_new(setting):
                found.append(setting)
                if len(found) == n:
                    break
        return found


class _Learning:
    """An Optuna study in memory, from which an adaptive sampler learns."""

    def __init__(
        self, space: Space, sampler: Adaptive, modes: Sequence[Mode], seed: int
    ):
        import optuna  # an extra, and slow to load

        self.optuna = optuna
        self.space, self.sampler, self.seed = space, sampler, seed
        self.directions: list[Any] = [
            "maximize" if mode == "max" else "minimize" for mode in modes
        ]
        with quiet():
            self.study = optuna.create_study(directions=self.directions)
        self.trials: list[Any] = []  # Optuna's, by number
        self.worst: list[list[float]] = [[] for _ in modes]  # the finite values told

    def begin(self, batch: int, seed: int) -> None:
        """Make the samplers of a batch."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna warns of experimental options
            self.study.sampler = self.sampler.made(self.space, batch, seed)
        self.random = self.optuna.samplers.RandomSampler(seed)

    def ask(self, n: int, is_new: Callable[[dict[str, Any]], bool]) -> list[Any]:
        """Return n new settings, drawn at random if the sampler finds none."""
        found: list[dict[str, Any]] = []
        tries = 0
        with quiet():
            while len(found) < n and tries < TRIES + RANDOM_TRIES:
                if tries == TRIES:
                    self.study.sampler = self.random
                trial = self.study.ask()
                setting = self._asked(trial)
                if is_new(setting):
                    self.trials.append(trial)
                    found.append(setting)
                    tries = 0
                else:
                    self.study.tell(trial, state=self._state("failed"))
                    tries += 1
        return found

    def fix(self, settings: Sequence[dict[str, Any]]) -> None:
        """Add settings that the sampler does not propose."""
        with quiet():
            for setting in settings:
                self.study.enqueue_trial(parameters(self.space, setting)[0])
                self.trials.append(self.study.ask())
                self._asked(self.trials[-1])

    def _asked(self, trial: Any) -> dict[str, Any]:
        return self.space.chosen(lambda *at: _suggested(trial, *at))

    def tell(self, number: int, one: Earlier) -> None:
        """Record the outcome of the trial with a number."""
        values, state, observed = self._judged(one)
        trial = self.trials[number]
        with quiet():
            for step, value in sorted(observed.items()):
                trial.report(value, step)
            self.study.tell(trial, values, state=self._state(state))

    def add(self, one: Earlier) -> None:
        """Record a trial that this study did not ask for."""
        values, state, observed = self._judged(one)
        params, distributions = parameters(self.space, one.setting)
        several: Any = {"values": values} if values is not None else {}
        with quiet():
            self.study.add_trial(
                self.optuna.create_trial(
                    params=params,
                    distributions=distributions,
                    state=self._state(state),
                    intermediate_values=dict(observed),
                    **several,
                )
            )

    def _judged(
        self, one: Earlier
    ) -> tuple[list[float] | None, Standing, Mapping[int, float]]:
        """Return the values, the state and the observations for Optuna's study.

        A diverged trial counts as a pruned one, with its last finite observation. If
        the sampler does not rank pruned trials, both get the worst value of the others.
        Otherwise it would not learn from them, and propose their region again.
        """
        ranks = self.sampler.ranks_pruned and len(self.worst) == 1
        values = None if one.values is None else list(map(float, one.values))
        finite = values is not None and all(map(math.isfinite, values))
        seen = {s: self._scaled(v) for s, v in one.observed.items() if math.isfinite(v)}
        if one.state in ("failed", "running"):
            return None, one.state, {}
        if one.state == "complete" and finite:
            assert values is not None
            for worst, value in zip(self.worst, values, strict=True):
                worst.append(value)
            return list(map(self._scaled, values)), "complete", {}
        if ranks:
            return None, "pruned", seen
        if not all(self.worst):
            return None, "failed", {}
        pairs = zip(self.worst, self.directions, strict=True)
        poor = [min(v) if d == "maximize" else max(v) for v, d in pairs]
        return list(map(self._scaled, poor)), "complete", {}

    def _scaled(self, value: float) -> float:
        """Return a value; for a sampler on a log scale, sign(x) log(1 + |x| / 1e-6)."""
        if not self.sampler.in_logs or self.directions != ["minimize"]:
            return value
        return math.copysign(math.log1p(abs(value) / 1e-6), value)

    def _state(self, state: Standing) -> Any:
        states = self.optuna.trial.TrialState
        known = {"complete": states.COMPLETE, "pruned": states.PRUNED}
        known |= {"running": states.RUNNING}
        return known.get(state, states.FAIL)


def _suggested(trial: Any, place: str, source: Distribution) -> Any:
    """Return the value that an Optuna trial suggests."""
    kind = type(source)
    if isinstance(source, Choice):
        values = tuple(source.values)
        return values[trial.suggest_categorical(place, range(len(values)))]
    if kind not in _RANGES:  # a user's distribution
        return source.at(trial.suggest_float(place, 0.0, BELOW_ONE))
    ends: Any = source
    whole = kind in (Integers, LogInt)
    suggest = trial.suggest_int if whole else trial.suggest_float
    return suggest(place, ends.low, ends.high, log=_RANGES[kind])


def parameters(
    space: Space, setting: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a setting's parameters and distributions for Optuna."""
    from optuna import distributions as known

    params, found = dict[str, Any](), dict[str, Any]()

    def choose(place: str, source: Distribution) -> Any:
        value, kind = setting[place], type(source)
        if isinstance(source, Choice):
            values = tuple(source.values)
            params[place] = next(i for i, v in enumerate(values) if same(v, value))
            found[place] = known.CategoricalDistribution(range(len(values)))
            return value
        if kind not in _RANGES:
            raise ValueError(
                f"A search cannot be told of a setting with {place}={shown(value)}, as "
                f"{shown(source)} does not say where that lies; leave the setting out "
                "of enqueue and warm_start, or give one of jopt's distributions."
            )
        ends: Any = source
        params[place] = value
        whole = kind in (Integers, LogInt)
        made = known.IntDistribution if whole else known.FloatDistribution
        found[place] = made(ends.low, ends.high, log=_RANGES[kind])
        return value

    space.chosen(choose)
    return params, found


def setting_of(space: Space, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the setting of the space for these Optuna parameters."""

    def choose(place: str, source: Distribution) -> Any:
        value = params[place]
        return tuple(source.values)[value] if isinstance(source, Choice) else value

    return space.chosen(choose)


def check_setting(
    space: Space, setting: Mapping[str, Any], title: str
) -> dict[str, Any]:
    """Return a setting of a space, with the space's own values.

    Hyperparameters with a single value may be left out.

    Args:
      space: the space of the search.
      setting: values by flat name.
      title: the beginning of error messages.

    Raises:
      ValueError: a hyperparameter is missing or unknown, or its value is not in the
        space.
    """

    def choose(place: str, source: Distribution) -> Any:
        if place not in setting:
            raise ValueError(
                f"{title} must have a value of {place}, got {shown(dict(setting))}."
            )
        value = setting[place]
        if isinstance(source, Choice):
            for known in tuple(source.values):
                if same(known, value):
                    return known
            listed = ", ".join(map(shown, source.values))
            raise ValueError(
                f"{title} must have {place} of {listed}, got {shown(value)}."
            )
        if type(source) not in _RANGES:
            return value
        if not is_real(value) or math.isnan(value) or source.clip(value) != value:
            raise ValueError(
                f"{title} must have {place} within {shown(source)}, got {shown(value)}."
            )
        return source.clip(value)

    found = space.chosen(choose)
    for name in setting:
        if name not in found:
            raise ValueError(
                f"{title} has {name}{close_match(name, found)}, which the space has "
                f"not there; it has {', '.join(found)}."
            )
    return found


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Limit Optuna's log to errors."""
    logger = logging.getLogger("optuna")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
