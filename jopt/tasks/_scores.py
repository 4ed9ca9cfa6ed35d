"""Scores of a whole split, computed from means over its examples."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

Scalars = dict[str, jax.Array]


def on_valid_and_test(
    parts: Mapping[str, Any], score: Callable[..., Mapping[str, Any]]
) -> dict[str, float]:
    """Return a baseline's metrics in the form of `Task.baseline`.

    Args:
      parts: the arrays of each part.
      score: the arrays of a part -> metrics.
    """
    return {
        f"{prefix}{name}": float(value)
        for part, prefix in (("valid", ""), ("test", "test_"))
        for name, value in score(*parts[part]).items()
    }


def squares(predicted: jax.Array, truth: jax.Array) -> Scalars:
    """Return the values of each example from whose means `r2` is computed."""
    moments = jnp.stack([jnp.asarray(truth), jnp.square(truth)], axis=1)
    return {"loss": (predicted - truth) ** 2, "moments": moments}


def r2(config: Any, state: Any, means: Scalars) -> Scalars:
    """Return the share of the variance that the predictions explain.

    R2 = 1 - mean (predicted - truth)^2 / (mean truth^2 - mean^2 truth)
    """
    mean, square = means["moments"]
    variance = square - mean**2
    return {"r2": 1 - means["loss"] / variance}


def cross_entropy(logits: Any, labels: Any) -> jax.Array:
    """Return the cross-entropy of each example, for integer labels."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def of_logits(logits: Any, labels: Any) -> Scalars:
    """Return the loss of each example, and whether it is classified correctly."""
    correct = jnp.argmax(logits, axis=-1) == labels
    return {"loss": cross_entropy(logits, labels), "accuracy": correct}


def of_classes(logits: Any, labels: Any) -> Scalars:
    """Return `of_logits`, and the values from which `macro_f1` is computed."""
    return {**of_logits(logits, labels), "confusion": confusion(logits, labels)}


def of_fitted(classifier: Any) -> Callable[..., dict[str, float]]:
    """Return a score by a fitted scikit-learn classifier, for `on_valid_and_test`."""
    from sklearn.metrics import f1_score

    def score(inputs: Any, labels: Any) -> dict[str, float]:
        said = classifier.predict(inputs)
        f1 = float(f1_score(labels, said, average="macro"))
        return {"accuracy": float(np.mean(said == labels)), "macro_f1": f1}

    return score


def confusion(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Return for each example a matrix with 1 at [true class, predicted class]."""
    classes = logits.shape[-1]
    truth = jax.nn.one_hot(labels, classes)
    given = jax.nn.one_hot(jnp.argmax(logits, axis=-1), classes)
    return truth[:, :, None] * given[:, None, :]


def macro_f1(config: Any, state: Any, means: Scalars) -> Scalars:
    """Return the mean over classes of F1 = 2 tp / (2 tp + fp + fn).

    A class that is neither a label nor a prediction does not count.
    """
    both = means["confusion"].sum(axis=0) + means["confusion"].sum(axis=1)
    f1 = 2 * jnp.diagonal(means["confusion"]) / jnp.where(both > 0, both, 1)
    return {"macro_f1": jnp.mean(f1, where=both > 0)}


def ranks_of(scores: jax.Array, item: jax.Array, known: jax.Array) -> jax.Array:
    """Return the rank of an item among those that are not known, from 0.

    Items with equal scores share their mean rank, so that a model that cannot tell them
    apart gains nothing.

    Args:
      scores: float[batch, items].
      item: int[batch].
      known: bool[batch, items], the items to leave out; `item` is not among them.
    """
    own = jnp.take_along_axis(scores, item[:, None], axis=1)
    before = jnp.sum((scores > own) & ~known, axis=1)
    same = jnp.sum((scores == own) & ~known, axis=1)  # includes the item itself
    return before.astype(jnp.float32) + (same.astype(jnp.float32) - 1) / 2


def of_ranks(rank: jax.Array, most: int = 10) -> Scalars:
    """Return HR@10 and NDCG@10 of each example, from the rank of its one right item.

    HR = 1 if rank < 10        NDCG = 1 / log2(rank + 2) if rank < 10
    """
    hit = rank < most
    return {
        f"hr{most}": hit.astype(jnp.float32),
        f"ndcg{most}": jnp.where(hit, 1 / jnp.log2(rank + 2.0), 0.0),
    }
