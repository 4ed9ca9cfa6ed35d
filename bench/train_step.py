"""How fast is a whole training step, beside one written by hand with optax?

Every step computes a loss and its gradients and lets the optimizer move the parameters.

optax       value_and_grad, tx.update, optax.apply_updates, in one jit; parameters and
            state come first, in and out, and are donated
jopt        `jopt.train_step`, of `jopt.TrainState.create(params, tx)`. It also returns
            the norm of the gradients and the hyperparameters, folds a key, and leaves
            everything as it was where the gradients are not finite; optax's does not
no buckets  the same, of `create(..., buckets=False)`
gradients   the loss, its gradients and their norm, and no optimizer. Parameters are
            handed over leaf by leaf: of many, a step in buckets can be faster than this
10 a call   `jopt.train_steps`, ten steps a call; a row of its own, a step's time. XLA's
            convolutions are slow within a loop on a CPU: the CNN has no such row

First all take three steps from one start and must come to the same losses.

products    roof: what XLA says that jopt's step multiplies and moves, over the time,
bytes       over what this device does of large products and of a large copy in place

    python bench/train_step.py
    python bench/train_step.py --quick
    python bench/train_step.py --only "GPT-2 of width 192" --rounds 30 --json rows.json
"""

import gc
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from models import Model, cnn, mlp, transformer
from record import NO_SLOWER, Record, arguments, progress
from roofline import least, roofs
from turns import rounds, steps

import jopt

RATE, NORM, CALL = 1e-3, 1.0, 10
FEW = 8  # examples a batch: the fewer, the more of a step is the optimizer's


class Case(NamedTuple):
    """A model and the least that jopt's step must be faster."""

    model: Callable[[], Model]
    clipped: float  # of clip + adamw
    plain: float | None = NO_SLOWER  # of adamw; None leaves it out
    loops: bool = True  # whether many steps a call are measured, with clipping
    bare: bool = True  # whether it is measured without buckets, with clipping


def gpt2(layers: int) -> Model:
    return transformer(layers=layers, width=192, heads=6, vocabulary=4096)


QUICK = [
    Case(lambda: mlp(50, 64, FEW), 2.0, None),
    Case(lambda: mlp(50, 64), 2.0, None, False, False),
    Case(lambda: mlp(300, 32, FEW), 4.0, None, False, False),
    Case(lambda: mlp(50, 512), 1.5, None, False, False),
    Case(lambda: gpt2(4), NO_SLOWER, None, False, False),
    Case(cnn, NO_SLOWER, None, False, False),
]
FULL = [
    Case(lambda: mlp(50, 64, FEW), 2.0, 2.0),
    Case(lambda: mlp(50, 64), 2.0, 2.0),
    Case(lambda: mlp(300, 32, FEW), 4.0, 4.0),
    Case(lambda: mlp(300, 32), 4.0, 4.0),
    Case(lambda: mlp(50, 512), 1.5),
    Case(lambda: gpt2(12), NO_SLOWER),
    Case(cnn, NO_SLOWER, loops=False),
]


def transformations(clip: bool) -> tuple[Any, Any]:
    """Return AdamW, clipped or not, of jopt and of optax."""
    if not clip:
        return jopt.adamw(RATE), optax.adamw(RATE)
    return (
        jopt.chain(jopt.clip_by_global_norm(NORM), jopt.adamw(RATE)),
        optax.chain(optax.clip_by_global_norm(NORM), optax.adamw(RATE)),
    )


class Training:
    """A compiled step, what it holds now, and how long its first call took."""

    def __init__(self, program: Any, held: Any, batch: Any):
        self.program, self.held, self.batch = program, held, batch
        began = time.perf_counter()
        jax.block_until_ready(self.step())
        self.first = time.perf_counter() - began

    def step(self) -> Any:
        """Take a call of steps, return what it tells: the loss or the metrics."""
        self.held, told = self.program(self.held, self.batch)
        return told

    def run(self) -> Callable[[int], None]:
        """Return its steps as a function of the number of calls; `held` is given up."""
        held, self.held = self.held, None
        return steps(lambda held: self.program(held, self.batch)[0], held)


def by_hand(model: Model, tx: Any) -> Any:
    """Return the step that people write: ((params, state), batch) -> (..., loss)."""

    def step(params: Any, state: Any, batch: Any) -> Any:
        loss, grads = jax.value_and_grad(model.loss)(params, batch)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state, loss

    program = jax.jit(step, donate_argnums=(0, 1))

    def held(both: Any, batch: Any) -> Any:
        params, state, loss = program(*both, batch)
        return (params, state), loss

    held.lower = lambda both, batch: program.lower(*both, batch)
    return held


