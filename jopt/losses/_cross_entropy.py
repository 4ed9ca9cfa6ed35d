"""Cross-entropy, and losses that change its labels or weigh easy examples less."""

import jax
import jax.numpy as jnp

from jopt.core import Number, argument_error, check, field, pytree
from jopt.losses._loss import Loss, Pointwise, as_loss


@pytree
class CrossEntropy(Loss):
    """Return the cross-entropy of labels and softmax.

        -sum_c y_c log p_c,   p = softmax(z)

    A class with logit -inf and no label adds 0. All losses of this module take labels
    in both forms below.

    Call it with
      logits: z, floats [..., classes].
      labels: classes, integers [...], or y, their probabilities [..., classes]. The
        loss of a class that is not in [0, classes) is NaN: to leave out padding, give
        it class 0 and mask the loss.
    """

    def __call__(self, logits, labels, **extra):
        labels = as_probabilities(self, labels, logits)
        return -jnp.sum(labels * log_probabilities(logits, labels), axis=-1)


@pytree
class Focal(Loss):
    """Weigh each example less, the better it is classified.

        -sum_c y_c (1 - p_c)^gamma log p_c,   p = softmax(z)

    At gamma = 0 it is the cross-entropy. The values and the gradients, with respect to
    logits and gamma, are finite at gamma = 0 and at p = 1.

    Args:
      gamma: strength of the effect, at least 0; 2 is the paper's.

    The paper's loss of a binary decision, with alpha as the weight of class 1, is
    `Binary(ClassWeighted([1 - alpha, alpha], Focal(gamma)))`.

    Lin et al. 2017, https://arxiv.org/abs/1708.02002, equation 4.
    """

    gamma: Number = 2.0

    def __post_init__(self):
        check(self, "gamma", least=0)

    def __call__(self, logits, labels, **extra):
        labels = as_probabilities(self, labels, logits)
        log_p = log_probabilities(logits, labels)
        # A power would have an infinite gradient at p = 1, or 0 times infinity.
        missed = jnp.maximum(-jnp.expm1(log_p), jnp.finfo(log_p.dtype).eps)
        factor = jnp.exp(self.gamma * jnp.log(missed))
        return -jnp.sum(labels * factor * log_p, axis=-1)


@pytree
class LabelSmoothed(Loss):
    """Mix the labels with the uniform distribution.

        y <- (1 - alpha) y + alpha / classes

    Args:
      alpha: share of the uniform distribution, in [0, 1].
      loss: of the logits and these labels, given as [..., classes].

    Szegedy et al. 2015, https://arxiv.org/abs/1512.00567, section 7.
    """

    alpha: Number = 0.1
    loss: Pointwise = field(converter=as_loss, default=CrossEntropy())

    def __post_init__(self):
        check(self, "alpha", least=0, most=1)

    def __call__(self, logits, labels, **extra):
        labels = as_probabilities(self, labels, logits)
        # The labels of weighted classes do not sum to 1; their sum is kept.
        uniform = jnp.mean(labels, axis=-1, keepdims=True)
        smoothed = (1 - self.alpha) * labels + self.alpha * uniform
        return self.loss(logits, smoothed, **extra)


@pytree
class Binary(Loss):
    """Apply a loss of two classes to the single logit of a binary decision.

        z <- (0, z),   y <- (1 - y, y)

        loss = Binary(Focal(2.0))
        loss(logits, labels)  # both [batch]

    So 1 is the second class, and softmax is the sigmoid of z.

    Args:
      loss: of logits and labels [..., 2].

    Call it with
      logits: z, floats [...].
      labels: 0 or 1, or probabilities of 1, [...].
    """

    loss: Pointwise = field(converter=as_loss, default=CrossEntropy())

    def __call__(self, logits, labels, **extra):
        labels = jnp.asarray(labels, logits.dtype)
        if labels.shape != logits.shape:
            rule = f"of the logits' shape {list(logits.shape)}"
            raise argument_error("Binary", "labels", labels.shape, rule, ValueError)
        pairs = jnp.stack([jnp.zeros_like(logits), logits], axis=-1)
        return self.loss(pairs, jnp.stack([1 - labels, labels], axis=-1), **extra)


def as_probabilities(loss: Loss, labels: jax.Array, logits: jax.Array) -> jax.Array:
    """Return labels as probabilities of the classes, in the logits' shape and dtype.

    Args:
      loss: the loss named in errors.
      labels: integers [...], or numbers [..., classes].
      logits: [..., classes].

    Raises:
      ValueError: if the labels have neither shape.
      TypeError: if labels without an axis of classes are not integers.
    """
    labels = jnp.asarray(labels)
    if labels.shape == logits.shape and logits.ndim:
        return labels.astype(logits.dtype)
    title, size = type(loss).__name__, logits.shape[-1:]
    if labels.shape != logits.shape[:-1] or not size:
        rule = (
            f"classes of shape {list(logits.shape[:-1])} or probabilities of shape "
            f"{list(logits.shape)}, as the logits are"
        )
        raise argument_error(title, "labels", labels.shape, rule, ValueError)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        rule = "integers, the classes"
        raise argument_error(title, "labels", labels.dtype, rule, TypeError)
    known = jnp.expand_dims((labels >= 0) & (labels < size[0]), -1)
    return jnp.where(known, jax.nn.one_hot(labels, *size, dtype=logits.dtype), jnp.nan)


def log_probabilities(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Return log softmax(logits), but 0 for -inf where there is no label.

    So 0 log 0 is 0, and its gradients are 0 too.
    """
    log_p = jax.nn.log_softmax(logits)
    return jnp.where((labels == 0) & jnp.isneginf(log_p), 0, log_p)
