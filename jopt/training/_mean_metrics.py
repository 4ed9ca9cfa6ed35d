"""`MeanMetrics`: the means of the steps' metrics, without a wait for the device."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jopt.core import shown
from jopt.training._update import Metrics


class MeanMetrics:
    """Means over steps, on the device until they are fetched.

    Steps whose loss is not finite are left out: `train_step` skips them.

    Attributes:
      calls: number of calls of the step so far.
      values: the means by name.
    """

    def __init__(self):
        self.calls, self.values, self._steps = 0, dict[str, jax.Array](), jnp.zeros(())

    def add(self, metrics: Any) -> None:
        """Add the metrics of a call: `Metrics` of one or more steps, or a dict.

        Raises:
          TypeError: it is neither.
        """
        if isinstance(metrics, Metrics):
            metrics = {**metrics.aux, "loss": metrics.loss}
        if not isinstance(metrics, Mapping):
            raise TypeError(
                "fit: step must return (state, metrics), the metrics of train_step or "
                f"a dict of scalars by name, got {shown(metrics)}."
            )
        self.calls += 1
        given = {name: jnp.asarray(x, float) for name, x in metrics.items()}
        before = self.values or {name: jnp.zeros(()) for name in given}
        self.values, self._steps = _added(before, self._steps, given)

    def fetched(self) -> dict[str, float]:
        """Return the means as numbers; NaN if the loss of no step was finite."""
        values, steps = jax.device_get((self.values, self._steps))
        return {name: float(x) if steps else math.nan for name, x in values.items()}


@jax.jit
def _added(
    means: dict[str, jax.Array], steps: jax.Array, given: dict[str, jax.Array]
) -> tuple[dict[str, jax.Array], jax.Array]:
    counts = jnp.isfinite(given.get("loss", jnp.zeros(())))  # [] or [steps of the call]
    steps = steps + counts.sum(dtype=steps.dtype)

    def mean(old: jax.Array, new: jax.Array) -> jax.Array:
        # Of the differences: a sum of many steps would lose their last digits.
        return old + jnp.where(counts, new - old, 0).sum() / jnp.maximum(steps, 1)

    return jax.tree.map(mean, means, given), steps
