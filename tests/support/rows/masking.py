"""Wrappers that choose leaves."""

from typing import Any

import jax
from row import Row, matrices, rows


def by_axes(params: Any) -> Any:
    """Labels as a function: how many axes, in words."""
    words = ("frozen", "vector", "matrix")
    return jax.tree.map(lambda p: words[min(len(p.shape), 2)], params)


def vectors(params: Any) -> Any:
    """A mask as a function: True where a leaf has fewer than two axes."""
    return jax.tree.map(lambda p: len(p.shape) < 2, params)


ROWS = rows(
    {
        "masked": lambda lib: lib.masked(
            lib.chain(lib.clip_by_global_norm(0.5), lib.adam(1e-2)), matrices
        ),
        "partition": Row(
            lambda lib: lib.partition(
                {
                    "matrix": lib.adamw(1e-2, weight_decay=0.01),
                    "vector": lib.sgd(0.1, momentum=0.9),
                    "frozen": lib.set_to_zero(),
                },
                by_axes,
            ),
            idle={
                ".transforms[1].transforms[0].decay",
                ".transforms[1].transforms[1].learning_rate",
            },
        ),
        "freeze": lambda lib: lib.chain(lib.sgd(0.1, 0.9), lib.freeze(vectors)),
        # optax takes a function for a mask that is true everywhere.
        "selective_transform": Row(
            lambda lib: lib.selective_transform(lib.adam(1e-2), freeze_mask=vectors),
            optax=False,
        ),
    }
)
