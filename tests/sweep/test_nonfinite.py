"""Losses that are not finite: every sweep ends with a table, never with a traceback."""

import csv
import json
import math
import textwrap
from typing import Any

import bitwise
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from bitwise import BAD, NEVER

from jopt import sweep
from jopt.cli import main

GOOD = tuple((rate, NEVER) for rate in np.geomspace(0.005, 0.2, 8).tolist())
SIZES: dict[str, Any] = {"steps": 12, "segments": 6}
RULES: dict[str, dict[str, Any]] = {
    "none": {},
    "halving": {"pruner": sweep.SuccessiveHalving(reduction_factor=2)},
    "hyperband": {"pruner": sweep.Hyperband(min_resource=1, reduction_factor=2)},
    "median": {"pruner": sweep.MedianPruner(n_startup_trials=2)},
    "patient": {"pruner": sweep.PatientPruner(sweep.MedianPruner(2), patience=1)},
    "threshold": {"pruner": sweep.ThresholdPruner(upper=0.6, n_warmup_steps=1)},
    "spike": {"pruner": sweep.LossSpike(segments=1)},
    "population": {
        "population": sweep.PopulationBasedTraining(
            {"learning_rate": sweep.log_uniform(1e-3, 0.3)}
        )
    },
    "folds": {"folds": 2},
}
each_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)


@pytest.fixture(scope="module")
def good():
    return bitwise.run(GOOD, **SIZES)


def told(result):
    """Assert that a result has all that people and files are told by."""
    assert len(set(map(len, result.table.values()))) == 1
    status = result.table["status"]
    ended = np.isin(status, ["complete", "pruned"])
    assert (np.isfinite(result.table["valid_loss"]) == ended).all()
    assert (result.table["steps"] <= 12).all()
    if result.lineage is None:  # a child has the steps of its parent, not the losses
        made = np.isfinite(result.curves).sum(axis=1)
        np.testing.assert_array_equal(made, result.table["steps"])
    alike = 1 if result.lineage else result.info["seeds"] * result.info["folds"]
    assert len(result.settings()["status"]) * alike == len(status)
    return status


