"""The parameters' shapes, the steps and the test metrics of a study's task."""

import functools
from typing import Any

import jax
import numpy as np

from jopt.core import PyTree
from jopt.sweep import Model, SweepResult, Task, examples
from jopt.sweep.engine import chunk_shape, chunked, means_over
from jopt.transforms import identity


def parameters(title: str, task: Task) -> PyTree:
    """Return the shapes of the parameters of a task of supervised learning."""

    def model(key: jax.Array) -> Any:
        state = task.init(identity(), key)
        return state if task.model is None else task.model(identity(), state)

    made = jax.eval_shape(model, jax.random.key(0))
    if not isinstance(made, Model):
        raise ValueError(
            f"{title}: the task must be one of supervised learning, made by "
            f"Task.from_model or Task.from_loss, got {task.name} with a step of its "
            "own."
        )
    return made.params


def steps_of(
    title: str,
    task: Task,
    steps: int | None,
    epochs: int | None,
    batch_size: int | None,
) -> int:
    """Return the steps of a trial: the given ones, or those of the epochs."""
    if steps is not None:
        if epochs is not None:
            raise ValueError(
                f"{title}: steps or epochs must be left out, got {steps} and {epochs}."
            )
        if steps < 1:
            raise ValueError(f"{title}: steps must be at least 1, got {steps}.")
        return steps
    if task.train is None or task.stream is not None:
        raise ValueError(
            f"{title}: steps must be given, as {task.name} has no arrays of training "
            "examples to pass over."
        )
    if epochs is not None and epochs < 1:
        raise ValueError(f"{title}: epochs must be at least 1, got {epochs}.")
    size = task.batch_size if batch_size is None else batch_size
    passes = task.epochs if epochs is None else epochs
    return passes * max(examples(task.train) // max(size, 1), 1)


def metrics_on_test(task: Task, result: SweepResult) -> dict[str, np.ndarray]:
    """Return the metrics of each trial on the test set; none without one.

    They are the scores of the task's predictions.
    """
    arrays = all(hasattr(leaf, "shape") for leaf in jax.tree.leaves(task.test))
    if task.test is None or task.predict is None or not arrays:
        return {}
    (chunks,) = chunked(task.test, chunk_shape([task.test]))
    run = _scored(task)
    rows = [run(result.model(trial), chunks) for trial in range(len(result.trials))]
    return {name: np.asarray([float(row[name]) for row in rows]) for name in rows[0]}


@functools.cache
def _scored(task: Task) -> Any:
    predict, score = task.predict, task.score
    assert predict is not None
    assert score is not None

    def values(model: PyTree, chunks: Any) -> dict[str, jax.Array]:
        return means_over(lambda batch, _: score(predict(model, batch), batch), chunks)

    return jax.jit(values)
