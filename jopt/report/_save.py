"""Write the files of `SweepResult.save`: tables, curves, pictures, page and models."""

import csv
import importlib.util
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jopt.core import PyTree
from jopt.report._page import drawing, write
from jopt.report._record import Record
from jopt.sweep import (
    PICTURES,
    Model,
    SweepResult,
    file_name,
    in_words,
    remove,
    replacing,
    save_record,
    write_arrays,
)

NEEDED = ("altair", "vl_convert")  # packages for pictures and the page


def save(result: SweepResult, directory: Path, keep: int) -> list[Path]:
    """Write all files into `directory`, made if it does not exist; return them."""
    best = result.top(keep)  # first, since `keep` may be refused
    save_record(result, directory)
    written = [
        _table(result, directory / "trials.csv"),
        _curves(result, directory / "curves.npz"),
        _json(result.info, directory / "sweep.json"),
        _json(result.best_as_dict() or {"trial": None}, directory / "best.json"),
    ]
    if result.lineage is not None:
        written.append(_json(result.lineage.as_dict(), directory / "lineage.json"))
    if all(map(importlib.util.find_spec, NEEDED)):
        record = Record.of(result)
        written += _pictures(record, directory)
        written.append(write(record, directory / "report.html"))
    if result.has_models(best):  # otherwise the saved models stay
        save_models(result, best, directory / "best")
    return written


def overview(result: SweepResult, hyperparameter: str | None = None) -> Any:
    """Return the chart of `SweepResult.plot`."""
    return drawing().overview(result, hyperparameter)


def _pictures(record: Record, directory: Path) -> list[Path]:
    """Write `<hyperparameter>.png` for the main one, `curves.png`, and `front.png`."""
    figures = drawing()
    name = figures.main_hyperparameter(record)
    charts = {"curves": figures.curves(record, by=name), "front": figures.front(record)}
    if name is not None:
        charts[file_name(name, PICTURES)] = figures.response(record, name)
    written = []
    for file, chart in charts.items():
        if chart is not None:
            written.append(directory / f"{file}.png")
            with replacing(written[-1]) as partial, partial.open("wb") as picture:
                picture.write(figures.png(figures.alone(chart, record)))
    return written


def save_models(
    result: SweepResult, trials: Sequence[int], directory: Path
) -> list[Path]:
    """Write an orbax checkpoint of each trial's model: `directory/1`, `2`, ...

    Each is {"params": ..., "model_state": ...}, dicts of arrays by name, whatever the
    framework of the model. If the task is not supervised learning, it is {"model":
    ...}. An existing `directory` is replaced.

        saved = orbax.checkpoint.StandardCheckpointer().restore(directory / "1")
        nnx.update(model, *nnx.restore_int_paths(saved).values())  # Flax nnx
        module.apply({"params": saved["params"], **saved["model_state"]}, x)  # linen

    Raises OSError if the models cannot be written; then `directory` is unchanged.
    """
    made = directory.with_name(f"{directory.name}.partial")
    try:
        remove(made)
        made.mkdir(parents=True)
        for rank, trial in enumerate(trials, start=1):
            model = result.model(trial)
            if isinstance(model, Model):
                model = {
                    name: _as_dicts(part) for name, part in model._asdict().items()
                }
            else:
                model = {"model": _as_dicts(model)}
            write_arrays(made.absolute() / str(rank), model)
        remove(directory)
        made.rename(directory)
    except OSError as error:
        shutil.rmtree(made, ignore_errors=True)
        raise OSError(
            f"The models cannot be written to {directory}: {error.strerror or error}"
        ) from error
    return [directory / str(rank) for rank in range(1, len(trials) + 1)]


def _as_dicts(tree: PyTree) -> PyTree:
    """Return an nnx state as dicts of arrays; other trees are unchanged."""
    nnx = sys.modules.get("flax.nnx")  # loaded already if the tree is an nnx state
    if nnx is not None and isinstance(tree, nnx.State):
        return nnx.to_pure_dict(tree)
    return tree


def _table(result: SweepResult, path: Path) -> Path:
    with (
        replacing(path) as partial,
        partial.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(result.table)
        writer.writerows(zip(*result.table.values(), strict=True))
    return path


def _curves(result: SweepResult, path: Path) -> Path:
    arrays = {
        "trial": result.table["trial"],
        "train_loss": result.curves,
        "valid_steps": result.valid_steps,
    }
    for kind, metrics in (("valid", result.valid), ("train", result.train)):
        for name, values in metrics.items():
            key = f"{kind}_{name}"  # a metric may be named `steps`
            arrays[key if key not in arrays else f"{kind}_metric_{name}"] = values
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    return path


def _json(value: Any, path: Path) -> Path:
    with replacing(path) as partial:
        partial.write_text(in_words(value, indent=2) + "\n", encoding="utf-8")
    return path
