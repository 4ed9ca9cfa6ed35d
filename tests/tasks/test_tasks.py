"""Promises of the built-in tasks."""

from typing import Any

import chex
import jax
import numpy as np
import pytest
from flax import nnx

import jopt
from jopt import sweep
from jopt.sweep._supervised import training_of
from jopt.sweep._task import check_task
from jopt.tasks import digits, max_pool, mnist, mnist_nnx
from jopt.tasks._digits import _task

SIZES = {"digits": (1078, 360, 359), "mnist": (3000, 1000, 1000)}


@pytest.fixture(scope="module", params=[digits, mnist, mnist_nnx])
def task(request):
    return request.param()


def test_splits_are_stratified_and_scaled_by_the_training_split(task):
    splits: list[Any] = [task.train, task.valid, task.test]
    sizes = SIZES[task.name.removesuffix("-nnx")]
    np.testing.assert_allclose([len(labels) for _, labels in splits], sizes, atol=3)
    shares = [np.bincount(labels) / len(labels) for _, labels in splits]
    np.testing.assert_allclose(shares[1], shares[0], atol=0.01)
    np.testing.assert_allclose(shares[2], shares[0], atol=0.01)
    inputs = task.train[0]
    assert inputs.dtype == np.float32
    np.testing.assert_allclose([inputs.mean(), inputs.std()], [0, 1], atol=1e-4)


def test_no_example_is_in_two_splits(task):
    seen = [{row.tobytes() for row in split[0]} for split in (task.train, task.valid)]
    assert len(seen[0] & seen[1]) <= 2  # mnist has images that are the same


def test_splits_are_always_the_same():
    first = digits().test
    _task.cache_clear()
    second = digits().test
    assert first is not second
    chex.assert_trees_all_equal(first, second)


def test_a_task_fits_together(task):
    check_task(task, jopt.sgd(0.1))


def test_two_spellings_of_the_network_are_one_network():
    linen, nnx_ = mnist(), mnist_nnx()
    shapes = []
    for task in (linen, nnx_):
        params, _ = jax.eval_shape(training_of(task).start, jax.random.key(0))
        shapes.append(sorted(leaf.shape for leaf in jax.tree.leaves(params)))
    assert shapes[0] == shapes[1]
    assert (3, 3, 32, 64) in shapes[0]


def test_max_pool_is_flaxs():
    inputs = jax.random.normal(jax.random.key(0), (2, 8, 6, 3))
    expected = nnx.max_pool(inputs, (2, 2), strides=(2, 2))
    np.testing.assert_array_equal(max_pool(inputs), expected)


def test_digits_are_learned():
    trials = sweep.grid(jopt.adamw, learning_rate=[1e-3, 5e-3])
    with jax.numpy_rank_promotion("allow"):
        result = sweep.run(digits(), trials, steps=300, block=2)
    assert result.best is not None
    assert result.best.test["accuracy"] > 0.94


@pytest.mark.slow("digits are learned in the quick run")
@pytest.mark.parametrize("make", [mnist, mnist_nnx])
def test_mnist_is_learned(make):
    trials = sweep.grid(jopt.adamw, learning_rate=[2e-3])
    with jax.numpy_rank_promotion("allow"):
        result = sweep.run(make(), trials, steps=50, block=1, segments=1)
    assert result.best is not None
    assert result.best.test["accuracy"] > 0.9
