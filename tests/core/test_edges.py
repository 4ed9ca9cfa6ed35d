"""Edge cases: integers, the range of float32, dtypes, arguments."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jopt
from jopt.core import as_schedule

LIST: Any = [0.1]
TRUE: Any = True


@pytest.mark.slow("other optimizers keep them in the quick run")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("make", [jopt.soap, jopt.shampoo, jopt.kron])
def test_matrix_optimizers_keep_their_dtypes_under_x64(make, dtype):
    with jax.enable_x64(True):
        params = {"w": jnp.ones((3, 2), dtype), "b": jnp.ones(2, dtype)}
        tx = make(1e-3)
        before, update = tx.init(params), jax.jit(tx.update)
        _, state = update(params, before, params)
        updates, state = update(params, state, params)
        chex.assert_trees_all_equal_dtypes(state, before)
        chex.assert_trees_all_equal_dtypes(updates, params)


def test_a_float64_loss_leaves_the_dtypes_of_a_state():
    params = {"w": jnp.ones(2)}
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        for tx in (jopt.reduce_on_plateau(), jopt.momo(np.float64(1), np.float64(0.9))):
            state = tx.init(params)
            value = jnp.ones((), jnp.float64)
            _, after = tx.update(params, state, params, value=value)
            chex.assert_trees_all_equal_dtypes(state, after)


@pytest.mark.parametrize("number", [np.uint32(3625411723), np.int32(2**24 + 1)])
def test_frozen_integers_stay_what_they_are(number):
    params = {"w": jnp.ones(2), "n": jnp.asarray(number)}
    mask = {"w": False, "n": True}
    tx = jopt.selective_transform(jopt.sgd(0.1), freeze_mask=mask)
    grads = {"w": jnp.ones(2), "n": jnp.zeros_like(params["n"])}
    updates, _ = tx.update(grads, tx.init(params), params)
    assert jopt.apply_updates(params, updates)["n"] == number


def test_a_function_of_the_step_counts_beyond_float32():
    odd = as_schedule(lambda step: step % 2)
    assert [odd(jnp.int32(2**24 + i)) for i in range(3)] == [0, 1, 0]


@pytest.mark.parametrize("make", [jopt.muon, jopt.normuon])
def test_large_gradients_are_made_orthogonal_too(make):
    grads = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)), jnp.float32)
    found = [
        make(0.1).update({"w": g}, make(0.1).init({"w": g}), {"w": jnp.zeros((4, 3))})
        for g in (grads, 1e30 * grads)
    ]
    (small, _), (large, _) = found
    np.testing.assert_allclose(large["w"], small["w"], rtol=1e-3, atol=1e-5)


def test_the_numbers_of_adafactor_have_slopes_where_no_gradient_was():
    grads = {"w": jnp.zeros((3, 2))}

    def size(tx):
        updates, _ = tx.update(grads, tx.init(grads), grads)
        return jnp.sum(updates["w"] ** 2)

    slopes = jax.grad(size)(jopt.scale_by_factored_rms(min_dim_size_to_factor=2))
    assert np.isfinite(jax.tree.leaves(slopes)).all()


def test_names_with_dots_can_be_replaced():
    groups = {"layer.0": jopt.sgd(0.1), "rest": jopt.sgd(0.2)}
    tx = jopt.partition(groups, {"w": "layer.0", "b": "rest"})
    state = tx.init({"w": jnp.ones(2), "b": jnp.ones(2)})
    for name in jopt.hyperparameters(tx, state):
        changed = jopt.hyperparameters(jopt.replace(tx, **{name: 1.0}), state)
        assert [n for n, value in changed.items() if value == 1] == [name]


def test_a_key_is_printed_as_what_it_is():
    assert "key=key<fry>[]" in repr(jopt.noisy_sgd(0.1, key=jax.random.key(0)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jopt.chain(jopt.scale_by_adam), "a factory must be called first"),
        (
            lambda: jopt.sgd(0.1, TRUE),
            "sgd: momentum must be a number or None, got True",
        ),
        (
            lambda: jopt.sgd(LIST),
            "learning_rate must be a number or a schedule, got [0.1]",
        ),
        (lambda: jopt.clip(TRUE), "Clip: max_delta must be a number, got True"),
    ],
)
def test_what_is_no_number_is_refused(make, message):
    with pytest.raises(TypeError) as error:
        make()
    assert message in str(error.value)


@pytest.mark.parametrize(
    "tx", [jopt.reduce_on_plateau(), jopt.momo(), jopt.polyak_sgd()]
)
def test_a_loss_that_is_no_scalar_is_refused(tx):
    params = {"w": jnp.ones(2)}
    with pytest.raises(ValueError, match=r"value must be a scalar, got .* \[1\]"):
        tx.update(params, tx.init(params), params, value=jnp.ones(1))
