"""What a skipped step keeps and what goes on: a promise for each kind of leaf."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from comparison import key_data
from flax import nnx

import jopt
from jopt.training import TrainState, train_step, train_steps


class Net(nnx.Module):
    """Every kind of state: statistics, streams of random numbers, a key, a counter."""

    def __init__(self, rngs):
        self.line = nnx.Linear(3, 3, rngs=rngs)
        self.norm = nnx.BatchNorm(3, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.rngs = rngs.fork()
        self.key = nnx.RngKey(jax.random.key(3), tag="own")
        self.calls = nnx.Variable(jnp.int32(0))
        self.plain = nnx.Variable(jax.random.key(4))

    def __call__(self, x):
        self.calls[...] += 1
        self.key[...] = jax.random.fold_in(self.key[...], 1)
        self.plain[...] = jax.random.fold_in(self.plain[...], 1)
        noise = self.rngs.normal(x.shape, x.dtype)
        return self.drop(self.norm(self.line(x))) + noise


def loss_fn(model, batch, key):
    squares = jnp.float32(model(batch)) ** 2
    return squares.mean() * (1 + jax.random.uniform(key))


RANDOM = (  # the leaves of the model that random numbers are drawn from
    "['drop']['rngs']['count'].value",
    "['rngs']['default']['count'].value",
    "['key'].value",
    "['plain'].value",
)
GOOD, BAD = np.ones((4, 3), np.float32), np.full((4, 3), np.nan, np.float32)
AVERAGED = jopt.chain(jopt.adamw(0.1), jopt.parameter_ema(0.5))
KINDS: dict[str, Any] = {
    "moments and averages": AVERAGED,
    "schedule-free": jopt.schedule_free_adamw(0.1),
    "its own skips": jopt.apply_if_finite(jopt.sgd(0.1, momentum=0.9), 3),
    "a window": jopt.accumulate(jopt.adam(0.1), 2),
    "slow params": jopt.lookahead(jopt.adam(0.1), 2, 0.5),
    "its own keys": jopt.chain(jopt.add_noise(0.1, 0.5, 0), jopt.scale(-0.1)),
    "measures": jopt.chain(jopt.monitor({"norm": jopt.global_norm}), jopt.adam(0.1)),
}


def one(state, batch, **settings):
    return train_step(loss_fn, **settings)(state, batch)


def many(state, batch, **settings):
    stacked = jax.tree.map(lambda x: jnp.stack([x]), batch)
    return train_steps(loss_fn, **settings)(state, stacked)


def kept(tree):
    """Its arrays by path, copied: a step donates them."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(p): np.array(key_data(x)) for p, x in leaves}


def assert_skipped(before, state, times):
    """The model has drawn its random numbers so many times; nothing else has moved."""
    after = kept((state.packed, state.model_state, state.opt_state))
    moved = {path for path in before if not np.array_equal(before[path], after[path])}
    assert moved == {f"[1]{path}" for path in RANDOM}
    assert after["[1]" + RANDOM[0]] == before["[1]" + RANDOM[0]] + times


@pytest.mark.slow("another optimizer's state is one leaf more", but=1)
@pytest.mark.parametrize("tx", KINDS.values(), ids=KINDS)
def test_a_skipped_step_keeps_all_but_the_random_numbers(tx):
    step: Any = train_step(loss_fn)
    state, _ = step(TrainState.create(Net(nnx.Rngs(0)), tx), GOOD)
    before = kept((state.packed, state.model_state, state.opt_state))

    state, metrics = step(state, BAD)

    assert_skipped(before, state, 1)
    assert (int(state.step), int(state.skipped), int(metrics.nonfinite)) == (2, 1, 1)


@pytest.mark.slow("test_train_step.py skips microbatches in the quick run", but=1)
@pytest.mark.parametrize(
    ("call", "settings", "skips"),
    [(many, {}, 1), (one, {"accumulate": 2}, 2)],
    ids=["many steps", "accumulate"],
)
def test_it_does_so_in_every_form_of_the_step(call, settings, skips):
    state, _ = call(TrainState.create(Net(nnx.Rngs(0)), AVERAGED), GOOD, **settings)
    before = kept((state.packed, state.model_state, state.opt_state))

    state, _ = call(state, BAD, **settings)

    assert_skipped(before, state, skips)
    assert (int(state.step), int(state.skipped)) == (2, skips)


def test_an_overflow_of_the_loss_scale_is_a_skip_like_any_other():
    precision = jopt.Precision(compute="float16")
    scale = jopt.LossScale(2.0**24)
    state = TrainState.create(
        Net(nnx.Rngs(0)), AVERAGED, precision=precision, loss_scale=scale
    )
    before = kept((state.packed, state.model_state, state.opt_state))

    with jax.numpy_dtype_promotion("standard"):  # Flax's layers count on it
        state, metrics = one(state, GOOD)

    assert metrics.nonfinite == 1
    assert_skipped(before, state, 1)
    assert state.loss_scale is not None
    assert state.loss_scale.scale == 2.0**23


def test_a_bad_microbatch_leaves_the_statistics_of_the_others():
    state = TrainState.create(Net(nnx.Rngs(0)), jopt.sgd(0.0))
    state, _ = one(state, np.concatenate([BAD, GOOD]), accumulate=2)

    model = state.model
    assert int(model.calls[...]) == 1  # counters of the model's own are statistics
    assert int(model.drop.rngs.count[...]) == 2
    assert np.isfinite(model.norm.mean[...]).all()


def test_the_next_step_draws_new_dropout_masks():
    class Halves(nnx.Module):  # one mask in four drops both features: 0 / 0
        def __init__(self, rngs):
            self.drop = nnx.Dropout(0.5, rngs=rngs)
            self.w = nnx.Param(jnp.ones(2))

        def __call__(self, x):
            h = self.drop(x * self.w[...][None] ** 2)
            return h / h.sum(-1, keepdims=True)

    step = train_step(lambda model, batch, key: jnp.mean(model(batch) ** 2))
    state = TrainState.create(Halves(nnx.Rngs(0)), jopt.sgd(0.01))
    bad = []
    for _ in range(40):
        state, metrics = step(state, jnp.ones((1, 2)))
        bad.append(int(metrics.nonfinite))
    assert 3 < sum(bad) < 20


def test_keys_in_the_variables_of_linen_go_on_too():
    def loss_fn(variables, batch, key):
        rng = variables["noise"]["key"]
        noise = jax.random.normal(rng, ())
        changed = {"key": jax.random.fold_in(rng, 1), "seen": batch.sum()}
        return (variables["params"]["w"] * noise * batch).sum(), {"noise": changed}

    variables = {
        "params": {"w": jnp.ones(3)},
        "noise": {"key": jax.random.key(0), "seen": jnp.zeros(())},
    }
    state = TrainState.create(variables, jopt.sgd(0.1))
    state, _ = train_step(loss_fn)(state, jnp.full(3, jnp.nan))

    noise = state.model_state["noise"]
    assert noise["seen"] == 0
    chex.assert_trees_all_equal(
        jax.random.key_data(noise["key"]),
        jax.random.key_data(jax.random.fold_in(jax.random.key(0), 1)),
    )
