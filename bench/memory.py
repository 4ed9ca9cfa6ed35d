"""How many bytes does a training keep, and how many more does a step need?

A chain of 12 layers of 512 and 4 examples, 3.2 million parameters, so that activations
are next to nothing. Nothing is timed.

optimizer    of the optimizer's state, a parameter (`jopt.memory` for jopt's)
kept         of parameters and optimizer together, a parameter
temporary    what the compiled step needs beside its arguments and results, a parameter,
             by its own analysis: gradients (4), and what is copied
             jopt's step has all gradients before it updates anything, to see whether
             they are finite; optax's without clipping needs not: no aim there
in place     the share of what is kept that the step writes where it was

    python bench/memory.py
    python bench/memory.py --quick          the same
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from models import Model, mlp
from record import NO_SLOWER, Record, arguments
from train_step import by_hand

import jopt

RATE, NORM, EVERY = 1e-3, 1.0, 8
LOW_BIT = 2.1  # aim: bytes a parameter at most, of an 8-bit AdamW


class Bytes(NamedTuple):
    """Bytes a parameter, and the share written in place."""

    optimizer: float
    kept: float
    temporary: float
    in_place: float


def size(tree: Any) -> int:
    """Return the bytes of a tree's arrays."""
    return sum(x.nbytes for x in jax.tree.leaves(tree))


def of_optax(model: Model, tx: Any) -> Bytes:
    """Return what a step written by hand keeps and needs."""
    state = tx.init(model.params)
    kept = size((model.params, state))
    compiled = by_hand(model, tx).lower((model.params, state), model.batch).compile()
    return _bytes(model, size(state), kept, compiled)


def of_jopt(model: Model, tx: Any, accumulate: int = 1, **precision: Any) -> Bytes:
    """Return what jopt's step keeps and needs."""
    state = jopt.TrainState.create(
        model.params, tx, precision=jopt.Precision(**precision)
    )
    step = jopt.train_step(model.loss, accumulate=accumulate)
    parts = jopt.memory(state).parts
    optimizer = parts["opt_state"]
    kept = optimizer + parts["packed"]
    return _bytes(model, optimizer, kept, step.lower(state, model.batch).compile())


def _bytes(model: Model, optimizer: int, kept: int, compiled: Any) -> Bytes:
    analysis = compiled.memory_analysis()
    return Bytes(
        optimizer / model.size,
        kept / model.size,
        analysis.temp_size_in_bytes / model.size,
        min(1.0, analysis.alias_size_in_bytes / kept),
    )


def clipped(library: Any, tx: Any) -> Any:
    return library.chain(library.clip_by_global_norm(NORM), tx)


WAYS: dict[str, Callable[[Model], Bytes]] = {
    "optax adamw": lambda model: of_optax(model, optax.adamw(RATE)),
    "jopt  adamw": lambda model: of_jopt(model, jopt.adamw(RATE)),
    "optax clip+adamw": lambda m: of_optax(m, clipped(optax, optax.adamw(RATE))),
    "jopt  clip+adamw": lambda m: of_jopt(m, clipped(jopt, jopt.adamw(RATE))),
    "optax adamw, mu bfloat16": lambda m: of_optax(
        m, optax.adamw(RATE, mu_dtype=jnp.bfloat16)
    ),
    "jopt  adamw, mu bfloat16": lambda m: of_jopt(m, jopt.adamw(RATE), mu="bfloat16"),
    "optax MultiSteps of 8": lambda m: of_optax(
        m, optax.MultiSteps(optax.adamw(RATE), EVERY)
    ),
    "jopt  accumulate=8": lambda model: of_jopt(model, jopt.adamw(RATE), EVERY),
    "jopt  low_bit, 8": lambda model: of_jopt(model, jopt.low_bit(jopt.adamw(RATE))),
    "jopt  low_bit, 4": lambda model: of_jopt(
        model, jopt.low_bit(jopt.adamw(RATE), bits=4)
    ),
} | {
    f"jopt  bfloat16, {rounding}": functools.partial(
        lambda model, rounding: of_jopt(
            model, jopt.adamw(RATE), params="bfloat16", rounding=rounding
        ),
        rounding=rounding,
    )
    for rounding in ("master", "kahan", "stochastic")
}
MULTI = "MultiSteps of 8"
PAIRS = [
    ("adamw", "adamw"),
    ("clip+adamw", "clip+adamw"),
    ("adamw, mu bfloat16", "adamw, mu bfloat16"),
    (MULTI, "accumulate=8"),
]


def main() -> None:
    options = arguments(__doc__).parse_args()
    record = Record("memory", __doc__, options)
    # As many examples as microbatches.
    model = mlp(12, 512, EVERY)
    found = {way: measure(model) for way, measure in WAYS.items()}
    print(
        f"{'bytes a parameter':34}{'optimizer':>10}{'kept':>8}{'temporary':>11}"
        f"{'in place':>10}"
    )
    for way, row in found.items():
        print(
            f"{way:34}{row.optimizer:10.2f}{row.kept:8.2f}{row.temporary:11.2f}"
            f"{row.in_place:10.0%}"
        )
    print()
    record.more["bytes_a_parameter"] = {
        way: row._asdict() for way, row in found.items()
    }
    for theirs, ours in PAIRS:
        both = {"optax": found[f"optax {theirs}"], "jopt": found[f"jopt  {ours}"]}
        for field in ("kept", "temporary"):
            values = {library: getattr(row, field) for library, row in both.items()}
            early = field == "temporary" and theirs not in ("clip+adamw", MULTI)
            aim = None if early else NO_SLOWER
            record.add(f"bytes {field}, {ours}", values, aim, "a parameter")
    low = found["jopt  low_bit, 8"].optimizer
    record.add_bound("optimizer state, AdamW in 8 bits", low, "bytes/par", LOW_BIT)
    share = min(row.in_place for way, row in found.items() if way.startswith("jopt"))
    record.add_bound("state that a step copies", 1 - share, "of it", 0.0)
    record.write()


if __name__ == "__main__":
    main()
