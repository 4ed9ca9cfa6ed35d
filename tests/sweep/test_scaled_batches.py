"""Promises of a task with `scaling`: statistics of what a trial is trained on."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import jopt
from jopt import data, studies, sweep

RNG = np.random.default_rng(0)
SLOPE = np.asarray([2.0, -1.0])
SIZES: dict[str, Any] = {"steps": 12, "segments": 2, "block": 3}


def points(size, seed):
    random = np.random.default_rng(seed)
    inputs = random.normal(size=(size, 2)) * [100.0, 0.01] + [1000.0, 5.0]
    labels = (inputs - [1000, 5]) / [100, 0.01] @ SLOPE
    return inputs.astype(np.float32), labels.astype(np.float32)


def answers(params, batch):
    return batch[0] @ params["slope"] + params["start"]


def task(**fields):
    return sweep.Task.from_model(
        "line",
        lambda key: {"slope": jnp.zeros(2), "start": jnp.zeros(())},
        lambda params, batch, key: jnp.mean((answers(params, batch) - batch[1]) ** 2),
        lambda params, batch: {"loss": (answers(params, batch) - batch[1]) ** 2},
        **{
            "predict": answers,
            "score": lambda found, batch: {"loss": (found - batch[1]) ** 2},
            "train": points(32, 0),
            "valid": points(16, 1),
            "test": points(16, 2),
            "batch_size": 8,
            "scaling": data.standardize,
        }
        | fields,
    )


TASK = task()
TRIALS = sweep.grid(jopt.sgd, learning_rate=[0.03, 0.1, 0.2])


@pytest.fixture(scope="module")
def swept() -> Any:
    return sweep.run(TASK, TRIALS, **SIZES)


def test_batches_are_scaled_by_the_training_part_wherever_they_go(swept, tmp_path):
    inputs, _ = TASK.train
    scaled = {
        name: ((part[0] - inputs.mean(0)) / inputs.std(0), part[1])
        for name, part in [(n, getattr(TASK, n)) for n in ("train", "valid", "test")]
    }
    by_hand: Any = sweep.run(task(scaling=None, **scaled), TRIALS, **SIZES)

    np.testing.assert_allclose(swept.curves, by_hand.curves, rtol=1e-3, atol=1e-3)
    assert swept.best.test["loss"] == pytest.approx(by_hand.best.test["loss"], 1e-2)
    assert swept.best.test["loss"] < 1
    new = points(5, 7)
    found = swept.predict(new[0])
    np.testing.assert_allclose(found, new[1], atol=1.5)
    swept.save(tmp_path)
    again = sweep.load(tmp_path, task=TASK).predict(new[0])
    np.testing.assert_array_equal(again, found)
    combined = studies.combine(TASK, swept, 2)
    assert combined.best["test"]["loss"] == pytest.approx(swept.best.test["loss"], 1e-4)


def test_each_fold_has_the_statistics_of_its_own_training_part():
    result: Any = sweep.run(TASK, TRIALS[:1], folds=sweep.Folds(3), **SIZES)

    both = np.concatenate([TASK.train[0], TASK.valid[0]])
    found = [result.model_state(trial).scaling for trial in range(3)]
    assert len({float(scaling.shift[0]) for scaling in found}) == 3
    # What is held out is a partition: each example is in two of three training parts.
    sums = sum(32 * np.asarray(s.shift, float) for s in found)
    np.testing.assert_allclose(sums, 2 * both.sum(0), rtol=1e-5)


def test_a_task_with_other_examples_has_their_statistics(swept):
    other = dataclasses.replace(TASK, train=points(40, 9))
    result: Any = sweep.run(other, TRIALS[:1], **SIZES)
    scaling = result.model_state(0).scaling
    np.testing.assert_allclose(scaling.shift, other.train[0].mean(0), rtol=1e-6)
    first = swept.model_state(0).scaling
    np.testing.assert_allclose(first.shift, TASK.train[0].mean(0), rtol=1e-6)


def test_a_teachers_logits_stand_beside_batches_that_are_scaled(swept):
    def loss(found, labels, teacher_logits=None):
        assert teacher_logits is not None
        return (found - labels) ** 2 + 0 * teacher_logits

    def loss_fn(params, batch, key, loss):
        return jnp.mean(loss(answers(params, batch), batch[1]))

    own = sweep.Task.from_model(
        "line",
        lambda key: {"slope": jnp.zeros(2), "start": jnp.zeros(())},
        loss_fn,
        lambda params, batch: {"loss": (answers(params, batch) - batch[1]) ** 2},
        train=TASK.train,
        valid=TASK.valid,
        batch_size=8,
        scaling=data.standardize,
    )
    sizes = {"train": 32, "valid": 16}
    taught = own.taught_by({name: np.zeros(n, np.float32) for name, n in sizes.items()})

    def factory(learning_rate):
        return sweep.Supervised(jopt.sgd(learning_rate), loss=loss)

    trials = sweep.grid(factory, learning_rate=[0.03, 0.1, 0.2])
    result: Any = sweep.run(taught, trials, **SIZES)
    np.testing.assert_allclose(result.curves, swept.curves, rtol=1e-5)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"train": sweep.by_step(lambda step: points(8, step))},
            "Task line: train must be a tree of arrays, of which scaling takes its",
        ),
        (
            {"scaling": lambda examples: 3.0},
            "Task line: scaling must return a callable tree of arrays, batch -> batch,",
        ),
    ],
)
def test_bad_scaling_is_refused_in_a_sentence(fields, sentence):
    with pytest.raises((TypeError, ValueError)) as caught:
        task(**fields)
    assert str(caught.value).startswith(sentence)
