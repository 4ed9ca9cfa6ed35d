"""The rows of the contract tables: `rows/ROOM.py` has the rows of `jopt/ROOM/`.

A row is a name and a function of the library, often with what else tests must know
about it. In each file the rows stand in the order of the files that they test, and each
of these files is a heading: the rows of `jopt/optimizers/_adam.py` stand under
`# _adam.py` in `rows/optimizers.py`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax


@dataclass(frozen=True)
class Row:
    """A transformation or schedule, and how it differs from most others.

    `make` takes a library: jopt, optax, or the float64 `reference`. The names and
    arguments are the same in all three, so that one function makes all three. The bare
    function is a row too, with the defaults below.
    """

    make: Callable[[Any], Any]
    idle: frozenset[str] | set[str] = frozenset()
    """Paths of the numbers that do not affect four steps of training."""
    real: bool = False
    """Complex leaves are not tested."""
    optax: bool = True
    """optax has it, with the same meaning."""
    reference: bool = True
    """`reference` has it."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of `update`."""
    in_state: bool = False
    """Its numbers are read from the state once the state is made."""
    counters: tuple[str, ...] = ("count",)
    """Fields of the state that are the same whatever the numbers are."""
    low: frozenset[str] = frozenset()
    """Fields of the state that have the dtype of low-precision params."""
    rtol: float = 1e-6
    """Greatest relative difference between a float32 run and the float64 reference."""
    scale: float = 2e-7
    """Difference allowed besides, as a fraction of the coordinate's greatest value."""
    mapped: float = 2e-7
    """Difference of mapped from single runs, as a fraction of the greatest value."""

    def __call__(self, lib: Any) -> Any:
        return self.make(lib)


def contrib(lib: Any) -> Any:
    """Return where the library has the names of `optax.contrib`."""
    return getattr(lib, "contrib", lib)


def matrices(params: Any) -> Any:
    """Return a mask that is True for the leaves with at least two axes."""
    return jax.tree.map(lambda p: len(p.shape) > 1, params)


def harmonic(count: Any) -> Any:
    """A schedule that is a plain function."""
    return 1 / (1 + count)


def cosine(lib: Any) -> Any:
    """Return a schedule for the learning rate."""
    return lib.warmup_cosine_decay_schedule(0.01, 0.1, 2, 40, 0.02)
