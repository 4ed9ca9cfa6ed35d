"""`EarlyStopping`: end training when a metric no longer improves."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jopt.core import Number, check, field, is_integer, is_real, pytree, shown, static


def _scalar(name: str, dtype: Any, fits: Callable[[Any], bool], words: str) -> Any:
    """Return a converter of a number to an array, which rejects other values."""

    def array(value: Any) -> jax.Array:
        if not hasattr(value, "dtype") and not fits(value):
            raise TypeError(
                f"EarlyStopping: {name} must be {words}, got {shown(value)}."
            )
        return jnp.asarray(value, dtype)

    return array


def _is_metric(value: Any) -> bool:
    return is_real(value) and (abs(value) == math.inf or abs(value) < 1e38)


def _is_count(value: Any) -> bool:
    return is_integer(value) and 0 <= value < 2**31


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


@pytree
class EarlyStopping:
    """Count the evaluations without an improvement, and say when there were too many.

        improved   best - value > min_delta      (value - best with mode="max")
        stop       not improved, and neither were the `patience` values before

        early = jopt.training.EarlyStopping(patience=3)
        early = early.update(loss)
        if early.should_stop: ...

    The first finite value improves. Names and results are those of
    `flax.training.early_stopping.EarlyStopping`. Two things differ: a value that is not
    finite never improves, where flax keeps a first NaN as the best for ever; and the
    object is a pytree, which `jit`, `vmap` and `scan` take.

    Args:
      min_delta: how much better a value must be to improve, in units of the metric, at
        least 0.
      patience: number of evaluations in a row that may fail to improve, at least 0.
      mode: "min" or "max", which values are better.
      best_metric: the best value so far; infinite before the first.
      patience_count: evaluations since the last improvement.
      should_stop: whether training should end; stays True.
      has_improved: whether the last value improved.

    Raises:
      ValueError: if `min_delta` or `patience` is below 0.
    """

    min_delta: Number = 0.0
    patience: Number = 0.0
    mode: Literal["min", "max"] = static(default="min")
    best_metric: jax.Array = field(
        converter=_scalar("best_metric", float, _is_metric, "a number"),
        default=jnp.inf,
    )
    patience_count: jax.Array = field(
        converter=_scalar(
            "patience_count", jnp.int32, _is_count, "an integer of at least 0"
        ),
        default=0,
    )
    should_stop: jax.Array = field(
        converter=_scalar("should_stop", bool, _is_flag, "True or False"), default=False
    )
    has_improved: jax.Array = field(
        converter=_scalar("has_improved", bool, _is_flag, "True or False"),
        default=False,
    )

    def __post_init__(self):
        check(self, "min_delta", "patience", least=0)

    def reset(self) -> "EarlyStopping":
        """Return the object as it was before the first value."""
        return EarlyStopping(self.min_delta, self.patience, self.mode)

    def update(self, metric: Number) -> "EarlyStopping":
        """Return the object after an evaluation.

        Args:
          metric: the value, a scalar.
        """
        best, dtype = self.best_metric, self.best_metric.dtype
        value = jnp.asarray(metric, dtype)
        gain = best - value if self.mode == "min" else value - best
        enough = ~jnp.isfinite(best) | (gain > jnp.asarray(self.min_delta, dtype))
        improved = jnp.isfinite(value) & enough
        count = self.patience_count
        late = count.astype(dtype) >= jnp.asarray(self.patience, dtype)
        return dataclasses.replace(
            self,
            best_metric=jnp.where(improved, value, best),
            patience_count=jnp.where(improved, 0, count + 1),
            should_stop=self.should_stop | (~improved & late),
            has_improved=improved,
        )
