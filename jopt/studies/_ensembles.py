"""Ensembles and soups: averages of the predictions or parameters of the best trials."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jopt.core import PyTree, checked, wide
from jopt.sweep import SweepResult, Task
from jopt.sweep.engine import chunk_shape, chunked, means_over

Scores = dict[str, float]


class Combined(NamedTuple):
    """The metrics of the best trial, of the ensemble and of the soup, by split."""

    trials: list[int]  # the best first
    best: dict[str, Scores]  # of the first trial, by split
    ensemble: dict[str, Scores]  # of the mean of the predictions, by split
    soup: dict[str, Scores]  # of the mean of the models, by split


@checked
def combine(task: Task, result: SweepResult, k: int = 5) -> Combined:
    """Evaluate the best trial, the ensemble of the k best and their soup.

        best:      score(predict(model_1))
        ensemble:  score((predict(model_1) + ... + predict(model_k)) / k)
        soup:      score(predict((model_1 + ... + model_k) / k))

    Each is evaluated on the validation set, unless folds were trained on parts of it,
    and on the test set if there is one. A soup is useful if the trials began with the
    same parameters and stayed close to each other; of different seeds it rarely is.

    Args:
      task: the sweep's task, with `predict` and `score`.
      result: the sweep's result.
      k: number of trials, at least 2, of different settings. Only models with the
        structure of the best one's are taken.

    Returns:
      The three sets of metrics, and the trials that were taken.

    Raises:
      ValueError: if the task does not predict, if there is no data left to evaluate on,
        or if fewer than two trials were trained to the end.

    Wortsman et al. 2022, https://arxiv.org/abs/2203.05482, the uniform soup.
    """
    trials = result.top(max(k, 1))
    models = [result.model(trial) for trial in trials]
    like = _structure(models[0]) if models else None
    alike = [i for i, model in enumerate(models) if _structure(model) == like]
    if len(alike) < 2:
        raise ValueError(
            f"combine: trials must be at least 2, complete and of one structure, got "
            f"{len(alike)} among the best {k}; ask for a greater k, or train more to "
            "the end."
        )
    trials, models = [trials[i] for i in alike], [models[i] for i in alike]
    task = result.trials[trials[0]].task or task
    if task.predict is None or task.score is None:
        raise ValueError(
            f"combine: the task {task.name} must have predict and score, whose means "
            "and scores an ensemble is made of; give them to it."
        )
    splits = _splits(task, result.info["folds"])
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *models)

    def alone(model: PyTree) -> PyTree:
        return jax.tree.map(lambda leaf: leaf[None], model)

    return Combined(
        trials,
        _scores(task, alone(models[0]), splits),
        _scores(task, stacked, splits),
        _scores(task, alone(jax.tree.map(_average, stacked)), splits),
    )


def _splits(task: Task, folds: int) -> dict[str, PyTree]:
    splits = {"valid": task.valid, "test": task.test}
    if folds > 1:
        del splits["valid"]
    splits = {name: data for name, data in splits.items() if data is not None}
    if not splits:
        raise ValueError(
            "combine: there are no examples to evaluate on: trials of folds were "
            f"trained on most of the validation set, and {task.name} has no test set; "
            "give it one, or train without folds."
        )
    return splits


def _structure(model: PyTree) -> Any:
    shapes = [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(model)]
    return jax.tree.structure(model), shapes


def _average(leaf: jax.Array) -> jax.Array:
    """Return the mean of floats; of counters and keys, the best trial's."""
    if jnp.issubdtype(leaf.dtype, jnp.inexact):
        return wide(leaf).mean(axis=0).astype(leaf.dtype)
    return leaf[0]


def _scores(task: Task, models: PyTree, splits: dict[str, PyTree]) -> dict[str, Scores]:
    """Return the scores of the mean predictions of models, stacked, by split."""
    predict, score = task.predict, task.score
    assert predict is not None
    assert score is not None

    def values(batch: PyTree) -> dict[str, jax.Array]:
        each = jax.vmap(lambda model: predict(model, batch))(models)
        return score(jax.tree.map(lambda a: wide(a).mean(axis=0), each), batch)

    run = jax.jit(lambda chunks: means_over(lambda batch, _: values(batch), chunks))
    found: dict[str, Scores] = {}
    for name, data in splits.items():
        (chunks,) = chunked(data, chunk_shape([data]))
        found[name] = {key: float(mean) for key, mean in run(chunks).items()}
    return found
