"""`longtail`: digits with frequent and rare classes, judged by macro F1."""

import functools
from typing import Any

import jax
import numpy as np
from flax import nnx
from sklearn.linear_model import LogisticRegression

from jopt.core import check_argument
from jopt.losses import LogitAdjusted
from jopt.sweep import Task
from jopt.tasks._arguments import check_least
from jopt.tasks._classification import classifier
from jopt.tasks._digits import MLP, WIDTH, digits
from jopt.tasks._scores import macro_f1, of_classes, of_fitted, on_valid_and_test

COUNTS = tuple(np.geomspace(5, 108, 10).round().astype(int).tolist())  # by digit


def longtail(width: int = WIDTH, tau: float = 1.5, split: int = 0) -> Task:
    """Return the task of `digits` with a long tail, judged by the mean F1 of classes.

    The training part has 5 examples of 0 up to 108 of 9, in a geometric sequence. They
    are drawn from the training part of `digits`. The validation and test parts are
    those of `digits`, in which classes are equally frequent. The loss is the
    cross-entropy of logits adjusted by `tau` (`losses.LogitAdjusted`); the loss of a
    trial, in a `sweep.Supervised`, replaces it. The baselines are two logistic
    regressions; the second weighs classes by the inverse of their frequencies. Equal
    calls return the same object.

    Args:
      width: units of each of the two hidden layers, at least 1.
      tau: strength of the logit adjustment, at least 0; at 0 the loss is the
        cross-entropy.
      split: the seed that draws the training examples, at least 0.

    Raises:
      ValueError: if an argument is below its least value.
    """
    check_least("longtail", 1, width=width)
    check_least("longtail", 0, split=split)
    check_argument("longtail", "tau", tau, float)
    if not 0 <= tau < np.inf:
        raise ValueError(f"longtail: tau must be at least 0 and finite, got {tau}.")
    return _task(width, float(tau), split)


@functools.cache
def _task(width: int, tau: float, split: int) -> Task:
    whole = digits()
    inputs, labels = (np.asarray(array) for array in jax.tree.leaves(whole.train))
    parts: dict[str, Any] = {"train": thinned(inputs, labels, COUNTS, split)}
    parts |= {"valid": whole.valid, "test": whole.test}
    by_default = (width, tau, split) == longtail.__defaults__
    return classifier(
        "longtail",
        lambda key: MLP(width, nnx.Rngs(key)),
        lambda model, images: model(images),
        loss=LogitAdjusted(COUNTS, tau),
        scores=of_classes,
        summarize=macro_f1,
        metric="macro_f1",
        mode="max",
        **parts,
        batch_size=32,
        epochs=25,
        baseline={
            "logistic regression": _regression(parts, None),
            "logistic regression, classes weighed": _regression(parts, "balanced"),
        },
        source="jopt.tasks:longtail" if by_default else None,
    )


def thinned(
    inputs: np.ndarray, labels: np.ndarray, counts: Any, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the given number of examples of each class, drawn at random.

    Raises:
      ValueError: a class has fewer examples than asked for.
    """
    held = np.bincount(labels, minlength=len(counts))
    if len(held) > len(counts) or np.any(held < counts):
        raise ValueError(
            f"longtail: counts must be one for each class and at most its examples, "
            f"got {list(counts)} for classes of {held.tolist()} examples."
        )
    order = np.random.RandomState(seed).permutation(len(labels))
    drawn = [order[labels[order] == c][:n] for c, n in enumerate(counts)]
    rows = np.sort(np.concatenate(drawn))
    return inputs[rows], labels[rows]


def _regression(parts: dict[str, Any], weights: Any) -> dict[str, float]:
    fitted = LogisticRegression(class_weight=weights, max_iter=1000)
    return on_valid_and_test(parts, of_fitted(fitted.fit(*parts["train"])))
