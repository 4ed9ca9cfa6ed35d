"""What is no argument of a sweep: said by its name, before anything is read."""

import re
from typing import Any

import jax
import numpy as np
import pytest
import toy

import jopt
from jopt import sweep

TRIALS = sweep.grid(jopt.sgd, learning_rate=[0.1, 0.2])


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"task": None}, "task must be a sweep.Task, such as digits(), got None"),
        (
            {"task": toy.task},
            "task must be a sweep.Task, such as digits(), got the f",
        ),
        ({"trials": {}}, "trials must be a list of sweep.Trial, as sweep.grid and swe"),
        ({"trials": TRIALS[0]}, "trials must be a list of sweep.Trial, as sweep.grid "),
        ({"trials": [jopt.adamw(0.1)]}, "trials must be a list of sweep.Trial, as swe"),
        ({"steps": 4.5}, "steps must be an integer, got 4.5."),
        ({"steps": "4"}, "steps must be an integer, got '4'."),
        ({"steps": True}, "steps must be an integer, got True."),
        ({"epochs": 1.5}, "epochs must be an integer, got 1.5."),
        ({"seeds": 2.0}, "seeds must be an integer, or a list of integers from 0 to "),
        ({"folds": 2.0}, "folds must be an integer or a sweep.Folds, got 2.0."),
        ({"folds": None}, "folds must be an integer or a sweep.Folds, got N"),
        ({"block": 2.5}, "block must be an integer, got 2.5."),
        ({"segments": "3"}, "segments must be an integer, got '3'."),
        ({"batch_size": True}, "batch_size must be an integer, got True."),
        ({"seed": 1.5}, "seed must be an integer or a key of jax.random.key, got 1.5."),
        ({"pruner": "halving"}, "pruner must be a pruner, such as sweep.Successive"),
        (
            {"pruner": sweep.SuccessiveHalving},
            "pruner must be a pruner, such as sweep.SuccessiveHalving(), got the class "
            "SuccessiveHalving; call it, as in SuccessiveHalving().",
        ),
        ({"population": "pbt"}, "population must be a population, such as"),
        ({"population": sweep.Replay}, "got the class Replay; call it"),
        ({"directory": 3}, "directory must be a path, got 3."),
        ({"devices": 2}, "devices must be a list of devices, as jax.local_devices()"),
        ({"memory": "2G"}, "memory must be an integer, in bytes, such as 2 * 10**9, g"),
        ({"progress": 1}, "progress must be a function, got 1."),
        (
            {"callbacks": print},
            "callbacks must be a list of functions, got the function print.",
        ),
    ],
)
def test_an_argument_of_another_kind_is_named(wrong, sentence):
    given: dict[str, Any] = {"task": toy.task(), "trials": TRIALS, **wrong}
    with pytest.raises(TypeError, match=re.escape(sentence)) as refused:
        sweep.run(**given)
    assert str(refused.value).startswith(f"sweep.run: {next(iter(wrong))} ")


def test_numpys_integers_and_arrays_of_devices_are_taken():
    devices: Any = np.asarray(jax.local_devices())
    sizes: Any = {"steps": np.int64(2), "block": np.int32(2), "seed": np.uint32(3)}
    result = sweep.run(toy.task(), TRIALS, devices=devices, segments=1, **sizes)
    assert result.table["steps"].tolist() == [2, 2]


def test_what_resume_takes_is_looked_at_too(tmp_path):
    for wrong in ({"task": toy.task}, {"trials": "all"}, {"folds": 3}, {"block": 1.5}):
        given: Any = wrong
        with pytest.raises(TypeError, match=r"^sweep\.resume: .* must be"):
            sweep.resume(tmp_path, **given)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"steps": 4, "epochs": 1}, "must be left out, got 4 steps and 1 epochs"),
        ({"steps": 2**31}, r"steps of at most 2\^31 - 1, got 2147483648"),
        (
            {"seed": 2**70},
            r"a seed from -2\^63 to 2\^63 - 1, got 1180591620717411303424",
        ),
        ({"seed": np.zeros(2)}, "an integer or one key of jax.random.key"),
        ({"seed": jax.random.split(jax.random.key(0))}, "or one key of jax.random.key"),
        ({"memory": 1}, r"memory of more than the .* that its data take, got 1 bytes"),
    ],
)
def test_an_argument_that_fits_nothing_is_named(options, sentence):
    sizes: dict[str, Any] = {"steps": 2, "block": 2, **options}
    with pytest.raises(ValueError, match=sentence):
        sweep.run(toy.task(), TRIALS, **sizes)


def test_a_batch_size_that_is_drawn_is_an_integer():
    def factory(learning_rate, batch_size):
        return sweep.Setup(jopt.sgd(learning_rate), batch_size=batch_size)

    with pytest.raises(TypeError, match=r"batch_size must be an integer .*got 8\.5"):
        sweep.grid(factory, learning_rate=0.1, batch_size=[8, 8.5])


def test_the_task_of_a_setup_is_one():
    with pytest.raises(TypeError, match=r"Setup: task must be a sweep\.Task"):
        sweep.grid(lambda r: sweep.Setup(jopt.sgd(r), toy.task), r=1)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("sampler", ["sobol", sweep.Sobol])
def test_a_sampler_is_one(sampler):
    rate = sweep.log_uniform(1e-3, 1)
    with pytest.raises(TypeError, match=r"^sample: sampler must be a sampler, such as"):
        sweep.sample(jopt.adamw, 4, sampler=sampler, learning_rate=rate)


def test_what_is_drawn_is_for_sample():
    rate = sweep.log_uniform(1e-3, 1)
    for values in (rate, [0.1, rate]):
        with pytest.raises(
            TypeError, match=r"learning_rate must be values.*sweep\.sam"
        ):
            sweep.grid(jopt.adamw, learning_rate=values)


def test_a_factory_is_called():
    tx: Any = jopt.adamw(0.1)
    with pytest.raises(TypeError, match=r"must be callable, such as jopt\.adamw, got"):
        sweep.grid(tx, learning_rate=[0.1])


def test_a_value_that_is_listed_twice_counts_once():
    trials = sweep.grid(jopt.sgd, learning_rate=[0.1, 0.1, 0.2], momentum=[0.9, 0.9])
    rates = [trial.hyperparameters["learning_rate"] for trial in trials]
    assert rates == [0.1, 0.2]
    assert len(sweep.grid(lambda flag: jopt.sgd(0.1), flag=[True, 1, 1.0])) == 3
