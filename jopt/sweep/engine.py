"""`run`: train the trials of a sweep, block by block, segment by segment."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jopt.sweep.block import Batches, place
from jopt.sweep.block_size import pick
from jopt.sweep.history import History
from jopt.sweep.interrupts import Interrupts
from jopt.sweep.lanes import Lanes
from jopt.sweep.plan import Plan, base_key
from jopt.sweep.program import Pool, Program, Report
from jopt.sweep.result import Best, SweepResult, table_of, winner
from jopt.sweep.surroundings import surroundings
from jopt.sweep.task import Task, examples
from jopt.sweep.trial import Trial, groups, space, stack, with_seeds


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where a sweep is, after each block."""

    segment: int  # under way, counted from 1
    segments: int
    alive: int  # trials
    trials: int
    best: dict[str, Any] | None  # row of the table: the best when a segment last ended
    trial_steps: int  # made so far
    trial_steps_left: int  # to be made, if nothing more diverges
    seconds: float  # since training began, without compiling
    last_block: bool  # of the segment


def run(
    task: Task,
    trials: Sequence[Trial],
    *,
    steps: int | None = None,
    epochs: int | None = None,
    seeds: int = 1,
    batch_size: int | None = None,
    block: int | None = None,
    segments: int = 10,
    seed: int | jax.Array = 0,
    progress: Callable[[Progress], None] | None = None,
) -> SweepResult:
    """Train all trials, in blocks, and return what came of each.

        trials = sweep.grid(jopt.adamw, learning_rate=np.logspace(-5, 0, 64))
        result = sweep.run(digits(), trials, steps=500, seeds=3)

    task: model, loss and data. trials: of `grid`. steps: of each trial, or epochs:
    passes over the training set; by default the task's epochs. seeds: keys with which
    each setting is trained. batch_size: examples a step; by default the task's. block:
    trials trained together in one compiled call; by default picked by timing.
    segments: times that all trials are evaluated on the validation set, and that
    diverged ones are dropped. seed: of everything random, an integer or a key.
    progress: called after each block.

    A trial diverges when its loss is not finite, or above what the task says: its
    parameters stay as they are from that step on, and it is left out from the next
    segment on. For the same block, a trial's numbers are bitwise the same whatever
    trials are beside it.

    An interrupt (Ctrl-C) ends the sweep at the block under way: what was trained is
    returned, with the rest marked `interrupted`.

    Raises a ValueError in a sentence where an argument does not fit.
    """
    if not trials:
        raise ValueError("A sweep needs at least one trial, got none.")
    task.check()
    batch = _batch(task, task.batch_size if batch_size is None else batch_size)
    trials = with_seeds(trials, seeds)
    sizes = {"steps": steps, "epochs": epochs, "segments": segments, "block": block}
    for name, value in sizes.items():
        if value is not None and value < 1:
            raise ValueError(f"A sweep needs {name} of at least 1, got {value}.")
    if steps is None:
        passes = task.epochs if epochs is None else epochs
        steps = passes * (examples(task.train) // batch)
    plan = Plan(task, batch, steps, segments, base_key(seed))
    engine = _Engine(plan, trials, block, progress)
    return engine.run()


class _Group(NamedTuple):
    """Trials of one structure."""

    positions: np.ndarray  # int[trials], in the sweep
    pool: Pool
    alive: np.ndarray  # bool[trials], kept up to date in place


class _Engine:
    def __init__(
        self,
        plan: Plan,
        trials: Sequence[Trial],
        block: int | None,
        progress: Callable[[Progress], None] | None,
    ):
        self.plan, self.trials, self.progress = plan, trials, progress
        self.history = History(len(trials), plan.steps, plan.segments, plan.length)
        self.data = place(plan.task)
        self.best: dict[str, Any] | None = None
        self.search: list[dict[str, Any]] = []
        began = time.perf_counter()
        self.groups = [self._group(p, block) for p in groups(trials)]
        searching = sum(search["seconds"] for search in self.search)
        self.compile_seconds = time.perf_counter() - began - searching

    def _group(self, positions: list[int], block: int | None) -> _Group:
        trials = [self.trials[i] for i in positions]
        txs = stack([trial.tx for trial in trials])
        call, seeded = self.plan.batches(0)[0], self.plan.seeded(trials)
        lanes = Lanes(self.plan.task, txs, seeded, self.data, call)
        if block is None:
            program, timings = pick(lanes, call, self.plan.steps)
            self.search.append(timings)
        else:
            program = Program(lanes, block, call)
        return _Group(np.asarray(positions), Pool(program), np.ones(len(trials), bool))

    def run(self) -> SweepResult:
        self.began = time.perf_counter()
        with Interrupts() as self.interrupts:
            for segment in range(self.plan.segments):
                if self.interrupts.asked:
                    break
                batches = self.plan.batches(segment)
                for group in self.groups:
                    self._train(group, segment, batches)
        return self._result()

    def _train(self, group: _Group, segment: int, batches: list[Batches]) -> None:
        rows, shared = np.flatnonzero(group.alive), group.pool.shared
        block = group.pool.program.block
        waiting: list[tuple[np.ndarray, Callable[[], Report]]] = []
        for first in range(0, len(rows), block):
            if self.interrupts.asked:
                break
            taken = rows[first : first + block]
            waiting.append((taken, group.pool.train(taken, shared, batches)))
            if len(waiting) > 1:  # the device has the next block while we look at this
                self._record(group, segment, *waiting.pop(0))
                self._tell(segment)
        for taken, report in waiting:
            self._record(group, segment, taken, report)
        self._tell(segment, last_block=group is self.groups[-1])

    def _record(
        self,
        group: _Group,
        segment: int,
        rows: np.ndarray,
        report: Callable[[], Report],
    ) -> None:
        trials = group.positions[rows]
        group.alive[rows] = self.history.record(trials, segment, report())

    def _tell(self, segment: int, last_block: bool = False) -> None:
        if self.progress is None:
            return
        if last_block:
            table = table_of(self.trials, self.history)
            best = winner(self.trials, table)
            self.best = None if best is None else {k: v[best] for k, v in table.items()}
        self.progress(
            Progress(
                segment=segment + 1,
                segments=self.plan.segments,
                alive=sum(int(group.alive.sum()) for group in self.groups),
                trials=len(self.trials),
                best=self.best,
                trial_steps=int(self.history.steps.sum()),
                trial_steps_left=self._left(),
                seconds=time.perf_counter() - self.began,
                last_block=last_block,
            )
        )

    def _left(self) -> int:
        going = np.concatenate([group.positions[group.alive] for group in self.groups])
        return int((self.plan.steps - self.history.steps[going]).sum())

    def _result(self) -> SweepResult:
        seconds = time.perf_counter() - self.began
        table = table_of(self.trials, self.history)
        stacked = [(g.positions, *g.pool.models()) for g in self.groups]
        result = SweepResult(
            trials=tuple(self.trials),
            table=table,
            curves=self.history.losses,
            valid=self.history.valid,
            valid_steps=self.history.ends(),
            best=None,
            info=self._info(seconds),
            _stacked=stacked,
        )
        best = winner(self.trials, table)
        if best is None or self.interrupts.asked:
            return result
        return dataclasses.replace(result, best=self._best(result, best))

    def _best(self, result: SweepResult, trial: int) -> Best:
        test: dict[str, float] = {}
        for group in self.groups:
            if trial in group.positions and self.plan.task.test is not None:
                row = int(np.flatnonzero(group.positions == trial)[0])
                test = group.pool.evaluate(row, self.plan.task.test)
        valid = {
            name: float(result.table[f"valid_{name}"][trial]) for name in result.valid
        }
        chosen = self.trials[trial]
        return Best(trial, chosen.hyperparameters, chosen.seed, valid, test)

    def _info(self, seconds: float) -> dict[str, Any]:
        plan, programs = self.plan, [group.pool.program for group in self.groups]
        made = int(self.history.steps.sum())
        return {
            "task": plan.task.name,
            "space": space(self.trials),
            "trials": len(self.trials),
            "steps": plan.steps,
            "batch_size": plan.batch_size,
            "segments": plan.segments,
            "block": [program.block for program in programs],
            "groups": len(self.groups),
            "segment_compiles": sum(program.compiles for program in programs),
            "compile_seconds": self.compile_seconds,
            "block_search": self.search,
            "train_seconds": seconds,
            "trial_steps": made,
            "trial_steps_per_second": made / seconds,
            "interrupted": self.interrupts.asked,
            **surroundings(),
        }


def _batch(task: Task, size: int) -> int:
    if not 1 <= size <= examples(task.train):
        raise ValueError(
            f"The batch size must be between 1 and the {examples(task.train)} training "
            f"examples of {task.name}, got {size}."
        )
    return size
