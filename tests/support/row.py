"""One row of the tables: a transformation or schedule, and what tests must know."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax


@dataclass(frozen=True)
class Row:
    """A function of a library: jopt, optax, or the float64 `reference`.

    jopt's names and arguments are optax's, and the reference has them too, so one
    function makes all three. Most rows are the bare function; what is not as usual is
    said here.
    """

    make: Callable[[Any], Any]
    idle: frozenset[str] | set[str] = frozenset()
    """Paths of the numbers that change nothing in four steps of training."""
    real: bool = False
    """It has no meaning on complex leaves."""
    optax: bool = True
    """optax has it, and means the same."""
    reference: bool = True
    """`reference` has it."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of `update`."""
    in_state: bool = False
    """Its numbers are those of the state, once that is made."""
    counters: tuple[str, ...] = ("count",)
    """Fields of the state that no number touches."""
    low: frozenset[str] = frozenset()
    """Fields of the state that are in the dtype of low-precision params."""
    rtol: float = 1e-6
    """How close to float64 a float32 run stays, relative."""
    scale: float = 2e-7
    """The same, as a fraction of the coordinate's greatest value."""
    mapped: float = 2e-7
    """How far mapped runs stay from single ones, as a fraction of the greatest."""

    def __call__(self, lib: Any) -> Any:
        return self.make(lib)


def rows(table: Mapping[str, Callable[[Any], Any]]) -> dict[str, Row]:
    """Give the bare functions of a table the usual answers."""
    return {
        name: row if isinstance(row, Row) else Row(row) for name, row in table.items()
    }


def contrib(lib: Any) -> Any:
    """Where the library has what optax has in `optax.contrib`: on top, optax apart."""
    return getattr(lib, "contrib", lib)


def matrices(params: Any) -> Any:
    """A mask as a function: True where a leaf has at least two axes."""
    return jax.tree.map(lambda p: len(p.shape) > 1, params)


def harmonic(count: Any) -> Any:
    """A schedule that is a function."""
    return 1 / (1 + count)


def cosine(lib: Any) -> Any:
    """A schedule for the learning rate."""
    return lib.warmup_cosine_decay_schedule(0.01, 0.1, 2, 40, 0.02)
