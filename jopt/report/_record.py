"""A sweep's result without the models, also as read from the files it was saved to."""

import csv
import dataclasses
import json
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jopt.sweep import SweepResult, column_of, winner
from jopt.sweep.store import plain

NOT_FINITE = ("nan", "inf", "-inf")  # numbers that JSON has no word for, as strings
FIRST = ("trial", "status", "steps", "train_loss")  # columns that every table has


@dataclasses.dataclass(frozen=True)
class Record:
    """A sweep's results; the same made of a result as of the files it was saved to.

    Args:
      table: as in `SweepResult`; hyperparameters that are neither numbers nor bools are
        text.
      curves: as in `SweepResult`.
      valid: as in `SweepResult`.
      valid_steps: as in `SweepResult`.
      info: the content of sweep.json.
      best: the content of best.json, or None if there is no winner.
    """

    table: dict[str, np.ndarray]
    curves: np.ndarray  # float32[trials, steps]
    valid: dict[str, np.ndarray]  # each float32[trials, segments]
    valid_steps: np.ndarray  # int[segments]
    info: dict[str, Any]
    best: dict[str, Any] | None = None

    @classmethod
    def of(cls, result: SweepResult) -> "Record":
        """Return the record of a result."""
        return cls(
            table={name: _text(column) for name, column in result.table.items()},
            curves=np.asarray(result.curves, np.float32),
            valid={k: np.asarray(v, np.float32) for k, v in result.valid.items()},
            valid_steps=np.asarray(result.valid_steps),
            info=json.loads(to_json(result.info)),
            best=json.loads(to_json(result.best_as_dict())),
        )

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> "Record":
        """Return the record of the sweep that was saved to `directory`.

        Raises:
          FileNotFoundError: if a file is missing; best.json may be, if there is no
            winner.
          ValueError: if a file is damaged or of another sweep.
        """
        directory = Path(directory)
        best = directory / "best.json"
        info = _read_json(_there(directory / "sweep.json"))
        table = _read_table(_there(directory / "trials.csv"), info)
        arrays = _read_curves(_there(directory / "curves.npz"), len(table["trial"]))
        found = _read_json(best) if best.is_file() else {}
        return cls(
            table=table,
            curves=arrays["train_loss"],
            valid={
                name.removeprefix("valid_"): values
                for name, values in arrays.items()
                if name.startswith("valid_") and name != "valid_steps"
            },
            valid_steps=arrays["valid_steps"],
            info=info,
            best=None if found.get("trial") is None else found,
        )

    @property
    def metric(self) -> str:
        """The column of the table that ranks the trials."""
        name = f"valid_{self.info.get('metric', 'loss')}"
        return name if name in self.table else "train_loss"

    @property
    def mode(self) -> str:
        """Which values of the metric are better: "min" or "max"."""
        return "max" if self.info.get("mode") == "max" else "min"

    @property
    def hyperparameters(self) -> list[str]:
        """The names of the columns of hyperparameters, in the table's order."""
        names = list(self.table)
        return names[names.index("trial") + 1 : names.index("seed")]

    @property
    def varying(self) -> list[str]:
        """The hyperparameters that take several values."""
        table = self.table
        return [n for n in self.hyperparameters if len(set(table[n].tolist())) > 1]

    def settings(self) -> list[np.ndarray]:
        """Return the rows of each setting, whose trials differ by seed or fold.

        `info` numbers the setting of each trial, because two factories may take the
        same numbers; in older records without it the hyperparameters tell them apart.
        """
        columns = [self.table[name].tolist() for name in self.hyperparameters]
        known = self.info.get("setting") or list(map(repr, zip(*columns, strict=True)))
        rows: dict[Any, list[int]] = {}
        for row, setting in enumerate(known or [0] * len(self.table["trial"])):
            rows.setdefault(setting, []).append(row)
        return [np.asarray(found) for found in rows.values()]

    def best_of_each(self) -> dict[str, list[tuple[Any, int | None, float]]]:
        """Return the best of each value of the hyperparameters that make kinds.

        These are the varying ones that are no numbers, and those by which the programs
        of the sweep differ.

        Returns:
          By the name of a column: the values, each with its best trial and the mean of
          what ranks over that one's setting, the best first; None and NaN where all
          diverged or are out of bounds. Empty if the sweep has no winner.
        """
        info = self.info
        groups = info.get("grouped_by") or []
        apart = {column_of(name) for group in groups for name in group["because"]}
        goal: Any = self.metric.removeprefix("valid_"), self.mode
        means, sign = np.empty(len(self.table["trial"])), 1 if goal[1] == "min" else -1
        for rows in self.settings():
            means[rows] = self.table[self.metric][rows].astype(float).mean()
        found: dict[str, list[tuple[Any, int | None, float]]] = {}
        for name in self.varying if self.best else ():
            if self.table[name].dtype.kind in "iuf" and name not in apart:
                continue
            settings: dict[str, list[np.ndarray]] = {}
            for rows in self.settings():
                settings.setdefault(str(self.table[name][rows[0]]), []).append(rows)
            told = ["" if v is None else v for v in info.get("space", {}).get(name, [])]
            for lacking in {"", "nan"}.difference(told):  # trials that have no value
                settings.pop(lacking, None)
            found[name] = []
            for own in settings.values():
                best = winner(own, self.table, *goal)
                mean = np.nan if best is None else float(means[best])
                value = self.table[name][own[0][0]].item()
                found[name].append((value, best, mean))
            found[name].sort(key=lambda each: (each[1] is None, sign * each[2]))
        return found


