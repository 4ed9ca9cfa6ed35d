"""orbax, pickle and flax.serialization save and restore every state."""

import functools
import pickle

import chex
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint
import pytest
from classifiers import BATCH, nnx_loss, nnx_model
from flax import serialization
from transformation_table import SIMPLEST, TRANSFORMATIONS

import jopt
from jopt.core import PyTree

PARAMS = {"w": jnp.ones((4, 3)), "b": jnp.ones(3), "c": jnp.ones(2, jnp.bfloat16)}


def by_orbax(saved: PyTree, like: PyTree, folder) -> PyTree:
    with orbax.checkpoint.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder / "state", saved)
    with orbax.checkpoint.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(folder / "state", like)


def by_pickle(saved: PyTree, like: PyTree, folder) -> PyTree:
    return pickle.loads(pickle.dumps(saved))


def by_state_dict(saved: PyTree, like: PyTree, folder) -> PyTree:
    return serialization.from_state_dict(like, serialization.to_state_dict(saved))


def by_bytes(saved: PyTree, like: PyTree, folder) -> PyTree:
    return serialization.from_bytes(like, serialization.to_bytes(saved))


every_way = pytest.mark.parametrize(
    "way", [by_orbax, by_bytes, by_state_dict, by_pickle]
)


def is_key(x) -> bool:
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def numbers(tree: PyTree) -> PyTree:
    return jax.tree.map(
        lambda x: np.asarray(jax.random.key_data(x) if is_key(x) else x), tree
    )


@functools.cache
def states(names: frozenset[str], fill: float = 0) -> PyTree:
    """States of these rows, filled: as `init` shapes them, of which nothing is run."""
    shapes = {
        name: jax.eval_shape(row(jopt).init, PARAMS)
        for name, row in TRANSFORMATIONS.items()
        if name in names
    }
    return jax.tree.map(lambda x: jnp.asarray(np.full(x.shape, fill, x.dtype)), shapes)


@pytest.mark.parametrize(
    "names",
    [
        frozenset(SIMPLEST),
        pytest.param(
            frozenset(TRANSFORMATIONS) - SIMPLEST,
            marks=pytest.mark.slow("their parts are those of simpler rows"),
        ),
    ],
    ids=["simplest", "rest"],
)
@every_way
def test_the_state_of_every_transformation_is_saved_and_restored(way, names, tmp_path):
    like, saved = states(names), states(names, 1)

    back = way(saved, like, tmp_path)

    chex.assert_trees_all_equal_structs(back, like)
    chex.assert_trees_all_equal_shapes_and_dtypes(back, saved)
    chex.assert_trees_all_equal(numbers(back), numbers(saved))


def test_no_state_holds_a_function():
    for leaf in jax.tree.leaves(states(frozenset(SIMPLEST)), is_leaf=callable):
        assert isinstance(leaf, jax.Array)


def large_updates(bound):
    skip = functools.partial(jopt.skip_large_updates, max_squared_norm=bound)
    return jopt.accumulate(jopt.adamw(1e-2), 2, should_skip_update_fn=skip)


def early(count):
    return count < 5


def summed(updates):
    return jax.tree.map(jnp.sum, updates)


def kinds(params):
    return jax.tree.map(lambda p: "one" if p.ndim > 1 else "two", params)


TRAINED = {
    "accumulate": lambda: large_updates(9.0),
    "monitor": lambda: jopt.chain(
        jopt.monitor({"norm": jopt.global_norm, "sums": summed}), jopt.adamw(1e-2)
    ),
    "snapshot": lambda: jopt.chain(
        jopt.snapshot("norm", jopt.global_norm), jopt.sgd(0.1, momentum=0.9)
    ),
    "measure_with_ema": lambda: jopt.chain(
        jopt.monitor({"norm": jopt.measure_with_ema(jopt.global_norm, 0.9)}),
        jopt.sgd(0.1),
    ),
    "conditionally_transform": lambda: jopt.chain(
        jopt.conditionally_transform(jopt.clip(1.0), early), jopt.sgd(0.1)
    ),
    "conditionally_mask": lambda: jopt.conditionally_mask(jopt.adam(0.1), early),
    "a function as rate": lambda: jopt.adam(early),
    "partition": lambda: jopt.partition(
        {"one": jopt.adam(0.1), "two": jopt.noisy_sgd(0.1)},
        kinds,
    ),
    "low_bit": lambda: jopt.low_bit(jopt.adam(0.1), block=8, min_size=3),
    "inject": lambda: jopt.inject_hyperparams(jopt.adamw)(early, b1=0.8),
    "optax's": lambda: jopt.chain(jopt.clip(1.0), jopt.lift(jopt.adam)(0.1)),
}


@pytest.mark.slow("what holds functions, and what orbax makes of it, is quick", but=8)
@every_way
@pytest.mark.parametrize("name", TRAINED)
def test_a_train_state_is_saved_and_restored(name, way, tmp_path):
    def create(**kwargs):
        return jopt.TrainState.create(PARAMS, TRAINED[name](), **kwargs)

    like = create(loss_scale=jopt.LossScale(2.0))
    saved = create(loss_scale=jopt.LossScale(8.0), key=3, buckets=False)

    back = like.filled(way(saved.by_leaf(), like.by_leaf(), tmp_path))

    chex.assert_trees_all_equal_structs(back, like)
    assert numbers(back.loss_scale).scale == 8
    chex.assert_trees_all_equal(numbers(back.by_leaf()), numbers(saved.by_leaf()))


@every_way
def test_training_goes_on_from_what_was_saved(way, tmp_path):
    step = jopt.train_step(nnx_loss, accumulate=2)
    precision = jopt.Precision(rounding="master", mu="bfloat16")

    def create():
        tx = large_updates(1e9)
        return jopt.TrainState.create(nnx_model(), tx, 7, precision=precision)

    state, _ = step(create(), BATCH)
    back = create().filled(way(state.by_leaf(), create().by_leaf(), tmp_path))

    (wanted, _), (got, _) = step(state, BATCH), step(back, BATCH)
    chex.assert_trees_all_equal(numbers(got.by_leaf()), numbers(wanted.by_leaf()))
    assert step._cache_size() == 1


def test_a_state_that_is_not_taken_apart_is_saved_as_well():
    like = jopt.TrainState.create(PARAMS, jopt.adam(0.1))
    saved = jopt.TrainState.create(PARAMS, jopt.adam(0.2), 4)

    for state, into in ((saved, like), (saved.opt_state, like.opt_state)):
        for way in (by_bytes, by_state_dict, by_pickle):
            back = way(state, into, None)
            chex.assert_trees_all_equal_structs(back, into)
            chex.assert_trees_all_equal(numbers(back), numbers(state))


def test_a_state_of_another_transformation_is_refused_with_the_names():
    saved = serialization.to_bytes(
        jopt.TrainState.create(PARAMS, jopt.sgd(0.1, momentum=0.9)).by_leaf()
    )
    like = jopt.TrainState.create(PARAMS, jopt.adam(0.1)).by_leaf()

    message = (
        "^flax.serialization: ScaleByAdamState has count, mu, nu, but the saved one "
        "has trace; restore into"
    )
    with pytest.raises(ValueError, match=message):
        serialization.from_bytes(like, saved)
