"""Save a result as a record on disk, and load the result of a record."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jopt.core import FilePath, PyTree, checked
from jopt.sweep._array_files import read_tree
from jopt.sweep._json import decode, encode
from jopt.sweep._merged import (
    confirmed_of,
    has_segment,
    is_search,
    merged,
    parts_of,
    sweeps_of,
)
from jopt.sweep._result import SweepResult
from jopt.sweep._state import (
    ADDED,
    ASKED,
    RUN,
    State,
    asked_misfit,
    notes_of,
    run_of,
    segment_misfit,
    shown_trials,
)
from jopt.sweep._supervised import is_supervised, training_of
from jopt.sweep._task import Task
from jopt.sweep._trial import Trial
from jopt.sweep.fleet import Fleet, Place, is_storage, result_of
from jopt.sweep.population import Lineage
from jopt.sweep.store import (
    HEADER,
    RECORD,
    Kept,
    Store,
    damaged,
    misfit,
    read_end,
    read_header,
    read_segments,
)

_TRIAL = {"setting": {str: (bool, float, str, None)}, "seed": range(2**32)}
_TRIAL |= {"fold": range(2**31)}
_NUMBERED = {
    "trials": list,
    "sweep": ({"options": {"numbers?": ([range(2**31)], None)}}, None),
}
_IN_MEMORY: dict[str, Any] = {"options": {}}  # a sweep without saved states
END = {"best": (range(2**31), None), "test": {str: float}, **RUN}


@checked
def load(directory: FilePath, *, task: Task | None = None) -> SweepResult:
    """Return the result that the record in `directory` holds, also during the sweep.

        result = sweep.load("sweeps/digits-1")
        result.save("sweeps/digits-1", keep=0)  # draws the pictures and the page again
        sweep.load("sweeps/digits-1", task=digits()).predict(images)

    Nothing is imported, and nothing is recomputed. Hyperparameters are as tables show
    them, so a function is its name. An unfinished sweep gives the result of its last
    segment, with the trials `interrupted` and the winner not tested.

    Without a task the result has no models; `resume` has them all. With the task, it
    has the winner's model, for `result.predict(batch)` and
    `result.model(result.best.trial)`. The model is read from `best/1`, which
    `SweepResult.save` writes at the end of a sweep. If the task is not supervised
    learning, the model is a tree of dicts and lists.

    Args:
      directory: the `directory` of `run`, `search` or `SweepResult.save`; or the
        storage of a study that workers share, a journal's path or a URL.
      task: the winner's task: the sweep's, or the one in the trial's `Setup`.

    Raises:
      FileNotFoundError: the directory has no record; with a task, no saved model.
      ValueError: the record is damaged, was written by another version of jopt, or has
        no segment yet; the message names the file. With a task: there is no winner, or
        its model fits another task; the message names the first array that differs.
    """
    if is_storage(directory):
        if task is not None:
            raise ValueError(
                f"load: task must be left out with the storage {Place.of(directory)}, "
                "which keeps no models; train the winner again by sweep.run."
            )
        return result_of(Fleet(Place.of(directory)))
    result = _searched if is_search(Path(directory)) else _in_parts
    found = result(Path(directory))
    return found if task is None else _with_winner(found, Path(directory), task)


def _searched(directory: Path) -> SweepResult:
    """Return the result of a search, from the batches that have a segment."""
    batches = [loaded(path) for path in parts_of(directory)]
    if not batches:
        raise ValueError(
            f"The search in {directory} has no segment yet; look again when the first "
            "has ended."
        )
    confirmed = confirmed_of(directory)
    parts = batches if confirmed is None else [*batches, loaded(confirmed)]
    interrupted = parts[-1].info["interrupted"]
    return merged(batches, None if confirmed is None else parts[-1], interrupted)


def _in_parts(directory: Path) -> SweepResult:
    """Return the result of an extended sweep, from its parts that have a segment."""
    paths = sweeps_of(directory)
    paths = [path for path in paths if path == directory or has_segment(path)]
    parts = [loaded(path) for path in paths]
    if len(parts) == 1:
        return parts[0]
    interrupted = any(part.info["interrupted"] for part in parts)
    return merged(parts, None, interrupted, numbers_of(paths))


def numbers_of(paths: Sequence[Path]) -> list[np.ndarray]:
    """Return the trial numbers of each part of a sweep."""
    found, known = list[np.ndarray](), set[int]()
    for path in paths:
        held, file = read_header(path), path / RECORD / HEADER
        if (said := misfit(held, _NUMBERED)) is not None:
            raise damaged(file, said)
        trials = len(held["trials"])
        own = (held["sweep"] or _IN_MEMORY)["options"].get("numbers")
        own = list(range(trials)) if own is None else own
        if not own or len(set(own)) != trials or len(own) != trials:
            raise damaged(file, "its numbers are not of its trials")
        known |= set(own)
        if len(known) != 1 + max(known):
            raise damaged(file, "its numbers leave trials out")
        found.append(np.asarray(own))
    return found


def loaded(directory: Path) -> SweepResult:
    """Return the result that the record of a sweep holds."""
    path = directory / RECORD
    held = read_header(directory)
    said = misfit(held, {"trials": [_TRIAL]}) or asked_misfit(held)
    if said is None and len(held["trials"]) != held["asked"]["trials"]:
        said = f"it has {len(held['trials'])} trials"
    if said is not None:
        raise damaged(path / "header.json", said)
    asked = held["asked"]
    _check_size(path, asked)
    segments, said = read_segments(
        directory, held["id"], functools.partial(_misfit, asked)
    )
    if said is not None:
        raise ValueError(said)
    if not segments:
        raise ValueError(
            f"{path} has no segment yet; look again when the sweep's first has ended."
        )
    trials = [
        Trial(each["setting"], {}, seed=each["seed"], fold=each["fold"])
        for each in held["trials"]
    ]
    state = State(asked, trials, ())
    state.restore(segments)
    end = read_end(directory, END)
    if end is None:
        best, test = state.winner(state.table()), {}
        end = segments[-1].notes["run"]
    else:
        best, test = end.pop("best"), end.pop("test")
    if best is not None and best >= len(trials):
        raise damaged(path / "end.json", f"there is no trial {best}")
    added = {name: value for name, value in ADDED.items() if name not in end}
    return state.result({**end, **added}, best, test)


def _with_winner(result: SweepResult, directory: Path, task: Task) -> SweepResult:
    """Return a result with the winner's model, read from `best/1`."""
    path = directory.absolute() / "best" / "1"
    if result.best is None:
        raise ValueError(
            f"{directory} has no winner: every trial diverged or is out of bounds."
        )
    if not path.is_dir():
        raise FileNotFoundError(
            f"{directory} has no saved model, best/1; save the result of a sweep that "
            "has ended: result.save(directory)."
        )
    if is_supervised(task):
        training = training_of(task).begun(path, f"load: the model in {path}")
        model: PyTree = training.start(jax.random.key(0))
    else:
        held = read_tree(path)
        if set(held) != {"model"}:
            raise ValueError(
                f"load: the model in {path} must be of the task {task.name}, got one "
                "of supervised learning; give the task that the sweep was run with."
            )
        model = held["model"]
    alone = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], model)
    models = [(np.asarray([result.best.trial]), alone)]
    return dataclasses.replace(result, _models=models, _task=task)


