"""Store the results of a block in a study, and build the study's result."""

import base64
import dataclasses
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jopt.sweep._history import KINDS, History
from jopt.sweep._merged import merged
from jopt.sweep._plan import Plan
from jopt.sweep._result import SweepResult
from jopt.sweep._state import ADDED, NOTES, RUN, State, asked_misfit, asked_of, run_of
from jopt.sweep._trial import Trial, repeated
from jopt.sweep.fleet._fleet import RESULT, SHOWN, Fleet, Row
from jopt.sweep.store import misfit, packed, surroundings, unpacked

CURVE = 4096  # most losses that a study keeps of a trial; of more, every n-th
MOST = 1 << 28  # most bytes of a trial's result
_TOLD = {**NOTES, "run": (RUN, None), "test": {str: {str: float}}}
_LANE = {"seed": range(2**32), "fold": range(2**31)}


def described(plan: Plan, trial: Trial) -> dict[str, Any]:
    """Return the part of a study's header that its result needs."""
    members = repeated([trial], plan.seeds, plan.folds)
    alone = plan.changed(pruner=None)
    held = {
        "of": {**asked_of(alone, members), "pruner": None},
        "members": [{"seed": each.seed, "fold": each.fold} for each in members],
        "surroundings": surroundings(),
    }
    if plan.pruner is not None:
        held["of"]["pruner"] = repr(plan.pruner)
    return held


def told(result: SweepResult) -> Iterator[str]:
    """Yield the results of each setting of a block, as text for the study.

    The text is a segment file with all segments, compressed, in base 85.
    """
    history = result._history
    assert history is not None
    every = _every(history.losses.shape[1])
    best = result.best
    for number, rows in enumerate(result._settings):
        arrays = {
            "losses": history.losses[rows][:, every - 1 :: every],
            "steps": history.steps[rows],
            "died": np.where(history.diverged, history.died, -1)[rows],
            "pruned": history.pruned[rows],
        }
        for kind in KINDS.values():
            held = getattr(history, kind).values()
            arrays |= {f"{kind}-{n}": v[rows] for n, v in enumerate(held)}
        tested = {}
        if best is not None and best.trial in rows:
            tested = {str(rows.tolist().index(best.trial)): best.test}
        notes = {
            **{names: list(getattr(history, kind)) for names, kind in KINDS.items()},
            "generation": [],
            "run": run_of(result.info) if number == 0 else None,
            "test": tested,
        }
        yield base64.b85encode(zlib.compress(packed(notes, arrays))).decode()


def result_of(fleet: Fleet) -> SweepResult:
    """Return the result of all that a study's workers have stored so far.

    It is in the order of the blocks, whichever worker trained them. A setting in
    training has trials with the status `interrupted` and with the mean of its seeds and
    folds. The models stay with the workers that trained them.

    Raises:
      ValueError: there are no results yet, or the study is damaged.
    """
    header, rows = fleet.header(), fleet.rows()
    if header is None:
        raise ValueError(
            f"The study in {fleet.place} has not begun yet; look again in a moment."
        )
    said = asked_misfit({"asked": header.get("of")})
    said = said or misfit(header, {"members": [_LANE], "surroundings": dict})
    if said is not None:
        raise ValueError(f"The header of the study in {fleet.place} is damaged: {said}")
    observed = [row for row in rows if row.runs and row.trial.intermediate_values]
    done = [row for row in rows if row.is_told]
    seen = sorted([*observed, *done], key=lambda row: row[:2])
    blocks = dict.fromkeys(row.block for row in seen)
    parts = [_part(header, [r for r in seen if r.block == block]) for block in blocks]
    if not parts:
        raise ValueError(
            f"The study in {fleet.place} has no segment yet; look again when the first "
            "has ended."
        )
    result = merged(parts, None, interrupted=len(done) < len(rows))
    owners = [row.trial.user_attrs["worker"] for row in done]
    workers = {name: owners.count(name) for name in sorted(set(owners))}
    return dataclasses.replace(result, info={**result.info, "workers": workers})


