"""`diabetes`: predict 442 patients' disease progression from ten measurements."""

import functools
from typing import Any

import jax
import numpy as np
from flax import nnx
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from jopt.sweep import Task
from jopt.tasks._arguments import check_least
from jopt.tasks._regressors import LinenRegressor, NnxRegressor
from jopt.tasks._scores import on_valid_and_test, r2, squares

WIDTH = 16  # the default


def diabetes(width: int = WIDTH, split: int = 0) -> Task:
    """Return the task of predicting scikit-learn's diabetes data, in nnx.

    60 % of the patients are for training, 20 % for validation and 20 % for the test.
    Measurements and target have mean 0 and variance 1 over the training part. The
    baseline is least squares on the training part. Equal calls return the same object.

    Args:
      width: hidden units beside the linear model, at least 0. With 0 the loss is
        convex, and least squares is its minimum.
      split: the seed by which the patients are divided, at least 0.

    Raises:
      ValueError: if an argument is below its least value.
    """
    check_least("diabetes", 0, width=width, split=split)
    return _task("diabetes", width, split)


def diabetes_linen(width: int = WIDTH, split: int = 0) -> Task:
    """Return the task of `diabetes` with the same model in linen.

    Args:
      width, split: as in `diabetes`.
    """
    check_least("diabetes_linen", 0, width=width, split=split)
    return _task("diabetes-linen", width, split)


@functools.cache
def _task(name: str, width: int, split: int) -> Task:
    data: dict[str, Any] = _parts(split)
    module = LinenRegressor(width)
    in_linen = name != "diabetes"
    fitted = LinearRegression().fit(*data["train"])

    def make(key: Any) -> Any:
        if in_linen:
            return module.init(key, data["train"][0][:1])
        return NnxRegressor(width, nnx.Rngs(key))

    def predict(model: Any, batch: Any) -> Any:
        return module.apply(model, batch[0]) if in_linen else model(batch[0])

    def evaluate(model: Any, batch: Any) -> dict[str, jax.Array]:
        return squares(predict(model, batch), batch[1])

    def least_squares(inputs: Any, target: Any) -> dict[str, float]:
        return {"r2": fitted.score(inputs, target)}

    by_default = (width, split) == diabetes.__defaults__
    return Task.from_model(
        name,
        make,
        lambda model, batch, key: evaluate(model, batch)["loss"].mean(),
        evaluate,
        predict=predict,
        score=lambda predicted, batch: squares(predicted, batch[1]),
        summarize=r2,
        metric="r2",
        mode="max",
        **data,
        batch_size=32,
        epochs=40,
        baseline={"least squares": on_valid_and_test(data, least_squares)},
        source=f"jopt.tasks:{name.replace('-', '_')}" if by_default else None,
    )


@functools.cache
def _parts(split: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    columns: Any = load_diabetes(return_X_y=True)
    rows = np.column_stack(columns)  # the target is the last column
    train, rest = train_test_split(rows, train_size=0.6, random_state=split)
    valid, test = train_test_split(rest, train_size=0.5, random_state=split)
    scale: Any = StandardScaler().fit(train).transform
    parts = {"train": train, "valid": valid, "test": test}
    scaled = {name: scale(part).astype(np.float32) for name, part in parts.items()}
    return {name: (part[:, :-1], part[:, -1]) for name, part in scaled.items()}
