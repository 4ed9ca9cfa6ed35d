"""What a `TrainState` is made of: what it keeps, gives back and refuses."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from classifiers import BATCH, KINDS, plain_loss, plain_model
from flax import nnx

import jopt
from jopt.training import TrainState, train_step


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


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


@pytest.mark.parametrize("empty", [{}, {"params": {}}, []])
def test_a_model_without_parameters_is_refused(empty):
    with pytest.raises(ValueError, match="TrainState: the model has no parameters"):
        TrainState.create(empty, jopt.adam(1e-3))


@pytest.mark.parametrize(
    ("leaf", "kind"), [(jnp.arange(3), "int32"), (jnp.tanh, ""), ("x", "str")]
)
def test_what_has_no_gradient_is_refused_by_its_name(leaf, kind):
    params = {"a": jnp.ones(3), "b": jnp.ones(2), "n": leaf}
    with pytest.raises(TypeError, match=rf"TrainState: params\['n'\] is {kind}"):
        TrainState.create(params, jopt.adam(1e-3))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"buckets": -1}, "buckets must be a whole number of at least 0, got -1"),
        ({"buckets": "yes"}, "buckets must be a whole number of at least 0, got 'yes'"),
        ({"shards": 0}, "shards must be a whole number of at least 1, got 0"),
        (
            {"precision": "bfloat16"},
            "precision must be a jopt.Precision or None, got 'bfl",
        ),
        ({"loss_scale": 8.0}, "loss_scale must be a jopt.LossScale or None, got 8.0"),
    ],
)
def test_bad_options_are_refused(settings, message):
    with pytest.raises((ValueError, TypeError), match=f"^TrainState.create: {message}"):
        TrainState.create(plain_model(), jopt.sgd(0.1), **settings)


def test_a_seed_may_be_of_numpy():
    seeds: list[Any] = [3, np.int64(3)]
    states = [TrainState.create(plain_model(), jopt.sgd(0.1), seed) for seed in seeds]
    assert states[0].key == states[1].key


def test_modules_in_a_dict_are_one_model():
    def loss_fn(model, batch, key):
        return jnp.square(model["norm"](model["first"](batch))).mean()

    model = {
        "first": nnx.Linear(4, 4, rngs=nnx.Rngs(0)),
        "norm": nnx.BatchNorm(4, rngs=nnx.Rngs(0)),
    }
    state = TrainState.create(model, jopt.adamw(0.1, weight_decay=1.0))
    assert len(jax.tree.leaves(state.params)) == 4
    state, _ = train_step(loss_fn)(state, 3 + jnp.eye(4))
    assert np.abs(state.model["norm"].mean[...]).sum() > 0


def test_a_model_of_which_it_is_not_clear_what_is_trained_is_refused():
    norm = nnx.BatchNorm(4, rngs=nnx.Rngs(0))
    with pytest.raises(TypeError, match=r"model\['mean'\] is a BatchStat"):
        TrainState.create(nnx.state(norm), jopt.sgd(0.1))
    with pytest.raises(TypeError, match=r"model\['t'\] is next to nnx modules"):
        TrainState.create({"norm": norm, "t": jnp.ones(())}, jopt.sgd(0.1))


def test_a_python_number_in_a_module_makes_no_second_program():
    class Model(nnx.Module):
        def __init__(self):
            self.w, self.count = nnx.Param(jnp.ones(3)), nnx.Variable(0)

    state = TrainState.create(Model(), jopt.sgd(0.1))
    step = train_step(lambda model, batch, key: (model.w[...] ** 2).sum())
    for _ in range(2):
        state, _ = step(state, BATCH)
    assert step._cache_size() == 1


@pytest.mark.parametrize("rounding", ["master", "kahan"])
def test_other_params_are_those_that_training_goes_on_from(rounding):
    precision = jopt.Precision("bfloat16", rounding=rounding)
    zeros = {"w": jnp.zeros(4)}
    state = TrainState.create(zeros, jopt.sgd(1e-3), precision=precision)
    step = train_step(lambda params, batch, key: (params["w"] - 1000.0).sum())
    state, _ = step(state, BATCH)
    other = {"w": jnp.full(4, 5, jnp.bfloat16)}
    fresh = TrainState.create(other, jopt.sgd(1e-3), precision=precision)

    state = state.with_params(other)

    held = state.packed, state.opt_state
    chex.assert_trees_all_equal(held, (fresh.packed, fresh.opt_state))
    state, _ = step(state, BATCH)
    assert np.allclose(np.float32(state.params["w"]), 5, atol=0.05)


def test_moments_stay_when_the_params_are_others():
    state = TrainState.create(plain_model(), jopt.adam(0.1))
    state, _ = train_step(plain_loss)(state, BATCH)
    other = state.with_params(jax.tree.map(jnp.zeros_like, state.params))
    chex.assert_trees_all_equal(other.opt_state, state.opt_state)


def test_other_params_and_restored_states_are_copied():
    large = {"a": jnp.ones((100, 100)), "b": jnp.ones((100, 100))}
    step = train_step(lambda params, batch, key: params["a"].sum())
    state = TrainState.create(large, jopt.sgd(0.1))
    given = jnp.zeros((100, 100))
    step(state.filled(state.by_leaf()), BATCH)
    assert state.params["a"].sum() == 10_000
    step(state.with_params({"a": given, "b": given}), BATCH)
    assert given.sum() == 0


def test_stacked_states_are_taken_apart_and_filled_again():
    def make(key):
        params = {
            "a": jax.random.normal(key, (3,)),
            "b": jax.random.normal(key, (2, 2)),
        }
        return TrainState.create(params, jopt.adam(0.1), key)

    states = jax.vmap(make)(jax.random.split(jax.random.key(0), 4))
    again = states.filled(states.by_leaf())
    assert again.packed.vectors[0].shape == (4, 7)
    chex.assert_trees_all_equal(again.params, states.params)
    doubled = states.with_params(jax.tree.map(lambda x: 2 * x, states.params))
    np.testing.assert_array_equal(doubled.params["b"], 2 * states.params["b"])
