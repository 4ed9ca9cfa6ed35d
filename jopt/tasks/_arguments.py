"""Checks of the arguments of the functions that make tasks."""

from jopt.core import check_argument


def check_least(task: str, least: int, **given: int) -> None:
    """Raise an error unless all arguments are integers of at least this value.

    Raises:
      TypeError: an argument is no integer.
      ValueError: an argument is below `least`.
    """
    for name, value in given.items():
        check_argument(task, name, value, int)
        if value < least:
            raise ValueError(f"{task}: {name} must be at least {least}, got {value}.")
