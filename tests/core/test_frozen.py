"""A non-finite gradient of a frozen leaf does not stop the training of the others."""

from typing import Any

import chex
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jopt
from jopt.training import PureStep, TrainState, train_step

PARAMS = {
    "body": {"w": jnp.ones((3, 3)), "b": jnp.zeros(3)},
    "head": {"w": jnp.ones((3, 2)), "b": jnp.zeros(2)},
}
X = jnp.arange(12.0).reshape(4, 3) / 12


def loss_fn(params, batch, key):
    """Finite, and so is the gradient of the head; that of the body is 0 / 0."""
    body, head = params["body"], params["head"]
    h = jnp.tanh(X @ body["w"] + body["b"][None])
    bad = batch * jnp.sqrt(jnp.sum(body["w"] - body["w"]))
    return jnp.mean((h @ head["w"] + head["b"][None]) ** 2) + bad


def is_body(path, p):
    return path.startswith("body")


TRAIN = jopt.chain(jopt.clip_by_global_norm(1.0), jopt.adamw(0.1))
PARTS = {"train": TRAIN, "freeze": jopt.set_to_zero()}
LABELS = {"body": "freeze", "head": "train"}
KINDS: dict[str, Any] = {
    "a label": jopt.partition(PARTS, LABELS),
    "selective_transform": jopt.selective_transform(TRAIN, freeze_mask=is_body),
    "last in a chain": jopt.chain(TRAIN, jopt.freeze(is_body)),
    "first in a chain": jopt.chain(jopt.freeze(is_body), TRAIN, jopt.freeze(is_body)),
    "behind a clip": jopt.chain(
        jopt.clip_by_global_norm(1.0), jopt.partition(PARTS, LABELS)
    ),
    "in a wrapper": jopt.apply_if_finite(jopt.partition(PARTS, LABELS), 3),
    "injected": jopt.inject_hyperparams(
        lambda rate: jopt.partition(PARTS | {"train": jopt.adam(rate)}, LABELS)
    )(0.1),
}


@pytest.mark.slow("another way to freeze is asked alike", but=3)
@pytest.mark.parametrize("tx", KINDS.values(), ids=KINDS)
def test_others_train_as_if_the_frozen_gradient_were_zero(tx):
    ended = []
    for bad in (0.0, 1.0):
        state, step = TrainState.create(PARAMS, tx), train_step(loss_fn)
        for _ in range(3):
            state, metrics = step(state, bad)
            assert np.isfinite(metrics.grad_norm)
        assert int(state.skipped) == 0
        ended.append(state.params)
    chex.assert_trees_all_equal(ended[1]["body"], PARAMS["body"])
    assert not np.array_equal(ended[1]["head"]["w"], PARAMS["head"]["w"])
    if tx is not KINDS["last in a chain"] and tx is not KINDS["behind a clip"]:
        # There the clip's norm is of the frozen gradients too.
        chex.assert_trees_all_close(*ended, rtol=1e-6)


def test_microbatches_and_the_step_of_a_sweep_do_so_too():
    tx = KINDS["a label"]
    state = TrainState.create(PARAMS, tx)
    step = train_step(lambda p, batch, key: loss_fn(p, batch[0], key), accumulate=2)
    state, metrics = step(state, jnp.ones(2))
    assert metrics.nonfinite == 0
    assert not np.array_equal(state.params["head"]["w"], PARAMS["head"]["w"])

    bad = jopt.chain(jopt.clip_by_global_norm(1.0), tx)
    state = TrainState.create(PARAMS, bad, buckets=False)
    state, _, finite = PureStep(loss_fn, skips=False)(state, 1.0, state.key)
    assert finite
    chex.assert_tree_all_finite(state.params)


def test_a_leaf_that_trains_still_stops_the_step():
    tx = jopt.partition(PARTS, {"body": "train", "head": "freeze"})
    state, metrics = train_step(loss_fn)(TrainState.create(PARAMS, tx), 1.0)
    assert metrics.nonfinite == 1
    chex.assert_trees_all_equal(state.params, PARAMS)


def test_a_frozen_gradient_beyond_the_range_of_squares_stops_none():
    def loss_fn(params, batch, key):
        return 1e30 * params["a"].sum() + params["b"].sum()

    params = {"a": jnp.ones(3), "b": jnp.ones(3)}
    tx = jopt.selective_transform(jopt.sgd(0.1), freeze_mask={"a": True, "b": False})
    state, metrics = train_step(loss_fn)(TrainState.create(params, tx), 1.0)
    assert metrics.nonfinite == 0
    np.testing.assert_allclose(state.params["b"], 0.9, rtol=1e-6)


def test_layers_of_flax_are_frozen_by_their_paths():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.body, self.head = (nnx.Linear(2, 2, rngs=rngs) for _ in range(2))

    def loss_fn(model, batch, key):
        zero = model.body.kernel[...] - model.body.kernel[...]
        return jnp.mean(model.head(batch) ** 2) + jnp.sqrt(zero).sum()

    tx = jopt.selective_transform(jopt.adam(0.1), freeze_mask=is_body)
    state = TrainState.create(Net(nnx.Rngs(0)), tx)
    state, metrics = train_step(loss_fn)(state, jnp.ones((2, 2)))
    assert metrics.nonfinite == 0


@pytest.mark.parametrize(
    ("tx", "frozen"),
    [
        (jopt.set_to_zero(), [True] * 4),
        (jopt.identity(), [False] * 4),
        (jopt.chain(), [False] * 4),
        (jopt.masked(jopt.set_to_zero(), {"body": True, "head": False}), None),
        (jopt.masked(jopt.masked(jopt.set_to_zero(), is_body), True), None),
        (jopt.sam(jopt.freeze(is_body), jopt.set_to_zero()), None),
        (jopt.sam(jopt.sgd(0.1), jopt.freeze(is_body)), [False] * 4),
        (jopt.flatten(jopt.set_to_zero()), [False] * 4),
        (
            jopt.conditionally_transform(jopt.set_to_zero(), lambda t: t > 3),
            [False] * 4,
        ),
        (jopt.conditionally_mask(jopt.freeze(is_body), lambda t: t > 3), None),
        (optax.set_to_zero(), [False] * 4),
    ],
    ids=lambda x: type(x).__name__,
)
def test_what_is_frozen_is_what_no_gradient_of_its_own_moves(tx, frozen):
    body = [True, True, False, False]
    found = TrainState.create(PARAMS, tx).tx.frozen(PARAMS)
    assert found == (body if frozen is None else frozen)
