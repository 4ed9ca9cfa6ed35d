"""`work`: join a shared study as a worker, which trains one block at a time."""

import dataclasses
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jopt.core import is_path, is_real, shown
from jopt.sweep import _object_names as object_names
from jopt.sweep._equality import digest
from jopt.sweep._folds import Folds
from jopt.sweep._interrupts import Interrupts
from jopt.sweep._kept_result import save_record
from jopt.sweep._merged import outcomes
from jopt.sweep._plan import Plan
from jopt.sweep._progress import Progress, Segment
from jopt.sweep._result import SweepResult
from jopt.sweep._run import check_given, trained
from jopt.sweep._task import Task
from jopt.sweep._trial import Trial, repeated
from jopt.sweep.engine import Device, keeping_programs
from jopt.sweep.fleet import (
    Claim,
    Fleet,
    Lost,
    Place,
    Row,
    StorageError,
    described,
    result_of,
    told,
)
from jopt.sweep.proposals import Adaptive, Earlier, Proposals, parameters, setting_of
from jopt.sweep.pruners import Observations, Pruner, going
from jopt.sweep.space import Random, Sampler, Space
from jopt.sweep.store import differences, fingerprint, surroundings_differences

PROGRAMS = 16  # compiled programs that a worker keeps
POLL = 0.5  # seconds between polls while others train the last blocks
MOST_BLOCK = 64  # default upper bound of a compiled call's trials
PATIENCE = 60.0  # seconds for which a worker retries to store a block's results


def work(
    storage: str | os.PathLike[str],
    task: Task,
    space: Space,
    *,
    sampler: Sampler | Adaptive | None = None,
    folds: Folds | None = None,
    trust: bool = False,
    timeout: float | None = None,
    devices: Sequence[Device] | None = None,
    memory: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    callbacks: Sequence[Callable[[Segment], None]] = (),
) -> SweepResult:
    """Train blocks of the study in `storage` until all its settings are trained.

        sweep.search(task, space, trials=256, storage="study.journal")  # one process
        sweep.work("study.journal", task, space)  # any number of others, anywhere

    A worker claims a block of settings that no other worker trains, or one of a worker
    that died. It stores its observations at the end of each segment, and its settings
    are pruned against those of all workers. Its numbers depend only on the settings,
    the seeds, the block and the kind of device, not on which worker trains them. An
    interrupt (Ctrl-C) ends the block after its segment, and releases it for the others.

    Args:
      storage: a journal's path, or a URL: of a database, or grpc://host:port. #NAME at
        its end names the study.
      task, space: the arguments of `search`.
      sampler: the argument of `search`; needed if it is not one of jopt's.
      folds: the `Folds` of `search`; needed if its functions cannot be imported by
        name.
      trust: whether to import the modules outside of jopt that the study names.
      timeout: seconds after which no block is claimed any more.
      devices, memory, callbacks: as in `run`.
      progress: as in `search`.

    Returns:
      The result of the whole study, without models.

    Raises:
      ImportError: Optuna, or the driver of the database, is not installed.
      ValueError: the task or the space differs from the study's, and the message says
        where; or the storage has no study of jopt, or one of another version.
      BlockingIOError: another worker has the study, and SQLite serves only one.
      KeyboardInterrupt: the interrupt came before any block was trained.
      OSError: the storage cannot be reached. A trained block is kept in a temporary
        directory, which the message names.
    """
    check_given(work, locals(), _RULES)
    fleet = Fleet(Place.of(storage))
    header = fleet.header()
    if header is None:
        raise ValueError(
            f"The study in {fleet.place} has not begun yet; start the worker again "
            "when jopt search has begun it."
        )
    plan = _same(fleet, header, task, space, trust, folds)
    if sampler is None:
        sampler = object_names.from_json(header["sampler"], trust)
    assert sampler is not None
    runs = devices, memory, progress, callbacks
    return Worker(fleet, header, plan, space, sampler, runs).run(timeout)


