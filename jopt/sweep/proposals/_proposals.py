"""The settings of a search, proposed batch by batch from what was told."""

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
TRIES = 10  # asks for one setting that is new, before it is drawn at random
RANDOM_TRIES = 200  # asks after these, before there is none
RANDOM = 4096  # points that stand in for those of a sampler that repeat a setting
BELOW_ONE = float(np.nextafter(1.0, 0.0))
_RANGES = {Uniform: False, LogUniform: True, Integers: False, LogInt: True}


class Earlier(NamedTuple):
    """A setting that is trained elsewhere, or was before the search, and how it is."""

    setting: dict[str, Any]
    values: Sequence[float] | None  # one by objective, in its own sign; None: not known
    state: Standing = "complete"
    observed: Mapping[int, float] = {}  # by step, of the only objective


class Proposals:
    """Ask for settings that were not asked for yet, and tell what became of them.

    The settings follow from the arguments and from what was told before each ask, in
    order: asking and telling again gives the same.

    Args:
      space: that is searched.
      sampler: a sampler of points, or one that learns.
      modes: of the objectives.
      seed: of everything random.
      count: the settings that will be asked for, for samplers that balance them.
      begin: the settings that others asked for before, all of which `add` tells of.
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
        """Tell of settings that were trained before, which are not asked for again."""
        for one in earlier:
            self._is_new(one.setting)
            if self._learns is not None:
                self._learns.add(one)

    def ask(
        self, n: int, first: Sequence[dict[str, Any]] = ()
    ) -> list[tuple[int, dict[str, Any]]]:
        """Return the numbers and settings of n trials; fewer if there are no others.

        Args:
          n: how many.
          first: settings to begin with, whether they are new or not.
        """
        return self.asking(n, first)()

    def asking(
        self, n: int, first: Sequence[dict[str, Any]] = ()
    ) -> Callable[[], list[tuple[int, dict[str, Any]]]]:
        """Return what `ask` does as a function, which may be called in a thread."""
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
        """Tell what became of a setting.

        Args:
          number: of the setting, as `ask` returned it.
          values: one by objective; not finite where it diverged.
          state: "complete", "pruned", "failed" or "running".
          observed: values of the only objective, by step.
        """
        if self._learns is not None:
            seen = observed or {}
            setting = self._settings[number - self.begin]
            one = Earlier(setting, values, state, seen)
            self._learns.tell(number, one)

    def _is_new(self, setting: dict[str, Any]) -> bool:
        """Return whether a setting is asked for the first time; remember it."""
        number = self._known.of(setting)
        new = number not in self._seen
        self._seen.add(number)
        return new

    def _new(self, points: np.ndarray, n: int) -> list[dict[str, Any]]:
        """Return the first n settings of points that are new, fewer if there are."""
        found: list[dict[str, Any]] = []
        for point in points.tolist() if n > 0 else ():
            setting = self.space.drawn(iter(point))
            if self._is_new(setting):
                found.append(setting)
                if len(found) == n:
                    break
        return found


class _Learning:
    """A study of Optuna in memory, which an adaptive sampler learns from."""

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
            warnings.simplefilter("ignore")  # some options are called experimental
            self.study.sampler = self.sampler.made(self.space, batch, seed)
        self.random = self.optuna.samplers.RandomSampler(seed)

    def ask(self, n: int, is_new: Callable[[dict[str, Any]], bool]) -> list[Any]:
        """Return n settings that are new; at random if the sampler finds none."""
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
        """Let settings that the sampler does not propose be asked for."""
        with quiet():
            for setting in settings:
                self.study.enqueue_trial(parameters(self.space, setting)[0])
                self.trials.append(self.study.ask())
                self._asked(self.trials[-1])

    def _asked(self, trial: Any) -> dict[str, Any]:
        return self.space.chosen(lambda *at: _suggested(trial, *at))

    def tell(self, number: int, one: Earlier) -> None:
        """Tell what became of the trial of a number."""
        values, state, observed = self._judged(one)
        trial = self.trials[number]
        with quiet():
            for step, value in sorted(observed.items()):
                trial.report(value, step)
            self.study.tell(trial, values, state=self._state(state))

    def add(self, one: Earlier) -> None:
        """Tell of a trial that this study did not ask for."""
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
        """Return the values, the state and the observations that the study is told.

        A diverged trial is a pruned one, with its last finite observation. To a
        sampler that does not rank pruned ones, both have the worst value of the others:
        it would not learn from them otherwise, and go there again.
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
        """Return a value, or sign(x) log(1 + |x| / 1e-6) for a sampler in logs."""
        if not self.sampler.in_logs or self.directions != ["minimize"]:
            return value
        return math.copysign(math.log1p(abs(value) / 1e-6), value)

    def _state(self, state: Standing) -> Any:
        states = self.optuna.trial.TrialState
        known = {"complete": states.COMPLETE, "pruned": states.PRUNED}
        known |= {"running": states.RUNNING}
        return known.get(state, states.FAIL)


def _suggested(trial: Any, place: str, source: Distribution) -> Any:
    """Return the value that a trial of Optuna's suggests."""
    kind = type(source)
    if isinstance(source, Choice):
        values = tuple(source.values)
        return values[trial.suggest_categorical(place, range(len(values)))]
    if kind not in _RANGES:  # of the user's own
        return source.at(trial.suggest_float(place, 0.0, BELOW_ONE))
    ends: Any = source
    whole = kind in (Integers, LogInt)
    suggest = trial.suggest_int if whole else trial.suggest_float
    return suggest(place, ends.low, ends.high, log=_RANGES[kind])


def parameters(
    space: Space, setting: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return Optuna's parameters and distributions of a setting of the space."""
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
    """Return the setting of the space that has these parameters of Optuna's."""

    def choose(place: str, source: Distribution) -> Any:
        value = params[place]
        return tuple(source.values)[value] if isinstance(source, Choice) else value

    return space.chosen(choose)


def check_setting(
    space: Space, setting: Mapping[str, Any], title: str
) -> dict[str, Any]:
    """Return a setting of a space, its values as the space has them.

    Values that the space does not vary may be left out.

    Args:
      space: of the search.
      setting: by flat name.
      title: what an error begins with.

    Raises:
      ValueError: a hyperparameter is missing or unknown, or its value is not of the
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
    """Let Optuna log errors alone."""
    logger = logging.getLogger("optuna")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
