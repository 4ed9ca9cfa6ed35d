"""How long does it take to find a mask, by counting and by sorting?

A mask that is false at the k smallest of n random scores. k is data, and differs by
trial where there are several.

counting    jopt's: the k-th smallest bit by bit, a count each, then ties by their place
one sort    the k-th smallest by a sort, and what is greater: ties are not told apart
two sorts   the rank of each score, by sorting the scores and then their order

All three are compiled, and agree on scores that differ. The aim is that counting, which
is exact, takes no longer than one sort, which is not.

    python bench/masks.py
    python bench/masks.py --quick
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from record import Record, arguments, progress
from turns import rounds

from jopt.compress._masks import smallest

SIZES = [(10_000, 1), (1_000_000, 1), (10_000, 64), (1_000_000, 64)]
QUICK = [(1_000, 1), (1_000, 4)]


def counting(scores: jax.Array, k: jax.Array) -> jax.Array:
    return ~smallest([scores], k)[0]


def one_sort(scores: jax.Array, k: jax.Array) -> jax.Array:
    ordered = jnp.sort(scores)
    return (k == 0) | (scores > ordered[jnp.maximum(k - 1, 0)])


def two_sorts(scores: jax.Array, k: jax.Array) -> jax.Array:
    return jnp.argsort(jnp.argsort(scores, stable=True)) >= k


WAYS: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "counting": counting,
    "one sort": one_sort,
    "two sorts": two_sorts,
}


def given(size: int, trials: int) -> tuple[jax.Array, jax.Array]:
    """Return scores that all differ, and how many of each trial are left out."""
    chance = np.random.default_rng(0)
    # Of the same spread of magnitudes as weights: from 1e-6 to 1.
    levels = np.geomspace(1e-6, 1, size).astype(np.float32)
    scores = np.stack([chance.permutation(levels) for _ in range(trials)])
    ks = np.linspace(0, 0.99 * size, trials + 1)[1:].round()
    return jnp.asarray(scores), jnp.asarray(ks, jnp.int32)


def calls(program: Callable[..., Any], *args: Any) -> Callable[[int], None]:
    """Return a function of a number that makes as many calls and waits for them."""

    def run(number: int) -> None:
        jax.block_until_ready([program(*args) for _ in range(number)])

    return run


def measured(size: int, trials: int, seconds: float) -> dict[str, dict[str, Any]]:
    """Return the times of the three ways, which must agree."""
    args = given(size, trials)
    programs = {name: jax.jit(jax.vmap(way)) for name, way in WAYS.items()}
    masks = {name: np.asarray(program(*args)) for name, program in programs.items()}
    pruned = size - masks["counting"].sum(axis=1)
    assert (pruned == np.asarray(args[1])).all(), "counting does not prune k"
    for name, mask in masks.items():
        assert (mask == masks["counting"]).all(), f"counting and {name} do not agree"
    runs = {name: calls(program, *args) for name, program in programs.items()}
    return rounds(runs, seconds)


def main() -> None:
    options = arguments(__doc__).parse_args()
    record = Record("masks", __doc__, options)
    print(f"{'trials x scores, ms':24}" + "".join(f"{name:>14}" for name in WAYS))
    rows = []
    for size, trials in QUICK if options.quick else SIZES:
        name = f"{trials} x {size:,}"
        progress(name)
        times = measured(size, trials, 1 if options.quick else 60)
        medians = {way: row["median_ms"] for way, row in times.items()}
        print(f"{name:24}" + "".join(f"{ms:14.3f}" for ms in medians.values()))
        rows.append((name, medians["counting"] / medians["one sort"], times))
    print()
    for name, ratio, times in rows:
        measure = f"counting, of the time of one sort, {name}"
        record.add_bound(measure, ratio, "times", 1.0, times=times)
    record.write()


if __name__ == "__main__":
    main()