def begin(
    place: Place,
    plan: Plan,
    space: Space,
    sampler: Sampler | Adaptive,
    asked: Mapping[str, Any],
    first: Sequence[dict[str, Any]],
    trials: int,
    seed: int,
) -> tuple[Fleet, dict[str, Any], Plan]:
    """Create a study, or join an existing one; return it, its header and its plan.

    Args:
      place: where the study is.
      plan: the plan of its blocks.
      space, sampler: those of its settings.
      asked: what another search must agree on; "batch" is the size of a block.
      first: settings to begin with.
      trials: settings in all.
      seed: the sampler's seed.
    """
    _check(plan, sampler, trials)
    modes = list(plan.objectives.values()) or [plan.mode]
    fleet, member = Fleet(place, modes), _member(space)
    lanes = asked["batch"] * len(repeated([member], plan.seeds, plan.folds))
    plan = plan.changed(blocks=plan.blocks or (min(lanes, MOST_BLOCK),))
    header = fleet.begin(
        {
            "asked": _digests(asked),
            "space": _ranges(space),
            "sampler": object_names.written(sampler),
            "options": plan.as_json(),
            "enqueue": [parameters(space, setting)[0] for setting in first],
            "batch": asked["batch"],
            "seed": seed,
            "modes": modes,
            "command": place.command,
            "objectives": list(plan.objectives) or [plan.metric],
            "fingerprint": fingerprint(plan.task, [member], {}),
            **described(plan, member),
        },
        trials,
    )
    return fleet, header, _same(fleet, header, plan.task, space, True, plan.cut)


def _check(plan: Plan, sampler: Sampler | Adaptive, trials: int) -> None:
    """Raise ValueError for options that several workers cannot share."""
    title = "sweep.search: with a storage,"
    if isinstance(sampler, Adaptive) and sampler.in_generations:
        raise ValueError(
            f"{title} sampler must learn from trials in any order, and "
            f"{type(sampler).__name__} learns from generations; use sweep.TPE(), "
            "sweep.GP() or sweep.Sobol()."
        )
    if plan.shuffle == "trial":
        raise ValueError(
            f'{title} shuffle must be "sweep" or "seed": an order that depends on a '
            "trial's place would differ where a block is trained again."
        )
    rule = plan.pruner
    if rule is None:
        return
    if any(judge.metric not in (None, plan.metric) for judge in rule.judges()):
        raise ValueError(
            f"{title} pruner must judge by the metric {plan.metric}, which the workers "
            "tell each other; leave the pruner's metric out, or give it to the search."
        )
    if any(judge.cooled is not None for judge in rule.judges()):
        raise ValueError(
            f"{title} pruner must judge the trials as they are, got {rule}: workers "
            "tell each other no values of cooled copies; leave cooled out."
        )
    rule.check(plan.segments, trials)
    if any(rung.bracket for rung in rule.rungs(plan.segments, trials)):
        raise ValueError(
            f"{title} pruner must have one bracket, got {rule}: which settings come "
            "first depends on the workers; use sweep.SuccessiveHalving()."
        )


def _member(space: Space) -> Trial:
    """Return a trial of the space, the same in every process."""
    point = Random().points(1, max(space.dimensions, 1), 0)[0]
    return Trial.of(space, space.drawn(iter(point.tolist())))


