"""`co2`: forecast the weekly CO2 of the air a year ahead, with a small LSTM."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import statsmodels.api
from flax import nnx

from jopt.sweep import Task
from jopt.tasks._arguments import check_least
from jopt.tasks._co2_weeks import filled, windows
from jopt.tasks._scores import on_valid_and_test

WIDTH = 32  # the default
WEEKS = 4  # weeks that the LSTM reads at a time


class Forecaster(nnx.Module):
    """An LSTM that reads four weeks at a time, and a linear layer on its last state."""

    def __init__(self, width: int, rngs: nnx.Rngs):
        self.lstm = nnx.RNN(nnx.LSTMCell(WEEKS, width, rngs=rngs))
        self.last = nnx.Linear(width, 1, rngs=rngs)

    def __call__(self, weeks: jax.Array) -> jax.Array:
        """Return the changes (batch,) that follow weeks (batch, 104)."""
        read: Any = self.lstm(weeks.reshape(len(weeks), -1, WEEKS))
        return self.last(read[:, -1])[:, 0]


def co2(width: int = WIDTH) -> Task:
    """Return the task of forecasting the weekly CO2 of Mauna Loa 52 weeks ahead.

    The input is the last 104 weeks, minus the last of them. The target is the change
    from that week to 52 weeks later, in units of the standard deviation of this change
    over the training part. The weeks to forecast are split in the order of time: the
    first 70 % of the series for training, then 10 % for validation and 20 % for the
    test. The input may reach into an earlier part, never into a later one. 59 weeks
    without a measurement, all before 1986 and so in the training part, are
    interpolated.

    The metric is the root mean squared error in ppm. The baselines are the value of
    last year, that value plus last year's change, and least squares on all 104 weeks,
    fitted to the training part. Equal calls return the same object.

    Args:
      width: units of the LSTM, at least 1.

    Raises:
      ValueError: if `width` is below 1.
    """
    check_least("co2", 1, width=width)
    return _task(width)


@functools.cache
def _task(width: int) -> Task:
    loaded: Any = statsmodels.api.datasets.co2.load_pandas()
    given, unit = windows(filled(loaded.data["co2"].to_numpy()))
    parts: dict[str, Any] = given

    def evaluate(model: Forecaster, batch: Any) -> dict[str, jax.Array]:
        return _errors(model(batch[0]), batch)

    def beside(forecast: Any) -> dict[str, float]:
        error = lambda seen, change: unit * (forecast(seen) - change)  # noqa: E731
        rmse = lambda *part: {"rmse": np.sqrt(np.mean(error(*part) ** 2))}  # noqa: E731
        return on_valid_and_test(parts, rmse)

    return Task.from_model(
        "co2",
        lambda key: Forecaster(width, nnx.Rngs(key)),
        lambda model, batch, key: evaluate(model, batch)["loss"].mean(),
        evaluate,
        predict=lambda model, batch: model(batch[0]),
        score=_errors,
        summarize=lambda config, state, means: {"rmse": unit * jnp.sqrt(means["loss"])},
        metric="rmse",
        **parts,
        epochs=20,
        baseline={
            "last year's value": beside(lambda weeks: 0 * weeks[:, 0]),
            "last year's change": beside(lambda weeks: -weeks[:, -53]),
            "least squares on 104 weeks": beside(_linear(parts["train"])),
        },
        source="jopt.tasks:co2" if width == WIDTH else None,
    )


def _linear(train: tuple[np.ndarray, np.ndarray]) -> Any:
    with_one = lambda weeks: np.column_stack([weeks, np.ones(len(weeks))])  # noqa: E731
    weights = np.linalg.lstsq(with_one(train[0]), train[1], rcond=None)[0]
    return lambda weeks: with_one(weeks) @ weights


def _errors(predicted: Any, batch: Any) -> dict[str, jax.Array]:
    return {"loss": (predicted - batch[1]) ** 2}
