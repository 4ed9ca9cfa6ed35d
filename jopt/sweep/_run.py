"""`run` a sweep, or `resume` one."""

import dataclasses
import math
import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax

from jopt.sweep import _arguments as arguments
from jopt.sweep._constants import swept_constant
from jopt.sweep._group import Group
from jopt.sweep._loop import Engine
from jopt.sweep._options import Options
from jopt.sweep._plan import base_key
from jopt.sweep._progress import Progress, Segment, Watchers
from jopt.sweep._result import SweepResult
from jopt.sweep._state import State
from jopt.sweep._task import Task, examples
from jopt.sweep._trial import Trial, groups, repeated
from jopt.sweep.engine import Device, Spread, budget
from jopt.sweep.population import Population
from jopt.sweep.pruners import Pruner
from jopt.sweep.store import Store, header, read, same, task_of, trials_of


def run(
    task: Task,
    trials: Sequence[Trial],
    *,
    steps: int | None = None,
    epochs: int | None = None,
    seeds: int = 1,
    folds: int = 1,
    batch_size: int | None = None,
    block: int | None = None,
    segments: int = 10,
    seed: int | jax.Array = 0,
    pruner: Pruner | None = None,
    population: Population | None = None,
    directory: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    devices: Sequence[Device] | None = None,
    memory: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    callbacks: Sequence[Callable[[Segment], None]] = (),
) -> SweepResult:
    """Train all trials, in blocks, and return what came of each.

        trials = sweep.grid(jopt.adamw, learning_rate=np.logspace(-5, 0, 64))
        result = sweep.run(digits(), trials, steps=500, seeds=3)

    What is trained:

    task: model, loss and data. trials: of `grid` or `sample`. steps: of each trial, or
    epochs: passes over the examples that a trial is trained on, at the sweep's batch
    size, each less its last, smaller batch; by default the task's epochs. seeds: keys
    with which each setting is trained. folds: parts of the training and validation
    examples together, each held out once: a trial a fold; with 1, the task's own
    validation set. batch_size: examples a step; by default the
    task's. seed: of everything random, an integer or a key.

    Who is trained on:

    segments: times that all trials report, on the validation set, and that diverged
    ones are dropped. pruner: the rule by which settings end early; the others are moved
    together into full blocks, with no new program. population: the rule by which trials
    go on from others.

    How and where:

    block: trials trained together in one compiled call on a device; by default picked
    by timing. devices: that share the trials; by default all of this process's. memory:
    bytes to take of each device; by default nine tenths of what is free. directory:
    where the sweep's state is kept, for `resume`. overwrite: whether the sweep that is
    there is removed, as soon as this one has been checked and compiled. progress:
    called after each block. callbacks: called at the end of each segment, with NumPy
    arrays.

    A trial diverges when its loss is not finite, or above what the task says: its
    parameters stay as they are from that step on, and it is left out from the next
    segment on. For the same block, a trial's numbers are bitwise the same whatever
    trials are beside it, are pruned, on how many devices, and resumed how often.

    An interrupt (Ctrl-C) ends the sweep after the segment under way: what was trained
    is returned, with the rest marked `interrupted`. Where it is ignored, under nohup,
    it stays ignored. Where `directory` cannot be written any more, the sweep warns and
    goes on in memory; `info["unsaved"]` has the reason.

    Raises a TypeError or a ValueError in a sentence where an argument is of another
    kind or does not fit, and an OSError where `directory` cannot be written at the
    start. What the task, a callback or a rule raises comes out as it is, with a note
    that says where; `resume` goes on from what `directory` has by then.
    """
    arguments.check("sweep.run", optional=("directory",), **locals())
    if steps is not None and epochs is not None:
        raise ValueError(
            f"sweep.run: steps or epochs must be left out, got {steps} steps and "
            f"{epochs} epochs; each says how long a trial is."
        )
    task.check()
    size = task.batch_size if batch_size is None else batch_size
    if steps is None:
        passes = task.epochs if epochs is None else epochs
        if passes < 1:
            raise ValueError(f"A sweep needs epochs of at least 1, got {passes}.")
        steps = passes * max(_trained_on(task, folds) // max(size, 1), 1)
    options = Options(
        steps=steps,
        batch_size=size,
        key=base_key(seed),
        seeds=seeds,
        folds=folds,
        segments=segments,
        blocks=None if block is None else (block,),
        pruner=pruner,
        population=population,
    )
    store = None if directory is None else Store.new(directory, overwrite)
    try:
        every, parts = _compiled(task, trials, options, devices, memory)
        if store is not None:
            store.begin(header(task, trials, every, parts, options))
        watchers = Watchers(progress, callbacks)
        return Engine(State(options, every, parts), watchers, store).run()
    finally:
        if store is not None:
            store.close()


def resume(
    directory: str | os.PathLike[str],
    task: Task | None = None,
    trials: Sequence[Trial] | None = None,
    *,
    block: int | None = None,
    devices: Sequence[Device] | None = None,
    memory: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    callbacks: Sequence[Callable[[Segment], None]] = (),
) -> SweepResult:
    """Go on with the sweep that `run` kept in `directory`, from its last segment on.

    What comes is, bit for bit, what would have come without the pause, on the same
    device with the same version of JAX: elsewhere a warning says what is different. A
    sweep that was complete is given again.

    task, trials: as they were; needed if the journal has no name by which they can be
    imported: of a task its `source`, of trials their factory, no lambda. block: in
    place of the one it began with, if that does not fit here; the numbers may then
    differ in the last bits. Others: as in `run`.

    Raises a ValueError in a sentence that says what changed if the task or the trials
    are not those of the journal, a FileNotFoundError if there is none, and a
    BlockingIOError while another process writes it.
    """
    arguments.check("sweep.resume", optional=("task", "trials"), **locals())
    begun, _ = read(directory)
    options = Options.from_json(begun["options"])
    if block is not None:
        options = dataclasses.replace(options, blocks=(block,))
    task = task_of(begun) if task is None else task
    trials = trials_of(begun) if trials is None else trials
    task.check()
    same(begun, task, trials, options)
    store = Store(directory)
    try:
        every, parts = _compiled(task, trials, options, devices, memory)
        watchers = Watchers(progress, callbacks)
        engine = Engine(State(options, every, parts), watchers, store)
        engine.restore()
        return engine.run()
    finally:
        store.close()


def _trained_on(task: Task, folds: int) -> int:
    """The examples of an epoch: with folds, all but the largest part held out."""
    if folds <= 1:
        return examples(task.train)
    size = examples(task.train) + examples(task.valid)
    return size - math.ceil(size / folds)


def _compiled(
    task: Task,
    trials: Sequence[Trial],
    options: Options,
    devices: Sequence[Device] | None,
    memory: int | None,
) -> tuple[list[Trial], list[Group]]:
    """Return the trials of all seeds and folds, and the groups that they make."""
    if jax.config.jax_disable_jit:  # pyright: ignore[reportAttributeAccessIssue]
        raise ValueError(
            "A sweep is compiled programs and cannot run with jax_disable_jit; leave "
            "jax.disable_jit() for it, and call the task's functions on one batch to "
            "look inside them."
        )
    if not trials:
        raise ValueError("A sweep needs at least one trial, got none.")
    trials = repeated(trials, options.seeds, options.folds)
    for own in {id(t.task): t.task for t in trials if t.task is not None}.values():
        own.check()
    parts = groups(trials)
    options.check(task, trials)
    if why := swept_constant(trials, parts):
        warnings.warn(f"The sweep compiles {len(parts)} programs: {why}.", stacklevel=3)
    blocks = options.blocks or (None,)
    blocks = blocks * len(parts) if len(blocks) == 1 else blocks
    room = budget(Spread.of(devices).devices, memory, held=0)
    # All of them before the first is compiled: one may be refused.
    plans = [options.plan(task, trials[positions[0]], room) for positions in parts]
    made: list[Group] = []
    data: dict[int, Any] = {}
    for plan, positions, block in zip(plans, parts, blocks, strict=True):
        if id(plan.task) not in data:
            data[id(plan.task)] = plan.data()
        seen = data[id(plan.task)]
        made.append(
            Group.compiled(plan, seen, trials, positions, block, devices, memory)
        )
    return trials, made
