"""`resume` a sweep, `extend` it by steps or trials, `revive` trials that were pruned.

An extended sweep has parts. The first is its own record; each later part is a sweep of
the added trials, in `batches/1`, `batches/2`, ... Each part is resumed separately.
"""

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jopt.core import is_integer, shown
from jopt.sweep._deadline import after
from jopt.sweep._folds import Folds
from jopt.sweep._kept_result import loaded, numbers_of
from jopt.sweep._merged import has_segment, is_search, merged, next_of, sweeps_of
from jopt.sweep._progress import Progress, Segment
from jopt.sweep._result import SweepResult
from jopt.sweep._resume import Given, alike, found, revived, went_on
from jopt.sweep._run import check_given, trained
from jopt.sweep._search import searched_on
from jopt.sweep._task import Task
from jopt.sweep._trial import MOST_TRIALS, Trial
from jopt.sweep.engine import Device, keeping_programs
from jopt.sweep.store import found_by, read_header, read_segments

_TRIALS = "a list of sweep.Trial, or for a search the number of settings in all"
PROGRAMS = 16  # compiled programs that are kept from part to part


def resume(
    directory: str | os.PathLike[str],
    task: Task | None = None,
    trials: Sequence[Trial] | None = None,
    *,
    trust: bool = False,
    folds: Folds | None = None,
    block: int | None = None,
    timeout: float | None = None,
    devices: Sequence[Device] | None = None,
    memory: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    callbacks: Sequence[Callable[[Segment], None]] = (),
) -> SweepResult:
    """Continue the sweep that `run` kept in `directory`, after its last segment.

    On the same device and version of JAX, the result equals, bit for bit, that of a
    sweep without the pause; otherwise a warning names what differs. A complete sweep
    returns its result again.

    Args:
      directory: the `directory` of `run`.
      task: the same task; needed if the task has no `source`, or one outside of jopt
        and not `trust`.
      trials: the same trials; needed if their factory cannot be imported by name, such
        as a lambda, or is outside of jopt and not `trust`.
      trust: whether to import the modules outside of jopt that the record names, which
        runs their code.
      folds: the same `Folds`; needed if its functions cannot be imported by name.
      block: replaces the first block if that does not fit here; the numbers may then
        differ in the last bits.
      timeout, devices, memory, progress, callbacks: as in `run`.

    Returns:
      The result of the whole sweep, as of `run`.

    Raises:
      ValueError: the task or the trials differ from the record's; the message says
        where. Or the record is damaged, or names a module that is not trusted.
      FileNotFoundError: the directory has no record.
      BlockingIOError: another process writes the record.
    """
    given = dict(locals())
    check_given(resume, given)
    return _went_on(Path(given.pop("directory")), _given(given))


def extend(
    directory: str | os.PathLike[str],
    task: Task | None = None,
    trials: Sequence[Trial] | int | None = None,
    *,
    steps: int | None = None,
    trust: bool = False,
    folds: Folds | None = None,
    block: int | None = None,
    timeout: float | None = None,
    devices: Sequence[Device] | None = None,
    memory: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    callbacks: Sequence[Callable[[Segment], None]] = (),
) -> SweepResult:
    """Train the sweep in `directory` for more steps, or with more trials.

        sweep.run(task, sweep.sample(jopt.adamw, 64, **ranges), directory="digits")
        sweep.extend("digits", steps=2000)
        sweep.extend("digits", trials=sweep.sample(jopt.adamw, 128, **ranges))

    The result equals, bit for bit, that of a sweep that asked for all the steps and
    trials from the start, with the same block size and segment length. Points of
    `Random`, `Sobol` and `Halton` are the first of a longer sample, so a longer sample
    begins with the earlier trials.

    A schedule keeps its own length. Past rungs are not judged again, and later trials
    are judged among themselves. The last segment is trained again if it was shorter
    than the others, or if a pruner or a population acts at its end. An unfinished sweep
    is first trained to its end. After a crash, call `resume`, or `extend` again with
    the same trials.

    Args:
      directory: the `directory` of `run`; or of `search`, for more trials.
      task: as in `resume`.
      trials: all trials of the sweep, the existing ones first and in their order; the
        others are trained. For a search, the total number of settings.
      steps: total steps of each trial.
      trust, folds, block: as in `resume`.
      timeout, devices, memory, progress, callbacks: as in `run`.

    Returns:
      The result of the whole sweep, as of `run`.

    Raises:
      ValueError: nothing more is asked for; the sweep is a population, which takes no
        more trials; or as in `resume`.
      FileNotFoundError, BlockingIOError: as in `resume`.
    """
    given = dict(locals())
    check_given(extend, given, {"trials": (_TRIALS, _are_trials)})
    path = Path(given.pop("directory"))
    del given["steps"]
    if is_search(path):
        if not is_integer(trials) or steps is not None:
            raise ValueError(
                "sweep.extend: a search must be extended by trials, the number of "
                f"settings in all, got steps {shown(steps)} and trials {shown(trials)}."
            )
        count: Any = given.pop("trials")
        return searched_on(path, int(count), _given(given))
    if is_integer(trials):
        raise ValueError(
            "sweep.extend: trials must be a list, those of the sweep first, such as a "
            f"longer sample with the same arguments, got {trials}."
        )
    return _extended(path, None if steps is None else int(steps), _given(given))


