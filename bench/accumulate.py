"""What does gradient accumulation cost, over eight microbatches and one step of AdamW?

The optimizer part: 16 leaves of 1,024 by 1,024 float32, whose gradients are products
of thin matrices, written to memory as those of a model are. What making them takes, a
call a microbatch, is measured beside and taken from all. Parameters and state are
donated.

gradients    making them, and nothing else: taken from the others
addition     the sum alone, a call a microbatch: what a loop written by hand does
adamw        one step, jopt's: what is to be paid once
jopt         `jopt.train_step(loss, accumulate=8)`, a call for all eight; it leaves out
             microbatches that are not finite, and returns the norm of their mean
wrapper      `jopt.accumulate(adamw, 8)`, a call a microbatch, with the same guard
no guard     the same without
MultiSteps   `optax.MultiSteps(adamw, 8)`, a call a microbatch
in a scan    the same, one call that scans over the eight

The whole step: a chain of 50 layers of 512, eight microbatches of 32 examples, the two
jopts and optax's both. What stands as optax's is the faster of its two.

    python bench/accumulate.py
    python bench/accumulate.py --quick
"""

import argparse
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from models import Model, mlp
from record import NO_SLOWER, Record, arguments, progress
from turns import rounds, steps

import jopt

EVERY, RATE = 8, 1e-3
AIM = 8.0  # the optimizer part
THIN = 4  # the inner axis of the products


@jax.custom_vjp
def free(params: Any, factor: jax.Array) -> jax.Array:
    """Return 0, whose gradients are said to be products of thin matrices."""
    return jnp.zeros(())


def _forwards(params: Any, factor: jax.Array) -> Any:
    return jnp.zeros(()), (params, factor)


def _backwards(given: Any, _: Any) -> Any:
    params, factor = given

    def leaf(p: jax.Array) -> jax.Array:
        return (factor * p[:, :THIN]) @ p[:THIN]

    return jax.tree.map(leaf, params), jnp.zeros_like(factor)


free.defvjp(_forwards, _backwards)


def given(leaves: int, side: int) -> Model:
    """Return a model whose gradients are next to nothing but written."""
    chance = np.random.default_rng(0)
    shape = (side, side)
    params = {
        f"w{i:02}": jnp.asarray(chance.standard_normal(shape, np.float32))
        for i in range(leaves)
    }

    def loss(params: Any, batch: Any, key: Any = None) -> jax.Array:
        return free(params, jnp.mean(batch))

    batch = jnp.linspace(0.5, 1.5, EVERY)
    return Model(f"{leaves} x {side} x {side}", params, loss, batch)


Step = Callable[[Any, Any, Any], Any]


def mini(model: Model, update: Step) -> Step:
    """Return a step of (params, state, microbatch) by its gradients."""

    def step(params: Any, state: Any, batch: Any) -> Any:
        return update(jax.grad(model.loss)(params, batch), state, params)

    return step


def by(tx: Any) -> Step:
    """Return what applies an optimizer's updates."""

    def update(grads: Any, state: Any, params: Any) -> Any:
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    return update


def making(grads: Any, state: Any, params: Any) -> Any:
    return params, grads


def adding(grads: Any, state: Any, params: Any) -> Any:
    return params, jax.tree.map(jnp.add, state, grads)


class Window:
    """A program's eight microbatches: how it goes on, what it holds, what it needs."""

    def __init__(self, model: Model, step: Step, state: Any, parts: Any, scans=False):
        def scanned(params: Any, state: Any, stacked: Any) -> Any:
            body = lambda held, part: (step(*held, part), None)  # noqa: E731
            return jax.lax.scan(body, (params, state), stacked)[0]

        self.program = jax.jit(scanned if scans else step, donate_argnums=(0, 1))
        self.parts = parts
        # A program's own arrays: they are donated.
        self.held = jax.tree.map(jnp.copy, (model.params, state))
        compiled = self.program.lower(*self.held, parts[0]).compile()
        self.temporary = compiled.memory_analysis().temp_size_in_bytes

    def next(self, held: Any) -> Any:
        for part in self.parts:
            held = self.program(*held, part)
        return held


