"""`Study`: ask for settings and tell their results, in a training loop of any kind."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from jopt.core import (
    FilePath,
    Kind,
    PyTree,
    argument_error,
    checked,
    checked_class,
    is_integer,
    is_real,
    shown,
)
from jopt.sweep._equality import Identities, digest
from jopt.sweep._json import decode, encode
from jopt.sweep._task import Mode
from jopt.sweep._trial import Trial, groups, stack as stacked
from jopt.sweep._whole_files import lock
from jopt.sweep.proposals._adaptive import TPE, Adaptive
from jopt.sweep.proposals._proposals import Ending, Proposals
from jopt.sweep.space import Sampler, Space

LOG = "study.jsonl"
FORMAT = 1
MOST = 1_000_000  # most trials of one `ask`
STATES = ("complete", "pruned", "failed")
_SPACE = Kind("a sweep.Space", lambda value: isinstance(value, Space))
_SAMPLER = Kind(
    "a sampler, such as sweep.TPE() or sweep.Sobol()",
    lambda value: (
        isinstance(value, Adaptive)
        or (not isinstance(value, type) and hasattr(value, "points"))
    ),
)
_COUNT = Kind(
    f"an integer from 1 to {MOST:,}",
    lambda value: is_integer(value) and 1 <= value <= MOST,
)


class Told(NamedTuple):
    """The outcome of a trial of a study."""

    trial: Trial  # as it was asked for
    value: float | None  # None if it failed, or was pruned without an observation
    state: Ending  # "complete", "pruned" or "failed"


@checked_class
class Study:
    """Ask for settings, train them in your own loop, and tell their results.

        space = sweep.Space(jopt.adamw, learning_rate=sweep.log_uniform(1e-5, 1))
        study = sweep.Study(space, metric="loss", mode="min")
        for _ in range(8):
            trials = study.ask(32)
            losses = train(sweep.stack(trials))  # one program for all 32
            study.tell(trials, losses)
        print(study.best)

    No setting is asked for twice. The settings depend only on the arguments, and on the
    results told before, in order.

    Args:
      space: the space to search.
      sampler: `TPE`, `GP`, `CMAES`, `Random`, `Sobol`, `Halton`, ...
      metric: the name of the value to tell.
      mode: "min" or "max", which of its values are better.
      seed: the seed of all randomness.
      directory: where `study.jsonl` keeps all asks and results. After a crash, a study
        with the same arguments continues from there: `waiting` has the trials without a
        result.

    Raises:
      ImportError: the sampler needs a package that is not installed.
      ValueError: the sampler cannot search the space, or the directory has another
        study.
      BlockingIOError: another process has the study open.
    """

    def __init__(
        self,
        space: Annotated[Space, _SPACE],
        *,
        sampler: Annotated[Sampler | Adaptive, _SAMPLER] = TPE(),  # noqa: B008
        metric: str = "loss",
        mode: Annotated[Mode, Kind('"min" or "max"', ("min", "max").__contains__)] = (
            "min"
        ),
        seed: int = 0,
        directory: FilePath | None = None,
    ):
        self.space, self.metric, self.mode = space, metric, mode
        self._proposals = Proposals(space, sampler, [mode], seed)
        self._identities, self._numbers = Identities(), dict[int, int]()
        self._trials: list[Trial] = []
        self._observed: list[dict[int, float]] = []
        self._told: dict[int, Told] = {}
        self._log = None
        if directory is not None:
            header = {
                "format": FORMAT,
                "space": digest(space),
                "sampler": repr(sampler),
                "metric": metric,
                "mode": mode,
                "seed": seed,
            }
            self._log = _Log(Path(directory), header)
            try:
                for event in self._log.events:
                    self._again(event)
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Release the study's directory for other processes."""
        if self._log is not None:
            self._log.close()
            self._log = None

    def __enter__(self) -> "Study":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @checked
    def ask(self, n: Annotated[int, _COUNT]) -> list[Trial]:
        """Return n trials that were not asked for yet; fewer if the space has no more.

        To a sampler that learns, trials without a result count as bad, so that it looks
        elsewhere.
        """
        trials = self._ask(n)
        self._note({"ask": n, "settings": digest([t.hyperparameters for t in trials])})
        return trials

    def observe(self, trials: Sequence[Trial], values: Any, *, step: int) -> None:
        """Record the values of trials in training, after `step` steps.

        If a trial is pruned or diverges, the sampler learns from its last finite value.

        Args:
          trials: trials of `ask` without a result.
          values: a number each.
          step: an integer of at least 0.

        Raises:
          TypeError: `trials` has an element that is not a trial.
          ValueError: a trial is not of this study, or has a result already; the values
            are not numbers, or not as many as the trials.
        """
        numbers = self._of("observe", trials)
        found = _numbers("observe", values, len(trials))
        if not is_integer(step) or step < 0:
            rule = "an integer of at least 0"
            raise argument_error("Study.observe", "step", step, rule, ValueError)
        event = {"observe": numbers, "values": _plain(found), "step": int(step)}
        self._again(event)
        self._note(event)

    def tell(
        self, trials: Sequence[Trial], values: Any = None, *, state: Ending = "complete"
    ) -> None:
        """Record the results of trials.

        Args:
          trials: trials of `ask` without a result.
          values: a number each; a trial whose value is not finite has diverged. For
            pruned and failed trials they may be left out.
          state: "complete"; "pruned", ended early and ranked by its observations; or
            "failed", from which the sampler learns nothing.

        Raises:
          TypeError: `trials` has an element that is not a trial.
          ValueError: a trial is not of this study, or has a result already; the values
            are not numbers, or not as many as the trials.
        """
        if state not in STATES:
            rule = f"one of {', '.join(STATES)}"
            raise argument_error("Study.tell", "state", state, rule, ValueError)
        if values is None and state == "complete":
            raise ValueError("Study.tell: values must be given of complete trials.")
        numbers = self._of("tell", trials)
        found = (
            None if values is None else _plain(_numbers("tell", values, len(trials)))
        )
        event = {"tell": numbers, "values": found, "state": state}
        self._again(event)
        self._note(event)

    @property
    def trials(self) -> list[Trial]:
        """The trials that were asked for, in order."""
        return list(self._trials)

    @property
    def waiting(self) -> list[Trial]:
        """The trials without a result, in order."""
        return [t for n, t in enumerate(self._trials) if n not in self._told]

    @property
    def told(self) -> list[Told]:
        """The outcomes of the trials with a result, in the order of the asks."""
        return [self._told[number] for number in sorted(self._told)]

    @property
    def best(self) -> Told | None:
        """The best complete trial; None before there is one."""
        sign = -1 if self.mode == "max" else 1
        found = [t for t in self.told if t.state == "complete" and t.value is not None]
        return min(found, key=lambda t: sign * (t.value or 0.0), default=None)

    def _ask(self, n: int) -> list[Trial]:
        begin = len(self._trials)
        found = self._proposals.ask(n)
        self._trials += [Trial.of(self.space, setting) for _, setting in found]
        self._observed += [{} for _ in found]
        for number, setting in found:
            self._numbers[self._identities.of(setting)] = number
        return self._trials[begin:]

    def _again(self, event: dict[str, Any]) -> None:
        """Apply an event of the log."""
        if "ask" in event:
            trials = self._ask(event["ask"])
            if digest([t.hyperparameters for t in trials]) != event["settings"]:
                raise ValueError(
                    "The study asks for other settings than it did before: the version "
                    "of Optuna or NumPy is another one; go on with that, or start a "
                    "study in another directory."
                )
        elif "observe" in event:
            for number, value in zip(event["observe"], event["values"], strict=True):
                if value is not None:
                    self._observed[number][event["step"]] = value
        else:
            every = event["values"] or [None] * len(event["tell"])
            for number, value in zip(event["tell"], every, strict=True):
                self._tell(number, value, event["state"])

    def _tell(self, number: int, value: float | None, state: Ending) -> None:
        seen = dict(self._observed[number])
        if state == "pruned" and value is not None:
            seen[max(seen, default=-1) + 1] = value
        if state == "complete" and value is None:  # it diverged
            state = "pruned"
        self._proposals.tell(
            number, [math.nan if value is None else value], state, seen
        )
        known = seen[max(seen)] if seen else None
        last = value if value is not None else known
        self._told[number] = Told(self._trials[number], last, state)

    def _of(self, method: str, trials: Sequence[Trial]) -> list[int]:
        """Return the numbers of trials, all of which must be waiting."""
        found: list[int] = []
        _check_trials(f"Study.{method}", trials)
        for trial in trials:
            number = self._numbers.get(self._identities.of(trial.hyperparameters))
            given = shown(trial.hyperparameters)
            if number is None:
                raise ValueError(
                    f"Study.{method}: trials must be of this study's ask, got {given}."
                )
            if number in self._told or number in found:
                raise ValueError(
                    f"Study.{method}: each trial must be told of once, got {given} a "
                    "second time."
                )
            found.append(number)
        return found

    def _note(self, event: dict[str, Any]) -> None:
        if self._log is not None:
            self._log.append(event)


