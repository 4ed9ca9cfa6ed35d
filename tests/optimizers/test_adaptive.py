"""Closed forms of the adaptive optimizers, and the arguments that they refuse."""

import re
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from comparison import relaxed

import jopt

GRADIENT = jnp.array([3.0, -4.0])
PARAMS = jnp.array([6.0, 8.0])


def first(tx: Any, gradient: Any = GRADIENT, params: Any = PARAMS) -> Any:
    return tx.update(gradient, tx.init(params), params)[0]


def test_the_first_steps():
    sign, unit = np.sign(GRADIENT), GRADIENT / 5

    expected = {
        jopt.adamax(0.1): -0.1 * sign,
        jopt.adan(0.1): -0.1 * sign,
        # The gradient is 1 - b1 = 0.1 of it from its mean: ten times Adam's step.
        jopt.adabelief(0.1, 0.9): -0.1 * sign / 0.9,
        jopt.novograd(0.1): -0.1 * unit,
        jopt.adadelta(): -np.sqrt(1e-6 / 0.1) * sign,
        jopt.lamb(0.1): -0.1 * 10 * sign / np.sqrt(2),
        jopt.lars(0.1, trust_coefficient=0.5): -0.05 * 10 * unit,
    }
    for tx, step in expected.items():
        chex.assert_trees_all_close(first(tx), step, rtol=1e-6)


@pytest.mark.parametrize("make", [jopt.adamaxw, jopt.adan])
def test_an_independent_decay_is_not_multiplied_by_the_rate(make):
    step = first(make(0.1, weight_decay=0.2, decay="independent"))

    chex.assert_trees_all_close(
        step, -0.1 * np.sign(GRADIENT) - 0.2 * PARAMS, rtol=1e-6
    )


def test_adadelta_without_a_rate_descends():
    with relaxed():
        theirs = first(optax.adadelta())

    assert (jnp.sign(first(jopt.adadelta())) == -jnp.sign(GRADIENT)).all()
    assert (jnp.sign(theirs) == jnp.sign(GRADIENT)).all()


def test_fromage_keeps_the_norm_when_gradients_are_tangent():
    tangent = jnp.array([-0.4, 0.3])

    for rate in (1e-4, 0.1, 2.0):
        turned = np.float64(PARAMS) + first(jopt.fromage(rate), tangent)
        chex.assert_trees_all_close(np.linalg.norm(turned), 10, rtol=1e-6)


def test_fromage_shrinks_by_as_little_as_it_should():
    rate = float(np.float32(1e-5))

    # 1 / sqrt(1 + rate^2) is 1 in float32, which optax computes with traced rates.
    step = first(jopt.fromage(rate), jnp.zeros(2))

    chex.assert_trees_all_close(step, -(rate**2) / 2 * PARAMS, rtol=1e-6)


def test_yogi_moves_its_mean_square_by_the_new_square_at_most():
    tx = jopt.scale_by_yogi(b2=0.5, initial_accumulator_value=100.0)

    _, state = tx.update(GRADIENT, tx.init(PARAMS))

    chex.assert_trees_all_close(state.nu, 100 - 0.5 * GRADIENT**2, rtol=1e-6)


def test_adan_looks_ahead_by_b2_as_its_authors_do():
    tx = jopt.scale_by_adan(0.0, 0.0, 0.0, 0.0)
    ahead = jopt.scale_by_adan(0.0, 0.75, 0.0, 0.0)

    def second(tx):
        _, state = tx.update(jnp.ones(1), tx.init(jnp.ones(1)))
        return tx.update(3 * jnp.ones(1), state)

    updates, state = second(tx)
    chex.assert_trees_all_close(updates, 1, rtol=1e-6)
    # d = 2, v = 0.5, of which v' = 0.5 / (1 - 0.75^2); n = (3 + 0.75 * 2)^2.
    updates, state = second(ahead)
    chex.assert_trees_all_close(state.n, 4.5**2, rtol=1e-6)
    chex.assert_trees_all_close(
        updates, (3 + 0.75 * 0.5 / (1 - 0.75**2)) / 4.5, rtol=1e-6
    )


def test_novograd_takes_a_schedule_of_its_decay():
    halved = jopt.piecewise_constant_schedule(0.2, {1: 0.5})
    tx = jopt.novograd(1.0, b1=0.0, weight_decay=halved)
    state, still = tx.init(PARAMS), jnp.zeros(2)

    one, state = tx.update(still, state, PARAMS)
    two, state = tx.update(still, state, PARAMS)

    wanted = (-0.2 * PARAMS, -0.1 * PARAMS)
    chex.assert_trees_all_close((one, two), wanted, rtol=1e-6)


def test_novograd_keeps_one_number_a_leaf():
    params = {"a": jnp.ones((3, 4), jnp.bfloat16), "b": jnp.ones(2, jnp.complex64)}

    state = jopt.scale_by_novograd().init(params)

    assert all(v.shape == () and v.dtype == jnp.float32 for v in state.nu.values())