def _text(column: np.ndarray) -> np.ndarray:
    """Return a column as it is read from a file: text, unless numbers or bools."""
    if column.dtype.kind in "biuf":
        return column
    return np.asarray(["" if value is None else str(value) for value in column])


def to_json(value: Any, indent: int | None = None) -> str:
    """Return a value as strict JSON for people and any parser, as `plain` makes it."""
    return json.dumps(plain(value, exact=False), indent=indent, allow_nan=False)


def _there(path: Path) -> Path:
    if path.is_file():
        return path
    raise FileNotFoundError(
        f"{path.parent} has no {path.name}; give the directory of a sweep that ended, "
        "with trials.csv, curves.npz and sweep.json."
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except ValueError as error:  # also of text that is not UTF-8
        raise _damaged(path, str(error)) from error
    if not isinstance(found, dict):
        raise _damaged(path, "it holds no JSON object")
    return found


def _read_table(path: Path, info: dict[str, Any]) -> dict[str, np.ndarray]:
    try:
        with path.open(newline="") as file:
            names, *rows = csv.reader(file)
    except ValueError as error:  # also where there is no first line
        raise _damaged(path, str(error)) from error
    missing = [name for name in (*FIRST, "seed") if name not in names]
    if missing:
        raise _damaged(path, f"it has no column {missing[0]}")
    if not rows or {len(row) for row in rows} != {len(names)}:
        raise _damaged(path, "it has no rows, or rows of different lengths")
    space = info.get("space", {})
    metrics = {n for n in names if n.startswith(("train_", "valid_"))}
    words = {n for n in names if _are_words(space.get(n, []))}
    table: dict[str, np.ndarray] = {}
    for name, column in zip(names, zip(*rows, strict=True), strict=True):
        kinds = [np.float32] if name in metrics - set(space) else [np.int64, np.float64]
        table[name] = _parsed(column, [] if name in words else kinds)
    return table


def _are_words(values: Sequence[Any]) -> bool:
    """Return whether a hyperparameter's values, as in sweep.json, are text."""
    text = all(isinstance(value, str) for value in values)
    return text and not set(values) <= set(NOT_FINITE)


def _parsed(column: Sequence[str], kinds: Sequence[type]) -> np.ndarray:
    """Return text as bools, as the first of the number types that fits, or as text."""
    if kinds and set(column) <= {"True", "False"}:
        return np.asarray([value == "True" for value in column])
    for kind in kinds:
        try:
            return np.asarray([kind(value) for value in column])
        except (ValueError, OverflowError):
            continue
    return np.asarray(column)


def _read_curves(path: Path, trials: int) -> dict[str, np.ndarray]:
    try:
        # Opened here: np.load leaves a damaged file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as held:
            arrays = {name: held[name] for name in held.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise _damaged(path, str(error)) from error
    for name in ("train_loss", "valid_steps"):
        if name not in arrays:
            raise _damaged(path, f"it has no array {name}")
    segments = len(arrays["valid_steps"])
    for name, array in arrays.items():
        if name.startswith("valid_") and name != "valid_steps":
            fits = array.shape == (trials, segments)
        else:
            fits = name == "valid_steps" or len(array) == trials
        if not fits:
            raise _damaged(
                path,
                f"its {name} has shape {array.shape} where trials.csv has "
                f"{trials} rows",
            )
    return arrays


def _damaged(path: Path, why: str) -> ValueError:
    return ValueError(
        f"{path} cannot be read ({' '.join(why.split())}); it is damaged or of another "
        "sweep: restore it, or run the sweep again."
    )
