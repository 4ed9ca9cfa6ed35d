"""The paths of the built-in data, and their split and scaling."""

import importlib.util
from pathlib import Path

import numpy as np

Examples = tuple[np.ndarray, np.ndarray]  # inputs, labels: int32


def of_sklearn(name: str) -> Path:
    """Return the path of a data file in scikit-learn.

    The package itself is not imported, since that takes longer than to compile a sweep.

    Raises:
      ModuleNotFoundError: scikit-learn is not installed.
    """
    found = importlib.util.find_spec("sklearn")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("No module named 'sklearn'", name="sklearn")
    return Path(found.origin).parent / "datasets" / "data" / name


def split(
    inputs: np.ndarray, labels: np.ndarray, parts: tuple[float, float] = (0.6, 0.2)
) -> dict[str, Examples]:
    """Split examples into `train`, `valid` and `test`, and scale the inputs.

    The split is always the same, and stratified by class. The inputs are standardized
    by the mean and the standard deviation of the training split, two scalars.

    Args:
      inputs: the examples on axis 0.
      labels: the classes, integers (examples,).
      parts: the fractions of `train` and `valid`.

    Returns:
      (inputs, labels) of each split, float32 and int32.
    """
    chosen = rows_of_parts(labels, parts)
    mean, std = inputs[chosen["train"]].mean(), inputs[chosen["train"]].std()
    scaled = ((inputs - mean) / std).astype(np.float32)
    return {name: (scaled[r], labels[r].astype(np.int32)) for name, r in chosen.items()}


def rows_of_parts(
    labels: np.ndarray, parts: tuple[float, float], seed: int = 0
) -> dict[str, np.ndarray]:
    """Divide the rows into `train`, `valid` and `test` at random, by class.

    Args:
      labels: the classes, integers (examples,).
      parts: the fractions of `train` and `valid` of each class.
      seed: the seed of the order.

    Returns:
      The rows of each part, ascending.
    """
    random = np.random.RandomState(seed)  # the same stream in every version of NumPy
    rows: dict[str, list[np.ndarray]] = {"train": [], "valid": [], "test": []}
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        ends = np.round(np.cumsum(parts) * len(members)).astype(int)
        for name, part in zip(rows, np.split(members, ends), strict=True):
            rows[name].append(part)
    return {name: np.sort(np.concatenate(part)) for name, part in rows.items()}
