"""`run` a sweep."""

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jopt.core import is_integer, is_path, is_real, shown
from jopt.sweep import _processes as processes
from jopt.sweep._deadline import after
from jopt.sweep._folds import Folds
from jopt.sweep._front import Bound, are_bounds, are_objectives
from jopt.sweep._group import compiled_groups
from jopt.sweep._loop import Loop
from jopt.sweep._plan import Keep, Plan, Shuffle, base_key
from jopt.sweep._progress import Progress, Segment
from jopt.sweep._result import SweepResult
from jopt.sweep._shown_values import shown_settings
from jopt.sweep._state import State, shown_trials
from jopt.sweep._task import Mode, Task
from jopt.sweep._trial import Trial
from jopt.sweep.engine import Device
from jopt.sweep.population import Population
from jopt.sweep.pruners import Pruner
from jopt.sweep.store import Store, header


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
    keep_pruned: bool = False,
    timeout: float | None = None,
    devices: Sequence[Device] | None = None,
    memory: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    callbacks: Sequence[Callable[[Segment], None]] = (),
) -> SweepResult:
    """Train all trials, in blocks, and return their results.

        trials = sweep.grid(jopt.adamw, learning_rate=np.logspace(-5, 0, 64))
        result = sweep.run(digits(), trials, steps=500, seeds=3)

    A trial diverges when its loss is not finite or is above the task's limit. From that
    step on its parameters stay as they are, and from the next segment on it is left
    out. For the same block, a trial's numbers are bitwise the same whatever the other
    trials, the pruning, the number of devices and the number of resumes.

    An interrupt (Ctrl-C) ends the sweep after the current segment: the trained part is
    returned, with the rest marked `interrupted`. Where interrupts are ignored, as under
    nohup, they stay ignored. If `directory` cannot be written any more, the sweep warns
    and continues in memory; `info["unsaved"]` has the reason.

    Args:
      task: model, loss and data.
      trials: the result of `grid` or `sample`.
      steps: steps of each trial.
      epochs: in place of steps, passes over the training examples at the sweep's batch
        size, each without its last, smaller batch; by default the task's.
      seeds: number of seeds of each setting, or the seeds themselves, such as
        range(100, 116).
      folds: parts of the training and validation examples together, each held out once
        by a trial of its own; with 1, the task's validation set. `Folds` cuts them by
        their classes or groups.
      shuffle: which trials share one order of the examples: those of the "sweep", of
        each "seed", so that a spread over seeds includes the order's part, or each
        "trial" alone. Seed 0 has the order of the sweep. Several orders take a gather a
        trial in each step. One order is read for all trials at once, which may change
        the last bits.
      batch_size: examples a step; by default the task's.
      valid_examples: number of validation examples that a segment is judged on, drawn
        once; by default all.
      block: trials trained together in one compiled call on a device; by default chosen
        by timing.
      segments: parts of the training. At the end of each, all trials are evaluated on
        the validation set, and diverged ones are dropped.
      seed: the seed of all randomness, an integer or a key.
      metric: the name of the validation metric that ranks settings for pruners,
        populations and the winner; by default the task's.
      mode: "min" or "max", which of its values are better; by default the task's.
      keep: the moment of a trial that is its result, "last" or "best". With "best", the
        table, the winner and its test, `params` and the saved models are those of each
        trial's best segment end by the metric; the column `best_step` says which. A
        copy of each model is kept in memory. Pruners, populations and a resume continue
        from the last moment.
      objectives: several metrics, with "min" or "max" for each, such as {"accuracy":
        "max", "bytes": "min"}: the result's `front` has the trials that no other
        dominates. The first one ranks settings, unless `metric` is given.
      bounds: by the name of a metric, the least and the greatest value of a setting's
        mean with which it can win or be on the front, such as {"bytes": (None, 3000)};
        None for no bound. Pruners and populations ignore bounds.
      pruner: the rule by which settings end early. The survivors are gathered into full
        blocks of the same compiled program. With several objectives it needs its own
        `metric`.
      population: the rule by which trials copy others. With several objectives it needs
        the sweep's `metric`.
      directory: where the sweep's state is kept, for `resume`.
      overwrite: whether to remove a sweep that is already there, once this one has been
        checked and compiled.
      keep_pruned: whether `directory` also keeps the states of pruned trials, so that
        `revive` can train them to the end.
      timeout: seconds, compiling included, by which the last segment must end. A
        segment begins only if it would end in time by the longest blocks so far; the
        first always begins. The rest is marked `interrupted`, `info["timed_out"]` is
        true, and the best
        trial so far is not tested. No number depends on it: `resume` ends with the same
        table.
      devices: the devices that share the trials; by default all of this process's.
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
    deadline = after(timeout)
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
        keep_pruned=keep_pruned,
    )
    if keep_pruned and directory is None:
        raise ValueError(
            "sweep.run: directory must be given with keep_pruned, as the states of "
            "pruned trials are kept there."
        )
    if keep_pruned and processes.number() > 1:
        raise ValueError(
            "sweep.run: keep_pruned must be False in a job of several processes, got "
            f"True in one of {processes.number()}; sweep.revive needs one process."
        )
    given = directory, overwrite, devices, memory, progress, callbacks
    return trained(plan, trials, *given, deadline)


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
    """Return the plan for the arguments of `run`; error messages begin with `title`."""
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
    deadline: float | None = None,
) -> SweepResult:
    """Train trials by a plan; arguments as in `run`."""
    store = None if directory is None else Store.new(directory, overwrite)
    try:
        check_alike(plan, trials)
        every, groups = compiled_groups(plan, trials, devices, memory)
        state = State.of(every, groups)
        if store is not None:
            begun = header(plan.task, trials, every, groups, plan)
            store.begin(whole_header(begun, state))
        return Loop(state, progress, callbacks, store, deadline).run()
    finally:
        if store is not None:
            store.close()


def check_alike(plan: Plan, trials: Sequence[Trial]) -> None:
    """Raise ValueError if the processes of the job were given different sweeps."""
    by_rule = ("pruner", "population", "cut", "held_out")  # rules may have no name
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


def whole_header(begun: dict[str, Any], state: State) -> dict[str, Any]:
    """Return the header of a record, for a resume and for reports."""
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
    """Raise ValueError if a rule needs to be told which objective counts."""
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
    """Return the steps of `epochs` epochs, by default the task's."""
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


