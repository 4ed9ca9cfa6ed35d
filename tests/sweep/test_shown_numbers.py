"""Promises about the numbers that a sweep shows: they are those that came about."""

import io
import math
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from rich.console import Console

import jopt
from jopt import sweep
from jopt.cli import display
from jopt.report import CONVOLVES, Record
from jopt.report._sentences import facts, outcome
from jopt.sweep import Progress
from jopt.sweep._history import History

SIZES: Any = {"steps": 8, "segments": 4, "block": 2}
RATES = [0.1, 0.2]


@pytest.fixture(scope="module")
def resumed(tmp_path_factory):
    """A sweep that was stopped after three of four segments: its end, and the last."""
    directory = tmp_path_factory.mktemp("sweep")
    trials = sweep.grid(jopt.sgd, learning_rate=RATES)

    def stop(now):
        time.sleep(0.1)  # of a run that does not count after the resume
        if now.number == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        sweep.run(toy.task(), trials, directory=directory, callbacks=[stop], **SIZES)
    seen: list[Progress] = []
    result = sweep.resume(directory, toy.task(), trials, progress=seen.append)
    return result, seen


def test_speed_after_a_resume_is_that_of_the_steps_since(resumed):
    result, seen = resumed
    info = result.info
    assert info["trial_steps"] == 16
    assert info["trial_steps_this_run"] == 4
    speed = 4 / info["train_seconds"]
    assert math.isclose(info["trial_steps_per_second"], speed)
    last = seen[-1]
    assert (last.trial_steps, last.trial_steps_this_run) == (16, 4)
    assert math.isclose(last.trial_steps_per_second, 4 / last.seconds)


def test_the_page_and_the_command_say_the_steps_of_the_seconds(resumed, tmp_path):
    result, _ = resumed
    record = Record.of(result)
    assert dict(facts(record))["Training"].startswith("4 trial-steps in ")
    assert "since it was resumed" in outcome(record)
    text = io.StringIO()
    display.summary(Console(file=text, width=200), result, tmp_path, [])
    assert "\n4 trial-steps in " in text.getvalue()


def test_the_time_left_is_by_the_speed_of_this_run():
    made: dict[str, Any] = {"segment": 8, "segments": 10, "alive": 2, "trials": 2}
    made |= {"best": None, "trial_steps": 160, "trial_steps_left": 40}
    made |= {"last_block": True, "seconds": 5.0}
    now = Progress(**made, trial_steps_this_run=20)
    assert now.trial_steps_per_second == 4
    assert now.seconds_left == 10
    text = io.StringIO()
    display.Display(Console(file=text, width=200), [])(now)
    assert "4 trial-steps/s, 10 s left" in text.getvalue()
    assert Progress(**made, trial_steps_this_run=0).seconds_left == math.inf
    assert CONVOLVES not in text.getvalue()


def test_the_display_says_once_that_convolutions_may_be_slow():
    now = Progress(1, 2, 2, 2, None, 20, 20, 1.0, True, 20, convolves=True)
    text = io.StringIO()
    shown = display.Display(Console(file=text, width=400), [])
    shown(now)
    shown(now)
    assert text.getvalue().count(CONVOLVES) == 1


@pytest.fixture(scope="module")
def diverged():
    trials = sweep.grid(jopt.sgd, learning_rate=[0.1, 1e38])
    return sweep.run(toy.task(), trials, seeds=2, **SIZES)


def test_a_diverged_trial_has_no_metric_in_any_column(diverged, tmp_path):
    lost = np.asarray([False, False, True, True])
    assert (diverged.table["status"] == "diverged").tolist() == lost.tolist()
    settings = diverged.settings()
    for name in ("train_loss", "valid_loss", "valid_accuracy"):
        assert np.isnan(diverged.table[name]).tolist() == lost.tolist()
        for part in ("", "_std", "_min", "_max"):
            assert np.isnan(settings[name + part]).tolist() == [False, True]
    assert settings["status"].tolist() == ["complete", "diverged"]
    diverged.save(tmp_path)
    loaded = Record.of(sweep.load(tmp_path)).table["train_loss"]
    assert np.isnan(loaded).tolist() == lost.tolist()


