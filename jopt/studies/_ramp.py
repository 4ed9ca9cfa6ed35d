"""The classical range test: one training whose learning rate grows at every step."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jopt.schedules import exponential_decay
from jopt.studies._lr_rules import valley
from jopt.sweep import Task, grid, run

MEMORY = 0.98  # of the running mean of the losses
BLOWN_UP = 4.0  # times the least running mean


class Ramp(NamedTuple):
    """What a ramp saw. It is for comparison: its rates are tried for one step each."""

    rates: np.ndarray  # float64[steps], of each step
    losses: np.ndarray  # float32[steps], before each step; nan: none
    smoothed: np.ndarray  # float64[steps], their running mean
    stop: int  # steps before the running mean blew up
    interrupted: bool

    @property
    def suggestion(self) -> float | None:
        """The rate that `valley` finds; None if nothing improved, or if interrupted."""
        seen = self.smoothed[: self.stop]
        if self.interrupted or not len(seen) or seen.min() >= seen[0]:
            return None
        return valley(self.rates[: self.stop], seen)


def train_ramp(
    task: Task,
    factory: Callable[..., Any],
    low: float,
    high: float,
    steps: int,
    *,
    hyperparameter: str = "learning_rate",
    settings: dict[str, Any] | None = None,
    batch_size: int | None = None,
    seed: Any = 0,
) -> Ramp:
    """Train once with a rate that grows from `low` to `high` over the steps.

        rate_t = low (high / low)^(t / (steps - 1))
        mean_t = 0.98 mean_(t-1) + 0.02 loss_t,  over  1 - 0.98^(t + 1)

    It stops where the mean is above four times its least, or the loss not finite.

    task, factory and the rest: as of `lr_range`; `factory` gets a schedule for the
    rate, and what it raises if it takes none is raised.

    Smith 2015, https://arxiv.org/abs/1506.01186, section 3.3, where the rate grows
    linearly; the logarithmic axis, the mean and the stop are fastai's.
    """
    rate = exponential_decay(low, steps - 1, high / low)
    trials = grid(factory, **{hyperparameter: [rate]}, **(settings or {}))
    result = run(
        task,
        trials,
        steps=steps,
        batch_size=batch_size,
        block=1,
        segments=1,
        seed=seed,
    )
    losses = result.curves[0]
    means = running_mean(losses)
    rates = low * (high / low) ** (np.arange(steps) / (steps - 1))
    return Ramp(rates, losses, means, stop_of(means), result.info["interrupted"])


def running_mean(losses: np.ndarray) -> np.ndarray:
    """Return the running mean of losses, corrected for its start from zero."""
    means, mean = np.zeros(len(losses)), 0.0
    for step, loss in enumerate(losses.tolist()):
        mean = MEMORY * mean + (1 - MEMORY) * loss
        means[step] = mean / (1 - MEMORY ** (step + 1))
    return means


def stop_of(means: np.ndarray) -> int:
    least = np.fmin.accumulate(means)
    # Four times a loss below zero is no bound.
    over = ~np.isfinite(means) | ((means > BLOWN_UP * least) & (least > 0))
    return int(np.argmax(over)) if over.any() else len(means)
