"""Fixed splits and scales of the built-in data."""

import numpy as np

Examples = tuple[np.ndarray, np.ndarray]  # inputs, labels: int32


def split(
    inputs: np.ndarray, labels: np.ndarray, parts: tuple[float, float] = (0.6, 0.2)
) -> dict[str, Examples]:
    """Return `train`, `valid` and `test`: always the same, every class in proportion.

    parts: the fractions of the first two. Inputs become float32, less the training
    split's mean and over its standard deviation, two scalars.
    """
    random = np.random.RandomState(0)  # its stream is frozen across versions of NumPy
    rows: dict[str, list[np.ndarray]] = {"train": [], "valid": [], "test": []}
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        ends = np.round(np.cumsum(parts) * len(members)).astype(int)
        for name, part in zip(rows, np.split(members, ends), strict=True):
            rows[name].append(part)
    chosen = {name: np.sort(np.concatenate(part)) for name, part in rows.items()}
    mean, std = inputs[chosen["train"]].mean(), inputs[chosen["train"]].std()
    scaled = ((inputs - mean) / std).astype(np.float32)
    return {name: (scaled[r], labels[r].astype(np.int32)) for name, r in chosen.items()}