def revive(
    directory: str | os.PathLike[str],
    numbers: Sequence[int],
    task: Task | None = None,
    trials: Sequence[Trial] | None = None,
    *,
    trust: bool = False,
    folds: Folds | None = None,
    block: int | None = None,
    timeout: float | None = None,
    devices: Sequence[Device] | None = None,
    memory: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    callbacks: Sequence[Callable[[Segment], None]] = (),
) -> SweepResult:
    """Train pruned trials of the sweep in `directory` to the end.

        pruner = sweep.SuccessiveHalving()
        sweep.run(task, trials, pruner=pruner, directory="digits", keep_pruned=True)
        result = sweep.revive("digits", [3, 17])

    They continue from where they were pruned, without the pruner. Their numbers equal,
    bit for bit, those of a sweep without a pruner, in blocks of the same size. All
    seeds and folds of a setting are revived together. An unfinished sweep is first
    trained to its end. To train completed trials for more steps, call `extend`.

    Args:
      directory: the `directory` of `run` with `keep_pruned`.
      numbers: the trials, as in the table's column `trial`.
      task, trials, trust, folds, block: as in `resume`.
      timeout, devices, memory, progress, callbacks: as in `run`.

    Returns:
      The result of the whole sweep, as of `run`.

    Raises:
      ValueError: a trial was not pruned, or its state was not kept; or as in `resume`.
      FileNotFoundError, BlockingIOError: as in `resume`.
    """
    given = dict(locals())
    check_given(revive, given)
    path, asked = Path(given.pop("directory")), set(map(int, given.pop("numbers")))
    return _revived(path, asked, _given(given))


def _given(arguments: dict[str, Any]) -> Given:
    """Return the arguments as a `Given`; the timeout starts now."""
    return Given(**arguments, deadline=after(arguments["timeout"]))


def _has_stopped(part: SweepResult) -> bool:
    """Return whether a part ended before its end, by an interrupt or a timeout."""
    return part.info["interrupted"] or part.info["timed_out"]


def _went_on(directory: Path, given: Given) -> SweepResult:
    """Continue all parts of a sweep, and return their result."""
    return _joined(directory, _parts(directory, given))


def _extended(directory: Path, steps: int | None, given: Given) -> SweepResult:
    """Train a sweep for more steps, then its new trials."""
    headers = _headers(directory)
    asked = max(header["options"]["steps"] for header in headers)
    known, new = _settings(headers), list[Trial]()
    if given.trials is not None:
        new, given = (
            list(given.trials[known:]),
            given._replace(trials=given.trials[:known]),
        )
    more = asked if steps is None else steps
    if more < asked or (more == asked and given.trials is None):
        raise ValueError(
            f"sweep.extend: steps must be above the {asked} that the sweep was asked "
            f"for, or trials more than its {known}, got {shown(steps)} steps and "
            f"{known + len(new)} trials."
        )
    if new and headers[0]["options"].get("population") is not None:
        raise ValueError(
            "sweep.extend: trials must be those of before for a population, as its "
            "trials are one generation after the other; start a sweep of all of them."
        )
    with keeping_programs(PROGRAMS):
        parts = _parts(directory, given, steps)
        if new and not _has_stopped(parts[-1]):
            first = 1 + max(map(max, numbers_of(sweeps_of(directory))))
            was = found(directory, _of_part(headers, 0, given))
            each = len(was.every) // len(was.trials)
            numbers = tuple(range(first, first + each * len(new)))
            plan = alike(was.plan, given.block).changed(numbers=numbers)
            path = next_of(directory, len(parts))
            rest = given.devices, given.memory, given.progress, given.callbacks
            parts.append(trained(plan, new, path, False, *rest, given.deadline))
    return _joined(directory, parts)