def _digests(asked: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    return {
        name: {"shown": str(shown(value))[:200], "digest": digest(value)}
        for name, value in asked.items()
    }


def _ranges(space: Space) -> dict[str, dict[str, str]]:
    """Return the parts of a space as texts and digests."""
    parts = {"factory": space.factory, "static": space.static, **space.ranges}
    return _digests(parts)


def _same(
    fleet: Fleet,
    header: Mapping[str, Any],
    task: Task,
    space: Space,
    trust: bool,
    cut: Folds | None = None,
) -> Plan:
    """Return the plan of a study; raise a ValueError that says what differs."""
    then, now = header["space"], _ranges(space)
    for name in dict.fromkeys([*then, *now]):
        old, new = (
            {"shown": "missing", "digest": ""} | d.get(name, {}) for d in (then, now)
        )
        if old["digest"] != new["digest"]:
            raise ValueError(
                f"The space is not that of the study in {fleet.place}: {name} was "
                f"{old['shown']} there, and is {new['shown']} here; give the study's."
            )
    prints = header["fingerprint"], fingerprint(task, [_member(space)], {})
    if changes := differences(*prints):
        raise ValueError(
            f"The task is not that of the study in {fleet.place}: {' '.join(changes)}"
        )
    if others := surroundings_differences(*prints):
        warnings.warn(
            "This worker is not as the one that began the study, and its numbers may "
            f"differ in the last bits: {' '.join(others)}",
            stacklevel=3,
        )
    return Plan.from_json(dict(header["options"]), task, cut, trust)


class Worker:
    """The loop of a worker: claim a block, train it, store its results."""

    def __init__(
        self,
        fleet: Fleet,
        header: Mapping[str, Any],
        plan: Plan,
        space: Space,
        sampler: Sampler | Adaptive,
        runs: tuple[Any, Any, Any, Any],
    ):
        self.fleet, self.header, self.plan = fleet, header, plan
        self.space, self.sampler, self.runs = space, sampler, runs
        self.asking = 0.0  # seconds
        self.unread: str | None = None  # why the others' observations could not be read

    def run(self, timeout: float | None = None) -> SweepResult:
        """Train until the study is finished; return its result."""
        began, interrupted = time.perf_counter(), False
        alone = self.fleet.place.alone()
        try:
            with (
                Interrupts() as interrupts,
                keeping_programs(PROGRAMS),
                self.fleet.beating(),
            ):
                while not (interrupted or interrupts.asked):
                    late = timeout is not None and time.perf_counter() - began > timeout
                    if late:
                        break
                    self.fleet.reap()
                    claim = self.fleet.claim(self.space, self.header, self._propose)
                    if claim is not None:
                        interrupted = self._train(claim)
                    elif self.fleet.finished():
                        break
                    else:  # wait: others train the last blocks, and may die
                        time.sleep(POLL)
        finally:
            if alone is not None:
                os.close(alone)
        rows = self.fleet.rows()
        stopped = interrupted or interrupts.asked
        if stopped and not any(row.is_told for row in rows):
            raise KeyboardInterrupt  # no worker has trained a block yet
        result = result_of(self.fleet)
        found = {
            "sampler": repr(self.sampler),
            "batches": len({row.block for row in rows}),
            "asking_seconds": self.asking,
            "seconds": time.perf_counter() - began,
        }
        return dataclasses.replace(result, info={**result.info, "search": found})

    def _propose(
        self,
        block: int,
        earlier: Sequence[Row],
        known: Sequence[dict[str, Any]],
        count: int,
    ) -> list[dict[str, Any]]:
        """Return the settings of a block, the known ones first."""
        began = time.perf_counter()
        header = self.header
        total = max(self.fleet.trials(), len(earlier) + count)
        seed = header["seed"]
        settings = (self.space, self.sampler, header["modes"], seed, total)
        proposals = Proposals(*settings, begin=len(earlier))
        proposals.add(map(self._earlier, earlier))
        queued = [setting_of(self.space, params) for params in header["enqueue"]]
        first = list(known) or queued[len(earlier) : len(earlier) + count]
        found = [setting for _, setting in proposals.ask(count, first)]
        self.asking += time.perf_counter() - began
        return found

    def _earlier(self, row: Row) -> Earlier:
        """Return the outcome of a row, for the sampler."""
        trial = row.trial
        states: dict[str, Any] = {"COMPLETE": "complete", "PRUNED": "pruned"}
        state = states.get(trial.state.name, "running")
        values = trial.values if state == "complete" else None
        setting = setting_of(self.space, trial.params)
        return Earlier(setting, values, state, dict(trial.intermediate_values))

    def _train(self, claim: Claim) -> bool:
        """Train a block and store its results; return whether to stop."""
        devices, memory, progress, callbacks = self.runs
        members = [Trial.of(self.space, setting) for setting in claim.settings]
        rule = Fleetwide(self.plan.pruner, self._watching(claim), self.fleet.trials())
        plan = self.plan.changed(pruner=rule)
        try:
            show = progress and self._shown(progress, claim)
            result = trained(
                plan, members, None, False, devices, memory, show, callbacks
            )
        except Lost:
            warnings.warn(
                f"Another worker has taken over block {claim.block}, because this "
                "worker was silent for too long. This worker claims another block.",
                stacklevel=3,
            )
            return False
        except BaseException:
            self.fleet.give_back(claim)
            raise
        if result.info["interrupted"]:
            self.fleet.give_back(claim)
            return True
        self._tell(claim, result)
        return False

    def _tell(self, claim: Claim, result: SweepResult) -> None:
        """Store a block's results; without the storage, keep them on disk."""
        info = {**result.info, "pruner": self.header["of"]["pruner"]}
        result = dataclasses.replace(result, info=info)
        known = list(outcomes(result, self.header["objectives"]))
        until = time.monotonic() + PATIENCE
        while True:
            try:
                return self.fleet.tell(claim, known, list(told(result)))
            except StorageError as error:
                if time.monotonic() < until:
                    time.sleep(POLL)
                    continue
                kept = Path(tempfile.mkdtemp(prefix="jopt-"))
                save_record(result, kept)
                raise StorageError(
                    f"{error} Block {claim.block} was trained, and is kept in {kept}: "
                    f"jopt report {kept} shows it."
                ) from error

    def _shown(
        self, progress: Callable[[Progress], None], claim: Claim
    ) -> Callable[[Progress], None]:
        """Return a callback that reports a block's progress as a batch's."""
        batches = -(-self.fleet.trials() // self.header["batch"])
        batch = claim.block + 1

        def show(now: Progress) -> None:
            progress(dataclasses.replace(now, batch=batch, batches=max(batch, batches)))

        return show

    def _watching(self, claim: Claim) -> Callable[[Observations], "Seen"]:
        """Return a function that stores a block's observations and returns all."""

        def watch(own: Observations) -> Seen:
            segment = own.values.shape[1]
            now = own.values[:, -1]
            values = {
                place: float(own.sign * now[place])
                for place in np.flatnonzero(own.alive | np.isinf(now)).tolist()
                if not np.isnan(now[place])
            }
            try:
                self.fleet.observe(claim, values, segment)
                rows = self.fleet.rows()
            except StorageError as error:
                if self.unread is None:
                    self.unread = str(error)
                    warnings.warn(
                        f"{error} The block is trained on; until the storage answers, "
                        "its pruner sees no other worker's trials.",
                        stacklevel=2,
                    )
                return Seen(own, np.arange(len(now)))
            return _beside(own, claim, rows, self.plan.metric)

        return watch


@dataclasses.dataclass(frozen=True)
class Seen:
    """The observations of all workers' settings, and the rows of one block."""

    observations: Observations
    own: np.ndarray  # int[settings of the block], their rows


def _beside(own: Observations, claim: Claim, rows: Sequence[Row], metric: str) -> Seen:
    """Return the observations of a block among those of the fleet.

    A setting of another block counts once its block has reached this segment. Only its
    observations up to this segment are used.
    """
    segments = own.values.shape[1]
    mine = {(claim.block, row): place for place, row in enumerate(claim.rows)}
    come = {
        (row.block, row.trial.user_attrs["worker"])
        for row in rows
        if segments in row.trial.intermediate_values
    }
    values, losses, alive = list[Any](), list[Any](), list[bool]()
    places: dict[int, int] = {}
    for row in rows:
        place = mine.get((row.block, row.row))
        if place is not None:
            places[place] = len(values)
            values.append(own.values[place])
            losses.append(own.train_losses[place])
            alive.append(bool(own.alive[place]))
        elif (row.block, row.trial.user_attrs["worker"]) in come:
            seen = row.trial.intermediate_values
            steps = range(1, segments + 1)
            values.append([own.sign * seen.get(step, np.nan) for step in steps])
            losses.append(np.full(segments, np.nan))
            alive.append(segments in seen)
    table = np.asarray(values)
    found = Observations(
        table,
        np.asarray(losses),
        np.asarray(alive),
        {metric: own.sign * table},
        own.sign,
        own.modes,
    )
    return Seen(found, np.asarray([places[place] for place in range(len(mine))]))


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Fleetwide(Pruner):
    """Judge the settings of a block among those of all workers, by any rule.

    Each setting is judged when it reaches a segment, among those that have reached it
    before: successive halving becomes asynchronous.

    Args:
      rule: the search's pruner; None to prune no setting.
      watch: stores the block's observations, and returns those of all workers.
      settings: the number of settings of the search.

    Li et al. 2020, https://arxiv.org/abs/1810.05934, Algorithm 2, except that a trial
    that is not promoted ends.
    """

    rule: Pruner | None
    watch: Callable[[Observations], Seen]
    settings: int

    def __repr__(self) -> str:
        return repr(self.rule)

    def check(self, segments: int, settings: int) -> None:
        if self.rule is not None:
            self.rule.check(segments, self.settings)

    def keep(self, observations: Observations) -> np.ndarray:
        seen = self.watch(observations)
        if self.rule is None:
            return going(observations)
        return self.rule.kept(seen.observations)[seen.own]


_RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "storage": ("a path or a URL", is_path),
    "space": (
        "a sweep.Space, as in sweep.Space(jopt.adamw, learning_rate=...)",
        lambda v: isinstance(v, Space),
    ),
    "sampler": (
        "a sampler, such as sweep.TPE() or sweep.Sobol()",
        lambda v: isinstance(v, Adaptive) or hasattr(v, "points"),
    ),
    "work folds": ("a sweep.Folds", lambda v: isinstance(v, Folds)),
    "timeout": ("a number of seconds above 0", lambda v: is_real(v) and v > 0),
}
