"""Classification tasks: logits, cross entropy and accuracy."""

import math
from collections.abc import Callable
from typing import Annotated, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen, nnx

from jopt.core import Kind, checked, is_array
from jopt.sweep import Task


def _are_examples(given: Any) -> bool:
    pair = isinstance(given, (tuple, list)) and len(given) == 2
    return pair and all(map(is_array, given)) and np.ndim(given[0]) > 0


_Examples: TypeAlias = Annotated[
    tuple[Any, Any], Kind("a pair of arrays, inputs and labels", _are_examples)
]
_PARTS = ("train", "valid", "test")
_Module: TypeAlias = Annotated[
    linen.Module, Kind("a linen module", lambda given: isinstance(given, linen.Module))
]


@checked
def nnx_classifier(
    name: str, make: Callable[[nnx.Rngs], Any], *, train: _Examples, **data: Any
) -> Task:
    """Return a classification task with an nnx module.

    The loss of a trial, in a `sweep.Supervised`, takes the place of the cross-entropy.

    Args:
      name: the task's name.
      make: rngs -> module. The module maps inputs to logits (batch, classes).
      train: the training examples, arrays (inputs, labels); labels are integers.
      **data: `valid` and `test`, like `train`, and other fields of `Task`.

    Raises:
      ValueError: the labels of a part do not match its inputs, or those of `train`.
    """

    def loss(model: Any, batch: Any, key: Any, loss: Any = _cross_entropy) -> jax.Array:
        inputs, labels = batch
        return jnp.mean(loss(model(inputs), labels))

    def evaluate(model: Any, batch: Any) -> dict[str, jax.Array]:
        inputs, labels = batch
        return _scores(model(inputs), labels)

    def predict(model: Any, batch: Any) -> jax.Array:
        return jax.nn.softmax(model(batch[0]))

    ours = {
        "diverged_above": _divergence_bound(train),
        "score": _scores_of_probabilities,
        "train": train,
    }
    _check_labels(name, {k: v for k, v in (ours | data).items() if k in _PARTS})
    return Task.from_model(
        name,
        lambda key: make(nnx.Rngs(key)),
        loss,
        evaluate,
        predict=predict,
        **ours | data,
    )


@checked
def linen_classifier(
    name: str, module: _Module, *, train: _Examples, **data: Any
) -> Task:
    """Return a classification task with a linen module.

    The loss of a trial, in a `sweep.Supervised`, takes the place of the cross-entropy.

    Args:
      name: the task's name.
      module: maps inputs to logits (batch, classes); it has no collection but `params`.
      train: the training examples, arrays (inputs, labels); labels are integers.
      **data: `valid` and `test`, like `train`, and other fields of `Task`.

    Raises:
      ValueError: the labels of a part do not match its inputs, or those of `train`.
    """
    first = train[0][:1]

    def loss(
        variables: Any, batch: Any, key: Any, loss: Any = _cross_entropy
    ) -> jax.Array:
        inputs, labels = batch
        return jnp.mean(loss(module.apply(variables, inputs), labels))

    def evaluate(variables: Any, batch: Any) -> dict[str, jax.Array]:
        inputs, labels = batch
        return _scores(module.apply(variables, inputs), labels)

    def predict(variables: Any, batch: Any) -> jax.Array:
        logits: Any = module.apply(variables, batch[0])
        return jax.nn.softmax(logits)

    ours = {
        "diverged_above": _divergence_bound(train),
        "score": _scores_of_probabilities,
        "train": train,
    }
    _check_labels(name, {k: v for k, v in (ours | data).items() if k in _PARTS})
    return Task.from_model(
        name,
        lambda key: module.init(key, first),
        loss,
        evaluate,
        predict=predict,
        **ours | data,
    )


def _check_labels(name: str, given: dict[str, Any]) -> None:
    """Raise a ValueError if the labels of a part do not match its inputs or classes."""
    classes: set[Any] = set(np.unique(given["train"][1]).tolist())
    for part, data in given.items():
        if not _are_examples(data):
            continue  # a task of its own kind: the engine says what is wrong
        inputs, labels = data
        if np.shape(labels) != np.shape(inputs)[:1]:
            raise ValueError(
                f"Task {name}: {part} must have one label for each of its "
                f"{len(inputs)} inputs, got labels of the shape {np.shape(labels)}."
            )
        if not np.size(labels):
            continue  # the engine says so
        if (
            not np.issubdtype(np.asarray(labels).dtype, np.integer)
            or np.min(labels) < 0
        ):
            raise ValueError(
                f"Task {name}: labels of {part} must be integers from 0, got "
                f"{np.asarray(labels).dtype} from {np.min(labels)}."
            )
        if unknown := sorted(set(np.unique(labels).tolist()) - classes):
            raise ValueError(
                f"Task {name}: labels of {part} must be among those of train, got "
                f"{unknown[0]}, of which there is nothing to learn."
            )


def _divergence_bound(train: Any) -> float:
    """Return ten times the loss of a uniform guess, from which no training recovers."""
    return 10 * math.log(len(np.unique(train[1])))


def _cross_entropy(logits: Any, labels: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def _scores(logits: Any, labels: jax.Array) -> dict[str, jax.Array]:
    correct = jnp.argmax(logits, axis=-1) == labels
    return {"loss": _cross_entropy(logits, labels), "accuracy": correct}


def _scores_of_probabilities(
    probabilities: jax.Array, batch: Any
) -> dict[str, jax.Array]:
    """Return the scores of probabilities, such as the mean of several models'."""
    return _scores(jnp.log(probabilities), batch[1])
