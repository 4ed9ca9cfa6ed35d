"""How long until the first step: tracing, lowering, compiling?

optimizer    clip + adamw alone, on leaves of 32 by 32: `jit(step).trace()`, `.lower()`
             and `.compile()`, jopt's with small leaves in a vector and gradients in
             that layout, as step.py has it; by leaf, with gradients by leaf
train step   the first call of a whole step, until its results are there: jopt's looks
             into the compiled program once, too

JAX's caches are emptied before each; the libraries take turns, after a round that is
not counted. Seconds are medians. Nothing is read from a compilation cache on disk.

    python bench/compile.py
    python bench/compile.py --quick
"""

import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from models import Model, mlp, optimizer_step
from record import NO_SLOWER, Record, arguments, progress
from train_step import Training, by_hand, transformations

import jopt

SIDE = 32
MANY = 20.0  # aim, at 1,000 leaves
STAGES = ("trace", "lower", "compile")
Measuring = Callable[[], dict[str, float]]


def optimizer(library: Any, tx: Any, params: Any, grads: Any) -> Measuring:
    """Return what measures the stages of an update's compilation."""
    state = tx.init(params)
    # Shapes are enough, and no array is kept.
    shapes = jax.eval_shape(lambda *trees: trees, params, state, grads)
    step = optimizer_step(library, tx)

    def measure() -> dict[str, float]:
        times = [time.perf_counter()]
        traced = jax.jit(step, donate_argnums=(0, 1)).trace(*shapes)
        times.append(time.perf_counter())
        lowered = traced.lower()
        times.append(time.perf_counter())
        lowered.compile()
        times.append(time.perf_counter())
        pairs = zip(STAGES, times, times[1:], strict=False)
        return {stage: after - before for stage, before, after in pairs}

    return measure


def optimizers(leaves: int) -> dict[str, Measuring]:
    """Return the measurements of clip + adamw on so many leaves, by library."""
    params = {f"w{i:05}": jnp.ones((SIDE, SIDE)) for i in range(leaves)}
    ours, theirs = transformations(clip=True)
    packed = jopt.pack(params, ours)
    return {
        "optax": optimizer(optax, theirs, params, params),
        "jopt": optimizer(jopt, ours, packed, packed),
        "by leaf": optimizer(jopt, ours, packed, params),
    }


def first_calls(model: Model) -> dict[str, Measuring]:
    """Return the measurements of a training's first call, by library."""
    ours, theirs = transformations(clip=True)

    def optaxs() -> dict[str, float]:
        held = jax.tree.map(jnp.copy, model.params)
        both = held, theirs.init(held)
        return {"first call": Training(by_hand(model, theirs), both, model.batch).first}

    def jopts() -> dict[str, float]:
        state = jopt.TrainState.create(model.params, ours)
        step = jopt.train_step(model.loss)
        return {"first call": Training(step, state, model.batch).first}

    return {"optax": optaxs, "jopt": jopts}


def measured(name: str, ways: dict[str, Measuring], rounds: int) -> dict[str, Any]:
    """Return the median seconds of each way's stages, and of all of them together."""
    seen: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    order, chance = list(ways), random.Random(0)
    for number in range(rounds):
        chance.shuffle(order)
        for way in order:
            jax.clear_caches()
            seen[way].append(ways[way]())
            total = sum(seen[way][-1].values())
            progress(f"{name}, round {number + 1} of {rounds}: {way} {total:.2f} s")
    return {
        way: {stage: statistics.median(t[stage] for t in times) for stage in times[0]}
        | {"all": statistics.median(sum(t.values()) for t in times)}
        for way, times in seen.items()
    }


def main() -> None:
    options = arguments(__doc__).parse_args()
    record = Record("compile", __doc__, options)
    for ways in (optimizers(3), first_calls(mlp(3, 8))):
        measured("warming up", ways, 1)
    counts = {100: 2, 1000: 1} if options.quick else {10: 9, 100: 5, 1000: 3}
    for leaves, rounds in counts.items():
        name = f"clip+adamw alone, {leaves:,} leaves"
        stages = measured(name, optimizers(leaves), rounds)
        totals = {way: times["all"] for way, times in stages.items()}
        aim = MANY if leaves == 1000 else NO_SLOWER
        record.add(name, totals, aim, "s", stages=stages, rounds=rounds)
    models = [(mlp(50, 64), 1 if options.quick else 3)]
    models += [] if options.quick else [(mlp(300, 32), 3)]
    for model, rounds in models:
        name = f"first train step, {model.name}, {model.leaves} leaves"
        stages = measured(name, first_calls(model), rounds)
        totals = {way: times["all"] for way, times in stages.items()}
        record.add(name, totals, NO_SLOWER, "s", stages=stages, rounds=rounds)
    record.write()


if __name__ == "__main__":
    main()
