"""Matrices along the axes of an array, for the preconditioned methods."""

import numpy as np


def apply(x, matrices):
    """Multiply `x` along each axis by its matrix."""
    for axis, matrix in enumerate(matrices):
        x = np.moveaxis(np.tensordot(matrix, x, (1, axis)), 0, axis)
    return x


def moments(x):
    """For each axis, the inner products of the slices of `x` along it."""
    rows = [np.moveaxis(x, i, 0).reshape(d, -1) for i, d in enumerate(x.shape)]
    return [(r @ r.conj().T).real for r in rows]


def diagonal(x):
    """Whether a leaf like `x` has no matrices."""
    return x.ndim < 2 or x.size == 0 or np.iscomplexobj(x)