@pytest.mark.slow("another bad number ends a trial alike", but=2)
@each_rule
def test_bad_settings_end_and_change_no_other(rule, good):
    """At step 0's update, in the middle, in the last step, and in evaluation only."""
    settings = [*BAD[:2], *GOOD[:5], *BAD[2:], *GOOD[5:]]
    result = bitwise.run(settings, **SIZES, **rule)
    status = told(result)
    folds = result.info["folds"]

    if result.lineage is not None:  # all but those after the last generation recover
        assert (status == "diverged").sum() <= 1
        assert {event.segment for event in result.lineage.events} == set(range(5))
        return
    bad = [fails != NEVER for _, fails in settings for _ in range(folds)]
    assert not np.isin("complete", status[bad])
    assert (status[bad] == "diverged").all() or "pruner" in rule
    assert not (status[np.logical_not(bad)] == "diverged").any()
    assert result.best is not None
    assert settings[result.best.trial // folds] in GOOD
    assert np.isfinite(list(result.best.test.values())).all()
    if folds > 1:
        return
    for trial, setting in enumerate(settings):
        if setting in GOOD:
            steps, there = result.table["steps"][trial], GOOD.index(setting)
            np.testing.assert_array_equal(
                result.curves[trial, :steps], good.curves[there, :steps]
            )


def test_the_step_of_divergence_is_the_first_bad_loss():
    result = bitwise.run(BAD, **SIZES)

    assert result.table["status"].tolist() == ["diverged"] * 4
    assert result.table["steps"].tolist() == [1, 6, 10, 12]
    last = [np.flatnonzero(~np.isnan(curve))[-1] for curve in result.curves]
    assert last == [0, 5, 9, 11]
    assert np.isnan(result.table["valid_loss"]).all()
    assert result.best is None


@pytest.mark.slow("another bad number ends a trial alike", but=1)
@each_rule
def test_a_sweep_of_nothing_but_bad_settings_ends(rule):
    result = bitwise.run([(rate, 0) for rate, _ in GOOD], **SIZES, **rule)
    status = told(result)

    assert (status == "diverged").all()
    assert result.best is None
    assert result.top(3) == []
    assert result.info["trial_steps"] == len(status)  # no segment after the first


@pytest.mark.slow("settings that turn bad are in the quick run")
@each_rule
@pytest.mark.parametrize("bad", [{0, 1}, {1}], ids=["all seeds", "one seed"])
def test_models_that_begin_bad_end_at_step_0(rule, bad):
    """By seed, for the parameters that a trial begins with are the seed's."""
    firsts = [
        jax.random.split(jax.random.fold_in(jax.random.key(0), seed))[0] for seed in bad
    ]
    words = jnp.stack([jax.random.key_data(key) for key in firsts])

    def init(key):
        params, model_state = toy.init(key)
        is_bad = (words == jax.random.key_data(key)[None]).all(axis=1).any()
        spoilt = jax.tree.map(lambda x: jnp.where(is_bad, jnp.nan, x), params)
        return spoilt, model_state

    result = bitwise.run(GOOD, toy.task(init=init), seeds=2, **SIZES, **rule)
    status = told(result)

    dead = np.isin(result.table["seed"], list(bad))
    if len(bad) == 2:
        assert (status == "diverged").all()
        assert (result.table["steps"] == 0).all()
        assert np.isnan(result.curves).all()
        assert result.best is None
    elif result.lineage is not None:
        assert (status == "complete").all()
        assert result.best is not None
    else:
        assert (status[dead] == "diverged").all()
        assert not (status[~dead] == "diverged").any()
        # Every setting counts as diverged; yet there is a trial to show.
        assert np.isnan(result.settings()["valid_loss"]).all()
        assert result.best is not None
        assert result.best.seed == 0
    if "pruner" in rule:  # the seeds of a setting end together
        assert (result.table["steps"] <= 2).all()


def test_a_setting_whose_seeds_all_diverge_changes_no_other(good):
    settings = [GOOD[0], BAD[0], GOOD[1]]
    result = bitwise.run(settings, seeds=3, **SIZES)

    assert result.table["status"].tolist() == [
        *["complete"] * 3,
        *["diverged"] * 3,
        *["complete"] * 3,
    ]
    np.testing.assert_array_equal(result.curves[0], good.curves[0])
    np.testing.assert_array_equal(result.curves[6], good.curves[1])
    assert result.settings()["status"].tolist() == ["complete", "diverged", "complete"]


def bad_evaluation(large):
    """An evaluation that is not finite where the second layer is `large`."""

    def evaluate(params, model_state, batch):
        seen = toy.evaluate(params, model_state, batch)
        bad = jnp.abs(params["out"]).max() > large
        return {**seen, "loss": jnp.where(bad, math.inf, seen["loss"])}

    return evaluate


@pytest.mark.slow("training losses that are bad are in the quick run")
@each_rule
def test_an_evaluation_alone_may_be_bad(rule):
    settings = [*GOOD, (1.0, NEVER), (1.5, NEVER)]
    whole = bitwise.run(settings, **SIZES)
    # The largest rates get there: training goes on to be finite, evaluation is not.
    larges = sorted(
        float(np.abs(whole.params(trial)["out"]).max()) for trial in range(10)
    )
    task = toy.task(evaluate=bad_evaluation((larges[7] + larges[8]) / 2))
    result = bitwise.run(settings, task, **SIZES, **rule)
    status = told(result)

    if result.lineage is None:
        assert (status == "diverged").any() or "pruner" in rule
    assert np.isfinite(result.curves[status == "diverged"][:, 0]).all()
    assert result.best is not None
    assert math.isfinite(result.best.valid["loss"])


def test_only_validation_that_is_bad_at_the_end_counts_as_diverged():
    def evaluate(params, model_state, batch):
        seen = toy.evaluate(params, model_state, batch)
        over = model_state["seen"] >= 12 * 16  # all steps made
        return {**seen, "loss": jnp.where(over, jnp.nan, seen["loss"])}

    result = bitwise.run(GOOD, toy.task(evaluate=evaluate), **SIZES)

    assert (result.table["status"] == "diverged").all()
    assert (result.table["steps"] == 12).all()
    assert np.isfinite(result.curves).all()
    assert np.isfinite(result.valid["loss"][:, :-1]).all()
    assert np.isnan(result.valid["loss"][:, -1]).all()
    assert result.best is None


TASK = """
    import sys
    sys.path.insert(0, {tests!r})
    import toy, jax.numpy as jnp

    def never(params, model_state, batch, key):
        return toy.loss(params, model_state, batch, key)[0] * jnp.nan, model_state

    def bad(params, model_state, batch):
        seen = toy.evaluate(params, model_state, batch)
        return seen | {{"loss": seen["loss"] * jnp.nan}}

    in_training = toy.task(loss=never)
    in_evaluation = toy.task(evaluate=bad)
"""


@pytest.mark.slow("tests/sweep/test_sweep.py has a sweep without a winner")
@pytest.mark.parametrize(
    ("task", "arguments"),
    [
        ("in_training", ["--pruner", "halving:reduction_factor=2"]),
        ("in_evaluation", ["--evolve", "learning_rate=1e-4:1"]),
        ("in_evaluation", ["--folds", "2", "--seeds", "2", "--keep", "2"]),
    ],
)
def test_the_command_says_that_every_trial_diverged(tmp_path, capsys, task, arguments):
    file, out = tmp_path / "task.py", tmp_path / "out"
    tests = toy.__file__.rpartition("/")[0]
    file.write_text(textwrap.dedent(TASK.format(tests=tests)))
    sizes = ["--steps", "12", "--segments", "3", "--block", "3"]
    rates = ["--learning-rate", "1e-3:1e-1:4", "--out", str(out)]
    assert main(["sweep", f"{file}:{task}", *sizes, *rates, *arguments]) == 0

    captured = capsys.readouterr()
    assert "Every trial diverged: try smaller values." in captured.out
    assert "Traceback" not in captured.out + captured.err
    with (out / "trials.csv").open() as table:
        assert {row["status"] for row in csv.DictReader(table)} == {"diverged"}
    assert json.loads((out / "best.json").read_text())["trial"] is None