# The rule of each argument in words, and its check.
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
    **dict.fromkeys(
        ("resume folds", "extend folds", "revive folds"),
        ("a sweep.Folds", lambda v: isinstance(v, Folds)),
    ),
    "numbers": (
        "a list of integers of at least 0, as the table's column trial has them",
        lambda v: _list_of(lambda each: is_integer(each) and each >= 0, v),
    ),
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
    "timeout": ("a number of seconds above 0", lambda v: is_real(v) and v > 0),
    "trust": ("True or False", lambda v: isinstance(v, bool)),
    "overwrite": ("True or False", lambda v: isinstance(v, bool)),
    "keep_pruned": ("True or False", lambda v: isinstance(v, bool)),
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
    """Raise TypeError for an argument of the wrong type, before a file is touched.

    None is accepted where it is the default.

    Args:
      function: the function that is called.
      given: its arguments.
      own: additional rules of this function, by the names of arguments.
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
        own, mode, share = judge.metric, judge.mode, judge.cooled
        named = isinstance(own, str) and mode in ("min", "max", None)
        several = bool(own) and are_objectives(own) and mode is None
        if not (named or several) and (own, mode) != (None, None):
            raise TypeError(
                f"{title}: a pruner must have the name of a metric, beside a mode of "
                '"min", "max" or None, or a dict of modes by the names of several, or '
                f"neither, got metric {shown(own)} and mode {shown(mode)}."
            )
        if share is not None and not (is_real(share) and 0 < share <= 1):
            raise ValueError(
                f"{title}: a pruner must have cooled above 0 and at most 1, the share "
                f"of the steps that copies are trained on for, got {shown(share)}."
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
    except ValueError:  # a builtin may have no signature
        return True
    return True


def _got(value: Any) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}; call it, as in {value.__name__}()"
    if inspect.isroutine(value):
        return f"the function {value.__name__}"
    return shown(value)
