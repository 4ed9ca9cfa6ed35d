"""Pointwise losses equal their papers' formulas, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from comparison import relaxed
from sklearn.utils.class_weight import compute_class_weight

from jopt import losses

RNG = np.random.default_rng(0)
LOGITS = 3 * RNG.normal(size=(8, 5)).astype(np.float32)
LABELS = np.array([0, 1, 2, 3, 4, 0, 0, 1], np.int32)
SOFT = RNG.dirichlet(np.ones(5), 8).astype(np.float32)
COUNTS = np.array([50, 20, 10, 5, 1])


def log_softmax(z):
    z = np.asarray(z, float)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal(gamma):
    log_p = log_softmax(LOGITS)
    terms = -((1 - np.exp(log_p)) ** gamma) * log_p
    focal = losses.Focal(gamma)

    np.testing.assert_allclose(
        focal(LOGITS, LABELS), terms[np.arange(8), LABELS], rtol=2e-5
    )
    np.testing.assert_allclose(focal(LOGITS, SOFT), (SOFT * terms).sum(1), rtol=2e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.25, 2.0])
def test_focal_is_finite_where_an_example_is_certain(gamma):
    """The gradients too: far on the right side, far on the wrong one, and beyond."""
    logits = jnp.array([[60.0, -60.0], [-60.0, 60.0], [0.0, -jnp.inf]])
    labels = jnp.array([0, 0, 0])

    def total(gamma, logits):
        return losses.Focal(gamma)(logits, labels).sum()

    value, (by_gamma, by_logits) = jax.value_and_grad(total, (0, 1))(gamma, logits)

    np.testing.assert_allclose(value, 120, rtol=1e-6)
    np.testing.assert_allclose(by_gamma, 0, atol=1e-5)
    np.testing.assert_allclose(by_logits, [[0, 0], [-1, 1], [0, 0]], atol=1e-6)


def test_focal_of_a_binary_decision_is_optax_s():
    z, y = LOGITS[:, 0], np.array([0, 1] * 4, np.float32)
    for gamma, alpha in ((2.0, 0.25), (0.5, 0.75)):
        weighted = losses.ClassWeighted([1 - alpha, alpha], losses.Focal(gamma))
        with relaxed():
            wanted = optax.sigmoid_focal_loss(z, y, alpha=alpha, gamma=gamma)
        np.testing.assert_allclose(losses.Binary(weighted)(z, y), wanted, rtol=1e-5)


@pytest.mark.slow("class weights have a quick reference")
def test_classes_without_a_label_may_have_no_chance():
    """A logit of -inf is a class that is left out, in values and gradients."""
    logits = jnp.concatenate([LOGITS, jnp.full((8, 1), -jnp.inf)], axis=1)
    for loss in (losses.CrossEntropy(), losses.Distilled(2.0), losses.LabelSmoothed(0)):

        def total(z, loss=loss):
            return loss(z, LABELS, teacher_logits=z[::-1]).sum()

        (wanted, grad), (got, wide) = map(jax.value_and_grad(total), (LOGITS, logits))

        np.testing.assert_allclose(got, wanted, rtol=1e-6)
        np.testing.assert_allclose(wide[:, :5], grad, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(wide[:, 5], 0)


def test_a_class_that_there_is_not_has_no_loss():
    got = losses.CrossEntropy()(LOGITS, LABELS.clip(0, 3) - 1)
    assert np.isnan(got).tolist() == (LABELS == 0).tolist()
    assert np.isnan(losses.Focal()(LOGITS, LABELS + 5)).all()


def test_class_balance():
    for beta in (0.0, 0.9, 0.9999):
        weights = (1 - beta) / (1 - beta**COUNTS)
        weights *= 5 / weights.sum()
        wanted = -weights[LABELS] * log_softmax(LOGITS)[np.arange(8), LABELS]
        got = losses.ClassBalanced(COUNTS, beta)(LOGITS, LABELS)
        np.testing.assert_allclose(got, wanted, rtol=1e-5)


def test_class_balance_ends_at_scikit_learn_s_class_weights():
    classes = np.arange(5)
    y = np.repeat(classes, COUNTS)
    theirs = compute_class_weight("balanced", classes=classes, y=y)
    weighted = losses.ClassWeighted(theirs * 5 / theirs.sum())

    got = losses.ClassBalanced(COUNTS, 1 - 1e-6)(LOGITS, LABELS)

    np.testing.assert_allclose(got, weighted(LOGITS, LABELS), rtol=1e-4)


def test_logit_adjustment():
    """Menon et al. write it as log(1 + a sum over the other classes)."""
    tau, z = 1.5, np.asarray(LOGITS, float)
    odds = (COUNTS[None, :] / COUNTS[LABELS][:, None]) ** tau
    terms = odds * np.exp(z - z[np.arange(8), LABELS][:, None])
    wanted = np.log1p(terms.sum(1) - 1)  # its own class is 1

    for counts in (COUNTS, COUNTS / COUNTS.sum()):
        got = losses.LogitAdjusted(counts, tau)(LOGITS, LABELS)
        np.testing.assert_allclose(got, wanted, rtol=1e-5)


def test_hints():
    features, targets = RNG.normal(size=(2, 4, 3, 5)).astype(np.float32)
    wanted = ((features.astype(float) - targets) ** 2).sum((1, 2)) / 2
    np.testing.assert_allclose(losses.Hints()(features, targets), wanted, rtol=1e-5)


def test_attention():
    features = RNG.normal(size=(4, 3, 3, 7)).astype(np.float32)
    targets = RNG.normal(size=(4, 3, 3, 2)).astype(np.float32)
    for power in (1.0, 2.0, 4.0):

        def shape(x, power=power):
            q = (np.abs(x.astype(float)) ** power).sum(-1).reshape(4, -1)
            return q / np.linalg.norm(q, axis=1, keepdims=True)

        wanted = np.linalg.norm(shape(features) - shape(targets), axis=1)
        got = losses.Attention(power)(features, targets)
        np.testing.assert_allclose(got, wanted, rtol=1e-5)


@pytest.mark.slow("distillation has a quick reference")
def test_a_student_like_its_teacher_or_without_features_has_finite_gradients():
    zeros = jnp.zeros((2, 3, 4))
    for features, targets in ((zeros, zeros + 1), (zeros + 1, zeros + 1)):
        for power in (1.0, 2.0):

            def total(f, p, targets=targets):
                return losses.Attention(p)(f, targets).sum()

            grads = jax.grad(total, (0, 1))(features, power)
            assert all(np.isfinite(g).all() for g in grads)


def test_what_a_teacher_says_gets_no_gradient():
    def total(teacher):
        hint = losses.Hints()(LOGITS, teacher).sum()
        attention = losses.Attention()(LOGITS[:, None], teacher[:, None]).sum()
        answers = losses.Distilled()(LOGITS, LABELS, teacher_logits=teacher).sum()
        return hint + attention + answers

    np.testing.assert_array_equal(jax.grad(total)(jnp.asarray(LOGITS[::-1])), 0)


def test_a_function_of_optax_is_a_loss_around_which_others_stand():
    poly = losses.LogitAdjusted(COUNTS, 0.0, optax.losses.poly_loss_cross_entropy)
    hot = np.eye(5, dtype=np.float32)[LABELS]
    with relaxed():
        wanted = optax.losses.poly_loss_cross_entropy(LOGITS, hot)
    np.testing.assert_allclose(poly(LOGITS, hot), wanted, rtol=1e-5)