def save_record(result: SweepResult, directory: Path) -> None:
    """Write the record of a result into a directory, without models.

    If the sweep can be resumed from the record there, the record is left unchanged.

    Raises:
      FileExistsError: the directory has the record of another sweep.
      OSError: the record cannot be written.
    """
    if is_search(directory) or len(sweeps_of(directory)) > 1:
        there = load(directory)
        if not np.array_equal(there.curves, result.curves, equal_nan=True):
            raise FileExistsError(
                f"{directory} has another sweep or search; save this result to "
                "another directory."
            )
        return
    trials: Sequence[Trial] = result.trials
    asked = {name: result.info[name] for name in ASKED}
    if result.lineage is not None:  # as they began
        began = zip(trials, result.lineage.settings, strict=True)
        trials = [Trial(s, {}, seed=t.seed, fold=t.fold) for t, s in began]
    looked_at = {"asked": asked, "trials": shown_trials(trials)}
    if (directory / RECORD / HEADER).exists():
        there = read_header(directory)
        equal = {n: there.get(n) for n in looked_at} == decode(encode(looked_at))
        if there.get("sweep") is not None and not equal:
            raise FileExistsError(
                f"{directory} has the record of another sweep; save this result "
                "to another directory."
            )
        if there.get("sweep") is not None or (
            equal
            and np.array_equal(loaded(directory).curves, result.curves, equal_nan=True)
        ):
            return
    run = run_of(result.info)
    history, lineage = result._history, result.lineage or Lineage(())
    assert history is not None
    best = result.best
    with Store(directory) as store:
        store.begin({"sweep": None, **looked_at})
        for segment in range(asked["segments"]):
            notes = {**notes_of(segment, history, lineage), "run": run}
            store.keep(segment, notes, history.segment(segment))
        found = (None, {}) if best is None else (best.trial, best.test)
        store.end({"best": found[0], "test": found[1], **run})


def _misfit(asked: dict[str, Any], segment: int, kept: Kept) -> str | None:
    """Return what is wrong with a segment's file or its notes; None for nothing."""
    return segment_misfit(asked, segment, kept) or misfit(kept.notes, {"run": RUN})


def _check_size(path: Path, asked: dict[str, Any]) -> None:
    """Raise ValueError if the header claims larger curves than the files can hold."""
    files = (path / "segments").glob("*.npz")
    there = sum(file.stat().st_size for file in files)
    claimed = 8 * asked["trials"] * (asked["steps"] + 20 * asked["segments"])
    if claimed > max(1 << 30, 1000 * there):
        raise damaged(
            path / "header.json", f"its results would take {claimed / 1e9:.0f} GB"
        )
