"""Schedule-Free: the average, where it is stored, and the numbers that can change."""

import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from comparison import relaxed

import jopt

PARAMS = {"w": jnp.array([1.0, -2.0, 3.0]), "b": jnp.array(0.5)}
GRADS = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)


def points(tx, params, gradient, steps):
    """Train, and return the base optimizer's points and the average after each step."""
    state, zs, averages = tx.init(params), [], []
    for t in range(steps):
        updates, state = tx.update(gradient(t, params), state, params)
        params = jopt.apply_updates(params, updates)
        zs.append(state.z)
        averages.append(jopt.schedule_free_eval_params(state, params))
    return np.stack(zs), np.stack(averages)


def downhill(t, params):
    del t
    return 2 * (params - 1)


@pytest.mark.parametrize("b1", [0.05, 0.5, 0.9, 1.0])
def test_the_average_is_polyaks_mean_of_the_steps_of_sgd(b1):
    """With gradients that do not depend on where they are taken."""
    tx = jopt.schedule_free_sgd(0.1, b1=b1)

    zs, averages = points(tx, PARAMS["w"], lambda t, _: GRADS[t], 30)

    iterates = np.asarray(PARAMS["w"]) - 0.1 * np.cumsum(GRADS, axis=0)
    counts = np.arange(1, 31)[:, None]
    np.testing.assert_allclose(zs, iterates, atol=1e-6)
    means = np.cumsum(iterates, axis=0) / counts
    # Where b1 is small, the rounding of the params is divided by it.
    np.testing.assert_allclose(averages, means, atol=2e-6 / b1)


@pytest.mark.parametrize("b1", [0.5, 0.9])
def test_a_small_b1_descends_as_sgd_and_a_great_one_on_the_average(b1):
    """The points are steps of SGD whose gradients are taken between both."""
    tx = jopt.schedule_free_sgd(0.1, b1=b1)

    zs, averages = points(tx, PARAMS["w"], downhill, 20)

    z = x = np.asarray(PARAMS["w"], np.float64)
    for t in range(20):
        z = z - 0.1 * 2 * ((1 - b1) * z + b1 * x - 1)
        x = x + (z - x) / (t + 1)
        np.testing.assert_allclose(zs[t], z, rtol=2e-5, atol=1e-6)
        np.testing.assert_allclose(averages[t], x, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("lag", "rates"),
    [(0, np.minimum(np.arange(1, 11) / 4, 1)), (1, np.minimum(np.arange(10) / 4, 1))],
    ids=["paper", "optax"],
)
def test_a_warmup_weighs_each_point_by_its_own_rate_or_by_the_next(lag, rates):
    tx = jopt.schedule_free_sgd(0.5, 4, b1=0.5, lag=lag)

    zs, averages = points(tx, PARAMS["w"], lambda t, _: GRADS[t], 10)

    moves = np.diff(zs, axis=0, prepend=[np.asarray(PARAMS["w"])])
    sizes = -0.5 * rates[:, None] * GRADS[:10]
    weights = (0.5 * np.minimum(np.arange(1, 11) / 4, 1))[:, None] ** 2
    np.testing.assert_allclose(moves, sizes, atol=1e-6)
    means = np.cumsum(weights * zs, axis=0) / np.cumsum(weights, axis=0)
    np.testing.assert_allclose(averages, means, atol=3e-6)


def test_a_base_with_its_own_rate_is_the_alias():
    schedule = jopt.warmup_constant_schedule(0.0, 0.1, 5)
    whole = jopt.schedule_free(jopt.sgd(schedule), schedule, 0.8)

    wanted = points(whole, PARAMS["w"], downhill, 10)
    got = points(jopt.schedule_free_sgd(0.1, 5, 0.8), PARAMS["w"], downhill, 10)

    np.testing.assert_allclose(got, wanted, rtol=1e-6)


def test_b1_may_change_during_training():
    """The average goes on, and the next params are between as the new b1 says."""
    tx, params = jopt.schedule_free_sgd(0.1, b1=0.9), PARAMS["w"]
    state = tx.init(params)
    for g in GRADS[:5]:
        updates, state = tx.update(g, state, params)
        params = jopt.apply_updates(params, updates)
    before = jopt.schedule_free_eval_params(state, params)

    tx = jopt.replace(tx, b1=0.6)
    updates, state = tx.update(GRADS[5], state, params)
    params = jopt.apply_updates(params, updates)

    after = before + (state.z - before) / 6
    np.testing.assert_allclose(params, 0.4 * state.z + 0.6 * after, atol=1e-6)
    average = jopt.schedule_free_eval_params(state, params)
    np.testing.assert_allclose(average, after, atol=1e-6)


def test_the_rate_of_the_aliases_is_one_number():
    slow, fast = jopt.schedule_free_sgd(0.1), jopt.schedule_free_sgd(0.2)

    assert jopt.replace(slow, learning_rate=0.2) == fast
    state = slow.init(PARAMS)
    assert jopt.hyperparameters(slow, state)["learning_rate"] == 0.1


def test_a_schedule_is_read_at_the_step_of_the_state():
    tx = jopt.schedule_free_adamw(0.2, 10)
    state = tx.init(PARAMS)
    for _ in range(3):
        _, state = tx.update(PARAMS, state, PARAMS)

    now = jopt.hyperparameters(tx, state)["learning_rate"]

    np.testing.assert_allclose(now, 0.2 * 4 / 10, rtol=1e-6)


