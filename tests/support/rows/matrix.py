"""Optimizers that orthogonalize matrices."""

from dataclasses import dataclass
from typing import Any

import jax
from row import Row, contrib, rows


def two_axes(params: Any) -> Any:
    """A mask as a function: True where a leaf has exactly two axes."""
    return jax.tree.map(lambda p: len(p.shape) == 2, params)


@dataclass(frozen=True)
class EachColumn:
    """Dimension numbers as a function: a cube is a matrix for each of its columns."""

    numbers: Any

    def __call__(self, params: Any) -> Any:
        found = {2: self.numbers(0, 1), 3: self.numbers(0, 2)}
        return jax.tree.map(lambda p: found.get(len(p.shape)), params)


# Newton's own polynomial: with half of any of its numbers, it still converges.
CUBIC = (1.5, -0.5, 0.0)
# A step multiplies a small singular value, and its rounding.
ROUGH: Any = {"rtol": 5e-6, "scale": 5e-6}
ADAM = {
    f".transforms[1].transforms[{part}].{name}"
    for part, names in enumerate(
        (("b1", "b2", "eps", "eps_root"), ("weight_decay",), ("learning_rate",))
    )
    for name in names
}

ROWS = rows(
    {
        # optax divides by zero on the matrix without entries.
        "muon": Row(
            lambda lib: contrib(lib).muon(0.01, CUBIC, weight_decay=0.1, adam_b1=0.8),
            idle=ADAM,
            optax=False,
            **ROUGH,
        ),
        "muon, each column": Row(
            lambda lib: contrib(lib).muon(
                0.01,
                (CUBIC, (1.25, -0.25, 0.0)),
                beta=0.8,
                eps=1e-3,
                nesterov=False,
                preconditioning="aol",
                adam_weight_decay=0.1,
                muon_weight_dimension_numbers=EachColumn(
                    contrib(lib).MuonDimensionNumbers
                ),
                consistent_rms=0.2,
            ),
            idle={*ADAM, ".transforms[0].transforms[0].eps"},
            **ROUGH,
        ),
        "normuon": Row(
            lambda lib: lib.normuon(0.01, CUBIC, weight_decay=0.1),
            idle=ADAM,
            optax=False,
            **ROUGH,
        ),
        "scale_by_muon": Row(
            lambda lib: lib.masked(
                lib.chain(lib.scale_by_muon(CUBIC, 2, adaptive=True), lib.scale(0.01)),
                two_axes,
            ),
            optax=False,
            **ROUGH,
        ),
        "normalize_neurons": Row(
            lambda lib: lib.masked(
                lib.chain(lib.normalize_neurons(0.9, 1e-2, None), lib.scale(0.01)),
                two_axes,
            ),
            optax=False,
        ),
    }
)
