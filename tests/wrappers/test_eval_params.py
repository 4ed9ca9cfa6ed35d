"""Promises of `eval_params`: the point that a transformation means, however deep."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jopt

PARAMS = {"w": jnp.asarray([[1.0, -2.0], [0.5, 3.0]]), "b": jnp.asarray([0.1, -0.3])}
AVERAGE = jopt.chain(jopt.sgd(0.1), jopt.parameter_ema(0.8))
FREE = jopt.schedule_free(jopt.sgd(0.1), 0.1)
AHEAD = jopt.lookahead(jopt.sgd(0.1), 3, 0.5)


def trained(tx, steps=5):
    """The state and params after steps down a bowl."""
    params, state = PARAMS, tx.init(PARAMS)
    for _ in range(steps):
        grads = jax.tree.map(lambda p: p**3, params)
        updates, state = tx.update(grads, state, params)
        params = jopt.apply_updates(params, updates)
    return state, params


MEANT = {
    "average": (AVERAGE, jopt.ema_params),
    "schedule-free": (FREE, jopt.schedule_free_eval_params),
    "lookahead": (AHEAD, jopt.lookahead_eval_params),
}


@pytest.mark.parametrize("name", MEANT)
def test_it_is_what_the_function_gives(name):
    tx, function = MEANT[name]
    state, params = trained(tx)
    got = tx.eval_params(state, params)
    chex.assert_trees_all_equal_shapes_and_dtypes(got, params)
    chex.assert_trees_all_close(got, function(state, params), rtol=1e-6)
    assert not np.allclose(got["w"], params["w"])


@pytest.mark.parametrize("name", MEANT)
def test_before_the_first_step_it_is_the_params(name):
    tx, _ = MEANT[name]
    chex.assert_trees_all_close(tx.eval_params(tx.init(PARAMS), PARAMS), PARAMS)


def test_others_mean_their_params():
    tx = jopt.chain(jopt.clip_by_global_norm(1.0), jopt.adamw(0.1))
    state, params = trained(tx)
    chex.assert_trees_all_equal(tx.eval_params(state, params), params)


HOLDERS = {
    "chain": lambda tx: jopt.chain(jopt.clip_by_global_norm(1e9), tx),
    "named chain": lambda tx: jopt.named_chain(("only", tx)),
    "apply_if_finite": lambda tx: jopt.apply_if_finite(tx, 3),
    "low_bit": lambda tx: jopt.low_bit(tx, min_size=1_000),
    "flatten": jopt.flatten,
    "masked, all": lambda tx: jopt.masked(tx, {"w": True, "b": True}),
    "inject": lambda tx: jopt.inject_hyperparams(
        lambda decay: jopt.chain(tx, jopt.add_decayed_weights(decay)),
    )(decay=0.0),
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_what_holds_one_means_what_it_means(holder):
    wanted = FREE.eval_params(*trained(FREE))
    tx = HOLDERS[holder](FREE)
    state, params = trained(tx)
    got = jax.jit(tx.eval_params)(state, params)
    chex.assert_trees_all_close(got, wanted, rtol=1e-5, atol=1e-6)


def test_a_mask_and_a_partition_mean_each_leaf_by_itself():
    alone = AVERAGE.eval_params(*trained(AVERAGE))
    masked = jopt.chain(
        jopt.sgd(0.1), jopt.masked(jopt.parameter_ema(0.8), {"w": True, "b": False})
    )
    parts = jopt.partition(
        {"mean": AVERAGE, "plain": jopt.sgd(0.1)}, {"w": "mean", "b": "plain"}
    )
    for tx in (masked, parts):
        state, params = trained(tx)
        got = tx.eval_params(state, params)
        np.testing.assert_allclose(got["w"], alone["w"], rtol=1e-5)
        np.testing.assert_array_equal(got["b"], params["b"])


def test_an_ascent_is_not_where_sam_is_judged():
    tx = jopt.sam(jopt.sgd(0.1), jopt.chain(jopt.normalize(), jopt.sgd(0.5)))
    before = trained(tx, 2)
    up = trained(tx, 3)  # on its way up
    got = tx.eval_params(*up)
    chex.assert_trees_all_close(got, before[1], rtol=1e-6)
    assert not np.allclose(up[1]["w"], before[1]["w"])


@pytest.mark.parametrize("name", MEANT)
def test_buckets_give_the_same(name):
    tx, _ = MEANT[name]
    loss = lambda params, batch, key: sum(jnp.sum(p**4) for p in params.values())  # noqa: E731
    found = []
    for buckets in (True, False):
        state = jopt.TrainState.create(PARAMS, tx, buckets=buckets)
        for _ in range(4):
            state, _ = jopt.train_step(loss)(state, None)
        found.append(state.eval_params)
    chex.assert_trees_all_close(*found, rtol=1e-6)
