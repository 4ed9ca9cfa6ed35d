"""Promises of `TrainState` and `train_step`."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from classifiers import BATCH, KINDS, plain_loss, plain_model

import jopt
from jopt.training import TrainState, train_step


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


def test_steps_reduce_the_loss_in_one_program(kind):
    make, loss_fn = kind
    state = TrainState.create(make(), jopt.adam(0.03))
    step: Any = train_step(loss_fn)
    losses = []
    for _ in range(20):
        state, metrics = step(state, BATCH)
        losses.append(float(metrics.loss))
    assert losses[-1] < 0.8 * losses[0]
    assert step._cache_size() == 1
    assert int(state.step) == 20


def test_a_step_is_what_optax_does_by_hand():
    params: Any = plain_model()
    metrics, grads = None, None
    tx = optax.chain(optax.clip_by_global_norm(0.1), optax.adamw(0.01))
    opt_state = tx.init(params)
    state = TrainState.create(
        params, jopt.chain(jopt.clip_by_global_norm(0.1), jopt.adamw(0.01))
    )
    step = train_step(plain_loss)
    with jax.numpy_dtype_promotion("standard"):
        for _ in range(5):
            grads = jax.grad(plain_loss)(params, BATCH, None)
            updates, opt_state = tx.update(grads, opt_state, params)
            params = optax.apply_updates(params, updates)
    for _ in range(5):
        state, metrics = step(state, BATCH)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5), state.params, params
    )
    assert metrics is not None
    np.testing.assert_allclose(metrics.grad_norm, jopt.global_norm(grads), rtol=1e-3)


def test_batch_statistics_are_kept(kind):
    make, loss_fn = kind
    if loss_fn is plain_loss:
        pytest.skip("plain parameters have no batch statistics")
    state = TrainState.create(make(), jopt.sgd(0.0))
    before = jax.tree.map(np.asarray, jax.tree.leaves(state.model_state))
    state, _ = train_step(loss_fn)(state, BATCH)
    after = jax.tree.leaves(state.model_state)
    assert any(not np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_the_model_comes_back_as_it_was_given(kind):
    make, loss_fn = kind
    state, _ = train_step(loss_fn)(TrainState.create(make(), jopt.sgd(0.1)), BATCH)
    given = make()
    assert type(state.model) is type(given)
    assert jax.tree.structure(state.model) == jax.tree.structure(given)


def test_the_given_arrays_survive_donation():
    params = plain_model()
    train_step(plain_loss)(TrainState.create(params, jopt.sgd(0.1)), BATCH)
    assert params["w"].sum() == 8


def test_the_state_is_donated():
    state = TrainState.create(plain_model(), jopt.adam(0.1))
    train_step(plain_loss)(state, BATCH)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.apart()[0]))


def test_metrics_show_the_numbers_that_the_update_used():
    schedule = jopt.linear_schedule(1.0, 0.0, 10)
    state = TrainState.create(plain_model(), jopt.sgd(schedule, momentum=0.5))
    step = train_step(plain_loss)
    rates = []
    for _ in range(3):
        state, metrics = step(state, BATCH)
        rates.append(float(metrics.hyperparameters["learning_rate"]))
        assert float(metrics.hyperparameters["decay"]) == 0.5
    np.testing.assert_allclose(rates, [1.0, 0.9, 0.8], rtol=1e-6)


def test_a_new_number_is_no_new_program():
    state = TrainState.create(plain_model(), jopt.sgd(1.0))
    step: Any = train_step(plain_loss)
    state, _ = step(state, BATCH)
    before = jax.tree.map(np.asarray, state.params)
    new = jopt.replace(state.tx, learning_rate=0.0)
    state, _ = step(dataclasses.replace(state, tx=new), BATCH)
    assert step._cache_size() == 1
    jax.tree.map(np.testing.assert_array_equal, state.params, before)


def test_states_are_trained_side_by_side_by_vmap():
    rates = jnp.asarray([0.01, 0.1, 1.0])
    step = train_step(plain_loss)

    def create(rate):
        return TrainState.create(plain_model(), jopt.sgd(rate))

    states = jax.vmap(create)(rates)
    alone = [create(rate) for rate in rates]
    for _ in range(3):
        states, metrics = jax.vmap(step, in_axes=(0, None))(states, BATCH)
        alone = [step(state, BATCH)[0] for state in alone]
    losses = [step(state, BATCH)[1].loss for state in alone]
    states, metrics = jax.vmap(step, in_axes=(0, None))(states, BATCH)
    np.testing.assert_allclose(metrics.loss, jnp.stack(losses), rtol=1e-5)


def test_a_key_is_new_at_every_step():
    def loss_fn(params, batch, key):
        return jax.random.uniform(key) + 0 * params["w"].sum()

    state, step = (
        TrainState.create(plain_model(), jopt.sgd(0.1), 7),
        train_step(loss_fn),
    )
    state, first = step(state, BATCH)
    _, second = step(state, BATCH)
    key = jax.random.key(7)
    for number, metrics in enumerate((first, second)):
        expected = jax.random.uniform(jax.random.fold_in(key, number))
        np.testing.assert_array_equal(metrics.loss, expected)


def test_extra_arguments_reach_the_transformation():
    polyak = jopt.lift(optax.polyak_sgd)(max_learning_rate=1.0)
    state = TrainState.create(plain_model(), polyak)
    with jax.numpy_dtype_promotion("standard"):
        state, _ = train_step(plain_loss)(state, BATCH)
    assert not np.array_equal(state.params["w"], plain_model()["w"])


@pytest.mark.parametrize("empty", [{}, {"params": {}}, []])
def test_a_model_without_parameters_is_refused(empty):
    with pytest.raises(ValueError, match="TrainState: the model has no parameters"):
        TrainState.create(empty, jopt.adam(1e-3))


def test_integer_parameters_are_refused():
    with pytest.raises(TypeError, match=r"params\['n'\] is int32"):
        TrainState.create({"n": jnp.arange(3)}, jopt.adam(1e-3))
