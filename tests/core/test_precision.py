"""Numbers that optax loses in low precision and jopt keeps, each measured."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from comparison import relaxed

import jopt


@pytest.mark.slow("the norm of one leaf is in the quick run")
def test_the_norm_of_many_bfloat16_leaves_is_right():
    leaves = [jnp.ones(16, jnp.bfloat16)] * 600
    exact = np.sqrt(9600)

    with relaxed():
        theirs = float(optax.tree.norm(leaves))

    np.testing.assert_allclose(jopt.global_norm(leaves), exact, rtol=1e-6)
    assert theirs < 0.66 * exact  # its sum stops at 4096


def test_the_second_moment_of_bfloat16_decays():
    grads = jnp.repeat(jnp.array([1, 0], jnp.bfloat16), 2000)
    decayed = np.float64(np.float32(0.999)) ** 2000

    def end(tx):
        def step(state, g):
            return tx.update(g, state)[1], None

        return jax.lax.scan(step, tx.init(jnp.bfloat16(0)), grads)[0].nu

    with relaxed():
        theirs = jax.jit(lambda: end(optax.scale_by_adam()))()
    ours = jax.jit(end)(jopt.scale_by_adam())

    np.testing.assert_allclose(ours, (1 - decayed) * decayed, rtol=1e-4)
    assert theirs > 0.4  # 0.999 is 1 in bfloat16


def test_float16_gradients_whose_squares_overflow_are_clipped():
    grads = {"w": jnp.full(4, 300, jnp.float16)}

    updates, _ = jopt.clip_by_global_norm(1.0).update(grads, jopt.EmptyState())
    with relaxed():
        clipped, _ = optax.clip_by_global_norm(1.0).update(grads, optax.EmptyState())

    np.testing.assert_array_equal(updates["w"], np.full(4, 0.5, np.float16))
    assert not any(map(jnp.any, jax.tree.leaves(clipped)))  # its norm is infinite


def test_an_infinite_limit_is_no_limit():
    grads = {"w": jnp.array([3.0, 4e30])}

    updates, _ = jopt.clip_by_global_norm(float("inf")).update(grads, ())

    np.testing.assert_array_equal(updates["w"], grads["w"])


def test_a_limit_of_zero_is_zero():
    tx = jopt.clip_by_global_norm(0.0)

    for grads in (jnp.zeros(2), jnp.ones(2)):
        np.testing.assert_array_equal(tx.update(grads, ())[0], [0.0, 0.0])


@pytest.mark.slow(
    "the contract differentiates with a coordinate of zero gradients", but=2
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "make",
    [
        jopt.adam,
        jopt.nadam,
        jopt.amsgrad,
        jopt.adagrad,
        jopt.rmsprop,
        lambda rate: jopt.rmsprop(rate, centered=True),
        lambda rate: jopt.rmsprop(rate, eps_in_sqrt=False),
        lambda rate: jopt.adagrad(rate, 0.0, 0.0),
        lambda rate: jopt.chain(jopt.clip_by_global_norm(1.0), jopt.sgd(rate)),
    ],
    ids=lambda make: getattr(make, "__name__", ""),
)
def test_zero_gradients_have_finite_hypergradients(make, dtype):
    zeros = jnp.zeros(3, dtype)

    def moved(tx, grads):
        updates, state = tx.update(grads, tx.init(zeros))
        updates, _ = tx.update(grads, state)
        return jnp.sum(updates).astype(jnp.float32)

    slopes = jax.jit(jax.grad(moved, argnums=(0, 1)))(make(0.1), zeros)

    assert all(np.isfinite(s).all() for s in jax.tree.leaves(slopes))


def test_a_decay_next_to_one_is_kept():
    tx = jopt.scale_by_adam(b2=0.9999999)

    updates, state = tx.update(jnp.float32(2), tx.init(jnp.float32(0)))

    np.testing.assert_allclose(updates, 1.0, rtol=1e-6)
    np.testing.assert_allclose(state.nu, 4 * (1 - np.float64(np.float32(0.9999999))))


def test_a_moment_dtype_is_kept():
    params = jnp.ones(3)
    makers = [
        lambda: jopt.scale_by_adam(mu_dtype=jnp.bfloat16),
        lambda: jopt.scale_by_amsgrad(mu_dtype=jnp.bfloat16),
        lambda: jopt.scale_by_lion(mu_dtype=jnp.bfloat16),
    ]

    for make in makers:
        updates, state = make().update(params, make().init(params))
        assert (state.mu.dtype, updates.dtype) == (jnp.bfloat16, jnp.float32)
    for make in (jopt.adam, jopt.adamw, jopt.nadam, jopt.nadamw):
        tx = make(0.1, nu_dtype=jnp.bfloat16)
        _, state = tx.update(params, tx.init(params), params)
        assert (state[0].mu.dtype, state[0].nu.dtype) == (jnp.float32, jnp.bfloat16)
    for tx in (
        jopt.trace(0.9, accumulator_dtype="bfloat16"),
        jopt.ema(0.9, accumulator_dtype="bfloat16"),
    ):
        _, state = tx.update(params, tx.init(params))
        assert state[-1].dtype == jnp.bfloat16


def test_float64_is_computed_in_float64():
    with jax.enable_x64(True):
        params = jnp.ones(3, jnp.float64)
        for tx in (jopt.adamw(0.1), jax.tree.map(jnp.float32, jopt.adamw(0.1))):
            updates, state = tx.update(params, tx.init(params), params)
            mu = optax.tree.get(state, "mu")
            assert updates.dtype == mu.dtype == jnp.float64


def test_a_norm_of_what_is_not_finite_is_not_finite():
    for bad in (jnp.nan, jnp.inf):
        assert not jnp.isfinite(jopt.global_norm({"a": jnp.ones(2), "b": bad}))


def test_bfloat16_parameters_move_by_small_steps():
    grads = jnp.ones(4, jnp.bfloat16)

    def after(tx, apply_updates, steps=200):
        def step(carry, _):
            params, state = carry
            updates, state = tx.update(grads, state, params)
            return (apply_updates(params, updates), state), None

        start = jnp.ones(4, jnp.bfloat16)
        run = jax.jit(
            lambda: jax.lax.scan(step, (start, tx.init(start)), length=steps)[0]
        )
        return run()[0]

    for make in (jopt.sgd, jopt.adam):
        moved = after(jopt.master_weights(make(1e-3)), jopt.apply_updates)
        np.testing.assert_allclose(moved.astype(jnp.float32), 0.8, rtol=2**-8)
    with relaxed():
        stuck = after(optax.sgd(1e-3), optax.apply_updates)
    np.testing.assert_array_equal(stuck.astype(jnp.float32), 1)  # 1 - 0.001 is 1


def test_adam_in_float16_has_no_zero_over_zero():
    zeros = jnp.zeros(3, jnp.float16)

    with relaxed():
        theirs, _ = optax.adam(0.1).update(zeros, optax.adam(0.1).init(zeros))
    ours, _ = jopt.adam(0.1).update(zeros, jopt.adam(0.1).init(zeros))

    assert np.isnan(np.asarray(theirs)).all()  # its eps of 1e-8 is 0 in float16
    np.testing.assert_array_equal(ours, zeros)


def test_an_infinite_gradient_is_clipped_to_nothing_where_it_is_guarded():
    grads = {"w": jnp.array([1.0, jnp.inf])}
    guarded = jopt.apply_if_finite(jopt.clip_by_global_norm(1.0), 5)

    updates, state = guarded.update(grads, guarded.init(grads))
    with relaxed():
        theirs, _ = optax.clip_by_global_norm(1.0).update(grads, optax.EmptyState())

    np.testing.assert_array_equal(updates["w"], [0, 0])
    assert state.total_notfinite == 1
    assert any(jnp.isnan(leaf).any() for leaf in jax.tree.leaves(theirs))


def test_master_weights_are_the_inner_optimizer_in_float32_and_its_rounding_below():
    noise = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)

    def run(tx, dtype):
        def step(carry, g):
            params, state = carry
            updates, state = tx.update(g.astype(dtype), state, params)
            params = jopt.apply_updates(params, updates)
            return (params, state), params.astype(jnp.float32)

        start = jnp.full(6, 0.5, dtype)
        return jax.jit(
            lambda: jax.lax.scan(step, (start, tx.init(start)), jnp.asarray(noise))[1]
        )()

    inner = jopt.adamw(1e-2, weight_decay=0.1)
    alone = run(inner, jnp.float32)

    np.testing.assert_allclose(
        run(jopt.master_weights(inner), jnp.float32), alone, rtol=1e-5
    )
    # Gradients are rounded too, so the masters are not the same bits.
    low = run(jopt.master_weights(inner), jnp.bfloat16)
    np.testing.assert_allclose(low, alone, rtol=0.02)
