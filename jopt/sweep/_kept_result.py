"""A result as a record on the disk, and the result that a record holds."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jopt.core import FilePath, checked
from jopt.sweep._result import SweepResult
from jopt.sweep._state import (
    ASKED,
    State,
    asked_misfit,
    notes_of,
    segment_misfit,
    shown_trials,
)
from jopt.sweep._trial import Trial
from jopt.sweep.population import Lineage
from jopt.sweep.store import (
    HEADER,
    RECORD,
    Kept,
    Store,
    damaged,
    decode,
    encode,
    misfit,
    read_end,
    read_header,
    read_segments,
)

_TRIAL = {"setting": {str: (bool, float, str, None)}, "seed": range(2**32)}
_TRIAL |= {"fold": range(2**31)}
# What is known of a run: of which programs, how long, on what.
RUN = {
    "block": [range(2**31)],
    "strategy": [str],
    "groups": range(2**31),
    "grouped_by": [{"trials": range(2**31), "block": range(2**31), "because": dict}],
    "segment_compiles": range(2**31),
    "compile_seconds": float,
    "block_search": [dict],
    "train_seconds": float,
    "trial_steps_this_run": range(2**63),
    "trial_steps_per_second": float,
    "interrupted": bool,
    "resumed_after": (range(2**31), None),
    "unsaved": (str, None),
    "versions": {str: str},
    "device": {"platform": str, "kind": str, "count": range(2**31)},
    "matmul_precision": (str, None),
}
END = {"best": (range(2**31), None), "test": {str: float}, **RUN}


@checked
def load(directory: FilePath) -> SweepResult:
    """Return the result that the record in `directory` holds, also during the sweep.

        result = sweep.load("sweeps/digits-1")
        result.save("sweeps/digits-1")  # pictures and the page, anew

    Nothing is imported, and nothing is computed anew. Hyperparameters are as tables
    show them, so that a function is its name. The models are not at hand: they are in
    `best/1`, and `resume` has them all. Of a sweep that has not ended, the result is
    that of its last segment, with the trials `interrupted` and the winner not tested.

    Args:
      directory: of `run`, or of `SweepResult.save`.

    Raises:
      FileNotFoundError: the directory has no record.
      ValueError: the record is damaged, is of another version of jopt, or has no
        segment yet; the sentence names the file.
    """
    path = Path(directory) / RECORD
    held = read_header(directory)
    said = misfit(held, {"trials": [_TRIAL]}) or asked_misfit(held)
    if said is None and len(held["trials"]) != held["asked"]["trials"]:
        said = f"it has {len(held['trials'])} trials"
    if said is not None:
        raise damaged(path / "header.json", said)
    asked = held["asked"]
    _check_size(path, asked)
    segments, said = read_segments(directory, functools.partial(_misfit, asked))
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
        best = state.winner(state.table())
        return state.result(segments[-1].notes["run"], best, {})
    best, test = end.pop("best"), end.pop("test")
    if best is not None and best >= len(trials):
        raise damaged(path / "end.json", f"there is no trial {best}")
    return state.result(end, best, test)


def save_record(result: SweepResult, directory: Path) -> None:
    """Write the record of a result into a directory, without models.

    A record from which the sweep can be resumed stays as it is.

    Raises:
      FileExistsError: the directory has the record of another sweep.
      OSError: it cannot be written.
    """
    trials: Sequence[Trial] = result.trials
    asked = {name: result.info[name] for name in ASKED}
    if result.lineage is not None:  # as they began
        began = zip(trials, result.lineage.settings, strict=True)
        trials = [Trial(s, {}, seed=t.seed, fold=t.fold) for t, s in began]
    looked_at = {"asked": asked, "trials": shown_trials(trials)}
    if (directory / RECORD / HEADER).exists():
        there = read_header(directory)
        if there.get("sweep") is not None:
            if {name: there.get(name) for name in looked_at} != decode(
                encode(looked_at)
            ):
                raise FileExistsError(
                    f"{directory} has the record of another sweep; save this result "
                    "to another directory."
                )
            return
    run = {name: result.info[name] for name in RUN}
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
    """Return what is wrong with a segment's file, its notes on the run as well."""
    return segment_misfit(asked, segment, kept) or misfit(kept.notes, {"run": RUN})


def _check_size(path: Path, asked: dict[str, Any]) -> None:
    """Raise a ValueError if curves are claimed that the files cannot make."""
    files = (path / "segments").glob("*.npz")
    there = sum(file.stat().st_size for file in files)
    claimed = 8 * asked["trials"] * (asked["steps"] + 20 * asked["segments"])
    if claimed > max(1 << 30, 1000 * there):
        raise damaged(
            path / "header.json", f"its results would take {claimed / 1e9:.0f} GB"
        )
