"""Promises that a sweep trains as `train_step` does: there is one training step."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx

import jopt
from jopt import sweep
from jopt.sweep._plan import Plan
from jopt.training import TrainState, train_step

SIZE, STEPS = 16, 10
RANDOM = np.random.default_rng(0)
INPUTS = RANDOM.normal(size=(64, 6)).astype(np.float32)
LABELS = (INPUTS[:, 0] > INPUTS[:, 1]).astype(np.int32)
DATA: dict[str, Any] = {"train": (INPUTS, LABELS), "valid": (INPUTS[:32], LABELS[:32])}
RATE = 0.03


class Net(nnx.Module):
    def __init__(self, rngs):
        # The gradient of a bias before BatchNorm is rounding, and Adam steps by it.
        self.first = nnx.Linear(6, 16, use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(16, rngs=rngs)
        self.drop = nnx.Dropout(0.2, rngs=rngs)
        self.last = nnx.Linear(16, 2, rngs=rngs)

    def __call__(self, x):
        return self.last(self.drop(nnx.relu(self.norm(self.first(x)))))


class Half(nnx.Module):
    """A net without statistics in float32, which strict promotion keeps apart."""

    def __init__(self, rngs):
        self.first = nnx.Linear(6, 16, rngs=rngs)
        self.drop = nnx.Dropout(0.2, rngs=rngs)
        self.last = nnx.Linear(16, 2, rngs=rngs)

    def __call__(self, x):
        return self.last(self.drop(nnx.relu(self.first(x))))


class LinenNet(linen.Module):
    @linen.compact
    def __call__(self, x, training):
        x = linen.BatchNorm(use_running_average=not training)(
            linen.Dense(16, use_bias=False)(x)
        )
        x = linen.Dropout(0.2, deterministic=not training)(linen.relu(x))
        return linen.Dense(2)(x)


def losses(logits, labels):
    return optax.softmax_cross_entropy_with_integer_labels(
        logits.astype(jnp.float32), labels
    )


def of_nnx(net: Any = Net):
    # Made once: a compiled init is others' to the last bit.
    graph, state = nnx.split(net(nnx.Rngs(0)))
    return {
        "make": lambda key: nnx.merge(graph, state, copy=True),
        "loss_fn": lambda model, batch, key: losses(model(batch[0]), batch[1]).mean(),
        "evaluate": lambda model, batch: {"loss": losses(model(batch[0]), batch[1])},
    }


def of_half():
    return of_nnx(Half)


def of_linen():
    module = LinenNet()

    def loss_fn(variables, batch, key):
        logits, changed = module.apply(
            variables, batch[0], True, mutable=["batch_stats"], rngs={"dropout": key}
        )
        return losses(logits, batch[1]).mean(), changed

    def evaluate(variables, batch):
        return {"loss": losses(module.apply(variables, batch[0], False), batch[1])}

    variables = module.init(jax.random.key(0), INPUTS[:1], False)

    return {"make": lambda key: variables, "loss_fn": loss_fn, "evaluate": evaluate}


FLOAT16 = {
    "precision": jopt.Precision(compute="float16"),
    "loss_scale": jopt.LossScale(2.0**10),
}
KINDS: dict[str, tuple[Any, dict[str, Any], dict[str, Any], float]] = {
    "nnx": (of_nnx, {}, {}, 1e-5),
    "linen": (of_linen, {}, {}, 1e-5),
    "bfloat16": (of_half, {"precision": jopt.Precision(compute="bfloat16")}, {}, 2e-2),
    "float16 with a loss scale": (of_half, FLOAT16, {}, 2e-2),
    "accumulation": (of_nnx, {}, {"accumulate": 4}, 1e-5),
    "master weights": (
        of_half,
        {
            "precision": jopt.Precision(
                params="bfloat16", compute="bfloat16", rounding="master"
            )
        },
        {},
        2e-2,
    ),
}


def swept(kind, segments, factory=jopt.adamw):
    functions, state, step, _ = KINDS[kind]
    task = sweep.Task.from_model(kind, **functions(), **DATA, **state, **step)
    trials = sweep.grid(factory, learning_rate=[RATE])
    sizes = {"steps": STEPS, "batch_size": SIZE, "segments": segments}
    return sweep.run(task, trials, **sizes, block=1)


def alone(kind, segments, tx=None):
    """The state after the steps of `train_step`, with the sweep's key and batches."""
    functions, options, step_options, _ = KINDS[kind]
    functions = functions()
    init_key, key = jax.random.split(jax.random.fold_in(jax.random.key(0), 0))
    state = TrainState.create(
        functions["make"](init_key),
        jopt.adamw(RATE) if tx is None else tx,
        key,
        buckets=False,
        **options,
    )
    step, seen = train_step(functions["loss_fn"], **step_options), []
    task = sweep.Task.from_model(kind, **functions, **DATA)
    plan = Plan(task, SIZE, STEPS, segments, jax.random.key(0))
    for segment in range(plan.segments):
        for rows in np.concatenate([call.rows for call in plan.batches(segment)]):
            if len(seen) == STEPS:
                break
            state, metrics = step(state, (INPUTS[rows], LABELS[rows]))
            seen.append(float(metrics.loss))
    return state, np.asarray(seen, np.float32)