def _revived(directory: Path, asked: set[int], given: Given) -> SweepResult:
    """Train a sweep to its end, then the pruned trials in `asked`."""
    with keeping_programs(PROGRAMS):
        parts = _parts(directory, given)
        if _has_stopped(parts[-1]):
            return _joined(directory, parts)
        headers, paths = _headers(directory), sweeps_of(directory)
        status = _joined(directory, parts).table["status"]
        for number in sorted(asked):
            what = status[number] if number < len(status) else "missing"
            if what != "pruned":
                hint = "; sweep.extend trains it on" if what == "complete" else ""
                raise ValueError(
                    "sweep.revive: numbers must be of trials that were pruned, got "
                    f"{number}, which is {what}{hint}."
                )
        # Trials of one part that were pruned in one segment are revived together.
        together = dict[tuple[int, int], list[int]]()
        places = numbers_of(paths)
        for number in sorted(asked):
            of = max(n for n, own in enumerate(places) if number in own)
            row = int(np.flatnonzero(places[of] == number)[0])
            if not headers[of]["options"].get("keep_pruned", False):
                raise ValueError(
                    f"sweep.revive: the state of trial {number} was not kept when it "
                    "was pruned; run the sweep with keep_pruned=True."
                )
            sweep = read_header(paths[of])["id"]
            segments, _ = read_segments(paths[of], sweep, lambda *_: None)
            ends = [bool(segment.arrays["pruned"][row]) for segment in segments]
            each = len(places[of]) // len(headers[of]["trials"])
            settings = together.setdefault((of, ends.index(True)), [])
            settings += [row // each] * (row // each not in settings)
        for (of, segment), settings in together.items():
            if _has_stopped(parts[-1]):
                break
            own, path = _of_part(headers, of, given), next_of(directory, len(parts))
            parts.append(revived(paths[of], path, settings, segment, own))
    return _joined(directory, parts)


def _parts(
    directory: Path, given: Given, steps: int | None = None
) -> list[SweepResult]:
    """Continue the parts of a sweep in turn, all to the same number of steps.

    After an interrupted part, the later ones are loaded as recorded.
    """
    headers, parts = _headers(directory), list[SweepResult]()
    most = max(header["options"]["steps"] for header in headers)
    for number, path in enumerate(sweeps_of(directory)):
        if not (parts and _has_stopped(parts[-1])):
            own = _of_part(headers, number, given)
            parts.append(went_on(path, own, max(most, steps or 0)))
        elif has_segment(path):
            later = loaded(path)
            names = ("interrupted", "timed_out")
            info = {**later.info, **{n: parts[-1].info[n] for n in names}}
            parts.append(dataclasses.replace(later, info=info))
    return parts


def _joined(directory: Path, parts: Sequence[SweepResult]) -> SweepResult:
    """Return the results of a sweep's parts as one."""
    if len(parts) == 1:
        return parts[0]
    numbers = numbers_of(sweeps_of(directory)[: len(parts)])
    return merged(parts, None, parts[-1].info["interrupted"], numbers)


def _headers(directory: Path) -> list[dict[str, Any]]:
    """Return the header of each part of a sweep."""
    return [found_by(read_header(path), path) for path in sweeps_of(directory)]


def _settings(headers: Sequence[dict[str, Any]]) -> int:
    """Return the number of settings in all parts."""
    return 1 + max(max(_own_settings(headers, n)) for n in range(len(headers)))


def _own_settings(headers: Sequence[dict[str, Any]], part: int) -> list[int]:
    """Return the indices of a part's settings among those of all parts."""
    header = headers[part]
    each = len(header["fingerprint"]["trials"]) // max(len(header["trials"]), 1)
    numbers = header["options"].get("numbers") or range(len(header["trials"]) * each)
    return [number // max(each, 1) for number in numbers[:: max(each, 1)]]


def _of_part(headers: Sequence[dict[str, Any]], part: int, given: Given) -> Given:
    """Return the arguments for one part, with only the trials of this part."""
    if given.trials is None or len(headers) == 1:
        return given
    own = _own_settings(headers, part)
    if max(own) >= len(given.trials):
        raise ValueError(
            f"The sweep has {_settings(headers)} settings, as it was extended, got "
            f"{len(given.trials)} trials; give all of them, in their order."
        )
    return given._replace(trials=[given.trials[setting] for setting in own])


def _are_trials(value: Any) -> bool:
    """Return whether a value is a number of trials, or a sequence of them."""
    if is_integer(value):
        return 1 <= value <= MOST_TRIALS
    return isinstance(value, Sequence) and all(isinstance(v, Trial) for v in value)
