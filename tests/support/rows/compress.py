"""Rows of the transformations in `jopt/compress/`.

They are not optax's, and `reference` has none of them: the tests in `tests/compress/`
compare them with NumPy and PyTorch.
"""

from typing import Any

from rows import Row

OURS: dict[str, Any] = {"optax": False, "reference": False}


def last_axis(path, leaf):
    """Return the last axis of a leaf, None of a scalar."""
    return -1 if leaf.shape else None


ROWS = {
    # _limit_rank.py
    "limit_rank": Row(
        lambda lib: lib.limit_rank(lib.adamw(0.1), 2, axis=last_axis), **OURS
    ),
}
