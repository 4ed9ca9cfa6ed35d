"""`lr_range`: what every learning rate does in a few steps, and which to take."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jopt.core import checked
from jopt.studies._lr_range_result import LearningRateRange
from jopt.studies._ramp import Ramp, train_ramp
from jopt.sweep import Progress, SweepResult, Task, grid, run

SEGMENTS = 5  # after each of them what diverged is left out
WINDOW = 5  # the part of the steps, a fifth, whose mean is the loss after the steps


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
    ramp: bool = True,
    hyperparameter: str = "learning_rate",
    progress: Callable[[Progress], None] | None = None,
    **settings: Any,
) -> LearningRateRange:
    """Train with many constant learning rates for a few steps, and suggest one.

        found = studies.lr_range(digits(), jopt.adamw, weight_decay=0.01)
        print(found.suggestion, found.rule)
        found.plot().savefig("lr_find.png")

    All rates and seeds are one sweep, that is one compiled program. The loss of a trial
    is the mean of its training losses over the last fifth of the steps; all trials see
    the same batches, so that losses differ by the rate and the seed alone.

    task: model, loss and data. factory: builds a transformation; it gets the rate by
    the name `hyperparameter`. low, high: the least and the greatest rate, 0 < low <
    high; rates: how many, at least 5, evenly spaced on a log axis, both ends included.
    seeds: keys with which each rate is trained. steps: of each trial, at least 5; a
    hundred tell much, as long as the loss does not vanish. batch_size, block, seed,
    progress: as of `run`. ramp: whether to train the classical ramp too, one more
    trial, which needs a factory that takes a schedule for the rate. settings: the
    factory's other hyperparameters, one value each.

    The suggestion is for a constant rate or the peak of a schedule. A training that is
    much longer may need a smaller one, with Lion above all.

    An interrupt (Ctrl-C) ends it; what was seen until then is returned.

    Raises a ValueError in a sentence where an argument does not fit.
    """
    _check(low, high, rates, steps, settings)
    low, high = float(low), float(high)
    tried = np.geomspace(low, high, rates)
    result = run(
        task,
        grid(factory, **{hyperparameter: tried}, **settings),
        steps=steps,
        seeds=seeds,
        batch_size=batch_size,
        block=block,
        segments=SEGMENTS,
        seed=seed,
        progress=progress,
    )
    ramped, why_not = None, None
    if not ramp or result.info["interrupted"]:
        why_not = "not asked for" if not ramp else "interrupted"
    else:
        try:
            ramped = train_ramp(
                task,
                factory,
                low,
                high,
                steps,
                hyperparameter=hyperparameter,
                settings=settings,
                batch_size=batch_size,
                seed=seed,
            )
        except (TypeError, ValueError) as error:
            # The constant rates were trained, so that it can only be the schedule.
            why_not = f"the factory takes no schedule for {hyperparameter}: {error}"
    return _result(result, ramped, why_not, tried, seeds, hyperparameter)


def _result(
    result: SweepResult,
    ramp: Ramp | None,
    why_not: str | None,
    rates: np.ndarray,
    seeds: int,
    hyperparameter: str,
) -> LearningRateRange:
    steps = result.curves.shape[1]
    curves = result.curves.reshape(len(rates), seeds, steps)
    last = curves[:, :, -max(1, steps // WINDOW) :].astype(float)
    lost = (result.table["status"] == "diverged").reshape(curves.shape[:2])
    interrupted = result.info["interrupted"] or (ramp is not None and ramp.interrupted)
    about = {**result.info, "no_ramp": why_not, "interrupted": interrupted}
    # A diverged trial's last loss may be huge, and is no loss after the steps.
    losses = np.where(lost, np.nan, last.mean(axis=2))
    first = float(curves[0, :, 0].mean())
    return LearningRateRange(
        hyperparameter=hyperparameter,
        rates=rates,
        losses=losses,
        diverged=lost | _blown_up(losses, first),
        first_loss=first,
        curves=curves,
        ramp=ramp,
        info=about,
    )


def _blown_up(losses: np.ndarray, first: float) -> np.ndarray:
    """Whether each trial lost more than the best rate gained."""
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