class Whole:
    """jopt's train step, which takes all eight at once."""

    def __init__(self, model: Model):
        tx = jopt.adamw(RATE)
        self.held = jopt.TrainState.create(model.params, tx)
        self.program = jopt.train_step(model.loss, accumulate=EVERY)
        self.batch = model.batch
        compiled = self.program.lower(self.held, model.batch).compile()
        self.temporary = compiled.memory_analysis().temp_size_in_bytes

    def next(self, held: Any) -> Any:
        return self.program(held, self.batch)[0]


def windows(model: Model, alone: bool) -> dict[str, Any]:
    """Return the ways to take a step of eight microbatches, by name."""
    stacked = jax.tree.map(
        lambda x: x.reshape(EVERY, x.shape[0] // EVERY, *x.shape[1:]), model.batch
    )
    parts = [jax.tree.map(lambda x, i=i: x[i], stacked) for i in range(EVERY)]
    adamw = jopt.adamw(RATE)
    multi = optax.MultiSteps(optax.adamw(RATE), EVERY)
    guarded = jopt.accumulate(adamw, EVERY)

    def window(tx: Any, parts: Any = parts, scans: bool = False) -> Window:
        return Window(model, mini(model, by(tx)), tx.init(model.params), parts, scans)

    found: dict[str, Any] = {"jopt": Whole(model)}
    found["MultiSteps"] = window(multi)
    found["in a scan"] = window(multi, [stacked], True)
    found["wrapper"] = window(guarded)
    if alone:
        zeros = jax.tree.map(jnp.zeros_like, model.params)
        bare = jopt.accumulate(adamw, EVERY, should_skip_update_fn=None)
        found["no guard"] = window(bare)
        found["gradients"] = Window(model, mini(model, making), zeros, parts)
        found["addition"] = Window(model, mini(model, adding), zeros, parts)
        found["adamw"] = window(adamw, parts[:1])
    return found


def agree(found: dict[str, Any], model: Model) -> None:
    """Raise an AssertionError if a window leads the ways to different places."""
    places = {}
    for name in ("MultiSteps", "in a scan", "wrapper", "jopt"):
        way = found[name]
        way.held = way.next(way.held)
        params = way.held.params if name == "jopt" else way.held[0]
        places[name] = jax.tree.leaves(params)[0] - jax.tree.leaves(model.params)[0]
    travelled = jnp.linalg.norm(places["MultiSteps"])
    for name, place in places.items():
        far = float(jnp.linalg.norm(place - places["MultiSteps"]) / travelled)
        assert far < 1e-2, f"MultiSteps and {name} do not agree: {far}"


def measured(
    name: str, model: Model, alone: bool, options: argparse.Namespace, record: Record
) -> None:
    """Time the ways and add a row."""
    progress(f"{name}: compiling")
    found = windows(model, alone)
    agree(found, model)
    temporary = {way: window.temporary for way, window in found.items()}
    runs = {}
    for way, window in found.items():
        runs[way] = steps(window.next, window.held)
        del window.held  # gone with the first call
    times = rounds(runs, 4 if options.quick else 25)
    medians = {way: row["median_ms"] for way, row in times.items()}
    made = medians.pop("gradients", 0.0)
    # AdamW alone makes them once.
    shares = {way: made / EVERY if way == "adamw" else made for way in medians}
    medians = {way: median - shares[way] for way, median in medians.items()}
    best = min(medians["MultiSteps"], medians["in a scan"])
    values = {"optax": best, **medians}
    aim = AIM if alone else NO_SLOWER
    record.add(name, values, aim, times=times, temporary_bytes=temporary)
    megabytes = ", ".join(f"{way} {size / 1e6:.0f}" for way, size in temporary.items())
    print(f"{'':6}temporary MB: {megabytes}")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--side", type=int, help="of the matrices; no results")
    options = parser.parse_args()
    options.quick |= options.side is not None
    record = Record("accumulate", __doc__, options)
    part = given(16, options.side or 1024)
    measured("accumulation over 8, optimizer part", part, True, options, record)
    del part
    layers, width = (4, options.side) if options.side else (50, 512)
    whole = mlp(layers, width, 32 * EVERY)
    name = f"accumulation over 8, whole step, {whole.name}"
    measured(name, whole, False, options, record)
    record.write()


if __name__ == "__main__":
    main()
