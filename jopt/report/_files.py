"""A sweep's files: the table, the curves, how it ran, the winner, pictures."""

import csv
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jopt.report import _models as models, _strict_json as strict_json

if TYPE_CHECKING:
    from jopt.sweep import SweepResult


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
        from jopt.report import _plots as plots

        written += plots.save(result, directory)
    if importlib.util.find_spec("plotly") is not None:
        from jopt.report import _page as page

        written.append(page.save(result, directory))
    models.save(result, best, directory / "best")
    return written


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
