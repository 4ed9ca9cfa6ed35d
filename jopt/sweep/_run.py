"""`run` a sweep, `resume` one, or `extend` it."""

import functools
import inspect
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jopt.core import is_integer, is_path, shown
from jopt.sweep import _processes as processes
from jopt.sweep._folds import Folds
from jopt.sweep._front import Bound, are_bounds, are_objectives
from jopt.sweep._group import compiled_groups
from jopt.sweep._loop import Loop
from jopt.sweep._plan import Keep, Plan, Shuffle, base_key
from jopt.sweep._progress import Progress, Segment
from jopt.sweep._result import SweepResult
from jopt.sweep._shown_values import shown_settings
from jopt.sweep._state import GOES_ON, State, asked_misfit, segment_misfit, shown_trials
from jopt.sweep._task import Mode, Task, streams_of
from jopt.sweep._trial import Trial, repeated
from jopt.sweep.engine import Device
from jopt.sweep.population import Population
from jopt.sweep.pruners import Pruner
from jopt.sweep.store import (
    HEADER,
    RECORD,
    Kept,
    Store,
    damaged,
    found_by,
    header,
    misfit,
    read_header,
    read_segments,
    same,
    task_of,
    trials_of,
)


def run(
    task: Task,
    trials: Sequence[Trial],
    *,
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
    population: Population | None = None,
    directory: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    devices: Sequence[Device] | None = None,
    memory: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    callbacks: Sequence[Callable[[Segment], None]] = (),
) -> SweepResult:
    """Train all trials, in blocks, and return their results.

        trials = sweep.grid(jopt.adamw, learning_rate=np.logspace(-5, 0, 64))
        result = sweep.run(digits(), trials, steps=500, seeds=3)

    A trial diverges when its loss is not finite, or above the task's limit: its
    parameters stay as they are from that step on, and it is left out from the next
    segment on. For the same block, a trial's numbers are bitwise the same whatever
    trials are beside it or are pruned, on any number of devices, and after any number
    of resumes.

    An interrupt (Ctrl-C) ends the sweep after the current segment: the trained part is
    returned, with the rest marked `interrupted`. Where interrupts are ignored, under
    nohup, they stay ignored. If `directory` cannot be written any more, the sweep warns
    and continues in memory; `info["unsaved"]` has the reason.

    Args:
      task: model, loss and data.
      trials: of `grid` or `sample`.
      steps: of each trial.
      epochs: in place of steps, passes over the examples that a trial is trained on, at
        the sweep's batch size, each less its last, smaller batch; by default the
        task's.
      seeds: how many keys each setting is trained with, or the seeds themselves, such
        as range(100, 116).
      folds: parts of the training and validation examples together, each held out once:
        a trial a fold; with 1, the task's own validation set. `Folds` cuts them by
        their classes or groups.
      shuffle: what shares one order of the examples: the "sweep", each "seed", so that
        a spread over seeds holds the order's part, or each "trial". Seed 0 has the
        order of the sweep. Several orders take a gather a trial in each step; one is
        read for all trials at once, which may change the last bits.
      batch_size: examples a step; by default the task's.
      valid_examples: examples of the validation set that a segment is judged on, drawn
        once; by default all.
      block: trials trained together in one compiled call on a device; by default picked
        by timing.
      segments: parts of the training. At the end of each, all trials are evaluated on
        the validation set, and diverged ones are dropped.
      seed: of everything random, an integer or a key.
      metric: the name of the validation metric that ranks settings: pruners,
        populations and the winner follow it; by default the task's.
      mode: "min" or "max", which of its values are better; by default the task's.
      keep: which moment of a trial its result is, "last" or "best". With "best", the
        table, the winner and its test, `params` and what is saved are those of each
        trial's best moment by the metric, among the ends of segments; the column
        `best_step` says which. A copy of the model is kept beside each trial. Pruners,
        populations and a resume go on from the last.
      objectives: several metrics, with "min" or "max" for each, such as {"accuracy":
        "max", "bytes": "min"}: the result's `front` has the trials that no other
        dominates. The first one ranks settings, unless `metric` is given.
      bounds: by the name of a metric, the least and the greatest value of its mean over
        a setting's trials with which they can win or be on the front, such as {"bytes":
        (None, 3000)}; None for no bound. Pruners and populations do not look at them.
      pruner: the rule by which settings end early; the survivors are gathered into
        full blocks, which run the program that is already compiled. With several
        objectives it needs a `metric` of its own.
      population: the rule by which trials copy others. With several objectives it needs
        the sweep's `metric`.
      directory: where the sweep's state is kept, for `resume`.
      overwrite: whether a sweep that is already there is removed, as soon as this one
        has been checked and compiled.
      devices: that share the trials; by default all of this process's.
      memory: bytes to take of each device; by default nine tenths of the free bytes.
      progress: called after each block.
      callbacks: called at the end of each segment, with NumPy arrays.

    Returns:
      The table, the curves, the winner, and the models.

    Raises:
      TypeError: an argument has the wrong type.
      ValueError: an argument has a wrong value.
      OSError: `directory` cannot be written at the start.
      Exception: whatever the task, a callback or a rule raises, with a note that says
        where; `resume` continues from the last segment in `directory`.
    """
    check_given(run, locals())
    plan = planned(
        "sweep.run",
        task,
        steps=steps,
        epochs=epochs,
        seeds=seeds,
        folds=folds,
        shuffle=shuffle,
        batch_size=batch_size,
        valid_examples=valid_examples,
        block=block,
        segments=segments,
        seed=seed,
        metric=metric,
        mode=mode,
        keep=keep,
        objectives=objectives,
        bounds=bounds,
        pruner=pruner,
        population=population,
    )
    given = directory, overwrite, devices, memory, progress, callbacks
    return trained(plan, trials, *given)


