"""Promises of the attributions: what they sum to, and definitions in plain NumPy."""

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jopt import studies

RNG = np.random.default_rng(0)
FEATURES = 4
INPUTS = RNG.normal(size=(3, FEATURES)).astype(np.float32)
OTHERS = RNG.normal(size=(5, FEATURES)).astype(np.float32)
MIX = RNG.normal(size=(FEATURES, 6)).astype(np.float32)


def answers(x, numpy: Any = jnp):
    """A model in which features act together; the last but one is idle."""
    hidden = numpy.tanh(x[:, [0, 1, 3]] @ MIX[:3])
    return hidden.sum(axis=1) + x[:, 0] * x[:, 1] ** 2


def in_numpy(x):
    return answers(np.asarray(x, np.float64), np)


def by_orders(x):
    """Shapley values of an example by their definition: a mean over all orders."""
    total = np.zeros(FEATURES)

    def worth(chosen):
        mixed = np.array(OTHERS, np.float64)
        mixed[:, list(chosen)] = x[list(chosen)]
        return in_numpy(mixed).mean()

    for order in itertools.permutations(range(FEATURES)):
        for place, feature in enumerate(order):
            total[feature] += worth(order[: place + 1]) - worth(order[:place])
    return total / math.factorial(FEATURES)


@pytest.fixture(scope="module")
def shares():
    return studies.shapley_values(answers, INPUTS, OTHERS)


def test_shapley_values_are_means_over_all_orders(shares):
    np.testing.assert_allclose(shares, [by_orders(x) for x in INPUTS], atol=2e-5)
    sums = in_numpy(INPUTS) - in_numpy(OTHERS).mean()
    np.testing.assert_allclose(shares.sum(axis=1), sums, rtol=1e-4)
    np.testing.assert_allclose(shares[:, 2], 0, atol=1e-6)  # it is idle


@pytest.mark.filterwarnings("ignore")
def test_shapley_values_are_shaps(shares):
    shap = pytest.importorskip("shap", exc_type=ImportError)
    masker = shap.maskers.Independent(np.asarray(OTHERS, float), max_samples=99)
    explained = shap.explainers.Exact(in_numpy, masker)(np.asarray(INPUTS, float))
    np.testing.assert_allclose(shares, explained.values, atol=2e-5)


@pytest.mark.slow("four features are in the quick run")
def test_twelve_features_of_a_linear_model_have_their_products():
    x, others = RNG.normal(size=(2, 2, 12)).astype(np.float32)
    slopes = np.arange(12, dtype=np.float32)
    found = studies.shapley_values(lambda x: x @ slopes, x, others)
    np.testing.assert_allclose(found, slopes * (x - others.mean(0)), atol=1e-4)


def test_integrated_gradients_are_the_integral_and_sum_to_the_difference():
    start = RNG.normal(size=FEATURES).astype(np.float32)
    found = studies.integrated_gradients(answers, INPUTS, start)

    # By the middles of many parts of the path, and differences in float64.
    x, at = np.asarray(INPUTS, np.float64), (np.arange(400) + 0.5) / 400
    wanted = np.zeros_like(x)
    for t in at:
        for i in range(FEATURES):
            step = 1e-5 * np.eye(FEATURES)[i]
            point = start + t * (x - start)
            slope = (in_numpy(point + step) - in_numpy(point - step)) / 2e-5
            wanted[:, i] += (x - start)[:, i] * slope / len(at)
    np.testing.assert_allclose(found, wanted, atol=2e-4)
    sums = in_numpy(INPUTS) - in_numpy(start[None])
    np.testing.assert_allclose(found.sum(axis=1), sums, rtol=1e-4)


def test_permutation_importance_is_that_of_the_same_shuffles():
    x = RNG.normal(size=(40, FEATURES)).astype(np.float32)
    labels = in_numpy(x).astype(np.float32)
    found = studies.permutation_importance(
        lambda x: jnp.mean((answers(x) - labels) ** 2), x, repeats=3, seed=5
    )

    each = np.zeros((FEATURES, 3))
    for repeat, feature in itertools.product(range(3), range(FEATURES)):
        key = jax.random.fold_in(jax.random.key(5), repeat * FEATURES + feature)
        order = np.asarray(jax.random.permutation(key, 40))
        shuffled = x.copy()
        shuffled[:, feature] = x[order, feature]
        each[feature, repeat] = np.mean((in_numpy(shuffled) - labels) ** 2)
    np.testing.assert_allclose(found.each, each, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.mean, each.mean(1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.std, each.std(1, ddof=1), rtol=1e-3, atol=1e-5)
    assert found.mean[2] == pytest.approx(0, abs=1e-6)
    assert (found.mean[[0, 1, 3]] > 0.1).all()


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: studies.shapley_values(answers, *np.zeros((2, 2, 13))),
            "shapley_values: inputs must be of at most 12 features, as all their sets",
        ),
        (
            lambda: studies.shapley_values(answers, INPUTS, OTHERS[:, :2]),
            "shapley_values: background must be examples of 4 features, as the inputs",
        ),
        (
            lambda: studies.shapley_values(answers, INPUTS[0], OTHERS),
            "shapley_values: inputs must be of the shape [examples, features], got (4,",
        ),
        (
            lambda: studies.integrated_gradients(lambda x: x, INPUTS),
            "integrated_gradients: function must return one number an example, of the "
            "shape [3], got the shape [3, 4]; choose a class, say.",
        ),
        (
            lambda: studies.integrated_gradients(answers, np.zeros((2, 4), int)),
            "integrated_gradients: inputs must be an array of floats whose first axis",
        ),
        (
            lambda: studies.integrated_gradients(answers, INPUTS, steps=0),
            "integrated_gradients: steps must be at least 1, got 0.",
        ),
        (
            lambda: studies.integrated_gradients(answers, INPUTS, np.zeros(3)),
            "integrated_gradients: baseline must be numbers that broadcast with the "
            "inputs, of the shape [3, 4], got array(",
        ),
        (
            lambda: studies.permutation_importance(answers, INPUTS),
            "permutation_importance: score must be a function whose result is a scalar",
        ),
        (
            lambda: studies.permutation_importance(jnp.sum, INPUTS, repeats=1),
            "permutation_importance: repeats must be at least 2, got 1.",
        ),
    ],
)
def test_bad_input_is_refused_in_a_sentence(call, sentence):
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    assert str(caught.value).startswith(sentence)
