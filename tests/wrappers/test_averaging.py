"""The moving average of the parameters, and `ema_params`, which reads it."""

import re
from typing import Any, cast

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jopt

PARAMS = {"w": jnp.array([1.0, -2.0]), "b": jnp.array(0.5)}


def trained(tx: Any, steps: int = 6, params: Any = PARAMS) -> Any:
    """The params after every step, and the last state."""
    state, path = tx.init(params), []
    for i in range(steps):
        grads = jax.tree.map(lambda p, i=i: (i + 1) * p, params)
        updates, state = tx.update(grads, state, params)
        params = jopt.apply_updates(params, updates)
        path.append(params)
    return path, state


def mean(path, name, weights):
    values = np.stack([np.asarray(p[name], np.float64) for p in path])
    return np.tensordot(weights, values, 1) / np.sum(weights)


def test_the_average_weighs_what_the_decay_says():
    path, state = trained(jopt.chain(jopt.sgd(0.05), jopt.parameter_ema(0.7)))

    averaged = jopt.ema_params(state, PARAMS)

    weights = 0.7 ** np.arange(6)[::-1]
    for name in PARAMS:
        np.testing.assert_allclose(averaged[name], mean(path, name, weights), rtol=1e-6)


def test_without_correction_the_first_params_weigh_too():
    path, state = trained(
        jopt.chain(jopt.sgd(0.05), jopt.parameter_ema(0.7, debias=False))
    )

    weights = np.array([0.7**6, *(0.3 * 0.7 ** np.arange(6)[::-1])])
    for name in PARAMS:
        np.testing.assert_allclose(
            jopt.ema_params(state, PARAMS)[name],
            mean([PARAMS, *path], name, weights),
            rtol=1e-6,
        )


def test_a_decay_that_grows_is_corrected_too():
    def decay(step):
        return jnp.minimum(0.9, (1 + step) / (10 + step))

    path, state = trained(jopt.chain(jopt.sgd(0.05), jopt.parameter_ema(decay)))

    decays = [min(0.9, (1 + t) / (10 + t)) for t in range(6)]
    weights = [(1 - d) * np.prod(decays[t + 1 :]) for t, d in enumerate(decays)]
    np.testing.assert_allclose(
        jopt.ema_params(state, PARAMS)["w"], mean(path, "w", weights), rtol=1e-6
    )


def test_params_that_stand_still_are_their_own_average():
    tx = jopt.parameter_ema(0.9999)
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)

    def step(state, _):
        return tx.update(zeros, state, PARAMS)[1], None

    for steps in (1, 1000):
        state, _ = jax.lax.scan(step, tx.init(PARAMS), length=steps)
        averaged = jopt.ema_params(state, PARAMS)
        chex.assert_trees_all_close(averaged, PARAMS, rtol=1e-5)


def test_before_the_first_update_the_average_is_the_params():
    state = jopt.parameter_ema(0.9).init(PARAMS)

    chex.assert_trees_all_equal(jopt.ema_params(state, PARAMS), PARAMS)


def test_an_average_of_low_precision_params_moves_and_comes_back_in_their_dtype():
    params = {"w": jnp.ones(3, jnp.bfloat16)}
    # One unit of bfloat16 down: a mean of 0.999 in bfloat16 would stay at 1.
    updates = {"w": jnp.full(3, -(2.0**-8), jnp.bfloat16)}
    tx = jopt.parameter_ema(0.999, debias=False)

    def step(state, _):
        return tx.update(updates, state, params)[1], None

    state, _ = jax.lax.scan(step, tx.init(params), length=5000)

    assert state.ema["w"].dtype == jnp.float32
    averaged = jopt.ema_params(state, params)["w"]
    np.testing.assert_array_equal(averaged, params["w"] + updates["w"])
    assert averaged.dtype == jnp.bfloat16


def test_the_average_is_found_wherever_it_is():
    average = jopt.parameter_ema(0.7)
    inside = {
        "chain": jopt.chain(jopt.clip(1e9), jopt.chain(jopt.sgd(0.05), average)),
        "named chain": jopt.named_chain(("sgd", jopt.sgd(0.05)), ("mean", average)),
        "guard": jopt.apply_if_finite(jopt.chain(jopt.sgd(0.05), average), 3),
        "window": jopt.accumulate(jopt.chain(jopt.sgd(0.05), average), 1),
    }
    _, state = trained(jopt.chain(jopt.sgd(0.05), average))
    wanted = jopt.ema_params(state, PARAMS)

    for tx in inside.values():
        got = jopt.ema_params(trained(tx)[1], PARAMS)
        chex.assert_trees_all_close(got, wanted, rtol=1e-6)


