"""Losses that compare a student with its teacher: logits, features, attention."""

import jax
import jax.numpy as jnp

from jopt.core import Number, argument_error, check, field, pytree, quotient, root, wide
from jopt.losses._cross_entropy import CrossEntropy, log_probabilities
from jopt.losses._loss import Loss, Pointwise, as_loss


@pytree
class Distilled(Loss):
    """Mix the loss of the labels with the divergence from a teacher's predictions.

        (1 - weight) loss(z, y) + weight T^2 KL(softmax(t / T) || softmax(z / T))

    T^2 keeps the gradients of the second part as large as those of the first.

        loss = Distilled(temperature=4.0, weight=0.9)
        loss(logits, labels, teacher_logits=teacher(images))

    Args:
      temperature: T, above 0. The higher, the more small probabilities count.
      weight: share of the teacher, in [0, 1].
      loss: of the logits z and the labels y.

    Call it with
      teacher_logits: t, floats like the logits. They get no gradient.

    Hinton et al. 2015, https://arxiv.org/abs/1503.02531, section 2.
    """

    temperature: Number = 4.0
    weight: Number = 0.9
    loss: Pointwise = field(converter=as_loss, default=CrossEntropy())

    def __post_init__(self):
        check(self, "temperature", above=0)
        check(self, "weight", least=0, most=1)

    def __call__(self, logits, labels, *, teacher_logits=None, **extra):
        teacher = _of_teacher(self, "teacher_logits", teacher_logits, logits.shape)
        p = jax.nn.softmax(teacher / self.temperature)
        log_p = log_probabilities(teacher / self.temperature, p)
        log_q = log_probabilities(logits / self.temperature, p)
        divergence = self.temperature**2 * jnp.sum(p * (log_p - log_q), axis=-1)
        hard = self.loss(logits, labels, **extra)
        return (1 - self.weight) * hard + self.weight * divergence


@pytree
class Hints(Loss):
    """Return half of the squared distance of features from a teacher's.

        |f - t|^2 / 2

    A layer that gives the student's features the teacher's shape is part of the model.

    Call it with
      features: f, floats [batch, ...].
      targets: t, of the same shape. They get no gradient.

    Romero et al. 2014, https://arxiv.org/abs/1412.6550, equation 3.
    """

    def __call__(self, features, targets, **extra):
        targets = _of_teacher(self, "targets", targets, features.shape)
        distances = (features - targets).reshape(len(features), -1)
        return jnp.sum(distances**2, axis=1) / 2


@pytree
class Attention(Loss):
    """Return the distance of an attention map from a teacher's.

        |q(f) - q(t)|,   q(f) = m / |m|,   m = sum over the channels of |f|^power

    Teacher and student may differ in their channels. The paper's authors compute the
    mean of the squares in place of the norm.

    Args:
      power: at least 1. The higher, the more the map emphasizes its peaks.

    Call it with
      features: f, floats [batch, ..., channels].
      targets: t, the teacher's, equal in shape but for the channels. They get no
        gradient.

    Zagoruyko and Komodakis 2016, https://arxiv.org/abs/1612.03928, equation 2.
    """

    power: Number = 2.0

    def __post_init__(self):
        check(self, "power", least=1)

    def __call__(self, features, targets, **extra):
        channels = jnp.shape(targets)[-1:]
        shape = (*features.shape[:-1], *channels)
        targets = _of_teacher(self, "targets", targets, shape)
        distance = self._map(features) - self._map(targets)
        return root(jnp.sum(distance**2, axis=1))

    def _map(self, features: jax.Array) -> jax.Array:
        """Return the normalized attention, [batch, places]."""
        sums = jnp.sum(jnp.abs(features) ** self.power, axis=-1)
        sums = sums.reshape(len(sums), -1)
        return quotient(sums, root(jnp.sum(sums**2, axis=1, keepdims=True)))


def _of_teacher(
    loss: Loss, name: str, given: jax.Array | None, shape: tuple[int, ...]
) -> jax.Array:
    """Return a teacher's array without a gradient, after checking its shape."""
    title = type(loss).__name__
    if given is None:
        hint = "Call the loss with it by name."
        raise argument_error(title, name, given, "an array", TypeError, hint)
    if jnp.shape(given) != shape:
        rule = f"of the shape {list(shape)}, as the student's"
        raise argument_error(title, name, jnp.shape(given), rule, ValueError)
    return jax.lax.stop_gradient(wide(given))
