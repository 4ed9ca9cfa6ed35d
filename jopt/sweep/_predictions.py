"""Predictions of a trained model for new examples."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from jopt.core import PyTree, by_path, close_match, dtype_of, listed_paths, path_text
from jopt.sweep._data import is_stream
from jopt.sweep._task import Task, examples

AT_ONCE = 1024  # examples of a call, which bounds the memory


def predictions(task: Task, model: PyTree, batch: PyTree) -> PyTree:
    """Return the task's predictions for examples by a model.

    Args:
      task: the task.
      model: the kept model of a trial.
      batch: as in `SweepResult.predict`.

    Returns:
      NumPy arrays with the examples on the first axis.

    Raises:
      ValueError: the task has no `predict`; there are no examples, or their shapes
        differ from the task's.
    """
    if task.predict is None:
        raise ValueError(
            f"predict: the task {task.name} must have predict, got none; give it one."
        )
    batch, parts = _checked(task, batch), list[PyTree]()
    for first in range(0, size := examples(batch), AT_ONCE):
        some = jax.tree.map(lambda x, at=first: x[at : at + AT_ONCE], batch)
        parts.append(jax.device_get(_compiled(task)(model, some)))
    answers = jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)
    for path, array in by_path(answers).items():
        if len(array) != size:
            raise ValueError(
                f"predict: the task {task.name} must answer with an array of {size} "
                f"examples on its first axis, got {list(array.shape)} at "
                f"{path_text(path)}."
            )
    return answers


def named_batch(task: Task, arrays: Mapping[str, Any]) -> PyTree:
    """Return examples shaped like the task's, with None for arrays that are not given.

    Args:
      task: the task.
      arrays: by path, such as "inputs" or "0", or in order, "arr_0", as `numpy.savez`
        names them.

    Raises:
      ValueError: the task's examples have no such array.
    """
    like = _example(task)
    places = [path_text(path) for path in by_path(like)]
    named = {f"arr_{number}": place for number, place in enumerate(places)}
    named |= {place: place for place in places}
    for name in arrays:
        if name not in named:
            raise ValueError(
                f"predict: arrays must be among those of the task {task.name}, "
                f"{', '.join(places)}, got {name!r}{close_match(name, places)}."
            )
    found = {named[name]: array for name, array in arrays.items()}
    return jax.tree.structure(like).unflatten(found.get(place) for place in places)


@functools.lru_cache(maxsize=4)
def _compiled(task: Task) -> Callable[[PyTree, PyTree], PyTree]:
    predict = task.predict
    assert predict is not None
    return jax.jit(lambda model, batch: predict(model, batch))


def _example(task: Task) -> PyTree:
    """Return the shapes of the task's examples, without the first axis."""
    splits = (task.valid, task.test, task.train)
    there = [x for x in splits if x is not None and not is_stream(x)]
    if task.stream is not None:
        there.append(task.stream.first)
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(np.shape(x)[1:], dtype_of(x)),
        there[0] if there else None,
    )


def _checked(task: Task, batch: PyTree) -> PyTree:
    """Return the examples in the task's dtypes."""
    like, batch = _example(task), jax.tree.map(np.asarray, batch)
    if isinstance(batch, np.ndarray) and isinstance(like, (tuple, list)):
        structure = jax.tree.structure(like)
        batch = structure.unflatten([batch, *[None] * (structure.num_leaves - 1)])
    ours, given = by_path(like), by_path(batch)
    sizes = {array.shape[:1] for array in given.values()}
    if len(sizes) != 1 or sizes <= {(), (0,)}:
        shapes = ", ".join(str(list(array.shape)) for array in given.values())
        raise ValueError(
            "predict: batch must have at least one example, on the first axis of its "
            f"arrays, which is as long in all, got {shapes or 'no array'}."
        )
    if not ours:
        return batch
    for path, array in given.items():
        if path not in ours:
            raise ValueError(
                f"predict: batch has an array at {path_text(path)}, and the examples "
                f"of the task {task.name} have theirs at {listed_paths(ours)}; give "
                "the same tree, or the first array alone."
            )
        shape, dtype = ours[path].shape, ours[path].dtype
        if array.shape[1:] != shape:
            raise ValueError(
                f"predict: the array at {path_text(path)} must have examples of the "
                f"shape {list(shape)}, as the task {task.name} has, got "
                f"{list(array.shape[1:])}; its first axis is the example."
            )
        if not np.can_cast(array.dtype, dtype, "same_kind"):
            raise ValueError(
                f"predict: the array at {path_text(path)} must be {dtype}, as the task "
                f"{task.name} has, or convert to it as 1 does to 1.0, got "
                f"{array.dtype}."
            )
    # A None stays None: it is a tree without leaves.
    dtypes = iter([ours[path].dtype for path in given])
    return jax.tree.map(lambda array: np.asarray(array, next(dtypes)), batch)