def gradients(model: Model) -> Any:
    """Return what a step is without an optimizer, and after the one before it."""

    @jax.jit
    def program(params: Any, before: jax.Array, batch: Any) -> Any:
        loss, grads = jax.value_and_grad(model.loss)(params, batch)
        return loss, optax.global_norm(grads) + 0 * before

    def held(both: Any, batch: Any) -> Any:
        loss, norm = program(*both, batch)
        return (both[0], norm), loss

    return held


def trainings(model: Model, clip: bool, case: Case) -> dict[str, Training]:
    """Return the steps by name, each with three steps made, to the same loss."""
    ours, theirs = transformations(clip)
    params = jax.tree.map(jnp.copy, model.params)
    program = jopt.train_step(model.loss)
    create = jopt.TrainState.create
    found = {
        "optax": Training(
            by_hand(model, theirs), (params, theirs.init(params)), model.batch
        ),
        "jopt": Training(program, create(model.params, ours), model.batch),
    }
    if clip and case.bare:
        state = create(model.params, ours, buckets=False)
        found["no buckets"] = Training(program, state, model.batch)
    losses = {}
    for name, training in found.items():
        training.step()
        told = training.step()
        losses[name] = float(told if name == "optax" else told.loss)
    if clip:
        held = model.params, jnp.zeros(())
        found["gradients"] = Training(gradients(model), held, model.batch)
    if clip and case.loops:
        batches = jax.tree.map(lambda x: jnp.stack([x] * CALL), model.batch)
        state = create(model.params, ours)
        many = Training(jopt.train_steps(model.loss), state, batches)
        found["10 a call"] = many
    for name, loss in losses.items():
        np.testing.assert_allclose(loss, losses["optax"], rtol=1e-3, err_msg=name)
    return found


def measured(
    case: Case,
    clip: bool,
    seconds: float,
    roof: Any,
    record: Record,
    number: int | None = None,
) -> None:
    """Time a case, in a number of rounds if one is given, and add its rows."""
    model = case.model()
    name = f"{'clip+' * clip}adamw, {model.name}, {model.leaves} leaves"
    progress(f"{name}, {model.size / 1e6:.1f}M: compiling")
    found = trainings(model, clip, case)
    first = {name: training.first for name, training in found.items()}
    progress(*(f"{name} {seconds:.1f} s" for name, seconds in first.items()))
    shares = {}
    if roof:
        for library in ("optax", "jopt"):
            held = found[library].held
            compiled = found[library].program.lower(held, model.batch).compile()
            shares[library] = least(compiled, roof)
    runs = {name: training.run() for name, training in found.items()}
    times = rounds(runs, seconds, number=number)
    medians = {name: row["median_ms"] for name, row in times.items()}
    loops = "10 a call" in medians
    if loops:
        medians["10 a call"] /= CALL
    needs = {
        library: needs
        | {
            f"of_{kind}": 1e3 * needs[f"{kind}_seconds"] / medians[library]
            for kind in ("products", "bandwidth")
        }
        for library, needs in shares.items()
    }
    told = {"times": times, "first_call_seconds": first, "roof": needs}
    beside = {key: ms for key, ms in medians.items() if key != "10 a call"}
    aim = case.clipped if clip else case.plain
    record.add(name, beside, aim, parameters=model.size, **told)
    if loops:
        both = {"optax": medians["optax"], "jopt": medians["10 a call"]}
        record.add(f"... {CALL} steps a call", both)
    if needs:
        ours = needs["jopt"]
        print(
            f"{'':6}jopt: {ours['of_products']:.2f} of the roof of products, "
            f"{ours['of_bandwidth']:.2f} of the roof of bytes"
        )


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--only", help="models whose names contain this; no results")
    parser.add_argument("--rounds", type=int, help="default: as many as 20 s allow")
    options = parser.parse_args()
    cases = QUICK if options.quick else FULL
    if options.only:
        cases = [case for case in cases if options.only in case.model().name]
        options.quick = True
    record = Record("train_step", __doc__, options)
    roof = None if options.quick else roofs()
    record.more |= {"roof": roof, "steps_a_call": CALL}
    for case in cases:
        for clip in (True, False):
            if clip or case.plain is not None:
                budget = 3 if options.quick else 20
                measured(case, clip, budget, roof, record, options.rounds)
                gc.collect()
                jax.clear_caches()
    record.write()


if __name__ == "__main__":
    main()