def test_the_averages_of_a_partition_are_put_together():
    def part(rate, decay):
        return jopt.chain(jopt.sgd(rate), jopt.parameter_ema(decay))

    labels = {"w": "slow", "b": "fast"}
    tx = jopt.partition({"slow": part(0.1, 0.5), "fast": part(0.2, 0.9)}, labels)
    path, state = trained(tx)

    averaged = jopt.ema_params(state, PARAMS)

    for name, decay in (("w", 0.5), ("b", 0.9)):
        weights = decay ** np.arange(6)[::-1]
        np.testing.assert_allclose(averaged[name], mean(path, name, weights), rtol=1e-6)


def test_the_average_is_found_in_the_state_of_an_nnx_optimizer():
    model = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    tx = jopt.chain(jopt.sgd(0.1), jopt.parameter_ema(0.5))
    optimizer: Any = nnx.Optimizer(model, cast(Any, tx), wrt=nnx.Param)
    grads = jax.tree.map(jnp.ones_like, nnx.state(model, nnx.Param))

    optimizer.update(model, grads)

    params = nnx.state(model, nnx.Param)
    averaged = jopt.ema_params(optimizer.opt_state, params)
    np.testing.assert_allclose(averaged["kernel"][...], model.kernel[...], rtol=1e-6)


def test_leaves_that_are_not_averaged_are_as_they_are():
    partial = jopt.parameter_ema(0.5)
    state = partial.init({"w": PARAMS["w"]})
    _, state = partial.update({"w": jnp.ones(2)}, state, {"w": PARAMS["w"]})

    averaged = jopt.ema_params({"inner": state}, PARAMS)

    np.testing.assert_allclose(averaged["w"], [2.0, -1.0])
    assert averaged["b"] is PARAMS["b"]


def test_decays_can_be_mapped():
    decays = jnp.array([0.0, 0.5, 0.99])

    def averaged(decay):
        tx = jopt.chain(jopt.sgd(0.05), jopt.parameter_ema(decay))
        return jopt.ema_params(trained(tx)[1], PARAMS)["w"]

    got = jax.jit(jax.vmap(averaged))(decays)

    wanted = [averaged(float(decay)) for decay in decays]
    np.testing.assert_allclose(got, np.stack(wanted), rtol=1e-5)


def test_the_average_shares_no_array_with_the_params():
    tx = jopt.parameter_ema(0.9, debias=False)
    params = jax.tree.map(jnp.copy, PARAMS)

    step = jax.jit(lambda p, s: tx.update(p, s, p), donate_argnums=(0, 1))
    step(params, tx.init(params))


def test_a_state_without_an_average_is_refused():
    message = (
        "ema_params: the state holds no average of parameters; put "
        "jopt.parameter_ema(0.999) last in the chain, and give the state"
    )

    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        jopt.ema_params(jopt.adam(0.1).init(PARAMS), PARAMS)


def test_two_averages_of_one_leaf_are_refused():
    tx = jopt.chain(jopt.parameter_ema(0.9), jopt.parameter_ema(0.99))
    state = tx.init(PARAMS)
    message = "ema_params: the state holds two averages of ['b']; give the part"

    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        jopt.ema_params(state, PARAMS)
    assert jopt.ema_params(state[1], PARAMS).keys() == PARAMS.keys()


def test_params_of_another_tree_are_refused():
    state = jopt.parameter_ema(0.9).init(PARAMS)
    message = "ema_params: the state holds the average of a leaf ['b'] that `like` does"

    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        jopt.ema_params(state, {"w": PARAMS["w"]})


def test_an_update_without_params_is_refused():
    tx = jopt.parameter_ema(0.9)
    message = (
        "ParameterEma: update needs the parameters that are averaged, got none; call "
        "tx.update(updates, state, params)."
    )

    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        tx.update(PARAMS, tx.init(PARAMS))


def test_a_decay_of_one_is_refused():
    message = "ParameterEma: decay must be below 1, got 1.0."

    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        jopt.parameter_ema(1.0)


def test_an_average_of_float64_params_is_exact_to_float64():
    with jax.enable_x64(True):
        params = {"w": jnp.asarray([1 / 3, -2 / 3], jnp.float64)}
        tx = jopt.parameter_ema(0.9)
        state = tx.init(params)
        for _ in range(3):
            _, state = tx.update(jax.tree.map(jnp.zeros_like, params), state, params)
        averaged = jopt.ema_params(state, params)
        chex.assert_trees_all_close(averaged, params, rtol=1e-15)
