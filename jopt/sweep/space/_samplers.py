"""Samplers: choose points of the unit cube, which become the settings of a sweep."""

import contextlib
import dataclasses
import inspect
from typing import Any, Protocol

import numpy as np


class Sampler(Protocol):
    """Choose points: Random, Sobol, Halton, LatinHypercube or a class of your own."""

    def points(self, n: int, dimensions: int, seed: int) -> np.ndarray:
        """Return float64[n, dimensions] in [0, 1), the same for the same arguments."""
        ...


@dataclasses.dataclass(frozen=True)
class Random:
    """Draw every number independently; point i is the same for any number of points."""

    def points(self, n: int, dimensions: int, seed: int) -> np.ndarray:
        return np.random.default_rng(seed).random((n, dimensions))


@dataclasses.dataclass(frozen=True)
class Sobol:
    """Draw a scrambled Sobol sequence, which fills the cube more evenly than chance.

    Point i is the same for every number of points. The first 2^m points are balanced:
    each half, quarter, ... of each axis holds exactly its share of them. Any other
    number of points is the start of the next power of two and is not balanced: the
    halves hold different shares, and a mean over the points has a greater error.

    Needs SciPy (`pip install 'jopt[samplers]'`), which has tables for 21,201 axes.

    Sobol' 1967, https://doi.org/10.1016/0041-5553(67)90144-9; scrambling: Matoušek
    1998, https://doi.org/10.1006/jcom.1998.0489.
    """

    def points(self, n: int, dimensions: int, seed: int) -> np.ndarray:
        engine = _qmc("Sobol").Sobol(dimensions, rng=seed)
        # Draw a power of two: SciPy warns of other sizes.
        return engine.random_base2((n - 1).bit_length())[:n]


@dataclasses.dataclass(frozen=True)
class Halton:
    """Draw a scrambled Halton sequence, which is even for any number of points.

    Point i is the same for every number of points. Axis j uses the j-th prime as its
    base: beyond about ten axes, only hundreds of points are more even than chance.

    Needs SciPy (`pip install 'jopt[samplers]'`).

    Halton 1960, https://doi.org/10.1007/BF01386213; scrambling: Owen 2017,
    https://arxiv.org/abs/1706.02808.
    """

    def points(self, n: int, dimensions: int, seed: int) -> np.ndarray:
        engine = _qmc("Halton").Halton(dimensions, rng=seed)
        return engine.random(n)


@dataclasses.dataclass(frozen=True)
class LatinHypercube:
    """Split each axis into n equal intervals, and draw one number from each interval.

    All points depend on their number n: a sample of 32 does not contain one of 16.

    Needs SciPy (`pip install 'jopt[samplers]'`).

    McKay et al. 1979, https://doi.org/10.2307/1268522.
    """

    def points(self, n: int, dimensions: int, seed: int) -> np.ndarray:
        qmc = _qmc("LatinHypercube")
        engine = qmc.LatinHypercube(dimensions, rng=seed)
        # SciPy's cells are open below and closed above, so 1 is possible.
        return np.minimum(engine.random(n), np.nextafter(1.0, 0.0))


def _qmc(sampler: str) -> Any:
    with contextlib.suppress(ImportError):
        from scipy.stats import qmc  # an extra, and slow to load

        if "rng" in inspect.signature(qmc.Sobol).parameters:  # since SciPy 1.15
            return qmc
    raise ImportError(
        f"{sampler} needs SciPy, 1.15 or later; pip install 'jopt[samplers]'."
    )
