"""Prodigy, D-Adaptation, Mechanic, ADOPT, AdEMAMix: what their papers promise."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from comparison import assert_close
from reference_runs import compiled, data

import jopt

TARGET = jnp.array([3.0, -2.0, 1.0])
START = jnp.zeros(3)


def descended(tx, steps, start=START):
    """Minimize the distance to TARGET, summed; return the params and all states."""

    def step(carry, _):
        params, state = carry
        grads = jax.grad(lambda p: jnp.sum(jnp.sqrt(1 + (p - TARGET) ** 2)))(params)
        updates, state = tx.update(grads, state, params)
        return (jopt.apply_updates(params, updates), state), state

    (params, _), states = jax.lax.scan(step, (start, tx.init(start)), length=steps)
    return params, states


ESTIMATORS = {
    "prodigy": jopt.prodigy(estim_lr0=1e-4),
    "dadapt_adamw": jopt.dadapt_adamw(estim_lr0=1e-4),
}
both = pytest.mark.parametrize("tx", ESTIMATORS.values(), ids=ESTIMATORS)


@both
def test_the_estimate_only_grows_and_to_the_order_of_the_distance(tx):
    """From 1e-4 to about 3, the way of the coordinate that has most to go."""
    params, states = descended(tx, 400)

    estimates = np.asarray(states.estim_lr)
    assert (np.diff(estimates) >= 0).all()
    assert 0.1 < estimates[-1] < 10
    assert jnp.abs(params - TARGET).max() < 0.5


@both
def test_the_estimate_waits_for_the_first_gradient(tx):
    """optax makes NaN of the first quotient, 0 / 0, and never recovers."""
    zeros = jnp.zeros(3)

    updates, state = tx.update(zeros, tx.init(START), START)
    assert float(state.estim_lr) == pytest.approx(1e-4)
    updates, state = tx.update(jnp.ones(3), state, START)

    assert (updates < 0).all()
    assert jnp.isfinite(state.estim_lr)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
@both
def test_the_scale_of_the_loss_changes_nothing(tx, scale):
    """Up to eps: both estimates are quotients."""
    tx = jopt.replace(tx, eps=1e-20)
    scaled = jopt.chain(jopt.scale(scale), tx)

    wanted, _ = descended(tx, 50)
    got, _ = descended(scaled, 50)

    np.testing.assert_allclose(got, wanted, rtol=1e-3)


@pytest.mark.parametrize("rate", [1e-3, 1.0])
def test_mechanic_learns_the_scale_of_what_it_is_given(rate):
    params, states = descended(jopt.mechanize(jopt.sgd(rate)), 300)

    scales = np.asarray(states.s.sum(axis=1)) * rate
    assert scales[-1] > 100 * scales[0]
    assert jnp.abs(params - TARGET).max() < 0.5


def test_mechanic_starts_where_the_first_update_finds_the_params():
    tx = jopt.mechanize(jopt.sgd(1.0))
    loaded = START + 5

    _, state = tx.update(jnp.ones(3), tx.init(START), loaded)
    np.testing.assert_array_equal(state.x0, loaded)
    _, state = tx.update(jnp.ones(3), state, loaded + 1)

    np.testing.assert_array_equal(state.x0, loaded)


def test_mechanic_passes_extra_arguments_on():
    tx = jopt.mechanize(optax.contrib.momo())
    state = tx.init(START)

    with pytest.raises(TypeError, match="'value'"):
        tx.update(START, state, START)
    updates, _ = tx.update(jnp.ones(3), state, START, value=jnp.float32(1))

    assert jnp.isfinite(updates).all()


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("use_clipping", [False, True])
def test_the_first_update_of_adopt_only_sets_the_mean_square(nesterov, use_clipping):
    tx = jopt.adopt(0.1, nesterov=nesterov, use_clipping=use_clipping)
    grads = jnp.array([1e-20, -3.0, 0.0])

    updates, state = tx.update(grads, tx.init(START), START)

    np.testing.assert_array_equal(updates, 0)
    np.testing.assert_array_equal(state[0].mu, 0)
    np.testing.assert_allclose(state[0].nu, grads**2, rtol=1e-6)


def test_the_clip_of_adopt_may_be_a_number():
    tx = jopt.scale_by_adopt(0.0, 0.0, clip_value_fn=0.25)
    state = tx.init(START)

    _, state = tx.update(jnp.ones(3), state)
    updates, _ = tx.update(jnp.array([-5.0, 0.1, 0.25]), state)

    np.testing.assert_allclose(updates, [-0.25, 0.1, 0.25], rtol=1e-6)


def updates_of(tx):
    """Fifty updates of the run that the tables use."""
    return compiled(tx, data(0, zeros=0.1), data(1), {})[0]["float32"]


@pytest.mark.slow("the reference has ademamix")
def test_ademamix_without_the_slow_mean_is_adamw():
    tx = jopt.ademamix(0.1, 0.8, 0.9, alpha=0.0, weight_decay=0.1)
    adamw = jopt.adamw(0.1, 0.8, 0.9, weight_decay=0.1)

    assert_close(updates_of(tx), updates_of(adamw), rtol=1e-6)


@pytest.mark.slow("the reference has it")
def test_simplified_ademamix_without_alpha_is_adam_whose_mean_is_a_sum():
    """Adam's mean, bias and all, is 1 - b1 times the sum, over its weight."""
    tx = jopt.scale_by_simplified_ademamix(0.8, 0.9)
    adam = jopt.chain(
        jopt.scale_by_adam(0.8, 0.9),
        jopt.scale_by_schedule(lambda t: (1 - 0.8 ** (t + 1)) / (1 - 0.8)),
    )

    assert_close(updates_of(tx), updates_of(adam), rtol=2e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jopt.prodigy(betas=(0.9, 1)), "Prodigy: beta2 must be below 1, got 1"),
        (
            lambda: jopt.prodigy(estim_lr0=0.0),
            "Prodigy: estim_lr0 must be above 0, got 0.0.",
        ),
        (
            lambda: jopt.prodigy(beta3=1.0),
            "Prodigy: beta3 must be below 1, got 1.0.",
        ),
        (
            lambda: jopt.dadapt_adamw(eps=0.0),
            "DAdaptAdamW: eps must be above 0, got 0.0.",
        ),
        (
            lambda: jopt.dadapt_adamw(-1.0),
            "DAdaptAdamW: learning_rate must be at least 0, got -1.0.",
        ),
        (
            lambda: jopt.adopt(0.1, eps=0.0),
            "ScaleByAdopt: eps must be above 0, got 0.0.",
        ),
        (
            lambda: jopt.ademamix(0.1, b3=1.0),
            "ScaleByAdemamix: b3 must be below 1, got 1.0.",
        ),
        (
            lambda: jopt.simplified_ademamix(0.1, alpha=-1.0),
            "ScaleBySimplifiedAdemamix: alpha must be at least 0, got -1.0.",
        ),
        (
            lambda: jopt.mechanize(jopt.sgd(1.0), num_betas=0),
            "Mechanize: num_betas must be at least 1, got 0.",
        ),
        (
            lambda: jopt.mechanize(jopt.sgd(1.0), s_init=0.0),
            "Mechanize: s_init must be above 0, got 0.0.",
        ),
        (
            lambda: jopt.mechanize(jopt.sgd(1.0)).update(
                START, jopt.mechanize(jopt.sgd(1.0)).init(START)
            ),
            "Mechanize: update needs the parameters and how far they went, got none;",
        ),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(make, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        make()