# Accumulation is compared bit for bit below.
SLOW = pytest.mark.slow("another form or dtype of the model is in the quick run")
IN_TURN = [
    pytest.param(
        kind, marks=SLOW if kind in ("linen", "bfloat16", "accumulation") else ()
    )
    for kind in KINDS
]


@pytest.mark.slow("each kind has quick tests of train_step", but=1)
@pytest.mark.parametrize("kind", IN_TURN)
def test_a_trial_is_train_step_alone(kind):
    result, (state, seen) = swept(kind, 2), alone(kind, 2)
    near = KINDS[kind][3]
    np.testing.assert_allclose(result.curves[0], seen, rtol=near, atol=near)
    chex.assert_trees_all_close(
        result.params(0), state.params, rtol=near, atol=near * 10
    )
    stats = jax.tree.leaves(result.model_state(0))
    assert len(stats) == len(jax.tree.leaves(state.model_state))


@pytest.mark.slow("accumulation has tests of its own", but=1)
@pytest.mark.parametrize("kind", ["nnx", "accumulation"])
def test_a_trial_alone_with_a_step_a_call_is_it_bit_for_bit(kind):
    result, (state, seen) = swept(kind, STEPS), alone(kind, STEPS)
    np.testing.assert_array_equal(result.curves[0], seen)
    chex.assert_trees_all_equal(result.params(0), state.params)


def test_an_overflow_under_a_loss_scale_is_skipped_and_no_divergence():
    functions = of_half()
    options = {**FLOAT16, "loss_scale": jopt.LossScale(2.0**24)}  # overflows at first
    task = sweep.Task.from_model("scaled", **functions, **DATA, **options)
    trials = sweep.grid(jopt.adamw, learning_rate=[RATE, 2 * RATE])
    result = sweep.run(task, trials, steps=20, segments=4, batch_size=SIZE, block=2)
    assert result.table["status"].tolist() == ["complete"] * 2
    assert (result.curves[:, 1] == result.curves[:, 1]).all()
    assert result.curves[0, -5:].mean() < result.curves[0, :5].mean()


def test_without_a_loss_scale_a_step_that_is_not_finite_ends_the_trial():
    result = swept("nnx", 2, lambda learning_rate: jopt.sgd(learning_rate * 1e38))
    assert result.table["status"].tolist() == ["diverged"]


def test_metrics_beside_the_loss_are_shown():
    def loss_fn(model, batch, key):
        logits = model(batch[0])
        right = (logits.argmax(axis=1) == batch[1]).mean()
        return losses(logits, batch[1]).mean(), {"right": right}

    functions = {**of_nnx(), "loss_fn": loss_fn}
    task = sweep.Task.from_model("aux", **functions, **DATA, has_aux=True)
    trials = sweep.grid(jopt.adamw, learning_rate=[RATE])
    result = sweep.run(task, trials, steps=8, segments=2, batch_size=SIZE)
    assert result.train["right"].shape == (1, 2)
    assert 0.3 < result.table["train_right"][0] <= 1

    state = TrainState.create(Net(nnx.Rngs(0)), jopt.adamw(RATE))
    step = train_step(loss_fn, has_aux=True)
    state, metrics = step(state, (INPUTS[:16], LABELS[:16]))
    assert metrics.aux.keys() == {"right"}
    step = train_step(loss_fn, has_aux=True, accumulate=2)
    state, metrics = step(state, (INPUTS[:16], LABELS[:16]))
    assert 0 <= metrics.aux["right"] <= 1
    with pytest.raises(TypeError, match="With has_aux the loss function must return"):
        train_step(of_nnx()["loss_fn"], has_aux=True)(state, (INPUTS[:16], LABELS[:16]))


@pytest.mark.slow("eval_params of the others has quick tests", but=1)
@pytest.mark.parametrize(
    "factory",
    [
        lambda learning_rate: jopt.schedule_free_adamw(learning_rate),
        lambda learning_rate: jopt.chain(
            jopt.adamw(learning_rate), jopt.parameter_ema(0.5)
        ),
        lambda learning_rate: jopt.lookahead(jopt.adamw(learning_rate), 3, 0.5),
    ],
    ids=["schedule-free", "average", "lookahead"],
)
def test_trials_are_judged_and_kept_at_the_points_that_are_meant(factory):
    result = swept("nnx", 2, factory)
    state, _ = alone("nnx", 2, factory(RATE))
    meant = state.tx.eval_params(state.opt_state, state.params)
    chex.assert_trees_all_close(result.params(0), meant, rtol=1e-5, atol=1e-5)
    gap = optax.tree.norm(optax.tree.sub(meant, state.params))
    assert gap > 1e-3  # the point that trains is another one
    model = state.form.evaluated(state.form.join(meant, state.model_state))
    loss = losses(model(INPUTS[:32]), LABELS[:32]).mean()
    np.testing.assert_allclose(result.table["valid_loss"][0], loss, rtol=1e-4)
