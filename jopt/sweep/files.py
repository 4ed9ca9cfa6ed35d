"""A sweep's files: the table, the curves, how it ran, the winner, pictures."""

import csv
import importlib.util
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jopt.sweep import models, strict_json

if TYPE_CHECKING:
    from jopt.sweep.result import SweepResult


def save(result: "SweepResult", directory: Path, keep: int) -> list[Path]:
    """Write everything into `directory`, made if it is not there; return the files."""
    best = result.top(keep)  # first: it may be refused
    directory.mkdir(parents=True, exist_ok=True)
    written = [
        _table(result, directory / "trials.csv"),
        _curves(result, directory / "curves.npz"),
        _json(result.info, directory / "sweep.json"),
        _json(_best(result), directory / "best.json"),
    ]
    if result.lineage is not None:
        written.append(_json(result.lineage.as_dict(), directory / "lineage.json"))
    if importlib.util.find_spec("matplotlib") is not None:
        from jopt.sweep import plots  # matplotlib is an extra, and slow to load

        written += plots.save(result, directory)
    if importlib.util.find_spec("plotly") is not None:
        from jopt.sweep import report  # plotly is an extra, and slow to load

        written.append(report.save(result, directory))
    models.save(result, best, directory / "best")
    return written


def remove(directory: Path) -> None:
    """Remove what `save` wrote of another sweep, and nothing else."""
    names = ["curves.npz", "sweep.json", "best.json", "lineage.json", "report.html"]
    table = directory / "trials.csv"
    if table.is_file():
        with table.open(newline="") as file:
            columns = next(csv.reader(file), [])
        names += ["trials.csv", "curves.png", *(f"{name}.png" for name in columns)]
    for name in names:
        (directory / name).unlink(missing_ok=True)
    for name in ("best", "tensorboard"):
        shutil.rmtree(directory / name, ignore_errors=True)


def _table(result: "SweepResult", path: Path) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(result.table)
        writer.writerows(zip(*result.table.values(), strict=True))
    return path


def _curves(result: "SweepResult", path: Path) -> Path:
    arrays = {
        "trial": result.table["trial"],
        "train_loss": result.curves,
        "valid_steps": result.valid_steps,
        **{f"valid_{name}": values for name, values in result.valid.items()},
    }
    np.savez_compressed(path, allow_pickle=False, **arrays)
    return path


def _best(result: "SweepResult") -> dict[str, Any]:
    if result.best is None:
        return {"trial": None}
    best = result.best
    return {
        "trial": best.trial,
        "hyperparameters": best.hyperparameters,
        "seed": best.seed,
        "fold": best.fold,
        "valid": best.valid,
        "test": best.test,
    }


def _json(value: Any, path: Path) -> Path:
    path.write_text(strict_json.dumps(value, indent=2) + "\n")
    return path
