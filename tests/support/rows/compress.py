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


def momentum(lib: Any) -> Any:
    """Return an optimizer with a state."""
    return lib.sgd(0.1, momentum=0.9)


def rows_of(path, leaf):
    """Return whether a leaf has pairs of rows: two axes, of which the first is even."""
    return len(leaf.shape) > 1 and leaf.shape[-2] % 2 == 0


ROWS = {
    # _limit_rank.py
    "limit_rank": Row(
        lambda lib: lib.limit_rank(lib.adamw(0.1), 2, axis=last_axis), **OURS
    ),
    # _grow.py
    "grow": Row(lambda lib: lib.grow(lib.adam(1e-2), 0.5, every=2, where=True), **OURS),
    "grow, random": Row(
        lambda lib: lib.grow(
            momentum(lib),
            lib.linear_schedule(0.5, 0.75, 3),
            by="random",
            layers="even",
            every=1,
        ),
        idle={".sparsity.transition_begin"},
        **OURS,
    ),
    # _lottery.py
    "lottery": Row(
        lambda lib: lib.lottery(momentum(lib), 0.4, 2, rewind=1, where=True),
        low=frozenset({"start"}),
        **OURS,
    ),
    # _prune.py
    "prune": Row(
        lambda lib: lib.prune(lib.adamw(1e-2, weight_decay=0.1), 0.5, where=True),
        **OURS,
    ),
    "prune, cubic": Row(
        lambda lib: lib.prune(
            momentum(lib), lib.cubic_sparsity(0.8, 1, 6, 0.4), every=1, among="leaf"
        ),
        **OURS,
    ),
    "prune, channels": Row(
        lambda lib: lib.prune(
            momentum(lib), 0.5, unit=lib.Channel(0), score=lib.Movement(), every=2
        ),
        **OURS,
    ),
    "prune, blocks": Row(
        lambda lib: lib.prune(
            momentum(lib),
            lib.linear_schedule(0.25, 0.75, 3),
            unit=lib.Block((2, 1)),
            score=lib.Taylor(0.5),
            every=2,
            where=rows_of,
        ),
        idle={".score.decay", ".sparsity.transition_begin"},
        **OURS,
    ),
    "prune, groups": Row(
        lambda lib: lib.prune(
            momentum(lib), 0.5, among=lib.Groups(2), score=lib.Random(), where=rows_of
        ),
        **OURS,
    ),
    "prune, gradient": Row(
        lambda lib: lib.prune(momentum(lib), 0.5, score=lib.Gradient()), **OURS
    ),
    # _straight_through.py
    "straight_through": Row(
        lambda lib: lib.straight_through(
            lib.adam(1e-2), lib.Quantize(8, begin=2), where=True
        ),
        real=True,
        **OURS,
    ),
    "straight_through, full": Row(
        lambda lib: lib.straight_through(
            momentum(lib),
            lib.Composed(lib.Sparse(0.5), lib.Quantize(8, None, "full")),
        ),
        real=True,
        **OURS,
    ),
    "straight_through, ternary": Row(
        lambda lib: lib.straight_through(momentum(lib), lib.Ternary(0.7)),
        real=True,
        **OURS,
    ),
    "straight_through, sign": Row(
        lambda lib: lib.straight_through(momentum(lib), lib.Sign()), real=True, **OURS
    ),
    "straight_through, codebook": Row(
        lambda lib: lib.straight_through(momentum(lib), lib.Codebook(8)),
        real=True,
        **OURS,
    ),
    "straight_through, low rank": Row(
        lambda lib: lib.straight_through(momentum(lib), lib.LowRank(2)),
        real=True,
        **OURS,
    ),
}