def test_a_leaf_that_starts_at_zero_moves():
    zeros = jnp.zeros(2)

    expected = {
        jopt.scale_by_trust_ratio(): GRADIENT,
        jopt.scale_by_trust_ratio(0.5): GRADIENT / 10,
        jopt.scale_by_param_block_norm(0.5): GRADIENT / 2,
        jopt.scale_by_param_block_rms(0.5): GRADIENT / 2,
    }
    for tx, step in expected.items():
        chex.assert_trees_all_close(first(tx, params=zeros), step, rtol=1e-6)


@pytest.mark.parametrize(
    "mask", [{"kernel": True, "bias": False}, lambda p: {"kernel": True, "bias": False}]
)
def test_the_trust_ratio_is_of_the_leaves_of_its_mask(mask):
    params = {"kernel": PARAMS, "bias": PARAMS}
    gradients = {"kernel": GRADIENT, "bias": GRADIENT}

    updates = first(jopt.scale_by_trust_ratio(mask=mask), gradients, params)

    wanted = {"kernel": 2 * GRADIENT, "bias": GRADIENT}
    chex.assert_trees_all_close(updates, wanted, rtol=1e-6)


def test_norms_of_low_precision_are_summed_in_float32():
    ones = jnp.ones(10_000, jnp.bfloat16)

    def scaled(tx):
        return np.unique(np.asarray(first(tx, ones, ones), np.float32))

    expected = {
        jopt.scale_by_param_block_norm(): 100,
        jopt.scale_by_param_block_rms(): 1,
        jopt.scale_by_trust_ratio(): 1,
        jopt.normalize_by_update_norm(100.0, 0.0): 1,
    }
    for tx, value in expected.items():
        chex.assert_trees_all_close(scaled(tx), value, rtol=1e-6)


def test_updates_without_a_norm_stay_zero():
    updates = first(jopt.normalize_by_update_norm(eps=0.0), jnp.zeros(2))

    np.testing.assert_array_equal(updates, [0, 0])


def test_centered_slices_have_no_mean():
    gradients = {"matrix": jnp.arange(6.0).reshape(2, 3), "vector": GRADIENT}

    updates = first(jopt.centralize(), gradients, gradients)

    wanted = {"matrix": jnp.array([[-1, 0, 1], [-1, 0, 1]]), "vector": GRADIENT}
    chex.assert_trees_all_close(updates, wanted, rtol=1e-6)


REFUSED = {
    "ScaleByBelief: b1 must be below 1, got 1.0.": lambda: jopt.adabelief(0.1, b1=1.0),
    "ScaleByBelief: eps_root must be at least 0, got -1.0.": lambda: jopt.adabelief(
        0.1, eps_root=-1.0
    ),
    "ScaleByAdadelta: eps must be above 0, got 0.0. With 0 the parameters never "
    "move.": lambda: jopt.adadelta(eps=0.0),
    "ScaleByAdadelta: rho must be below 1, got 1.0.": lambda: jopt.adadelta(rho=1.0),
    "ScaleByAdamax: b2 must be at least 0, got -0.5.": lambda: jopt.adamax(
        0.1, b2=-0.5
    ),
    "ScaleByAdan: b3 must be below 1, got 1.0.": lambda: jopt.adan(0.1, b3=1.0),
    "ScaleByNovograd: weight_decay must be at least 0, got -1.0.": (
        lambda: jopt.novograd(0.1, weight_decay=-1.0)
    ),
    "ScaleByYogi: initial_accumulator_value must be above 0, got 0.0.": (
        lambda: jopt.scale_by_yogi(initial_accumulator_value=0.0)
    ),
    "ScaleByTrustRatio: min_norm must be at least 0, got -1.0.": (
        lambda: jopt.fromage(0.1, -1.0)
    ),
    "StepAndShrink: learning_rate must be at least 0, got -0.1.": (
        lambda: jopt.fromage(-0.1)
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_refused(message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        REFUSED[message]()


@pytest.mark.parametrize(
    "make",
    [
        lambda: jopt.fromage(0.1),
        lambda: jopt.lamb(0.1),
        lambda: jopt.lars(0.1),
        lambda: jopt.novograd(0.1),
        lambda: jopt.scale_by_param_block_norm(),
        lambda: jopt.scale_by_param_block_rms(),
    ],
)
def test_parameters_are_asked_for(make):
    tx = make()

    with pytest.raises(ValueError, match=r"update needs the parameters .*, got none"):
        tx.update(GRADIENT, tx.init(PARAMS))


def test_a_rate_of_fromage_is_one_leaf():
    tx: Any = jopt.fromage(0.1)

    slope = jax.grad(lambda tx: first(tx).sum())(tx)

    assert tx.transforms[1].learning_rate == 0.1
    assert jnp.isfinite(slope.transforms[1].learning_rate)
