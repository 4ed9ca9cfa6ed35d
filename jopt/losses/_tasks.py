"""Several losses of one model, weighed by numbers or by variances that it learns."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

import jax
import jax.numpy as jnp

from jopt.core import Kind, as_number, field, is_number, pytree, shown, wide
from jopt.losses._loss import as_loss, examples, is_loss


def _is_losses(value: object) -> bool:
    return isinstance(value, dict) and bool(value) and all(map(is_loss, value.values()))


def _is_weights(value: object) -> bool:
    return isinstance(value, dict) and all(map(is_number, value.values()))


Losses: TypeAlias = Annotated[Any, Kind("a dict of losses by task", _is_losses)]
Weights: TypeAlias = Annotated[Any, Kind("a dict of numbers by task", _is_weights)]


def _as_losses(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: as_loss(loss) for name, loss in given.items()}


def _as_weights(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: as_number(weight) for name, weight in given.items()}


@pytree
class Weighted:
    """Add the losses of several tasks, each times its weight.

        sum_k w_k mean(loss_k(outputs_k, labels_k))

        losses = {"digit": CrossEntropy(), "place": optax.l2_loss}
        objective = Weighted(losses, {"digit": 1.0, "place": 0.1})
        loss, metrics = objective(model, (images, {"digit": d, "place": p}), key)

    A task may come from a teacher, such as `Hints()` of features.

    Args:
      losses: pointwise losses by task.
      weights: w, by task.

    Call it with
      apply: inputs -> outputs, a dict by task; called once.
      batch: (inputs, labels), labels a dict by task.
      key: not used.

    Returns:
      (loss, metrics): the sum, at least float32, and the mean loss of each task.
    """

    losses: Losses = field(converter=_as_losses)
    weights: Weights = field(converter=_as_weights)

    def __post_init__(self):
        _check_names(self, "weights", self.weights)

    def __call__(self, apply, batch, key):
        means = _mean_losses(self, apply, batch)
        return sum(wide(self.weights[name]) * means[name] for name in means), means


@pytree
class UncertaintyWeighted:
    """Weigh the losses of several tasks by variances that the model learns.

        sum_k exp(-s_k) L_k + s_k / 2,   L_k = mean(loss_k(outputs_k, labels_k))

    s_k, the logarithm of a variance, is a parameter: keep it with the model's, let it
    start at 0, and exempt it from weight decay. Its optimum is log(2 L_k). For
    regression give half of the squared error, `optax.l2_loss`: exp(s_k) is then the
    variance of Gaussian noise.

        params = {"model": ..., "log_variances": {"digit": 0.0, "place": 0.0}}
        objective = UncertaintyWeighted(losses)
        objective(apply, batch, key, log_variances=params["log_variances"])

    Args:
      losses: pointwise losses by task.

    Call it with
      apply, batch, key: as `Weighted`.
      log_variances: s, scalars by task.

    Returns:
      (loss, metrics): the sum, at least float32, and the mean loss of each task.

    Kendall et al. 2017, https://arxiv.org/abs/1705.07115, section 3.
    """

    losses: Losses = field(converter=_as_losses)

    def __call__(self, apply, batch, key, *, log_variances):
        _check_names(self, "log_variances", log_variances)
        means = _mean_losses(self, apply, batch)
        logs = {name: wide(log_variances[name]) for name in means}
        terms = [jnp.exp(-logs[name]) * means[name] + logs[name] / 2 for name in means]
        return sum(terms), means


def _mean_losses(objective: Any, apply: Any, batch: Any) -> dict[str, jax.Array]:
    inputs, labels = examples(objective, batch)
    outputs, losses = apply(inputs), objective.losses
    _check_names(objective, "outputs", outputs)
    _check_names(objective, "labels", labels)
    return {
        name: jnp.mean(loss(outputs[name], labels[name]))
        for name, loss in losses.items()
    }


def _check_names(objective: Any, name: str, given: Any) -> None:
    """Raise an error if `given` does not have one value for each task."""
    names = list(given) if isinstance(given, Mapping) else None
    if names is None or set(names) != set(objective.losses):
        tasks, title = ", ".join(objective.losses), type(objective).__name__
        got = shown(given) if names is None else ", ".join(map(str, names)) or "none"
        raise ValueError(f"{title}: {name} must be a dict with {tasks}, got {got}.")