@pytest.mark.slow("one place is in the quick run", but=1)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda tx: tx,
        lambda tx: jopt.chain(jopt.clip(1.0), tx),
        lambda tx: jopt.named_chain(("a", jopt.chain(tx)), ("b", jopt.identity())),
    ],
    ids=["bare", "chain", "nested"],
)
def test_the_average_is_found_inside_a_chain_under_jit_and_vmap(wrap):
    def trained(rate):
        tx = wrap(jopt.schedule_free_sgd(rate, b1=0.8))
        params, state = PARAMS, tx.init(PARAMS)
        for _ in range(3):
            updates, state = tx.update(params, state, params)
            params = jopt.apply_updates(params, updates)
        return state, params

    rates = jnp.array([0.1, 0.2])
    states, params = jax.vmap(trained)(rates)

    got = jax.jit(jax.vmap(jopt.schedule_free_eval_params))(states, params)

    for i, rate in enumerate(rates):
        wanted = jopt.schedule_free_eval_params(*trained(rate))
        of_rate = jax.tree.map(lambda x, i=i: x[i], got)
        chex.assert_trees_all_close(of_rate, wanted, rtol=1e-6)


def test_the_average_is_optaxs_and_found_in_optaxs_state():
    tx = optax.contrib.schedule_free_sgd(0.1, b1=0.8)
    params, state = PARAMS, tx.init(PARAMS)
    with relaxed():
        for _ in range(3):
            updates, state = tx.update(params, state, params)
            params = optax.apply_updates(params, updates)
        wanted = optax.contrib.schedule_free_eval_params(state, params)

    got = jopt.schedule_free_eval_params((state,), params)

    chex.assert_trees_all_close(got, wanted, rtol=1e-6)


def test_the_average_is_like_the_params():
    params = {"a": jnp.ones(2, jnp.bfloat16), "b": None, "c": jnp.ones((), jnp.float32)}
    tx = jopt.schedule_free_sgd(0.1)

    average = jopt.schedule_free_eval_params(tx.init(params), params)

    chex.assert_trees_all_equal_dtypes(average, params)


def test_z_is_kept_in_the_dtype_that_is_asked_for():
    params = {"a": jnp.ones(2), "c": jnp.ones(2, jnp.complex64)}
    tx = jopt.schedule_free_sgd(0.1, state_dtype=jnp.bfloat16)

    state = tx.init(params)
    _, after = tx.update(params, state, params)

    for z in (state.z, after.z):
        assert (z["a"].dtype, z["c"].dtype) == (jnp.bfloat16, jnp.complex64)


def test_params_and_state_can_be_donated_together():
    tx = jopt.schedule_free_adamw()

    @jax.jit
    def init(params):
        return jax.tree.map(jnp.copy, params)

    def step(params, state):
        updates, state = tx.update(params, state, params)
        return jopt.apply_updates(params, updates), state

    params = init(PARAMS)
    state = tx.init(params)
    params, state = jax.jit(step, donate_argnums=(0, 1))(params, state)

    assert jnp.isfinite(params["w"]).all()


def test_a_learning_rate_of_zero_leaves_all_where_it_is():
    zs, averages = points(jopt.schedule_free_sgd(0.0), PARAMS["w"], downhill, 3)

    np.testing.assert_array_equal(zs, [PARAMS["w"]] * 3)
    np.testing.assert_array_equal(averages, [PARAMS["w"]] * 3)


def test_the_base_gets_the_extra_arguments():
    tx = jopt.schedule_free(optax.contrib.momo(), 1.0)
    grads = {"w": jnp.array([3.0, 4.0])}

    with pytest.raises(TypeError, match="'value'"):
        tx.update(grads, tx.init(grads), grads)
    updates, _ = tx.update(grads, tx.init(grads), grads, value=jnp.float32(5))

    assert jnp.isfinite(updates["w"]).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: jopt.schedule_free_sgd(0.1, b1=0.0),
            "ScheduleFree: b1 must be above 0, got 0.0. The average is recovered "
            "through b1.",
        ),
        (
            lambda: jopt.schedule_free_sgd(0.1, b1=1.5),
            "ScheduleFree: b1 must be at most 1, got 1.5.",
        ),
        (
            lambda: jopt.schedule_free_sgd(-0.1),
            "ScheduleFree: learning_rate must be at least 0, got -0.1.",
        ),
        (
            lambda: jopt.schedule_free_sgd(lag=2),  # pyright: ignore[reportArgumentType]
            "schedule_free_sgd: lag must be one of 0, 1, got 2.",
        ),
        (
            lambda: jopt.schedule_free_adamw(0.1, 0),
            "schedule_free: warmup_steps must be above 0, got 0; None is no warmup.",
        ),
        (
            lambda: jopt.schedule_free_adamw(jopt.constant_schedule(0.1), 5),
            "schedule_free: warmup_steps needs a learning rate that is a number, got "
            "ConstantSchedule(value=0.1); put the warmup into the schedule.",
        ),
        (
            lambda: jopt.schedule_free_eval_params(PARAMS, PARAMS),
            "schedule_free_eval_params: the state must hold one ScheduleFreeState, got "
            "0; give the optimizer's state first, the params second.",
        ),
        (
            lambda: jopt.schedule_free_eval_params(
                (jopt.schedule_free_sgd().init(PARAMS),) * 2, PARAMS
            ),
            "schedule_free_eval_params: the state must hold one ScheduleFreeState, got "
            "2;",
        ),
        (
            lambda: jopt.schedule_free_sgd().update(
                PARAMS, jopt.schedule_free_sgd().init(PARAMS)
            ),
            "ScheduleFree: update needs the point that the gradients are of, got none;",
        ),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(make, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        make()
