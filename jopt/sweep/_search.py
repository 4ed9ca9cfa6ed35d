"""`search`: train batches of settings, each proposed from the earlier batches."""

import dataclasses
import inspect
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jopt.core import is_integer, is_path, shown
from jopt.sweep import _object_names as object_names, _processes as processes
from jopt.sweep._equality import Identities, digest
from jopt.sweep._folds import Folds
from jopt.sweep._front import Bound
from jopt.sweep._history import lower_better
from jopt.sweep._interrupts import Interrupts
from jopt.sweep._json import decode, encode
from jopt.sweep._merged import BATCHES, CONFIRMED, merged, outcomes
from jopt.sweep._plan import Keep, Plan, Shuffle
from jopt.sweep._progress import Progress, Segment
from jopt.sweep._result import SweepResult
from jopt.sweep._resume import Given, alike, went_on
from jopt.sweep._run import check_given, planned, trained
from jopt.sweep._state import shown_trials
from jopt.sweep._task import Mode, Task
from jopt.sweep._trial import Trial
from jopt.sweep._whole_files import read_file, remove, replacing
from jopt.sweep._worker import Worker, begin
from jopt.sweep.engine import Device, keeping_programs
from jopt.sweep.fleet import Place
from jopt.sweep.proposals import TPE, Adaptive, Earlier, Proposals, check_setting
from jopt.sweep.pruners import Pruner
from jopt.sweep.space import Sampler, Space
from jopt.sweep.store import (
    HEADER,
    RECORD,
    SEARCH,
    damaged,
    found_by,
    misfit,
    read_header,
    task_of,
)

MOST_BATCH = 64  # default upper bound of a batch's settings
ROUNDS = 8  # least number of batches by default
FRESH = 4  # least number of seeds that confirm a setting
PROGRAMS = 16  # compiled programs that a search keeps
FORMAT = 1