def planned(
    title: str,
    task: Task,
    *,
    steps: int | None,
    epochs: int | None,
    seeds: Any,
    folds: int | Folds,
    batch_size: int | None,
    block: int | None,
    segments: int,
    seed: int | jax.Array,
    metric: str | None,
    mode: Mode | None,
    objectives: Mapping[str, Mode] | None,
    bounds: Mapping[str, Bound] | None,
    pruner: Pruner | None,
    population: Population | None = None,
    **others: Any,
) -> Plan:
    """Return the plan of what `run` is asked for; `title` is what errors begin with."""
    if steps is not None and epochs is not None:
        raise ValueError(
            f"{title}: steps or epochs must be left out, got {steps} steps and "
            f"{epochs} epochs; each says how long a trial is."
        )
    size = task.batch_size if batch_size is None else batch_size
    if steps is None and not _has_epochs(task):
        raise ValueError(
            f"{title}: steps must be given, as {task.name} has no training examples "
            "to pass over, or does not say how many batches they are."
        )
    objectives = dict(objectives or {})
    if len(objectives) > 1:
        _check_rules(title, objectives, metric, pruner, population)
    metric, mode = _goal(title, task, metric, mode, objectives)
    plan = Plan(
        task,
        size,
        0 if steps is None else steps,
        segments,
        base_key(seed),
        folds.n if isinstance(folds, Folds) else folds,
        seeds=int(seeds) if is_integer(seeds) else tuple(map(int, seeds)),
        blocks=None if block is None else (block,),
        pruner=pruner,
        population=population,
        metric=metric,
        mode=mode,
        cut=folds if isinstance(folds, Folds) else None,
        objectives=objectives,
        bounds={name: (low, high) for name, (low, high) in (bounds or {}).items()},
        **others,
    )
    return plan if steps is not None else plan.changed(steps=_steps(plan, epochs))


