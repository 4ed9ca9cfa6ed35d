"""The learning-rate range test: many constant rates for a few steps, in one sweep."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jopt.core import checked
from jopt.studies._lr_range_result import LearningRateRange
from jopt.sweep import Progress, Task, grid, run

SEGMENTS = 5  # after each, diverged trials are left out
WINDOW = 5  # the loss after the steps is the mean over the last fifth of them


@checked
def lr_range(
    task: Task,
    factory: Callable[..., Any],
    *,
    low: float = 1e-6,
    high: float = 10.0,
    rates: int = 64,
    seeds: int = 3,
    steps: int = 100,
    batch_size: int | None = None,
    block: int | None = None,
    seed: int | jax.Array = 0,
    hyperparameter: str = "learning_rate",
    progress: Callable[[Progress], None] | None = None,
    **settings: Any,
) -> LearningRateRange:
    """Train with many constant learning rates for a few steps, and suggest one.

        found = studies.lr_range(digits(), jopt.adamw, weight_decay=0.01)
        print(found.suggestion, found.rule)
        found.plot().savefig("lr_find.png")

    All rates and seeds are one sweep, in one compiled program. The loss of a trial is
    the mean of its training losses over the last fifth of the steps. All trials see the
    same batches, so that losses differ by the rate and the seed alone.

    The suggestion is for a constant rate or the peak of a schedule. A much longer
    training may need a smaller one, above all with Lion. An interrupt (Ctrl-C) ends the
    test; the result then has the losses so far.

    Args:
      task: model, loss and data.
      factory: builds a transformation; it gets the rate by the name `hyperparameter`.
      low: the least rate, above 0.
      high: the greatest rate, above `low`.
      rates: number of rates, at least 5, evenly spaced on a log axis with both ends.
      seeds: keys with which each rate is trained.
      steps: steps of each trial, at least 5. A hundred are informative, unless the loss
        vanishes by then.
      batch_size: as of `sweep.run`.
      block: as of `sweep.run`.
      seed: as of `sweep.run`.
      hyperparameter: the factory's name for the rate.
      progress: as of `sweep.run`.
      **settings: the factory's other hyperparameters, one value each.

    Returns:
      The losses by rate, the suggestion and the rule that made it.

    Raises:
      ValueError: if a number breaks its rule, or a setting has several values.
    """
    _check(low, high, rates, steps, settings)
    tried = np.geomspace(float(low), float(high), rates)
    result = run(
        task,
        grid(factory, **{hyperparameter: tried}, **settings),
        steps=steps,
        seeds=seeds,
        shuffle="sweep",
        batch_size=batch_size,
        block=block,
        segments=SEGMENTS,
        seed=seed,
        progress=progress,
    )
    curves = result.curves.reshape(rates, seeds, steps)
    last = curves[:, :, -max(1, steps // WINDOW) :].astype(float)
    lost = (result.table["status"] == "diverged").reshape(curves.shape[:2])
    # A diverged trial's last loss may be huge, and does not count.
    losses = np.where(lost, np.nan, last.mean(axis=2))
    first = float(curves[0, :, 0].mean())
    return LearningRateRange(
        hyperparameter=hyperparameter,
        rates=tried,
        losses=losses,
        diverged=lost | _blown_up(losses, first),
        first_loss=first,
        curves=curves,
        info=result.info,
    )


def _blown_up(losses: np.ndarray, first: float) -> np.ndarray:
    """Return whether each trial lost more than the best rate gained."""
    finite = losses[np.isfinite(losses).all(axis=1)]
    least = finite.mean(axis=1).min(initial=np.inf)
    if not least < first < np.inf:
        return np.zeros(losses.shape, bool)
    return np.nan_to_num(losses, nan=first) > first + (first - least)


def _check(
    low: float, high: float, rates: int, steps: int, settings: dict[str, Any]
) -> None:
    if not 0 < low < high < np.inf:
        raise ValueError(
            f"lr_range: low and high must be 0 < low < high, got {low} and {high}."
        )
    for name, value in {"rates": rates, "steps": steps}.items():
        if value < 5:
            raise ValueError(f"lr_range: {name} must be at least 5, got {value}.")
    for name, value in settings.items():
        if np.ndim(value) or isinstance(value, (list, tuple)):
            raise ValueError(
                f"lr_range: {name} must be a single value, got {value}; a grid of "
                "several hyperparameters is for sweep.grid and sweep.run."
            )
