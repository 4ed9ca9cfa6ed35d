"""Promises of scaling and of rare classes: the numbers are scikit-learn's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jopt import data

RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(20, 3)) * [1.0, 5.0, 0.1] + [0.0, 9.0, -3.0]
LABELS = np.asarray([0] * 14 + [1] * 5 + [2], np.int32)


def test_scaling_is_scikit_learns():
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    new = RNG.normal(size=(4, 3))
    pairs = [
        (data.standardize, preprocessing.StandardScaler()),
        (data.normalize, preprocessing.MinMaxScaler()),
    ]
    for make, theirs in pairs:
        wanted = theirs.fit(INPUTS).transform(new)
        found, labels = make((INPUTS, LABELS))((jnp.asarray(new, jnp.float32), 7))
        np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-5)
        assert labels == 7


def test_scaling_of_constants_integers_and_single_statistics():
    constant = np.full((5, 2), 3)
    np.testing.assert_array_equal(data.standardize(constant)(constant), 0 * constant)
    np.testing.assert_array_equal(data.normalize(constant)(constant), 0 * constant)
    images = RNG.integers(0, 255, (6, 4, 4, 3)).astype(np.uint8)
    for axis in (None, (0, 1, 2), 0):
        scaled = data.standardize(images, axis)(images)
        assert scaled.dtype == jnp.float32
        np.testing.assert_allclose(np.asarray(scaled).mean(axis), 0, atol=2e-6)
        np.testing.assert_allclose(np.asarray(scaled).std(axis), 1, atol=2e-6)
    half = data.normalize(INPUTS)(jnp.asarray(INPUTS, jnp.bfloat16))
    assert half.dtype == jnp.bfloat16


def test_class_weights_are_scikit_learns():
    class_weight = pytest.importorskip("sklearn.utils.class_weight")
    wanted = class_weight.compute_class_weight(
        "balanced", classes=np.arange(3), y=LABELS
    )
    np.testing.assert_allclose(data.class_weights(LABELS), wanted, rtol=1e-6)
    flat = data.class_weights(LABELS, power=0.0)
    np.testing.assert_allclose(flat, 1, rtol=1e-6)


def test_balanced_batches_have_the_classes_as_often_as_asked():
    examples = np.arange(20), LABELS
    asked = {1.0: [1, 1, 1], 0.5: np.sqrt([14, 5, 1]), 0.0: [14, 5, 1]}
    for power, wanted in asked.items():
        draw = data.BalancedBatches(examples, LABELS, 500, power)
        batches = [draw(step) for step in range(20)]
        counts = np.bincount(np.concatenate([labels for _, labels in batches]))
        shares = np.asarray(wanted) / np.sum(wanted)
        np.testing.assert_allclose(counts / counts.sum(), shares, atol=0.02)
        rows = np.concatenate([rows for rows, _ in batches])
        np.testing.assert_array_equal(np.unique(rows), np.arange(20))
        again = data.BalancedBatches(examples, LABELS, 500, power)(3)
        jax.tree.map(np.testing.assert_array_equal, again, batches[3])
        assert (draw(3)[0] != draw(4)[0]).any()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: data.standardize(3), "standardize: examples must be an array of"),
        (
            lambda: data.normalize(np.zeros((0, 2))),
            "normalize: examples must be an array of inputs",
        ),
        (
            lambda: data.standardize((np.asarray([[1.0], [np.nan]]), None)),
            "standardize: examples must be finite, got nan at [1, 0]; fill what is",
        ),
        (lambda: data.normalize([]), "normalize: examples must be an array of inputs"),
        (
            lambda: data.normalize(np.zeros((3, 2)), axis=2),
            "normalize: axis must be None or among the 2 axes of the inputs, got 2.",
        ),
        (
            lambda: data.class_weights(np.asarray([0, 1]), power=np.nan),
            "class_weights: power must be finite, got nan.",
        ),
        (
            lambda: data.BalancedBatches(3, np.arange(3)),
            "BalancedBatches: examples must be a tree of arrays whose first axis is",
        ),
        (
            lambda: data.class_weights(np.asarray([0.5])),
            "class_weights: labels must be classes, integers on one axis, got ",
        ),
        (
            lambda: data.class_weights(np.asarray([0, 2])),
            "class_weights: labels must have an example of every class up to 2, got "
            "none of class 1;",
        ),
        (
            lambda: data.BalancedBatches(np.arange(3), np.arange(2)),
            "BalancedBatches: labels must be as many as the 3 examples, got 2.",
        ),
        (
            lambda: data.BalancedBatches(np.arange(3), np.arange(3), 0),
            "BalancedBatches: batch_size must be at least 1, got 0.",
        ),
    ],
)
def test_bad_input_is_refused_in_a_sentence(make, sentence):
    with pytest.raises((TypeError, ValueError)) as caught:
        make()
    assert str(caught.value).startswith(sentence)