@processes.together()
def trained(
    plan: Plan,
    trials: Sequence[Trial],
    directory: str | os.PathLike[str] | None,
    overwrite: bool,
    devices: Sequence[Device] | None,
    memory: int | None,
    progress: Callable[[Progress], None] | None,
    callbacks: Sequence[Callable[[Segment], None]],
) -> SweepResult:
    """Train trials by a plan; arguments as in `run`."""
    store = None if directory is None else Store.new(directory, overwrite)
    try:
        _check_alike(plan, trials)
        every, groups = compiled_groups(plan, trials, devices, memory)
        state = State.of(every, groups)
        if store is not None:
            begun = header(plan.task, trials, every, groups, plan)
            store.begin(_header(begun, state))
        return Loop(state, progress, callbacks, store).run()
    finally:
        if store is not None:
            store.close()


def resume(
    directory: str | os.PathLike[str],
    task: Task | None = None,
    trials: Sequence[Trial] | None = None,
    *,
    trust: bool = False,
    folds: Folds | None = None,
    block: int | None = None,
    devices: Sequence[Device] | None = None,
    memory: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    callbacks: Sequence[Callable[[Segment], None]] = (),
) -> SweepResult:
    """Continue the sweep that `run` kept in `directory`, after its last segment.

    The result is, bit for bit, that of a sweep without the pause, on the same device
    with the same version of JAX; a warning names what differs. A complete sweep returns
    its result again.

    Args:
      directory: of `run`.
      task: as it was; needed if the task has no `source`, or one outside of jopt and
        not `trust`.
      trials: as they were; needed if their factory cannot be imported by name, such as
        a lambda, or is outside of jopt and not `trust`.
      trust: whether the record's names of modules outside of jopt are imported, which
        runs their code.
      folds: a `Folds` as it was; needed if its functions cannot be imported by name.
      block: in place of the first block, if that does not fit here; the numbers may
        then differ in the last bits.
      devices, memory, progress, callbacks: as in `run`.

    Returns:
      The result of the whole sweep, as of `run`.

    Raises:
      ValueError: the task or the trials are not those of the record, with a sentence on
        what changed; or the record is damaged, or names what is not trusted.
      FileNotFoundError: the directory has no record.
      BlockingIOError: another process writes the record.
    """
    check_given(resume, locals())
    given = task, trials, folds, trust, block, devices, memory, progress, callbacks
    return _go_on(directory, None, *given)


def extend(
    directory: str | os.PathLike[str],
    task: Task | None = None,
    trials: Sequence[Trial] | None = None,
    *,
    steps: int,
    trust: bool = False,
    folds: Folds | None = None,
    block: int | None = None,
    devices: Sequence[Device] | None = None,
    memory: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    callbacks: Sequence[Callable[[Segment], None]] = (),
) -> SweepResult:
    """Train the trials of the sweep in `directory` for more steps.

        sweep.run(task, trials, steps=500, directory="digits")
        result = sweep.extend("digits", steps=2000)

    The result is, bit for bit, that of a sweep of so many steps from the start, in
    segments as long as they were. A schedule keeps its own length. Rungs that were
    passed are not judged again. If the last segment was shorter than the others, or a
    pruner or a population is to act at its end, it is trained again.

    Args:
      directory: of `run`.
      steps: of each trial, in all.
      task, trials, trust, folds, block: as in `resume`.
      devices, memory, progress, callbacks: as in `run`.

    Returns:
      The result of the whole sweep, as of `run`.

    Raises:
      ValueError: there are not more steps than before; or as in `resume`.
      FileNotFoundError, BlockingIOError: as in `resume`.
    """
    check_given(extend, locals())
    given = task, trials, folds, trust, block, devices, memory, progress, callbacks
    return _go_on(directory, int(steps), *given)


