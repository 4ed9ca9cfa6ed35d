"""Check the arguments of the functions that make tasks."""

from typing import Any

import numpy as np

from jopt.core import check_argument, is_array


def check_least(task: str, least: int, **given: int) -> None:
    """Raise an error unless all arguments are integers of at least `least`.

    Raises:
      TypeError: an argument is not an integer.
      ValueError: an argument is below `least`.
    """
    for name, value in given.items():
        check_argument(task, name, value, int)
        if value < least:
            raise ValueError(f"{task}: {name} must be at least {least}, got {value}.")


def are_examples(given: Any) -> bool:
    """Return whether a value is a pair of arrays, inputs and labels."""
    pair = isinstance(given, (tuple, list)) and len(given) == 2
    return pair and all(map(is_array, given)) and np.ndim(given[0]) > 0


def check_labels(name: str, given: dict[str, Any]) -> None:
    """Raise an error if the labels of a part do not match its inputs or classes.

    Args:
      name: the task's name.
      given: fields of a `Task`; `train`, `valid` and `test` are checked.

    Raises:
      ValueError: labels do not match.
    """
    classes: set[Any] = set(np.unique(given["train"][1]).tolist())
    for part in ("train", "valid", "test"):
        data: Any = given.get(part)
        if not are_examples(data):
            continue  # not pairs of arrays: the engine reports what is wrong
        inputs, labels = data
        if np.shape(labels) != np.shape(inputs)[:1]:
            raise ValueError(
                f"Task {name}: {part} must have one label for each of its "
                f"{len(inputs)} inputs, got labels of the shape {np.shape(labels)}."
            )
        if not np.size(labels):
            continue  # the engine reports it
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