def search(
    task: Task,
    space: Space,
    *,
    trials: int,
    batch: int | None = None,
    sampler: Sampler | Adaptive = TPE(),  # noqa: B008, it is immutable
    confirm: int = 0,
    enqueue: Sequence[Mapping[str, Any]] = (),
    warm_start: Any = None,
    timeout: float | None = None,
    steps: int | None = None,
    epochs: int | None = None,
    seeds: int | Sequence[int] = 1,
    folds: int | Folds = 1,
    shuffle: Shuffle = "seed",
    batch_size: int | None = None,
    valid_examples: int | None = None,
    block: int | None = None,
    segments: int = 10,
    seed: int | jax.Array = 0,
    metric: str | None = None,
    mode: Mode | None = None,
    keep: Keep = "last",
    objectives: Mapping[str, Mode] | None = None,
    bounds: Mapping[str, Bound] | None = None,
    pruner: Pruner | None = None,
    directory: str | os.PathLike[str] | None = None,
    storage: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    devices: Sequence[Device] | None = None,
    memory: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    callbacks: Sequence[Callable[[Segment], None]] = (),
) -> SweepResult:
    """Train settings batch by batch, each proposed from the results of earlier ones.

        space = sweep.Space(jopt.adamw, learning_rate=sweep.log_uniform(1e-5, 1))
        result = sweep.search(digits(), space, trials=256, batch=32, seeds=3, confirm=8)

    Batch k is proposed from the batches up to k - 2, while batch k - 1 trains. So a
    search takes about as long as its training, and no number depends on how long the
    sampler takes. All batches fill the same compiled program. No setting is trained
    twice.

    With a `directory`, each batch is a sweep in `directory/batches`. To continue a
    search after a crash, or with more `trials`, call `search` again with the same
    arguments. Recorded batches are not trained again, and the result equals, bit for
    bit, that of a search without the pause. `load` and `jopt report` read the directory
    at any time.

    A sampler sees the mean over a setting's seeds. If one trial of a setting diverged,
    the setting counts as pruned, at its last finite value.

    Args:
      task: as in `run`.
      space: the space to search; a conditional one has a choice of spaces.
      trials: settings in all, those of an earlier call in `directory` included.
      batch: settings that are proposed and trained together, preferably a multiple of
        `block`; by default an eighth of the trials, at most 64.
      sampler: `TPE`, `GP`, `CMAES`, `NSGA2`, or a point set: `Random`, `Sobol`,
        `Halton`, `LatinHypercube`.
      confirm: how many of the best settings are trained once more, to the end and with
        new seeds, 4 or as many as `seeds`. The winner is chosen among these: on the
        seeds of the search, the best of many settings looks better than it is.
      enqueue: settings to begin with, as dicts; they are always trained.
      warm_start: an earlier `SweepResult` of the same metric, or an Optuna study, that
        the sampler learns from. Its settings are not trained again.
      timeout: seconds after which no batch begins that would end later, by the longest
        batch so far; `info["timed_out"]` says whether that happened. No number depends
        on it.
      pruner: as in `run`, within each batch.
      overwrite: whether to remove a sweep or search that is already there.
      steps, epochs, seeds, folds, shuffle, batch_size, valid_examples: as in `run`.
      block, segments, seed, metric, mode, keep, objectives, bounds: as in `run`.
      devices, memory, callbacks: as in `run`.
      directory: where the search is kept.
      storage: in place of a directory, the storage of a study that several workers
        share: a path for a journal, or a URL, such as postgresql://host/database, or
        grpc://host:port for Optuna's proxy; #NAME at its end names the study. This
        process creates or joins the study, and trains until all settings are trained;
        other processes join by `work`. Then a batch is proposed from all results at the
        time of its claim, pruners judge among the settings of all workers, and the
        result has no models.
      progress: as in `run`, with the number of the batch.

    Returns:
      The result of all batches and of the confirming trials, merged into one.
      `info["search"]` has the sampler, the number of batches and the seconds of asking.

    Raises:
      ImportError: the sampler needs a package that is not installed.
      TypeError, ValueError: an argument is wrong, or the sampler cannot search the
        space, or the directory has another search; or the job has several processes.
      OSError: as in `run`.
    """
    given = dict(locals())
    check_given(search, given, _RULES)
    if processes.number() > 1:
        raise ValueError(
            "sweep.search: a job must have one process, got "
            f"{processes.number()}; its processes divide the trials of sweep.run alone."
        )
    names = ("shuffle", "valid_examples", "keep", "steps", "epochs", "seeds", "folds")
    names += ("batch_size", "block", "segments", "seed", "metric", "mode", "pruner")
    names += ("objectives", "bounds")
    plan = planned("sweep.search", task, **{name: given[name] for name in names})
    place = None
    if storage is not None:
        place = Place.of(storage)
        for name, none in {"directory": None, "warm_start": None, "confirm": 0}.items():
            if given[name] != none:
                raise ValueError(
                    f"sweep.search: {name} must be left out with a storage, got "
                    f"{shown(given[name])}."
                )
    folder = None if directory is None else Path(directory)
    size = batch
    if size is None and folder is not None and not overwrite:
        size = _size_of(folder)
    if size is None:
        size = min(MOST_BATCH, math.ceil(trials / ROUNDS))
        size = math.ceil(size / (block or 1)) * (block or 1)
    first = _enqueued(space, enqueue)
    runs = devices, memory, progress, callbacks
    if place is not None:
        asked = {"space": space, "sampler": sampler, "batch": size, "enqueue": first}
        asked |= {n: given[n] for n in names if n != "block"}
        of = space, sampler, asked, first, trials, _integer(seed, plan)
        fleet, header, plan = begin(place, plan, *of)
        return Worker(fleet, header, plan, space, sampler, runs).run(timeout)
    modes = list(plan.objectives.values()) or [plan.mode]
    proposals = Proposals(space, sampler, modes, _integer(seed, plan), trials)
    earlier = _earlier(warm_start, plan, space)
    proposals.add(earlier)
    if folder is not None:
        asked = {"space": space, "sampler": sampler, "batch": size, "enqueue": first}
        asked |= {"warm_start": [(e.setting, e.values) for e in earlier]}
        again = {"space": space, "sampler": sampler, "enqueue": first}
        again |= {"confirm": confirm, "seed": proposals.seed}
        if warm_start is None:
            asked["again"] = {n: object_names.written(v) for n, v in again.items()}
        _begin(folder, asked | {n: given[n] for n in names}, overwrite)
    return _Search(plan, space, proposals, folder, runs).run(
        trials, size, first, confirm, timeout
    )