@processes.together()
def _go_on(
    directory: str | os.PathLike[str],
    steps: int | None,
    task: Task | None,
    trials: Sequence[Trial] | None,
    folds: Folds | None,
    trust: bool,
    block: int | None,
    devices: Sequence[Device] | None,
    memory: int | None,
    progress: Callable[[Progress], None] | None,
    callbacks: Sequence[Callable[[Segment], None]],
) -> SweepResult:
    """Continue a sweep, to `steps` or to its own end."""
    held = read_header(directory)
    _check_number(held, directory)
    begun, file = found_by(held, directory), Path(directory) / RECORD / HEADER
    if (said := asked_misfit(held)) is not None:
        raise damaged(file, said)
    asked = held["asked"]
    task = task_of(begun, trust) if task is None else task
    plan = Plan.from_json(begun["options"], task, folds, trust)
    trials = trials_of(begun, trust) if trials is None else trials
    with Store(directory) as store:
        segments, said = read_segments(
            directory, functools.partial(_segment_misfit, asked)
        )
        if said is not None:
            warnings.warn(f"{said} The sweep goes back before it.", stacklevel=4)
        every = repeated(trials, plan.seeds, plan.folds)
        # Before anything is drawn: no batch of the steps made is drawn again.
        streams = streams_of(trial.task or task for trial in every)
        for notes in (segment.notes for segment in segments):
            for stream, state in zip(streams, notes["streams"], strict=False):
                stream.states |= {} if state is None else {notes["step"]: state}
        same(begun, task, trials, plan)
        sizes = len(every), plan.steps, plan.length
        if sizes != tuple(asked[n] for n in ("trials", "steps", "segment_steps")):
            raise damaged(file, "its trials or steps contradict each other")
        if steps is not None:
            plan, kept = _extended(plan, steps)
            segments = segments[:kept]
        if block is not None:
            plan = plan.changed(blocks=(block,))
        _check_alike(plan, trials)
        every, groups = compiled_groups(plan, trials, devices, memory)
        state = State.of(every, groups)
        if steps is not None:
            store.forget(len(segments))
            options = {**begun["options"], **plan.sizes()}
            store.rewrite(_header({**begun, "options": options}, state))
        loop = Loop(state, progress, callbacks, store)
        loop.restore(segments)
        return loop.run()


def _check_alike(plan: Plan, trials: Sequence[Trial]) -> None:
    """Raise a ValueError if the processes of the job are to run different sweeps."""
    by_rule = ("pruner", "population", "cut", "held_out")  # which may have no name
    asked = {n: v for n, v in plan.as_json().items() if n not in by_rule}
    asked |= {"task": plan.task.name, "trials": shown_settings(trials)}
    first, *others = processes.everyones({n: repr(v) for n, v in asked.items()})
    for process, other in enumerate(others, start=1):
        for name, value in first.items():
            if other[name] != value:
                raise ValueError(
                    "A sweep over the processes of a job must be the same in all, got "
                    f"{name} {value[:80]} in process 0, and {other[name][:80]} in "
                    f"process {process}."
                )


def _check_number(held: dict[str, Any], directory: str | os.PathLike[str]) -> None:
    """Raise a ValueError if a record's states are of another number of processes."""
    if (said := misfit(held, {"processes?": range(1, 2**31)})) is not None:
        raise damaged(Path(directory) / RECORD / HEADER, said)
    before, now = held.get("processes", 1), processes.number()
    if before != now:
        raise ValueError(
            f"The sweep in {directory} must be resumed by as many processes as began "
            f"it, {before}, since each keeps the states of its own trials; got {now}."
        )


def _segment_misfit(asked: dict[str, Any], segment: int, kept: Kept) -> str | None:
    """Return what is wrong with a segment's file for a resume; None for nothing."""
    said = segment_misfit(asked, segment, kept) or misfit(kept.notes, GOES_ON)
    if said is None and max(kept.notes["kept"], default=0) >= asked["trials"]:
        return "a trial is kept that the sweep does not have"
    return said


def _extended(plan: Plan, steps: int) -> tuple[Plan, int]:
    """Return the plan with more steps, and how many segments stay as they are."""
    if steps <= plan.steps:
        raise ValueError(
            f"sweep.extend: steps must be above the {plan.steps} that the sweep was "
            f"asked for, got {steps}."
        )
    acts = plan.pruner is not None or plan.population is not None
    again = acts or plan.steps % plan.length > 0
    kept = plan.segments - again
    return plan.changed(steps=steps, segment_steps=plan.length), kept