def _part(header: Mapping[str, Any], rows: Sequence[Row]) -> SweepResult:
    """Return the result of the rows of a block."""
    lanes = header["members"]
    numbers = [number for number in range(len(rows)) for _ in lanes]
    asked = {**header["of"], "trials": len(numbers), "setting": numbers}
    trials = [Trial(_setting(row), {}, **lane) for row in rows for lane in lanes]
    state, tests = State(asked, trials, ()), dict[int, dict[str, float]]()
    run: dict[str, Any] = {**_NO_RUN, **header["surroundings"]}
    for number, row in enumerate(rows):
        first = number * len(lanes)
        notes = _fill(state, first, len(lanes), row)
        if notes is not None:
            run = notes["run"] or run
            tests |= {first + int(lane): v for lane, v in notes["test"].items()}
    best = state.winner(state.table())
    test = {} if best is None else tests.get(best, {})
    return state.result({**run, "interrupted": False}, best, test)


def _setting(row: Row) -> dict[str, Any]:
    """Return the setting of a row as tables show it."""
    held = row.trial.system_attrs.get(SHOWN)
    if (said := misfit(held, {str: (bool, float, str, None)})) is not None:
        raise ValueError(f"Trial {row.trial.number} of the study is damaged: {said}.")
    return held


def _fill(state: State, first: int, lanes: int, row: Row) -> dict[str, Any] | None:
    """Write a row into the history; return its notes if its results are stored."""
    whole = state.history
    history = History(
        lanes,
        whole.losses.shape[1],
        whole.segments,
        whole.length,
        *state.goal,
    )
    notes = None
    if row.runs:
        values = np.full((lanes, whole.segments), np.nan, whole.dtype)
        for step, value in row.trial.intermediate_values.items():
            if 1 <= step <= whole.segments:
                values[:, step - 1] = value if math.isfinite(value) else np.nan
        history.valid[whole.metric] = values
        made = np.isfinite(values).sum(axis=1)
        history.steps = np.where(made > 0, whole.ends()[made - 1], 0)
    else:
        notes = _take(history, row)
    whole.take(np.arange(first, first + lanes), history)
    return notes


def _take(history: History, row: Row) -> dict[str, Any]:
    """Write a row's stored results into a history; return its notes."""
    try:
        letters = row.trial.system_attrs[RESULT]
        unpacking = zlib.decompressobj()
        content = unpacking.decompress(base64.b85decode(letters), MOST)
        notes, arrays = unpacked(content)
        if (said := _misfit(history, notes, arrays)) is not None:
            raise ValueError(said)
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise ValueError(
            f"Trial {row.trial.number} of the study is damaged: {error}."
        ) from error
    every = _every(history.losses.shape[1])
    history.losses[:, every - 1 :: every] = arrays["losses"]
    history.steps, died = np.array(arrays["steps"]), arrays["died"]
    history.died = np.where(died < 0, history.segments, died)
    history.pruned = np.array(arrays["pruned"])
    for names, kind in KINDS.items():
        for n, name in enumerate(notes.get(names, [])):
            getattr(history, kind)[name] = arrays[f"{kind}-{n}"]
    return notes


def _misfit(
    history: History, notes: dict[str, Any], arrays: Mapping[str, np.ndarray]
) -> str | None:
    """Return what is wrong with a row's stored results; None for nothing."""
    if (said := misfit(notes, _TOLD)) is not None:
        return said
    lanes, steps = history.losses.shape
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(
        ("steps", "died", "pruned"), (lanes,)
    )
    shapes["losses"] = lanes, steps // _every(steps)
    for names, kind in KINDS.items():
        names = (f"{kind}-{n}" for n in range(len(notes.get(names, []))))
        shapes |= dict.fromkeys(names, (lanes, history.segments))
    for name, shape in shapes.items():
        if name not in arrays or arrays[name].shape != shape:
            return f"its array {name} is missing, or of another shape"
    if arrays["steps"].max() > steps or arrays["died"].max() >= history.segments:
        return "an array is out of range"
    if history.metric not in notes["metrics"]:
        return f"it has no metric {history.metric}"
    return None


def _every(steps: int) -> int:
    """Return n, where a study keeps every n-th loss."""
    return math.ceil(steps / CURVE)


_NO_RUN = {
    "block": [],
    "strategy": [],
    "convolves": False,
    "groups": 0,
    "grouped_by": [],
    "block_search": [],
    "segment_compiles": 0,
    "compile_seconds": 0.0,
    "train_seconds": 0.0,
    "trial_steps_this_run": 0,
    "resumed_after": None,
    "unsaved": None,
    **ADDED,
}
