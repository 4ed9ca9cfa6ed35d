"""SAM in both modes: the paper's step in two calls or in one."""

import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax.contrib
import pytest
from comparison import relaxed, stack

import jopt

CLOSE = {"rtol": 1e-5, "atol": 1e-6}
START = {"a": jnp.array([1.0, -2.0, 0.5]), "b": jnp.array([[3.0], [-1.0]])}


def loss(params):
    return sum(jnp.sum(p**4) for p in jax.tree.leaves(params))


gradient = jax.grad(loss)


def parts(lib, rho=0.1, rate=0.01):
    """The descent and the ascent."""
    ascent = lib.chain(getattr(lib, "contrib", lib).normalize(), lib.sgd(rho))
    return lib.adam(rate), ascent


def transparent(tx, steps):
    params, state = START, tx.init(START)
    for _ in range(steps):
        updates, state = tx.update(gradient(params), state, params)
        params = jopt.apply_updates(params, updates)
    return params


def opaque(tx, steps):
    params, state = START, tx.init(START)
    for _ in range(steps):
        updates, state = tx.update(
            gradient(params), state, params, grad_fn=lambda p, i: gradient(p)
        )
        params = jopt.apply_updates(params, updates)
    return params


def test_one_step_is_that_of_the_paper():
    rho, rate = 0.1, 0.01
    ascent = jopt.chain(jopt.normalize(), jopt.sgd(rho))
    tx = jopt.sam(jopt.sgd(rate), ascent, opaque_mode=True)

    got = opaque(tx, 1)

    norm = np.sqrt(sum(np.sum(g**2) for g in jax.tree.leaves(gradient(START))))
    there = jax.tree.map(lambda p, g: p + rho * g / norm, START, gradient(START))
    wanted = jax.tree.map(lambda p, g: p - rate * g, START, gradient(there))
    chex.assert_trees_all_close(got, wanted, **CLOSE)


@pytest.mark.slow("each mode has closed forms", but=1)
@pytest.mark.parametrize("period", [2, 3])
@pytest.mark.parametrize("reset", [True, False], ids=["reset", "kept"])
def test_both_modes_train_alike_and_as_optax_does(period, reset):
    def make(lib, **mode):
        rate, ascent = lib.adam(0.01), lib.sgd(0.005, momentum=0.5)
        sam = getattr(lib, "contrib", lib).sam
        return sam(rate, ascent, sync_period=period, reset_state=reset, **mode)

    seen = transparent(make(jopt), 3 * period)
    hidden = opaque(make(jopt, opaque_mode=True), 3)
    with relaxed():
        theirs = opaque(make(optax, opaque_mode=True), 3)

    if reset:
        chex.assert_trees_all_close(seen, hidden, **CLOSE)
    chex.assert_trees_all_close(hidden, theirs, **CLOSE)


def test_between_descents_the_params_are_not_the_true_ones():
    tx = jopt.sam(*parts(jopt))
    state = tx.init(START)

    updates, after = tx.update(gradient(START), state, START)

    climbed = jopt.apply_updates(START, updates)
    assert loss(climbed) > loss(START)
    assert int(after.steps_since_sync) == 1
    chex.assert_trees_all_close(after.cache, START, **CLOSE)


def test_a_period_of_one_is_the_optimizer_itself():
    descent, ascent = parts(jopt)

    for tx, run in (
        (jopt.sam(descent, ascent, 1), transparent),
        (jopt.sam(descent, ascent, 1, opaque_mode=True), opaque),
    ):
        chex.assert_trees_all_close(run(tx, 3), transparent(descent, 3), **CLOSE)


def test_an_ascent_that_fails_leaves_the_optimizers_state_as_it_was():
    tx = jopt.sam(*parts(jopt), reset_state=True)
    state = tx.init(START)
    bad = jax.tree.map(lambda p: p * jnp.nan, START)

    _, after = tx.update(bad, state, START)
    updates, after = tx.update(gradient(START), after, START)

    assert all(jnp.isfinite(x).all() for x in jax.tree.leaves((updates, after)))


def test_the_gradient_of_each_ascent_can_have_its_own_batch():
    seen = []

    def grad_fn(params, i):
        seen.append(i)
        return gradient(params)

    tx = jopt.sam(*parts(jopt), sync_period=4, opaque_mode=True)
    tx.update(gradient(START), tx.init(START), START, grad_fn=grad_fn)

    assert seen == [0, 1, 2]


def test_gradients_of_the_ascents_are_averaged_over_a_mapped_axis():
    tx = jopt.sam(*parts(jopt), opaque_mode=True, batch_axis_name="batch")
    scales = jnp.array([0.5, 1.5], jnp.float32)

    def step(scale):
        def grad_fn(params, _):
            return jax.tree.map(lambda g: scale * g, gradient(params))

        return tx.update(gradient(START), tx.init(START), START, grad_fn=grad_fn)[0]

    averaged = jax.vmap(step, axis_name="batch")(scales)

    alone = jopt.sam(*parts(jopt), opaque_mode=True)
    wanted, _ = alone.update(
        gradient(START), alone.init(START), START, grad_fn=lambda p, i: gradient(p)
    )
    for i in range(2):
        chex.assert_trees_all_close(
            jax.tree.map(lambda u, i=i: u[i], averaged), wanted, **CLOSE
        )


def test_radius_and_rate_can_be_swept_in_opaque_mode():
    txs = [
        jopt.sam(*parts(jopt, rho, rate), opaque_mode=True)
        for rho, rate in ((0.1, 0.01), (0.5, 0.03))
    ]

    swept = jax.jit(jax.vmap(lambda tx: opaque(tx, 3)))(stack(txs))

    for i, tx in enumerate(txs):
        chex.assert_trees_all_close(
            jax.tree.map(lambda p, i=i: p[i], swept), opaque(tx, 3), **CLOSE
        )


def test_normalized_zero_gradients_are_zero():
    zeros = jnp.zeros(3)
    tx = jopt.normalize()

    updates, _ = tx.update(zeros, tx.init(zeros))

    np.testing.assert_array_equal(updates, 0)


@pytest.mark.parametrize("period", [0, 1.5])
def test_a_period_is_a_whole_number(period):
    message = f"Sam: sync_period must be an integer, at least 1, got {period}."
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        jopt.sam(*parts(jopt), sync_period=period)


def test_opaque_mode_asks_for_the_gradient_as_a_function():
    tx = jopt.sam(*parts(jopt), opaque_mode=True)
    message = (
        "Sam: update needs the gradient as a function, got none; call "
        "tx.update(updates, state, params, grad_fn=grad_fn) (optax's combinators drop "
    )
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        tx.update(START, tx.init(START), START)
