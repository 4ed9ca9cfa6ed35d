"""Losses and their gradients equal those of torch."""

import jax
import numpy as np
import pytest

from jopt import losses

torch = pytest.importorskip("torch")
F = torch.nn.functional

RNG = np.random.default_rng(0)
LOGITS, TEACHER = 3 * RNG.normal(size=(2, 16, 5)).astype(np.float32)
LABELS = RNG.integers(0, 5, 16).astype(np.int32)
SOFT = RNG.dirichlet(np.ones(5), 16).astype(np.float32)
WEIGHTS = np.array([1.0, 2.0, 0.5, 3.0, 0.0], np.float32)


def as_tensor(x):
    dtype = torch.int64 if x.dtype == np.int32 else torch.float64
    return torch.tensor(x, dtype=dtype)


def assert_equals_torch(loss, theirs, labels):
    """Compare values and the gradient of their sum; theirs is in float64."""

    def total(z):
        values = loss(z, labels, teacher_logits=TEACHER)
        return values.sum(), values

    z = as_tensor(LOGITS).requires_grad_()
    wanted = theirs(z, as_tensor(labels))
    wanted.sum().backward()
    grads, values = jax.jit(jax.grad(total, has_aux=True))(LOGITS)

    np.testing.assert_allclose(values, wanted.detach(), rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(grads, z.grad, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("labels", [LABELS, SOFT], ids=["classes", "probabilities"])
@pytest.mark.parametrize("alpha", [0.0, 0.1, 1.0])
def test_cross_entropy_of_smooth_labels(labels, alpha):
    theirs = torch.nn.CrossEntropyLoss(label_smoothing=alpha, reduction="none")
    assert_equals_torch(losses.LabelSmoothed(alpha), theirs, labels)
    if alpha == 0:
        assert_equals_torch(losses.CrossEntropy(), theirs, labels)


@pytest.mark.parametrize("labels", [LABELS, SOFT], ids=["classes", "probabilities"])
def test_cross_entropy_of_weighted_classes(labels):
    theirs = torch.nn.CrossEntropyLoss(
        as_tensor(WEIGHTS), label_smoothing=0.1, reduction="none"
    )
    ours = losses.LabelSmoothed(0.1, losses.ClassWeighted(WEIGHTS))
    assert_equals_torch(ours, theirs, labels)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("weight", [0.0, 0.7, 1.0])
def test_distillation(temperature, weight):
    divergence = torch.nn.KLDivLoss(reduction="none", log_target=True)

    def theirs(z, labels):
        ours, teachers = (
            F.log_softmax(x / temperature, dim=1) for x in (z, as_tensor(TEACHER))
        )
        soft = divergence(ours, teachers).sum(1) * temperature**2
        hard = F.cross_entropy(z, labels, reduction="none")
        return (1 - weight) * hard + weight * soft

    assert_equals_torch(losses.Distilled(temperature, weight), theirs, LABELS)


def test_binary_cross_entropy():
    def theirs(z, y):
        return F.binary_cross_entropy_with_logits(z, y, reduction="none")

    assert_equals_torch(losses.Binary(), theirs, (SOFT > 0.3).astype(np.float32))
