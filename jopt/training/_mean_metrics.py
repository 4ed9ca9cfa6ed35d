"""`MeanMetrics`: the means of the steps' metrics, without waiting at each step."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jopt.core import shown
from jopt.training._update import Metrics

WAITING = 1000  # calls whose metrics stay on the device, which may still compute them


class MeanMetrics:
    """Means over steps, in float64 on the host.

    Steps whose loss is not finite are left out: `train_step` skips them.

    Attributes:
      calls: number of calls of the step so far.
      names: names of the metrics, after the first call.
    """

    def __init__(self):
        self.calls, self.names = 0, list[str]()
        self._waiting: list[dict[str, Any]] = []
        self._sums, self._steps = dict[str, float](), 0

    def add(self, metrics: Any) -> None:
        """Add the metrics of a call: `Metrics` of one or more steps, or a dict.

        Raises:
          TypeError: it is neither.
        """
        if isinstance(metrics, Metrics):
            metrics = {"loss": metrics.loss, **metrics.aux}
        if not isinstance(metrics, Mapping):
            raise TypeError(
                "fit: step must return (state, metrics), the metrics of train_step or "
                f"a dict of scalars by name, got {shown(metrics)}."
            )
        self.calls, self.names = self.calls + 1, list(metrics)
        self._waiting.append(dict(metrics))
        if len(self._waiting) == 2 * WAITING:  # the first half was computed long ago
            self._fetch(WAITING)

    def means(self) -> dict[str, float]:
        """Return the means, after a wait; NaN if the loss of no step was finite."""
        self._fetch(len(self._waiting))
        steps = self._steps or np.nan
        return {name: total / steps for name, total in self._sums.items()}

    def _fetch(self, calls: int) -> None:
        """Add up the metrics of the first calls that are waiting."""
        for given in jax.device_get(self._waiting[:calls]):
            counts = np.isfinite(np.asarray(given.get("loss", 0.0), np.float64))
            self._steps += int(counts.sum())
            for name, values in given.items():
                # [] of one step, or [steps of the call]
                total = np.where(counts, np.asarray(values, np.float64), 0).sum()
                self._sums[name] = self._sums.get(name, 0.0) + float(total)
        del self._waiting[:calls]
