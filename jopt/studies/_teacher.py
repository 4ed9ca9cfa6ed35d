"""Distillation from a saved teacher: its logits, computed once for each example."""

from typing import Any

import jax
import jax.numpy as jnp

from jopt.core import PyTree, noted
from jopt.sweep import Task, examples
from jopt.sweep.engine import EVALUATION_CHUNK
from jopt.transforms import identity


def taught(task: Task, teacher: Any) -> Task:
    """Return a task whose examples include a teacher's logits.

    The logits are logarithms of the probabilities that the teacher's task predicts.
    They differ from its own logits by a number for each example, which softmax ignores.

    Args:
      task: of classification, with arrays of examples.
      teacher: a saved model of the task, as for `Task.starting_from`, or another task
        that begins from one.

    Raises:
      ValueError: the teacher's task predicts no probabilities, or the examples come
        from the host.
    """
    with noted("The model was given as the teacher."):
        guide = teacher if isinstance(teacher, Task) else task.starting_from(teacher)
    if guide.predict is None or guide.model is None:
        raise ValueError(
            f"compress: teacher must be of a task whose predict returns probabilities, "
            f"got the task {guide.name}, which has no predict; give it one."
        )
    if task.stream is not None:
        raise ValueError(
            f"compress: teacher needs training examples that are arrays, got batches "
            f"from the host for the task {task.name}; leave the teacher out."
        )
    splits = {"train": task.train, "valid": task.valid, "test": task.test}
    given = {name: data for name, data in splits.items() if data is not None}
    model = guide.model(identity(), guide.init(identity(), jax.random.key(0)))
    predict = jax.jit(guide.predict)

    def logits(data: PyTree) -> jax.Array:
        starts = range(0, examples(data), EVALUATION_CHUNK)
        parts = [predict(model, _chunk(data, start)) for start in starts]
        probabilities = jnp.concatenate(parts)
        least = jnp.finfo(probabilities.dtype).tiny
        return jnp.log(jnp.maximum(probabilities, least))

    with noted(f"In the teacher's predictions of the task {guide.name}."):
        return task.taught_by({name: logits(data) for name, data in given.items()})


def _chunk(data: PyTree, start: int) -> PyTree:
    """Return the chunk of examples from `start` on that is evaluated at once."""
    return jax.tree.map(
        lambda array: jnp.asarray(array[start : start + EVALUATION_CHUNK]), data
    )
