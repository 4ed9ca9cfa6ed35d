"""The stages of a study: each is a sweep with its own directory."""

import dataclasses
import inspect
import json
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jopt.sweep import (
    Progress,
    SweepResult,
    Task,
    Trial,
    in_words,
    load,
    replacing,
    resume,
    run,
)
from jopt.sweep.store import HEADER, RECORD

OPTIONS = "study.json"


def arguments(study: Callable[..., Any], *given: Any, **options: Any) -> dict[str, Any]:
    """Return all arguments of a call of a study except its progress."""
    bound = inspect.signature(study).bind(*given, **options)
    bound.apply_defaults()
    return {n: value for n, value in bound.arguments.items() if n != "progress"}


class Cost(NamedTuple):
    """The planned cost of a study, and the largest possible one.

    Attributes:
      trials: planned trials.
      most_trials: trials with every extension of a ladder of rates.
      trial_steps: steps of the planned trials.
      most_trial_steps: steps with every extension.
      programs: structures of trials; a stage of a structure is compiled at most once.
      seconds: on this machine, without extensions; None if it was not timed.
    """

    trials: int
    most_trials: int
    trial_steps: int
    most_trial_steps: int
    programs: int
    seconds: float | None = None


class StudyProgress(NamedTuple):
    """The progress of a study after a block of a stage."""

    stage: str  # such as "adamw/tune"
    sweep: Progress  # of the stage
    trial_steps: int  # made in all stages, those of an earlier process included
    trial_steps_left: int  # of those planned; extensions come on top
    seconds: float  # of training in this process

    @property
    def seconds_left(self) -> float:
        """The time of the steps left, at this stage's speed; infinite at first."""
        speed = self.sweep.trial_steps_per_second
        return self.trial_steps_left / speed if speed else math.inf


class _FirstBlock(Exception):
    """Ends a sweep after its first block."""

    def __init__(self, progress: Progress):
        self.progress = progress


def seconds_of(
    task: Task, trials: Sequence[Trial], steps: int, trial_steps: float, **given: Any
) -> float:
    """Return the seconds that trials of one program take, estimated from a block.

    The program is compiled and its block is picked as in the study. One block is
    trained for one segment and evaluated.

    Args:
      task: of the trials.
      trials: of one structure, one a setting.
      steps: of each trial.
      trial_steps: that the program will make in all.
      **given: options of `sweep.run`.
    """

    def end(now: Progress) -> None:
        raise _FirstBlock(now)

    began = time.perf_counter()
    now = None
    try:
        task = dataclasses.replace(task, test=None)
        run(task, trials, steps=steps, progress=end, **given)
    except _FirstBlock as ended:
        now = ended.progress
    assert now is not None  # a sweep has at least one block
    compiling = time.perf_counter() - began - now.seconds
    return compiling + trial_steps / now.trial_steps_per_second


@dataclasses.dataclass
class Stages:
    """Runs the stages of a study, and resumes those that its directory holds.

    Args:
      title: name of the study in errors.
      directory: parent of the stages' directories, or None to keep nothing.
      overwrite: whether to remove the study that the directory holds.
      asked: the study's arguments by name; a later call must have the same ones.
      planned: steps of all trials, for the time left.
      progress: called after each block.
      options: of `sweep.run` and `sweep.resume`: devices, memory.
    """

    title: str
    directory: Path | None
    overwrite: bool
    asked: Mapping[str, Any]
    planned: int
    progress: Callable[[StudyProgress], None] | None
    options: Mapping[str, Any]
    made: int = 0
    seconds: float = 0.0
    compiles: int = 0
    trials: int = 0

    def __post_init__(self):
        if self.directory is None:
            return
        path = self.directory / OPTIONS
        asked = json.loads(in_words(self.asked))
        if self.overwrite and path.exists():
            # Only what a sweep wrote: a user's own directory may have that name, too.
            for header in list(self.directory.glob(f"**/{RECORD}/{HEADER}")):
                shutil.rmtree(header.parent)
        elif path.exists():
            held = json.loads(path.read_text("utf-8"))
            for name in asked | held:
                if asked.get(name) != held.get(name):
                    raise ValueError(
                        f"{self.title}: {self.directory} has a study with other "
                        f"{name}: {held.get(name)}, got {asked.get(name)}; give "
                        "another directory, or overwrite=True."
                    )
        self.directory.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            partial.write_text(in_words(asked, indent=2) + "\n", encoding="utf-8")

    def run(
        self,
        name: str,
        task: Task,
        trials: Sequence[Trial],
        steps: int,
        *,
        models: bool = False,
        **given: Any,
    ) -> SweepResult:
        """Return the result of a stage; raise KeyboardInterrupt if it was interrupted.

        Args:
          name: name of the stage, a path below the directory.
          task: task of the trials.
          trials: one trial per setting.
          steps: steps of each trial.
          models: whether the result must have the trials' models.
          **given: options of `sweep.run`.
        """
        show = self.progress and self._shown(name)
        where = None if self.directory is None else self.directory / name
        if where is not None and (where / "record" / "header.json").exists():
            result = self._resumed(where, task, trials, models, show)
        else:
            result = run(
                # The engine would evaluate the best trial on the test set.
                dataclasses.replace(task, test=None),
                trials,
                steps=steps,
                directory=where,
                progress=show,
                **given,
                **self.options,
            )
        info = result.info
        if info["interrupted"]:
            raise KeyboardInterrupt
        self.made += int(info["trial_steps"])
        self.seconds += float(info["train_seconds"])
        self.compiles += int(info["segment_compiles"])
        self.trials += len(result.trials)
        return result

    def _resumed(
        self,
        where: Path,
        task: Task,
        trials: Sequence[Trial],
        models: bool,
        show: Callable[[Progress], None] | None,
    ) -> SweepResult:
        """Resume a stage; a finished one needs no program for its table."""
        if not models and (where / "record" / "end.json").exists():
            return load(where)
        task = dataclasses.replace(task, test=None)
        return resume(where, task, trials, progress=show, **self.options)

    def _shown(self, name: str) -> Callable[[Progress], None]:
        made, seconds, progress = self.made, self.seconds, self.progress
        assert progress is not None

        def show(now: Progress) -> None:
            done = made + now.trial_steps
            left = max(self.planned - done, now.trial_steps_left)
            progress(StudyProgress(name, now, done, left, seconds + now.seconds))

        return show


def is_study(directory: Path) -> bool:
    """Return whether a directory has a study, which can be resumed."""
    return (directory / OPTIONS).exists()


def losses_of(result: SweepResult, rows: np.ndarray) -> np.ndarray:
    """Return the metric of trials, lower is better; infinite where they diverged."""
    values = result.table[f"valid_{result.metric}"][rows].astype(float)
    values = -values if result.mode == "max" else values
    whole = np.isfinite(values) & (result.table["status"][rows] == "complete")
    return np.where(whole, values, np.inf)
