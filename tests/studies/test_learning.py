"""Promises of learning curves: one case of each verdict, and what is refused."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import jopt
from jopt import studies, sweep
from jopt.report import Record, page

RNG = np.random.default_rng(0)
WIDTH = 20


def line(noise, size, seed):
    """A linear regression of as many numbers as there are few examples."""
    random = np.random.default_rng(seed)
    inputs = random.normal(size=(size, WIDTH)).astype(np.float32)
    labels = inputs[:, 0] + noise * random.normal(size=size)
    return inputs, labels.astype(np.float32)


def task(size, noise, **fields):
    def error(params, batch):
        return (batch[0] @ params - batch[1]) ** 2

    return sweep.Task.from_model(
        "line",
        lambda key: jnp.zeros(WIDTH),
        lambda params, batch, key: jnp.mean(error(params, batch)),
        lambda params, batch: {"loss": error(params, batch)},
        **{
            "train": line(noise, size, 0),
            "valid": line(noise, 1024, 1),
            "batch_size": min(size, 64),
        }
        | fields,
    )


def swept(task, rate, steps) -> Any:
    trials = sweep.grid(jopt.sgd, learning_rate=[rate])
    return sweep.run(task, trials, steps=steps, segments=6, seeds=1)


CASES = {
    # As few examples as numbers, much noise, trained for long.
    "overfitting": (task(20, 1.0), 0.05, 240),
    # Too low a rate for the steps.
    "underfitting": (task(1024, 0.1), 0.003, 36),
    # Many examples, at the noise's level.
    "neither": (task(1024, 0.5, batch_size=1024), 0.1, 120),
}


@pytest.mark.parametrize("verdict", CASES)
def test_each_verdict_has_a_case_and_stands_on_the_page(verdict):
    result = swept(*CASES[verdict])
    found = studies.learning_curves(result)

    assert found.verdict == verdict
    level, past = found.valid[-2:].mean(), found.valid[-4:-2].mean()
    assert found.slope == pytest.approx(level / past - 1)
    assert found.gap == pytest.approx(1 - found.train[-2:].mean() / level)
    np.testing.assert_array_equal(found.steps, result.valid_steps)
    length = found.steps[0]
    later = result.curves[0, length + length // 2 : 2 * length]
    assert found.train[1] == pytest.approx(later.mean(), rel=1e-5)
    text = page(Record.of(result))
    assert (found.sentence in text.replace("&#x27;", "'")) is (verdict != "neither")


def test_a_training_loss_above_the_baselines_is_underfitting():
    full, rate, steps = CASES["neither"]
    weak = dataclasses.replace(full, baseline={"a rule": {"loss": 0.01}})
    assert studies.learning_curves(swept(weak, rate, steps)).verdict == "underfitting"


def test_what_has_no_curves_is_refused_in_a_sentence():
    trials = sweep.grid(jopt.sgd, learning_rate=[0.1])
    few: Any = sweep.run(CASES["neither"][0], trials, steps=6, segments=2)
    with pytest.raises(ValueError, match="finite losses of at least 3 segments, got 2"):
        studies.learning_curves(few)
    with pytest.raises(ValueError, match="trial must be from 0 to 0, got 4"):
        studies.learning_curves(few, 4)
    diverged = swept(CASES["neither"][0], 1e9, 36)
    with pytest.raises(ValueError, match="trial must be given where a sweep has no"):
        studies.learning_curves(diverged)
    with pytest.raises(ValueError, match="finite losses of at least 3 segments"):
        studies.learning_curves(diverged, 0)