def _header(begun: dict[str, Any], state: State) -> dict[str, Any]:
    """Return the header of a record: for a resume, and for those who look at it."""
    return {
        "sweep": begun,
        "asked": state.asked,
        "trials": shown_trials(state.trials),
    }


def _goal(
    title: str,
    task: Task,
    metric: str | None,
    mode: Mode | None,
    objectives: Mapping[str, Mode],
) -> tuple[str, Mode]:
    """Return the metric that ranks, which the task may not know, and its mode."""
    known: dict[str, Mode] = {"loss": "min", task.metric: task.mode, **objectives}
    name = next(iter(objectives), task.metric) if metric is None else metric
    if mode is None and name not in known:
        raise ValueError(
            f"{title}: mode must be given with the metric {metric!r}, as "
            f"{task.name} says which values are better of {task.metric!r} alone; give "
            '"min" or "max".'
        )
    if mode is not None and objectives.get(name, mode) != mode:
        raise ValueError(
            f"{title}: mode must be {objectives[name]!r}, as objectives has it for "
            f"{name!r}, got {mode!r}; leave it out."
        )
    return name, mode or known[name]


def _check_rules(
    title: str,
    objectives: Mapping[str, Mode],
    metric: str | None,
    pruner: Pruner | None,
    population: Population | None,
) -> None:
    """Raise a ValueError if a rule does not know which of several objectives counts."""
    names = ", ".join(objectives)
    judges = [] if pruner is None else pruner.judges()
    if judges and judges[0].metric is None:
        rule, first = type(judges[0]).__name__, next(iter(objectives))
        raise ValueError(
            f"{title}: pruner must have a metric of its own beside the objectives "
            f"{names}, got {pruner}; give it one, as in {rule}(..., metric={first!r})."
        )
    if population is not None and metric is None:
        raise ValueError(
            f"{title}: metric must be given with a population and the objectives "
            f"{names}; it says by which of them the population ranks its trials."
        )


def _has_epochs(task: Task) -> bool:
    """Return whether the number of steps of an epoch is known."""
    return task.train is not None and (
        task.stream is None or hasattr(task.train, "__len__")
    )


