"""Ensembles and soups: averages of the predictions or parameters of the best trials."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jopt.core import PyTree, checked, wide
from jopt.sweep import SweepResult, Task, examples
from jopt.sweep.engine import EVALUATION_CHUNK, Chunks, chunked, evaluate

Scores = dict[str, float]


class Combined(NamedTuple):
    """The metrics of the best trial, of the ensemble and of the soup, by split."""

    trials: list[int]  # the best first
    best: dict[str, Scores]
    ensemble: dict[str, Scores] | None  # None for a task without `predict`
    soup: dict[str, Scores]


@checked
def combine(task: Task, result: SweepResult, k: int = 5) -> Combined:
    """Evaluate the best trial, the ensemble of the k best and their soup.

        best:      score(predict(params_1))
        ensemble:  score((predict(params_1) + ... + predict(params_k)) / k)
        soup:      score(predict((params_1 + ... + params_k) / k))

    Each is evaluated on the validation set, unless folds were trained on parts of it,
    and on the test set if there is one. A soup is useful if the trials began with the
    same parameters and stayed close to each other; of different seeds it rarely is.

    Args:
      task: the sweep's task.
      result: the sweep's result.
      k: how many trials, at least 2, of different settings. Those are taken whose
        models have the structure of the best one's.

    Raises:
      ValueError: if there is no data left to evaluate on, or if fewer than two trials
        were trained to the end.

    Wortsman et al. 2022, https://arxiv.org/abs/2203.05482, the uniform soup.
    """
    trials = result.top(max(k, 1))
    models = [(result.params(i), result.model_state(i)) for i in trials]
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
    splits = _splits(task, result.info["folds"])
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *models)
    together = dataclasses.replace(task, evaluate=_ensemble(task))
    return Combined(
        trials,
        _scores(task, models[0], splits),
        None if task.predict is None else _scores(together, stacked, splits),
        _scores(task, jax.tree.map(_average, stacked), splits),
    )


def _splits(task: Task, folds: int) -> dict[str, PyTree]:
    splits = {"valid": task.valid, "test": task.test}
    if folds > 1:
        del splits["valid"]
    splits = {name: data for name, data in splits.items() if data is not None}
    if not splits:
        raise ValueError(
            "combine: trials of folds were trained on most of the validation set, and "
            f"{task.name} has no test set; give it one, or train without folds."
        )
    return splits


def _structure(model: PyTree) -> Any:
    shapes = [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(model)]
    return jax.tree.structure(model), shapes


def _ensemble(task: Task) -> Any:
    def evaluate(params: PyTree, model_state: PyTree, batch: PyTree) -> Any:
        assert task.predict is not None
        assert task.score is not None
        answers = jax.vmap(task.predict, in_axes=(0, 0, None))
        each = answers(params, model_state, batch)
        return task.score(jax.tree.map(lambda a: wide(a).mean(axis=0), each), batch)

    return evaluate


def _average(leaf: jax.Array) -> jax.Array:
    """Return the mean of floats; of counters and keys, the best trial's."""
    if jnp.issubdtype(leaf.dtype, jnp.inexact):
        return wide(leaf).mean(axis=0).astype(leaf.dtype)
    return leaf[0]


def _scores(
    task: Task, model: tuple[PyTree, PyTree], splits: dict[str, PyTree]
) -> dict[str, Scores]:
    def evaluated(model: PyTree, chunks: Chunks) -> dict[str, jax.Array]:
        params, model_state = model
        return evaluate(task, params, model_state, chunks)

    run = jax.jit(evaluated)
    return {name: _mean(run, model, data) for name, data in splits.items()}


def _mean(run: Any, model: PyTree, data: PyTree) -> Scores:
    parts: list[Chunks] = chunked(data, (1, min(EVALUATION_CHUNK, examples(data))))
    weights = [float(jnp.sum(part.counted)) for part in parts]
    means = [run(model, part) for part in parts]
    return {
        name: float(np.average([mean[name] for mean in means], weights=weights))
        for name in means[0]
    }