def searched_on(directory: Path, trials: int, given: Given) -> SweepResult:
    """Continue the search in a directory, to `trials` settings in all.

    Raises ValueError if the record cannot name its space or its task.
    """
    held = _held(directory)
    first = directory / BATCHES / "0"
    if held is None or "again" not in held or not (first / RECORD / HEADER).exists():
        raise ValueError(
            f"The search in {directory} had a warm start, or was begun by an earlier "
            "version, or has no batch yet; go on with it by sweep.search with the same "
            "arguments and more trials."
        )
    again: Any = object_names.from_json(held["again"], given.trust)
    begun = found_by(read_header(first), first)
    task = task_of(begun, given.trust) if given.task is None else given.task
    plan = alike(Plan.from_json(begun["options"], task, given.folds, given.trust))
    space, sampler = again["space"], again["sampler"]
    modes = list(plan.objectives.values()) or [plan.mode]
    proposals = Proposals(space, sampler, modes, again["seed"], trials)
    runs = given.devices, given.memory, given.progress, given.callbacks
    return _Search(plan, space, proposals, directory, runs).run(
        trials, held["batch"], again["enqueue"], again["confirm"], given.timeout
    )


class _Search:
    """The loop of a search: ask, train, tell."""

    def __init__(
        self,
        plan: Plan,
        space: Space,
        proposals: Proposals,
        directory: Path | None,
        runs: tuple[Any, Any, Any, Any],
    ):
        self.plan, self.space, self.proposals = plan, space, proposals
        self.directory, self.runs = directory, runs
        self.objectives = list(plan.objectives) or [plan.metric]
        self.results: list[SweepResult] = []
        self.asking = 0.0  # seconds
        self.best: tuple[float, dict[str, Any]] | None = None

    def run(
        self,
        trials: int,
        size: int,
        first: Sequence[dict[str, Any]],
        confirm: int,
        timeout: float | None,
    ) -> SweepResult:
        """Search, and return the result of all batches."""
        began, longest = time.perf_counter(), 0.0
        interrupted, timed_out, confirmed, number, asked = False, False, None, 0, 0
        with (
            Interrupts() as interrupts,
            keeping_programs(PROGRAMS),
            ThreadPoolExecutor(1, "jopt-ask") as thread,
        ):

            def ask(number: int, asked: int) -> tuple[int, Any]:
                count = self._recorded(number) or min(size, trials - asked)
                queued = first[asked : asked + count]
                asking = self.proposals.asking(count, queued)
                return count, thread.submit(self._timed, asking)

            count, coming = ask(0, 0)
            while coming is not None:
                members, coming = coming.result(), None
                at = time.perf_counter()
                late = timeout is not None and at - began + longest > timeout
                if interrupts.asked or not members or (number and late):
                    interrupted = interrupts.asked
                    timed_out = late and bool(members) and not interrupted
                    break
                asked += len(members)
                more = asked < trials or self._recorded(number + 1)
                if more and len(members) == count:
                    # The sampler asks while the current batch trains.
                    count, coming = ask(number + 1, asked)
                settings = [setting for _, setting in members]
                batches = number + 1 + math.ceil(max(trials - asked, 0) / size)
                result = self._train(f"{BATCHES}/{number}", settings, number, batches)
                longest = max(longest, time.perf_counter() - at)
                self.results.append(result)
                interrupted = result.info["interrupted"]
                if coming is not None:
                    coming.exception()  # wait, so that the ask sees no later result
                if interrupted:
                    break
                self._tell(members, result)
                number += 1
            if not interrupted and confirm:
                confirmed = self._confirm(confirm)
                interrupted = confirmed is not None and confirmed.info["interrupted"]
        result = merged(self.results, confirmed, interrupted)
        found = {
            "sampler": repr(self.proposals.sampler),
            "batches": len(self.results),
            "asking_seconds": self.asking,
            "seconds": time.perf_counter() - began,
        }
        told = {"timed_out": timed_out, "search": found}
        return dataclasses.replace(result, info={**result.info, **told})

    def _recorded(self, number: int) -> int:
        """Return the number of settings in a recorded batch, 0 without one."""
        path = None if self.directory is None else self.directory / BATCHES
        if path is None or not (path / f"{number}" / RECORD / HEADER).exists():
            return 0
        return max(read_header(path / f"{number}")["asked"]["setting"]) + 1

    def _timed(self, ask: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        try:
            return ask()
        finally:
            self.asking += time.perf_counter() - began

    def _train(
        self,
        name: str,
        settings: Sequence[dict[str, Any]],
        number: int,
        batches: int,
        plan: Plan | None = None,
    ) -> SweepResult:
        """Train settings, or resume them if the directory has their record."""
        devices, memory, progress, callbacks = self.runs
        members = [Trial.of(self.space, setting) for setting in settings]
        shown_progress = progress and self._shown(progress, number, batches)
        rest = devices, memory, shown_progress, callbacks
        path = None if self.directory is None else self.directory / name
        if path is not None and (path / RECORD / HEADER).exists():
            given = Given(self.plan.task, members, False, self.plan.cut, None, *rest)
            result = went_on(path, given)
        else:
            result = trained(plan or self.plan, members, path, False, *rest)
        if result.info["unsaved"] is not None:  # keep the rest of the search in memory
            self.directory = None
        if self.plan.blocks is None:  # all batches use the first one's block
            info = result.info
            alone = len(info["block"]) == 1
            scans = tuple(way == "scan" for way in info["strategy"]) if alone else None
            blocks = (max(info["block"]),)
            self.plan = self.plan.changed(blocks=blocks, scans=scans)
        return result

    def _shown(
        self, progress: Callable[[Progress], None], number: int, batches: int
    ) -> Callable[[Progress], None]:
        """Return a callback for a batch's progress, with the best of all batches."""

        def show(now: Progress) -> None:
            best = now.best
            if best is not None:
                value = float(best[f"valid_{self.plan.metric}"])
                rank = float(lower_better(np.asarray(value), self.plan.mode))
                if self.best is None or rank < self.best[0]:
                    self.best = rank, best
            batch = min(number + 1, batches)
            known = None if self.best is None else self.best[1]
            progress(dataclasses.replace(now, batch=batch, batches=batches, best=known))

        return show

    def _tell(
        self, members: Sequence[tuple[int, dict[str, Any]]], result: SweepResult
    ) -> None:
        known = outcomes(result, self.objectives)
        for (number, _), one in zip(members, known, strict=True):
            self.proposals.tell(number, one.values, one.state, one.observed)

    def _confirm(self, count: int) -> SweepResult | None:
        """Train the best settings with fresh seeds; None if there are no settings."""
        found = merged(self.results)
        settings = [found.trials[row].hyperparameters for row in found.top(count)]
        if not settings:
            return None
        seeds = {trial.seed for trial in found.trials}
        number, next_ = max(FRESH, len(seeds)), max(seeds) + 1
        fresh = tuple(range(next_, next_ + number))
        plan = self.plan.changed(seeds=fresh, pruner=None, scans=None)
        if self.directory is not None:
            _forget_others(self.directory / CONFIRMED, self.space, settings)
        batches = len(self.results)
        return self._train(CONFIRMED, settings, batches, batches, plan)


def _enqueued(
    space: Space, enqueue: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    title = "sweep.search: a setting of enqueue"
    settings = [check_setting(space, setting, title) for setting in enqueue]
    return Identities().first_of_each(settings)


def _earlier(warm_start: Any, plan: Plan, space: Space) -> list[Earlier]:
    """Return a warm start's outcomes, without settings outside of the space."""
    if warm_start is None:
        return []
    objectives = dict(plan.objectives) or {plan.metric: plan.mode}
    every = list(
        _outcomes_checked(warm_start, objectives)
        if isinstance(warm_start, SweepResult)
        else _of_study(warm_start, objectives)
    )
    title = "sweep.search: a setting of warm_start"
    found, said = list[Earlier](), list[ValueError]()
    for one in every:
        try:
            setting = check_setting(space, one.setting, title)
        except ValueError as error:
            said.append(error)
        else:
            found.append(one._replace(setting=setting))
    if said and not found:
        raise said[0]
    if said:
        warnings.warn(
            f"{len(said)} of {len(every)} settings of warm_start are not of the space "
            f"and are left out: {said[0]}",
            stacklevel=4,
        )
    return found


def _outcomes_checked(
    result: SweepResult, objectives: Mapping[str, Mode]
) -> Iterator[Earlier]:
    for name in objectives:
        if name not in result.valid:
            raise ValueError(
                f"sweep.search: warm_start must have the metric {name}, got a result "
                f"with {', '.join(result.valid)}."
            )
    return outcomes(result, list(objectives))


def _of_study(study: Any, objectives: Mapping[str, Mode]) -> Iterator[Earlier]:
    """Yield the finished trials of an Optuna study."""
    modes = ["max" if "MAX" in str(d).upper() else "min" for d in study.directions]
    if modes != list(objectives.values()):
        raise ValueError(
            "sweep.search: warm_start must have the directions "
            f"{list(objectives.values())}, got a study with {modes}."
        )
    states: dict[str, Any] = {"COMPLETE": "complete", "PRUNED": "pruned"}
    for trial in study.trials:
        state = states.get(trial.state.name)
        if state is not None:
            seen = dict(trial.intermediate_values)
            values = trial.values if state == "complete" else None
            yield Earlier(dict(trial.params), values, state, seen)


def _begin(directory: Path, asked: Mapping[str, Any], overwrite: bool) -> None:
    """Write the arguments of a search, or compare them with the recorded ones."""
    asked = dict(asked)
    again = asked.pop("again", None)  # for `searched_on`
    now = {
        name: {"shown": str(shown(value))[:200], "digest": digest(value)}
        for name, value in asked.items()
    }
    if overwrite:
        for name in (SEARCH, BATCHES, CONFIRMED, RECORD):
            remove(directory / name)
    held = _held(directory)
    if held is None:
        if (directory / RECORD / HEADER).exists():
            raise FileExistsError(
                f"{directory} has the record of a sweep; give the search another "
                "directory."
            )
        directory.mkdir(parents=True, exist_ok=True)
        content = {"format": FORMAT, "batch": asked["batch"], "asked": now}
        content |= {} if again is None else {"again": again}
        with replacing(directory / SEARCH) as partial:
            partial.write_bytes(encode(content, indent=2))
        return
    for name, value in now.items():
        then = held["asked"].get(name) or _by_default(name)
        if then["digest"] != value["digest"]:
            raise ValueError(
                f"sweep.search: the search in {directory} cannot be continued as "
                f"another one: {name} was {then['shown']}, now {value['shown']}; give "
                "another directory."
            )


def _by_default(name: str) -> dict[str, str]:
    """Return an argument's default, for a record that is older than the argument."""
    default = inspect.signature(search).parameters[name].default
    return {"shown": str(shown(default)), "digest": digest(default)}


def _size_of(directory: Path) -> int | None:
    """Return the batch size of a recorded search."""
    held = _held(directory)
    return None if held is None else held["batch"]


def _held(directory: Path) -> dict[str, Any] | None:
    """Return the recorded arguments of a search; None without a record."""
    path = directory / SEARCH
    if not path.exists():
        return None
    try:
        held = decode(read_file(path))
    except ValueError as error:
        raise damaged(path, error) from error
    if (said := misfit(held, _FORM)) is not None:
        raise damaged(path, said)
    return held


def _forget_others(
    directory: Path, space: Space, settings: Sequence[dict[str, Any]]
) -> None:
    """Remove a record that confirmed other settings than these."""
    if not (directory / RECORD / HEADER).exists():
        return
    held = read_header(directory)["trials"]
    there = Identities().first_of_each([each["setting"] for each in held])
    members = [Trial.of(space, setting) for setting in settings]
    if there != [each["setting"] for each in shown_trials(members)]:
        remove(directory)


_FORM = {
    "format": range(FORMAT, FORMAT + 1),
    "batch": range(1, 2**31),
    "asked": {str: {"shown": str, "digest": str}},
    "again?": {
        "space": object,
        "sampler": object,
        "enqueue": [dict],
        "confirm": range(2**20),
        "seed": range(2**128),
    },
}


def _integer(seed: Any, plan: Plan) -> int:
    """Return the seed of the proposals."""
    if is_integer(seed) and seed >= 0:
        return int(seed)
    words = np.asarray(jax.random.key_data(plan.key)).tolist()
    return int(np.random.SeedSequence(words).generate_state(1)[0])


def _at_least(least: int) -> tuple[str, Callable[[Any], bool]]:
    return (
        f"an integer of at least {least}",
        lambda value: is_integer(value) and least <= value <= 1_000_000,
    )


_RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "search trials": _at_least(1),
    "batch": _at_least(1),
    "confirm": _at_least(0),
    "space": (
        "a sweep.Space, as in sweep.Space(jopt.adamw, learning_rate=...)",
        lambda v: isinstance(v, Space),
    ),
    "sampler": (
        "a sampler, such as sweep.TPE() or sweep.Sobol()",
        lambda v: (
            isinstance(v, Adaptive)
            or (not isinstance(v, type) and hasattr(v, "points"))
        ),
    ),
    "enqueue": (
        "a list of dicts, each a setting of the space",
        lambda v: (
            isinstance(v, Sequence) and all(isinstance(each, Mapping) for each in v)
        ),
    ),
    "warm_start": (
        "a SweepResult, or a study of Optuna",
        lambda v: (
            isinstance(v, SweepResult)
            or (hasattr(v, "trials") and hasattr(v, "directions"))
        ),
    ),
    "directory": ("a path", is_path),
    "storage": ("a path or a URL", is_path),
}