def _steps(plan: Plan, epochs: int | None) -> int:
    """Return the steps of as many epochs; by default the task's."""
    passes = plan.task.epochs if epochs is None else epochs
    if passes < 1:
        raise ValueError(f"A sweep needs epochs of at least 1, got {passes}.")
    if plan.task.stream is not None:
        return passes * len(plan.task.stream)
    return passes * max(plan.trained_on // max(plan.batch_size, 1), 1)


def _list_of(fits: Callable[[Any], bool], value: Any) -> bool:
    return isinstance(value, (Sequence, np.ndarray)) and all(map(fits, value))


def _is_population(value: Any) -> bool:
    methods = ("check", "reachable", "due", "step")
    return not isinstance(value, type) and all(hasattr(value, m) for m in methods)


# What each argument must be, in words, and whether a value is.
_RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "task": ("a sweep.Task, such as digits()", lambda v: isinstance(v, Task)),
    "trials": (
        "a list of sweep.Trial, as sweep.grid and sweep.sample return",
        lambda v: _list_of(lambda each: isinstance(each, Trial), v),
    ),
    "steps": ("an integer", is_integer),
    **dict.fromkeys(
        ("epochs", "batch_size", "block", "segments"),
        ("an integer", lambda v: is_integer(v) and v < 2**31),
    ),
    "folds": (
        "an integer or a sweep.Folds",
        lambda v: isinstance(v, Folds) or (is_integer(v) and v < 2**31),
    ),
    "seeds": (
        "an integer, or a list of integers from 0 to 2**32 - 1",
        lambda v: (
            (is_integer(v) and v < 2**31)
            or _list_of(lambda each: is_integer(each) and 0 <= each < 2**32, v)
        ),
    ),
    "resume folds": ("a sweep.Folds", lambda v: isinstance(v, Folds)),
    "extend folds": ("a sweep.Folds", lambda v: isinstance(v, Folds)),
    "shuffle": (
        '"sweep", "seed" or "trial"',
        lambda v: v in ("sweep", "seed", "trial"),
    ),
    "valid_examples": ("an integer of at least 1", lambda v: is_integer(v) and v >= 1),
    "seed": (
        "an integer or a key of jax.random.key",
        lambda v: is_integer(v) or isinstance(v, (jax.Array, np.ndarray)),
    ),
    "metric": ("the name of a metric", lambda v: isinstance(v, str)),
    "mode": ('"min" or "max"', lambda v: v in ("min", "max")),
    "keep": ('"last" or "best"', lambda v: v in ("last", "best")),
    "objectives": (
        'a dict of "min" or "max" by the name of a metric, such as {"accuracy": "max", '
        '"bytes": "min"}',
        are_objectives,
    ),
    "bounds": (
        "a dict of (low, high) by the name of a metric, finite numbers with low at "
        'most high, or one of them None, such as {"bytes": (None, 3000)}',
        are_bounds,
    ),
    "pruner": (
        "a pruner, such as sweep.SuccessiveHalving()",
        lambda v: isinstance(v, Pruner),
    ),
    "population": (
        "a population, such as sweep.PopulationBasedTraining(mutations)",
        _is_population,
    ),
    "directory": ("a path", is_path),
    "trust": ("True or False", lambda v: isinstance(v, bool)),
    "overwrite": ("True or False", lambda v: isinstance(v, bool)),
    "devices": (
        "a list of devices, as jax.local_devices() returns",
        lambda v: _list_of(lambda each: hasattr(each, "platform"), v),
    ),
    "memory": (
        "an integer, in bytes, such as 2 * 10**9",
        lambda v: is_integer(v) and v < 2**63,
    ),
    "progress": ("a function", callable),
    "callbacks": ("a list of functions", lambda v: _list_of(callable, v)),
}


def check_given(
    function: Callable[..., Any],
    given: Mapping[str, Any],
    own: Mapping[str, tuple[str, Callable[[Any], bool]]] | None = None,
) -> None:
    """Raise a TypeError for an argument of the wrong type, before a file is touched.

    None fits where it is the default.

    Args:
      function: that is called.
      given: its arguments.
      own: rules of the function alone, by the names of arguments.
    """
    title = f"sweep.{function.__name__}"
    parameters = inspect.signature(function).parameters
    for name, value in given.items():
        rules = {**_RULES, **(own or {})}
        words, fits = rules.get(f"{function.__name__} {name}") or rules[name]
        if (value is not None or parameters[name].default is not None) and not fits(
            value
        ):
            raise TypeError(f"{title}: {name} must be {words}, got {_got(value)}.")
    pruner = given.get("pruner")
    for judge in [] if pruner is None else pruner.judges():
        own, mode = judge.metric, judge.mode
        named = isinstance(own, str) and mode in ("min", "max", None)
        if not named and (own, mode) != (None, None):
            raise TypeError(
                f"{title}: a pruner must have the name of a metric, beside a mode of "
                f'"min", "max" or None, or neither, got metric {shown(own)} and mode '
                f"{shown(mode)}."
            )
    for rule, functions in {
        "progress must take one argument, the Progress": [given["progress"]],
        "callbacks must take one argument, the Segment": given["callbacks"],
        "pruner.keep must take one argument, the Observations": [
            pruner and pruner.keep
        ],
    }.items():
        for called in functions:
            if called is not None and not _takes_one(called):
                raise TypeError(f"{title}: {rule}, and {_got(called)} does not.")


def _takes_one(function: Callable[..., Any]) -> bool:
    """Return whether a function can be called with one argument."""
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        return False
    except ValueError:  # of a builtin that has no signature
        return True
    return True


def _got(value: Any) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}; call it, as in {value.__name__}()"
    if inspect.isroutine(value):
        return f"the function {value.__name__}"
    return shown(value)