def test_a_setting_of_which_one_seed_diverged_has_no_mean():
    def loss(params, model_state, batch, key):
        # The seeds have other first parameters: that of seed 1 is lost.
        value, model_state = toy.loss(params, model_state, batch, key)
        return jnp.where(params["out"][0, 0] > limit, 1e9, value), model_state

    init = [
        toy.init(jax.random.split(jax.random.fold_in(jax.random.key(0), seed))[0])
        for seed in (0, 1)
    ]
    firsts = [float(params["out"][0, 0]) for params, _ in init]
    limit, lost = sum(firsts) / 2, int(np.argmax(firsts))
    task = toy.task(loss=loss, diverged_above=1e6)
    trials = sweep.grid(jopt.sgd, learning_rate=1e-6)
    result = sweep.run(task, trials, seeds=2, **SIZES)
    status = ["complete", "complete"]
    status[lost] = "diverged"
    assert result.table["status"].tolist() == status
    row = {name: column[0] for name, column in result.settings().items()}
    assert (row["status"], row["trial"], row["trials"]) == ("diverged", 1 - lost, 2)
    assert all(np.isnan(row[n]) for n in ("train_loss", "valid_loss", "valid_loss_std"))
    assert result.best is not None
    assert result.best.trial == 1 - lost


def test_a_loss_of_validation_that_is_not_finite_ends_all_metrics_of_the_segment():
    def evaluate(params, model_state, batch):
        seen = toy.evaluate(params, model_state, batch)
        return {**seen, "loss": seen["loss"] / 0}

    trials = sweep.grid(jopt.sgd, learning_rate=[0.1, 0.2])
    result = sweep.run(toy.task(evaluate=evaluate), trials, **SIZES)
    assert result.table["status"].tolist() == ["diverged"] * 2
    for values in result.valid.values():
        assert np.isnan(values).all()


def test_the_training_loss_passes_over_what_a_copied_parent_made():
    history = History(1, steps=5, segments=2, length=3)
    history.losses[0] = [1, 2, np.nan, 4, 6]  # it diverged, and went on from another
    history.steps[:] = 5
    assert history.train_loss().tolist() == [5]


def test_a_spread_over_seeds_is_the_samples_and_one_seed_has_none():
    trials = sweep.grid(jopt.sgd, learning_rate=RATES)
    two = sweep.run(toy.task(), trials, seeds=2, **SIZES)
    losses = two.table["valid_loss"].astype(float).reshape(2, 2)
    expected = np.abs(losses[:, 0] - losses[:, 1]) / math.sqrt(2)
    settings = two.settings()
    np.testing.assert_allclose(settings["valid_loss_std"], expected)
    assert f"± {expected[0]:.2g}" in display._spread(settings, "valid_loss", 0, True)
    one = sweep.run(toy.task(), trials, **SIZES).settings()
    assert np.isnan(one["valid_loss_std"]).all()
    assert "±" not in display._spread(one, "valid_loss", 0, True)


@pytest.mark.slow("the rule is one for all sizes", but=2)
@pytest.mark.parametrize(
    ("folds", "batch_size", "each"),
    # Of 96 to train on and 30 to validate on; a last, smaller batch is left out.
    [(1, 40, 2), (4, 31, 3), (1, 32, 3), (3, 40, 2), (3, 42, 2), (4, 40, 2)],
)
def test_epochs_are_passes_over_what_a_fold_is_trained_on(folds, batch_size, each):
    trials = sweep.grid(jopt.sgd, learning_rate=0.1)
    seen = sweep.run(
        toy.task(),
        trials,
        epochs=3,
        folds=folds,
        batch_size=batch_size,
        segments=1,
        block=4,
    )
    assert seen.info["steps"] == 3 * each
    assert seen.table["steps"].tolist() == [3 * each] * folds
    assert seen.model_state(0)["seen"] == 3 * each * batch_size


def test_a_sweep_without_jit_is_refused_in_a_sentence():
    trials = sweep.grid(jopt.sgd, learning_rate=RATES)
    with jax.disable_jit(), pytest.raises(ValueError, match=r"cannot run with jax_di"):
        sweep.run(toy.task(), trials, **SIZES)
