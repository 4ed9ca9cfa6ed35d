"""The best trials' models on the disk, for code that knows nothing of jopt."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jopt.core import PyTree
from jopt.sweep import write_arrays

if TYPE_CHECKING:
    from jopt.sweep import SweepResult


def save(result: "SweepResult", trials: Sequence[int], directory: Path) -> list[Path]:
    """Write an orbax checkpoint of each trial's model: `directory/1`, `2`, ...

    Each is {"params": ..., "model_state": ...}, dicts of arrays by name, whatever
    framework the model is of. What is in `directory` already is replaced.

        saved = orbax.checkpoint.StandardCheckpointer().restore(directory / "1")
        nnx.update(model, *nnx.restore_int_paths(saved).values())  # Flax nnx
        module.apply({"params": saved["params"], **saved["model_state"]}, x)  # linen

    Raises an OSError in a sentence if they cannot be written; what is there stays.
    """
    made = directory.with_name(f"{directory.name}.partial")
    try:
        if made.exists():
            shutil.rmtree(made)
        made.mkdir(parents=True)
        for rank, trial in enumerate(trials, start=1):
            params, state = result.params(trial), result.model_state(trial)
            model = {"params": as_dicts(params), "model_state": as_dicts(state)}
            write_arrays(made.absolute() / str(rank), model)
        if directory.exists():
            shutil.rmtree(directory)
        made.rename(directory)
    except OSError as error:
        shutil.rmtree(made, ignore_errors=True)
        raise OSError(
            f"The models cannot be written to {directory}: {error.strerror or error}"
        ) from error
    return [directory / str(rank) for rank in range(1, len(trials) + 1)]


def as_dicts(tree: PyTree) -> PyTree:
    """Return an nnx state as dicts of arrays; other trees as they are."""
    nnx = sys.modules.get("flax.nnx")  # loaded by whoever has a state of it
    if nnx is not None and isinstance(tree, nnx.State):
        return nnx.to_pure_dict(tree)
    return tree
