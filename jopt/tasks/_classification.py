"""Classification tasks: logits, cross entropy and accuracy."""

import math
from collections.abc import Callable
from typing import Annotated, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx

from jopt.core import Kind, checked
from jopt.sweep import Task
from jopt.tasks._arguments import are_examples, check_labels
from jopt.tasks._scores import cross_entropy, of_logits

_Examples: TypeAlias = Annotated[
    tuple[Any, Any], Kind("a pair of arrays, inputs and labels", are_examples)
]
_Module: TypeAlias = Annotated[
    linen.Module, Kind("a linen module", lambda given: isinstance(given, linen.Module))
]


@checked
def nnx_classifier(
    name: str, make: Callable[[nnx.Rngs], Any], *, train: _Examples, **data: Any
) -> Task:
    """Return a classification task with an nnx module.

    The loss of a trial, in a `sweep.Supervised`, replaces the cross-entropy.

    Args:
      name: the task's name.
      make: rngs -> module. The module maps inputs to logits (batch, classes).
      train: the training examples, arrays (inputs, labels); labels are integers.
      **data: `valid` and `test`, like `train`, and other fields of `Task`.

    Raises:
      ValueError: the labels of a part do not match its inputs, or those of `train`.
    """

    check_labels(name, {"train": train, **data})
    return classifier(
        name,
        lambda key: make(nnx.Rngs(key)),
        lambda model, inputs: model(inputs),
        train=train,
        **data,
    )


@checked
def linen_classifier(
    name: str, module: _Module, *, train: _Examples, **data: Any
) -> Task:
    """Return a classification task with a linen module.

    The loss of a trial, in a `sweep.Supervised`, replaces the cross-entropy.

    Args:
      name: the task's name.
      module: maps inputs to logits (batch, classes); its only collection is `params`.
      train: the training examples, arrays (inputs, labels); labels are integers.
      **data: `valid` and `test`, like `train`, and other fields of `Task`.

    Raises:
      ValueError: the labels of a part do not match its inputs, or those of `train`.
    """
    check_labels(name, {"train": train, **data})
    first = train[0][:1]
    return classifier(
        name,
        lambda key: module.init(key, first),
        module.apply,
        train=train,
        **data,
    )


def classifier(
    name: str,
    make: Callable[[jax.Array], Any],
    logits_of: Callable[[Any, Any], Any],
    *,
    train: Any,
    loss: Callable[..., Any] = cross_entropy,
    scores: Callable[[Any, Any], dict[str, jax.Array]] = of_logits,
    **data: Any,
) -> Task:
    """Return a classification task with a model of any kind.

    Args:
      name: the task's name.
      make: key -> model.
      logits_of: (model, inputs) -> logits (batch, classes).
      train: the training examples, arrays (inputs, labels).
      loss: (logits, labels) -> losses (batch,), unless a trial has its own loss.
      scores: (logits, labels) -> values of each example.
      **data: `valid` and `test`, like `train`, and other fields of `Task`.
    """

    def loss_fn(model: Any, batch: Any, key: Any, loss: Any = loss) -> jax.Array:
        inputs, labels = batch
        return jnp.mean(loss(logits_of(model, inputs), labels))

    def evaluate(model: Any, batch: Any) -> dict[str, jax.Array]:
        inputs, labels = batch
        return scores(logits_of(model, inputs), labels)

    ours = {
        # Ten times the loss of a uniform guess: no training recovers from it.
        "diverged_above": 10 * math.log(len(np.unique(train[1]))),
        # The score takes probabilities, such as the mean of several models'.
        "score": lambda chances, batch: scores(jnp.log(chances), batch[1]),
        "predict": lambda model, batch: jax.nn.softmax(logits_of(model, batch[0])),
        "train": train,
    }
    return Task.from_model(name, make, loss_fn, evaluate, **ours | data)
