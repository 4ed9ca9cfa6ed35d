"""Checkpoints are written by leaf: states of any layout restore into each other."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint
import pytest
from classifiers import BATCH, linen_loss, linen_model, plain_model
from comparison import key_data

import jopt
from jopt.core import Buckets
from jopt.training import TrainState, train_step

TX = jopt.chain(jopt.clip_by_global_norm(0.2), jopt.sgd(0.1, momentum=0.9))
STEP = train_step(linen_loss)


def create(buckets):
    return TrainState.create(linen_model(), TX, 7, buckets=buckets)


def after(steps, state):
    for _ in range(steps):
        state, _ = STEP(state, BATCH)
    return state


def numbers(state):
    """Every array of a state, leaf by leaf, keys as their bits."""
    return jax.tree.map(np.array, key_data(jax.tree.leaves(state.by_leaf())))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A checkpoint after two steps for each layout, by `buckets`."""
    folder = tmp_path_factory.mktemp("checkpoints")
    with orbax.checkpoint.StandardCheckpointer() as checkpointer:
        for buckets in (True, False):
            state = after(2, create(buckets))
            checkpointer.save(folder / str(buckets), state.by_leaf())
    return folder


def restored(files, saved, state):
    with orbax.checkpoint.StandardCheckpointer() as checkpointer:
        return state.filled(checkpointer.restore(files / str(saved), state.by_leaf()))


@pytest.mark.slow("one kind of model is in the quick run", but=1)
@pytest.mark.parametrize("saved", [True, False])
@pytest.mark.parametrize("buckets", [True, False])
def test_training_goes_on_as_if_it_had_not_stopped(files, saved, buckets):
    state = restored(files, saved, create(buckets))
    assert isinstance(state.packed, Buckets) == buckets

    resumed, uninterrupted = (
        numbers(s) for s in (after(2, state), after(4, create(saved)))
    )

    # Vectors sum in another order than leaves.
    rtol = 0 if saved == buckets else 1e-5
    chex.assert_trees_all_close(resumed, uninterrupted, rtol=rtol, atol=rtol)


def test_a_restored_state_is_no_new_program(files):
    step = train_step(linen_loss)
    for state in (create(True), restored(files, True, create(True))):
        step(state, BATCH)
    assert step._cache_size() == 1


def test_a_restored_state_may_be_laid_out_by_another_threshold(files):
    state = restored(files, True, create(16))
    assert len(state.packed.leaves) == 1
    expected = after(2, create(True))
    chex.assert_trees_all_equal(numbers(state), numbers(expected))


def test_the_checkpoint_brings_its_own_numbers(files):
    scaled = TrainState.create(
        plain_model(), jopt.sgd(0.1), 3, loss_scale=jopt.LossScale(8.0)
    )
    other = TrainState.create(
        plain_model(), jopt.sgd(0.5), 4, loss_scale=jopt.LossScale()
    )
    for x, y in zip(
        numbers(other.filled(scaled.by_leaf())), numbers(scaled), strict=True
    ):
        np.testing.assert_array_equal(x, y)


PARAMS = {name: jnp.ones(n) for name, n in (("a", 3), ("b", 2), ("c", 40))}


@pytest.mark.parametrize(
    ("tx", "precision"),
    [
        (jopt.low_bit(jopt.adam(0.1), block=8, min_size=20), None),
        (jopt.low_bit(jopt.adam(0.1), block=8, min_size=3), None),
        (jopt.adam(0.1), jopt.Precision("bfloat16", rounding="master")),
        (jopt.adam(0.1), jopt.Precision("bfloat16", rounding="kahan")),
        (jopt.adam(0.1), jopt.Precision(mu="bfloat16", rounding="stochastic")),
        (jopt.adamw(0.1, mask={"a": True, "b": True, "c": False}), None),
        (
            jopt.partition(
                {"train": jopt.adam(0.1), "freeze": jopt.set_to_zero()},
                {"a": "freeze", "b": "freeze", "c": "train"},
            ),
            None,
        ),
        (jopt.lamb(0.1), None),
    ],
    ids=lambda x: type(x).__name__,
)
def test_what_is_taken_apart_is_put_together_again(tx, precision):
    state = TrainState.create(PARAMS, tx, buckets=30, precision=precision)

    def other(x):
        is_key = jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
        return jax.random.fold_in(x, 1) if is_key else x + jnp.ones_like(x)

    filled = state.filled(jax.tree.map(other, state.by_leaf()))

    chex.assert_trees_all_equal_structs(filled, state)
    for x, y in zip(numbers(filled), numbers(state), strict=True):
        if x.dtype != np.uint32:  # a key
            np.testing.assert_array_equal(x, y + np.ones_like(y))


def test_a_plain_state_is_by_leaf_already():
    plain = TrainState.create(PARAMS, TX, buckets=False)
    joined = TrainState.create(PARAMS, TX)
    assert jax.tree.structure(plain.by_leaf()) == jax.tree.structure(plain)
    assert jax.tree.structure(joined.by_leaf()) == jax.tree.structure(plain)


@pytest.mark.parametrize(
    ("params", "tx", "message"),
    [
        ({"b": jnp.ones(5)}, TX, r"\.packed\['b'\] must be float32\[2\], but has the "),
        ({"b": jnp.ones(2, jnp.bfloat16)}, TX, r"\.packed\['b'\] .* but is bfloat16"),
        ({"d": jnp.ones(2)}, TX, r"has \.packed\['d'\], which the model that was"),
        ({"b": None, "c": None}, TX, r"\.packed\['b'\] must be .* but is missing"),
        ({}, jopt.chain(TX, jopt.adam(0.1)), r"\.trace\['a'\] .* is missing"),
        ({}, jopt.adam(0.1), r"\.opt_state\[0\]\.count.*which|is missing"),
    ],
)
@pytest.mark.parametrize("buckets", [True, False])
def test_a_state_of_another_model_is_refused_with_the_first_leaf(
    params, tx, message, buckets
):
    params = {name: p for name, p in (PARAMS | params).items() if p is not None}
    state = TrainState.create(PARAMS, TX, buckets=buckets)
    with pytest.raises(ValueError, match=rf"^TrainState\.filled: .*{message}"):
        state.filled(TrainState.create(params, tx).by_leaf())


def test_other_params_take_the_place_of_the_held_ones():
    state = TrainState.create(PARAMS, TX)
    twice = jax.tree.map(lambda p: 2 * p, PARAMS)

    state = state.with_params(twice)

    assert isinstance(state.packed, Buckets)
    assert all(x.sum() == 2 * x.size for x in state.params.values())
    for other in (jnp.ones(3), jnp.ones(2, jnp.bfloat16)):
        message = r"^TrainState\.with_params: params\['b'\] must be float32\[2\]"
        with pytest.raises(ValueError, match=message):
            state.with_params(twice | {"b": other})
