"""Losses for classes that are not equally frequent."""

from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jopt.core import (
    Kind,
    Number,
    argument_error,
    bias,
    check,
    field,
    is_number,
    pytree,
    wide,
)
from jopt.losses._cross_entropy import CrossEntropy, as_probabilities
from jopt.losses._loss import Loss, Pointwise, as_loss


def _is_list(value: object) -> bool:
    if isinstance(value, (np.ndarray, jax.Array)):
        return is_number(value) and value.ndim == 1
    return isinstance(value, Sequence) and bool(value) and all(map(is_number, value))


Classes: TypeAlias = Annotated[
    Any, Kind("a list of numbers, one for each class", _is_list)
]


def _as_array(given: Any) -> Any:
    """Return numbers of classes as an array of floats, which have gradients."""
    if isinstance(given, jax.Array):
        return wide(given)
    if any(isinstance(x, jax.Array) for x in given):
        return jnp.stack([wide(x) for x in given])
    return np.asarray(given, np.float32)


def _check_all(self: Loss, name: str, *, zero: bool) -> None:
    """Raise ValueError if a number of a class that is known is negative, or 0."""
    held = getattr(self, name)
    if not isinstance(held, np.ndarray):
        return
    wrong = held[~(held >= 0 if zero else held > 0)]
    if wrong.size:
        rule = f"{'at least' if zero else 'above'} 0 for every class"
        raise argument_error(type(self).__name__, name, wrong[0], rule, ValueError)


@pytree
class ClassWeighted(Loss):
    """Weigh the labels of each class.

        y_c <- w_c y_c

    A loss that is linear in its labels, as cross-entropy is, is multiplied by the
    weight of the class.

    Args:
      weights: w, one for each class, at least 0.
      loss: of the logits and these labels, given as [..., classes].
    """

    weights: Classes = field(converter=_as_array)
    loss: Pointwise = field(converter=as_loss, default=CrossEntropy())

    def __post_init__(self):
        _check_all(self, "weights", zero=True)

    def __call__(self, logits, labels, **extra):
        weights = _along_classes(self, "weights", self.weights, logits)
        labels = as_probabilities(self, labels, logits)
        return self.loss(logits, weights * labels, **extra)


@pytree
class ClassBalanced(Loss):
    """Weigh each class by the inverse of its effective number of examples.

        y_c <- w_c y_c,   w_c ~ 1 / (1 - beta^n_c),   sum_c w_c = classes

    At beta = 0 all weights are 1. As beta approaches 1 they approach the inverse
    frequency, 1 / n_c, which is scikit-learn's "balanced" up to a factor.

    Args:
      counts: n, the training examples of each class, above 0.
      beta: in [0, 1); the paper's are 0.9 to 0.9999.
      loss: of the logits and these labels, given as [..., classes].

    Cui et al. 2019, https://arxiv.org/abs/1901.05555, equation 3.
    """

    counts: Classes = field(converter=_as_array)
    beta: Number = 0.999
    loss: Pointwise = field(converter=as_loss, default=CrossEntropy())

    def __post_init__(self):
        _check_all(self, "counts", zero=False)
        check(self, "beta", least=0, below=1)

    def __call__(self, logits, labels, **extra):
        # The paper's factor 1 - beta cancels, because the weights are normalized.
        weights = 1 / bias(self.beta, self.counts)
        weights = weights / jnp.mean(weights)
        weights = _along_classes(self, "counts", weights, logits)
        labels = as_probabilities(self, labels, logits)
        return self.loss(logits, weights * labels, **extra)


@pytree
class LogitAdjusted(Loss):
    """Add the logarithms of the classes' frequencies to the logits.

        z <- z + tau log(n / sum n)

    The model then need not learn the frequencies. Evaluate it by its plain logits:
    their argmax is the best answer for the mean of the classes' accuracies.

    Args:
      counts: n, the training examples of each class, or their frequencies, above 0.
      tau: factor of the logarithms, at least 0; 1 optimizes balanced accuracy, 0 leaves
        the loss unchanged.
      loss: a loss of these logits and the labels.

    Menon et al. 2020, https://arxiv.org/abs/2007.07314, equation 10.
    """

    counts: Classes = field(converter=_as_array)
    tau: Number = 1.0
    loss: Pointwise = field(converter=as_loss, default=CrossEntropy())

    def __post_init__(self):
        _check_all(self, "counts", zero=False)
        check(self, "tau", least=0)

    def __call__(self, logits, labels, **extra):
        log_priors = jnp.log(self.counts / jnp.sum(self.counts))
        log_priors = _along_classes(self, "counts", log_priors, logits)
        return self.loss(logits + self.tau * log_priors, labels, **extra)


def _along_classes(
    loss: Loss, name: str, numbers: jax.Array, logits: jax.Array
) -> jax.Array:
    """Return a number of each class in the shape [1, ..., classes]."""
    if numbers.shape != logits.shape[-1:]:
        rule = f"one for each of the classes of logits {list(logits.shape)}"
        given = f"{numbers.size} numbers"
        raise argument_error(type(loss).__name__, name, given, rule, ValueError)
    return numbers.reshape((1,) * (logits.ndim - 1) + numbers.shape)
