"""What the trials of each setting, its seeds and folds, come to together."""

from collections.abc import Sequence

import numpy as np


def reduced(
    ufunc: np.ufunc, values: np.ndarray, settings: Sequence[np.ndarray]
) -> np.ndarray:
    """Return `ufunc` over the trials of each setting.

    values: (trials, ...). settings: the trials of each, at least one. Returns
    (settings, ...).
    """
    firsts = np.cumsum([0, *map(len, settings[:-1])])
    return ufunc.reduceat(values[np.concatenate(settings)], firsts, axis=0)


def means(values: np.ndarray, settings: Sequence[np.ndarray]) -> np.ndarray:
    """Return the means over the trials of each setting, as `reduced`."""
    sizes = np.asarray([len(rows) for rows in settings], values.dtype)
    sums = reduced(np.add, values, settings)
    return sums / sizes.reshape(-1, *[1] * (values.ndim - 1))
