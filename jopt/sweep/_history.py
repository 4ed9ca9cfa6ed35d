"""The losses and metrics of a sweep's trials, and the status of each trial."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jopt.sweep._task import Mode
from jopt.sweep.engine import CallResult
from jopt.sweep.pruners import Observations

# The metric attributes of a history, by the record's key for their names.
KINDS = {"metrics": "valid", "train_metrics": "train", "cooled_metrics": "cooled"}


class History:
    """The losses and metrics of each trial during training, one row a trial.

    Args:
      trials, steps, segments: their numbers.
      length: steps of a segment.
      metric: the name of the validation metric that ranks.
      mode: "min" or "max".
    """

    def __init__(
        self,
        trials: int,
        steps: int,
        segments: int,
        length: int,
        metric: str = "loss",
        mode: Mode = "min",
    ):
        # float32, or float64 if JAX enables it.
        self.losses = np.full((trials, steps), np.nan, jnp.result_type(float))
        # All [trials, segments] of that dtype. Validation metrics, then the means over
        # a segment's steps of the scalars that they returned beside the loss.
        self.valid: dict[str, np.ndarray] = {}
        self.train: dict[str, np.ndarray] = {}
        # The validation metrics of cooled copies, if a pruner judges them.
        self.cooled: dict[str, np.ndarray] = {}
        self.steps = np.zeros(trials, int)  # steps made, until the one that diverged
        self.died = np.full(trials, segments)  # the segment in which a trial diverged
        self.pruned = np.zeros(trials, bool)
        self.segments, self.length = segments, length
        self.metric, self.mode = metric, mode

    @property
    def dtype(self) -> np.dtype:
        """The dtype of losses and metrics."""
        return self.losses.dtype

    @property
    def diverged(self) -> np.ndarray:
        """Which trials diverged, bool[trials]."""
        return self.died < self.segments

    @property
    def going(self) -> np.ndarray:
        """Which trials are still trained, bool[trials]."""
        return ~(self.diverged | self.pruned)

    def record(self, trials: np.ndarray, segment: int, result: CallResult) -> int:
        """Record a segment of these trials; return the steps that they made in it."""
        first = segment * self.length
        within = slice(0, self.losses.shape[1] - first)  # less the steps past the end
        losses, going = result.losses[:, within], result.alive[:, within]
        made = going.sum(axis=1)
        alive = made == losses.shape[1]
        shown = np.where(going | (np.cumsum(~going, axis=1) == 1), losses, np.nan)
        self.losses[trials, first : first + losses.shape[1]] = shown
        self.steps[trials] = first + made
        for name in {"loss", self.metric} & result.valid.keys():
            alive &= np.isfinite(result.valid[name])
        for name in sorted(result.valid, key=self._order):
            values = result.valid[name]
            self._of(self.valid, name)[trials, segment] = np.where(
                alive, values, np.nan
            )
        for name, sums in result.sums.items():
            with np.errstate(invalid="ignore", divide="ignore"):  # no step was made
                self._of(self.train, name)[trials, segment] = sums / made
        self.died[trials] = np.where(alive, self.segments, segment)
        return int(made.sum())

    def record_cooled(
        self, trials: np.ndarray, segment: int, steps: int, result: CallResult
    ) -> int:
        """Record copies that were trained on; return the steps that they made."""
        alive = result.alive[:, :steps]
        going = alive[:, -1]
        for name in {"loss", self.metric} & result.valid.keys():
            going = going & np.isfinite(result.valid[name])
        for name in sorted(result.valid, key=self._order):
            values = np.where(going, result.valid[name], np.nan)
            self._of(self.cooled, name)[trials, segment] = values
        return int(alive.sum())

    def _of(self, metrics: dict[str, np.ndarray], name: str) -> np.ndarray:
        """Return the values of a metric; a new metric starts as NaN."""
        empty = np.full((len(self.steps), self.segments), np.nan, self.dtype)
        return metrics.setdefault(name, empty)

    def observations(
        self, segment: int, settings: Sequence[np.ndarray]
    ) -> Observations:
        """Return the observations of settings (given by their trials) to a segment."""
        after = np.arange(segment + 1) >= self.died[:, None]

        def seen(values: np.ndarray, of_dead: float) -> np.ndarray:
            values = values[:, : segment + 1].astype(float)
            return means(np.where(after, of_dead, values), settings)

        return Observations(
            seen(lower_better(self.valid[self.metric], self.mode), np.inf),
            seen(self.segment_losses(segment + 1), np.inf),
            reduced(np.logical_or, self.going, settings),
            {name: seen(values, np.nan) for name, values in self.valid.items()},
            -1 if self.mode == "max" else 1,
            cooled={name: seen(values, np.nan) for name, values in self.cooled.items()},
        )

    def value(self, segment: int) -> np.ndarray:
        """Return the ranking values after a segment, lower is better, float64[trials].

        It is infinite where a trial diverged.
        """
        values = lower_better(
            self.valid[self.metric][:, segment].astype(float), self.mode
        )
        return np.where(self.diverged, np.inf, values)

    def segment_losses(self, segments: int) -> np.ndarray:
        """Return each trial's mean training loss by segment; NaN if it made no step."""
        cuts = [slice(s * self.length, (s + 1) * self.length) for s in range(segments)]
        with warnings.catch_warnings():  # NumPy warns of means of empty slices
            warnings.simplefilter("ignore", RuntimeWarning)
            means = [np.nanmean(self.losses[:, c], axis=1, dtype=float) for c in cuts]
        return np.stack(means, axis=1)

    def inherit(self, parents: np.ndarray) -> None:
        """Copy the rows of each trial's parent; no parent has diverged."""
        self.died, self.steps = self.died[parents], self.steps[parents]

    def ends(self) -> np.ndarray:
        """Return the number of steps at the end of each segment."""
        steps = self.losses.shape[1]
        return np.minimum(np.arange(1, self.segments + 1) * self.length, steps)

    def final(self, values: np.ndarray) -> np.ndarray:
        """Return each trial's last value of a metric by segment; NaN if it diverged."""
        last = np.maximum(np.searchsorted(self.ends(), self.steps, "right") - 1, 0)
        found = values[np.arange(len(last)), last]
        return np.where(self.diverged, np.nan, found).astype(self.dtype)

    def at_best(self, values: np.ndarray) -> np.ndarray:
        """Return each trial's value of a metric by segment, at its best moment.

        The best moment is the first segment end with the best finite value of the
        ranking metric. The value is NaN if the trial has none, or diverged later.
        """
        best = self._best()
        found = values[np.arange(len(values)), np.maximum(best, 0)]
        return np.where(self.diverged | (best < 0), np.nan, found).astype(self.dtype)

    def best_steps(self) -> np.ndarray:
        """Return the number of steps at each trial's best moment; 0 without one."""
        best = self._best()
        return np.where(best < 0, 0, self.ends()[best])

    def _best(self) -> np.ndarray:
        """Return the segment of each trial's best moment, -1 without one."""
        ranks = lower_better(self.valid[self.metric], self.mode)
        ranks = np.where(np.isfinite(ranks), ranks, np.inf)
        return np.where(np.isfinite(ranks).any(axis=1), np.argmin(ranks, axis=1), -1)

    def train_loss(self) -> np.ndarray:
        """Return each trial's mean training loss over its last segment's steps.

        The mean is over as many steps as a segment has. It is NaN if the trial diverged
        or made no step.
        """
        places = self.steps[:, None] + np.arange(-self.length, 0)
        made = places >= 0
        taken = np.take_along_axis(self.losses, np.maximum(places, 0), axis=1)
        made &= ~np.isnan(taken)  # less the steps of a copied parent
        sums = np.sum(taken, axis=1, dtype=float, where=made)
        with np.errstate(invalid="ignore", over="ignore"):  # no step; near divergence
            means = (sums / made.sum(axis=1)).astype(self.dtype)
        return np.where(self.diverged, np.nan, means).astype(self.dtype)

    def statuses(self) -> np.ndarray:
        """Return each trial's status: complete, pruned, interrupted or diverged."""
        over = self.steps == self.losses.shape[1]
        status = np.where(over, "complete", "interrupted")
        status = np.where(self.pruned, "pruned", status)
        return np.where(self.diverged, "diverged", status)

    def segment(self, segment: int) -> dict[str, np.ndarray]:
        """Return the results of a segment, by their names in its file.

        A metric is named by its index in `valid`, `train` or `cooled`. The status of
        the trials is included: their steps, and which diverged or were pruned.
        """
        columns = slice(segment * self.length, (segment + 1) * self.length)
        metrics = {kind: getattr(self, kind) for kind in KINDS.values()}
        return {
            "losses": self.losses[:, columns],
            "steps": self.steps,
            "died": np.where(self.diverged, self.died, -1),
            "pruned": self.pruned,
            **{
                f"{kind}-{number}": values[:, segment]
                for kind, held in metrics.items()
                for number, values in enumerate(held.values())
            },
        }

    def take(self, rows: np.ndarray, other: "History") -> None:
        """Write another history, of at most as many segments, into these rows."""
        self.steps[rows], self.pruned[rows] = other.steps, other.pruned
        self.died[rows] = np.where(other.diverged, other.died, self.segments)
        self.losses[rows, : other.losses.shape[1]] = other.losses
        for kind in KINDS.values():
            for name, values in getattr(other, kind).items():
                own = self._of(getattr(self, kind), name)
                own[rows, : other.segments] = values

    def restore(
        self, segments: Sequence[tuple[Mapping[str, Any], Mapping[str, np.ndarray]]]
    ) -> None:
        """Load segments from the first on, from the notes and arrays of each."""
        for segment, (notes, arrays) in enumerate(segments):
            losses, first = arrays["losses"], segment * self.length
            self.losses[:, first : first + losses.shape[1]] = losses
            for names, kind in KINDS.items():
                for number, name in enumerate(notes.get(names, [])):
                    of_metric = self._of(getattr(self, kind), name)
                    of_metric[:, segment] = arrays[f"{kind}-{number}"]
            died = arrays["died"]
            self.died = np.where(died < 0, self.segments, died)
            self.steps, self.pruned = map(np.array, (arrays["steps"], arrays["pruned"]))
        by_name = sorted(self.valid.items(), key=lambda item: self._order(item[0]))
        self.valid = dict(by_name)

    def _order(self, name: str) -> tuple[bool, bool, str]:
        """Return a sort key: the ranking metric first, then the loss, then by name."""
        return name != self.metric, name != "loss", name


def lower_better(values: np.ndarray, mode: str) -> np.ndarray:
    """Return values whose smallest is the best."""
    return -values if mode == "max" else values


def reduced(
    ufunc: np.ufunc, values: np.ndarray, settings: Sequence[np.ndarray]
) -> np.ndarray:
    """Return `ufunc` reduced over the trials of each setting.

    Args:
      ufunc: such as np.minimum.
      values: (trials, ...).
      settings: the trials of each setting, at least one.

    Returns:
      An array (settings, ...).
    """
    firsts = np.cumsum([0, *map(len, settings[:-1])])
    return ufunc.reduceat(values[np.concatenate(settings)], firsts, axis=0)


def means(values: np.ndarray, settings: Sequence[np.ndarray]) -> np.ndarray:
    """Return the means over the trials of each setting; arguments as in `reduced`."""
    sizes = np.asarray([len(rows) for rows in settings], values.dtype)
    sums = reduced(np.add, values, settings)
    return sums / sizes.reshape(-1, *[1] * (values.ndim - 1))
