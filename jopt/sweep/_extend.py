"""`resume` a sweep, `extend` it by steps or trials, `revive` trials that were pruned.

A sweep with more trials than it began with is in parts: its own record, and a sweep of
the later trials in each of `batches/1`, `batches/2`, ... Each goes on by itself.
"""

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jopt.core import is_integer, shown
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
PROGRAMS = 16  # of different structures that are kept from part to part


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
    given = dict(locals())
    check_given(resume, given)
    return _went_on(Path(given.pop("directory")), Given(**given))


def extend(
    directory: str | os.PathLike[str],
    task: Task | None = None,
    trials: Sequence[Trial] | int | None = None,
    *,
    steps: int | None = None,
    trust: bool = False,
    folds: Folds | None = None,
    block: int | None = None,
    devices: Sequence[Device] | None = None,
    memory: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    callbacks: Sequence[Callable[[Segment], None]] = (),
) -> SweepResult:
    """Train the sweep in `directory` for more steps, or with more trials.

        sweep.run(task, sweep.sample(jopt.adamw, 64, **ranges), directory="digits")
        sweep.extend("digits", steps=2000)
        sweep.extend("digits", trials=sweep.sample(jopt.adamw, 128, **ranges))

    The result is, bit for bit, that of a sweep of so many steps and trials from the
    start, in blocks and segments as large as they were. Points of `Random`, `Sobol` and
    `Halton` are the first of a longer sample, so that the trials of before come first.

    A schedule keeps its own length. Rungs that were passed are not judged again, and
    later trials are judged among themselves. If the last segment was shorter than the
    others, or a pruner or a population is to act at its end, it is trained again. A
    sweep that has not ended is trained to its end first. After a crash, call `resume`,
    or `extend` again with the same trials.

    Args:
      directory: of `run`; or of `search`, for more trials.
      task: as in `resume`.
      trials: all trials of the sweep, those that it has first, in their order; those
        after them are trained. Of a search, the number of settings in all.
      steps: of each trial, in all.
      trust, folds, block: as in `resume`.
      devices, memory, progress, callbacks: as in `run`.

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
        return searched_on(path, int(trials), Given(**{**given, "trials": None}))
    if is_integer(trials):
        raise ValueError(
            "sweep.extend: trials must be a list, those of the sweep first, such as a "
            f"longer sample with the same arguments, got {trials}."
        )
    return _extended(path, None if steps is None else int(steps), Given(**given))


def revive(
    directory: str | os.PathLike[str],
    numbers: Sequence[int],
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
    """Train trials to the end that the sweep in `directory` pruned.

        pruner = sweep.SuccessiveHalving()
        sweep.run(task, trials, pruner=pruner, directory="digits", keep_pruned=True)
        result = sweep.revive("digits", [3, 17])

    They go on from where they were pruned, without the pruner: their numbers are, bit
    for bit, those of a sweep without one, in blocks of the same size. All seeds and
    folds of a setting are revived together. A sweep that has not ended is trained to
    its end first. `extend` trains those on that were trained to the end.

    Args:
      directory: of `run` with `keep_pruned`.
      numbers: of trials, as the table's column `trial` has them.
      task, trials, trust, folds, block: as in `resume`.
      devices, memory, progress, callbacks: as in `run`.

    Returns:
      The result of the whole sweep, as of `run`.

    Raises:
      ValueError: a trial was not pruned, or its state was not kept; or as in `resume`.
      FileNotFoundError, BlockingIOError: as in `resume`.
    """
    given = dict(locals())
    check_given(revive, given)
    path, asked = Path(given.pop("directory")), set(map(int, given.pop("numbers")))
    return _revived(path, asked, Given(**given))


def _went_on(directory: Path, given: Given) -> SweepResult:
    """Continue all parts of a sweep, and return their result."""
    return _joined(directory, _parts(directory, given))


def _extended(directory: Path, steps: int | None, given: Given) -> SweepResult:
    """Train a sweep for more steps, then its trials that are new."""
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
        if new and not parts[-1].info["interrupted"]:
            first = 1 + max(map(max, numbers_of(sweeps_of(directory))))
            was = found(directory, _of_part(headers, 0, given))
            each = len(was.every) // len(was.trials)
            numbers = tuple(range(first, first + each * len(new)))
            plan = alike(was.plan, given.block).changed(numbers=numbers)
            path = next_of(directory, len(parts))
            rest = given.devices, given.memory, given.progress, given.callbacks
            parts.append(trained(plan, new, path, False, *rest))
    return _joined(directory, parts)


def _revived(directory: Path, asked: set[int], given: Given) -> SweepResult:
    """Train a sweep to its end, then the trials that are asked for."""
    with keeping_programs(PROGRAMS):
        parts = _parts(directory, given)
        if parts[-1].info["interrupted"]:
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
        # Trials of one part that were pruned together go on together.
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
            segments, _ = read_segments(paths[of], lambda *_: None)
            ends = [bool(segment.arrays["pruned"][row]) for segment in segments]
            each = len(places[of]) // len(headers[of]["trials"])
            settings = together.setdefault((of, ends.index(True)), [])
            settings += [row // each] * (row // each not in settings)
        for (of, segment), settings in together.items():
            if parts[-1].info["interrupted"]:
                break
            own, path = _of_part(headers, of, given), next_of(directory, len(parts))
            parts.append(revived(paths[of], path, settings, segment, own))
    return _joined(directory, parts)


def _parts(
    directory: Path, given: Given, steps: int | None = None
) -> list[SweepResult]:
    """Continue the parts of a sweep in turn, all to the same number of steps.

    What comes after one that is interrupted is as its record has it.
    """
    headers, parts = _headers(directory), list[SweepResult]()
    most = max(header["options"]["steps"] for header in headers)
    for number, path in enumerate(sweeps_of(directory)):
        if not (parts and parts[-1].info["interrupted"]):
            own = _of_part(headers, number, given)
            parts.append(went_on(path, own, max(most, steps or 0)))
        elif has_segment(path):
            later = loaded(path)
            info = {**later.info, "interrupted": True}
            parts.append(dataclasses.replace(later, info=info))
    return parts


def _joined(directory: Path, parts: Sequence[SweepResult]) -> SweepResult:
    """Return the results of a sweep's parts as one."""
    if len(parts) == 1:
        return parts[0]
    numbers = numbers_of(sweeps_of(directory)[: len(parts)])
    return merged(parts, None, parts[-1].info["interrupted"], numbers)


def _headers(directory: Path) -> list[dict[str, Any]]:
    """Return what a resume finds each part of a sweep by."""
    return [found_by(read_header(path), path) for path in sweeps_of(directory)]


def _settings(headers: Sequence[dict[str, Any]]) -> int:
    """Return the settings of all parts."""
    return 1 + max(max(_own_settings(headers, n)) for n in range(len(headers)))


def _own_settings(headers: Sequence[dict[str, Any]], part: int) -> list[int]:
    """Return the places of a part's settings among those of all parts."""
    header = headers[part]
    each = len(header["fingerprint"]["trials"]) // max(len(header["trials"]), 1)
    numbers = header["options"].get("numbers") or range(len(header["trials"]) * each)
    return [number // max(each, 1) for number in numbers[:: max(each, 1)]]


def _of_part(headers: Sequence[dict[str, Any]], part: int, given: Given) -> Given:
    """Return what a part goes on with: of the trials that are given, its own."""
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
    """Return whether a value is a number of trials, or a list of them."""
    if is_integer(value):
        return 1 <= value <= MOST_TRIALS
    return isinstance(value, Sequence) and all(isinstance(v, Trial) for v in value)