def stack(trials: Sequence[Trial]) -> PyTree:
    """Return the stacked configs of trials, whose numbers get a trial axis.

        configs = sweep.stack(study.ask(32))
        losses = jax.vmap(train)(configs)

    Args:
      trials: trials of one structure, which differ only in numbers.

    Raises:
      TypeError: `trials` has an element that is not a trial.
      ValueError: there are no trials, or they have several structures.
    """
    _check_trials("sweep.stack", trials)
    if not trials:
        raise ValueError("sweep.stack: trials must be at least one, got none.")
    if len(parts := groups(trials)) > 1:
        names = [trials[rows[0]].hyperparameters for rows in parts[:2]]
        raise ValueError(
            f"sweep.stack: trials must have one structure, got {len(parts)}, such as "
            f"those of {shown(names[0])} and {shown(names[1])}; stack each alone."
        )
    return stacked([trial.config for trial in trials])


class _Log:
    """The events of a study, one line of JSON each; a torn last line is cut."""

    def __init__(self, directory: Path, header: dict[str, Any]):
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / LOG
        self._file = self.path.open("a+b")
        try:
            lock(
                self._file.fileno(),
                f"Another process has the study in {self.path} open; wait until it "
                "ends, or give this one another directory.",
            )
            self.events = self._read(header)
        except BaseException:
            self.close()
            raise

    def _read(self, header: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the recorded events; begin the file if it is new."""
        self._file.seek(0)
        content = self._file.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._file.truncate(len(whole))
        try:
            lines = [decode(line) for line in whole.splitlines()]
        except ValueError as error:
            raise ValueError(f"{self.path} is damaged: {error}.") from error
        if not lines:
            self.append(header)
            return []
        for name, value in header.items():
            if lines[0].get(name) != value:
                raise ValueError(
                    f"{self.path} is of another study: its {name} was "
                    f"{shown(lines[0].get(name))}, now {shown(value)}; give another "
                    "directory."
                )
        return lines[1:]

    def close(self) -> None:
        """Release the file for other processes."""
        self._file.close()

    def append(self, event: dict[str, Any]) -> None:
        """Write a line, and wait until it is on disk."""
        self._file.write(encode(event))
        self._file.flush()
        os.fsync(self._file.fileno())


def _check_trials(title: str, trials: Any) -> None:
    listed = isinstance(trials, Sequence)
    if not listed or not all(isinstance(trial, Trial) for trial in trials):
        raise argument_error(title, "trials", trials, "a list of trials", TypeError)


def _numbers(method: str, values: Any, count: int) -> list[float]:
    """Return the values as numbers, one for each trial."""
    found = values.tolist() if hasattr(values, "tolist") else values
    listed = isinstance(found, Sequence) and len(found) == count
    if not listed or not all(map(is_real, found)):
        rule = f"a number for each of {count} trials"
        raise argument_error(f"Study.{method}", "values", values, rule, ValueError)
    return list(map(float, found))


def _plain(values: Sequence[float]) -> list[float | None]:
    """Return values for JSON, with None for those that are not finite."""
    return [value if math.isfinite(value) else None for value in values]
