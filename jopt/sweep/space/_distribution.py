"""`Distribution`: what a hyperparameter is drawn from."""

import abc
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np


class Distribution(abc.ABC):
    """Map a number of [0, 1) to a value: subclass it for a distribution of your own."""

    @abc.abstractmethod
    def at(self, u: float) -> Any:
        """Return the quantile at `u`, in [0, 1), as a plain Python value."""

    @abc.abstractmethod
    def clip(self, value: Any) -> Any:
        """Return the possible value that is nearest to `value`, of the right type."""


def share(u: float) -> float:
    """Return `u`; raise a ValueError in a sentence unless it is in [0, 1)."""
    if not 0 <= u < 1:
        raise ValueError(f"A distribution's at: u must be in [0, 1), got {u}.")
    return float(u)


def is_several(value: Any) -> bool:
    """Return whether `value` is several values, and not one that happens to iterate.

    One value is a string, a dict, a named tuple, a dataclass, a function, a
    transformation, an array without axes, and a key, typed or raw.
    """
    single = isinstance(value, (str, bytes, Mapping)) or hasattr(value, "_fields")
    if single or not isinstance(value, Iterable) or getattr(value, "ndim", 1) == 0:
        return False
    if isinstance(value, type):  # an Enum: its members
        return True
    made = dataclasses.is_dataclass(value) or callable(value)
    return not made and not _is_raw_key(value)


def _is_raw_key(value: Any) -> bool:
    """Whether it is a key of `jax.random.PRNGKey`, which is an array of words."""
    if not isinstance(value, jax.Array) or value.dtype != np.uint32:
        return False
    return value.shape == jax.eval_shape(lambda: jax.random.PRNGKey(0)).shape
