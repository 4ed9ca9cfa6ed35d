"""Promises of the learning-rate range test."""

import csv
import json
import re
import signal
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import toy
from hypothesis import given, settings, strategies as st

import jopt
from jopt.cli import main
from jopt.studies import lr_range
from jopt.studies._lr_range_result import nearly_least, smoothed, tenth_of_least
from jopt.sweep import Task

RATES = np.geomspace(1e-4, 1.0, 41)
FIRST = 2.3


def bowl(rates):
    """A loss that falls fastest at 1e-2, is least at 1e-1, and rises above."""
    axis = np.log10(rates)
    falling = FIRST - 2.0 / (1 + np.exp(-6 * (axis + 2)))
    return falling + np.where(axis > -1, (axis + 1) ** 2, 0)


def test_the_rules_find_what_they_say_on_a_known_curve():
    losses = bowl(RATES)
    assert tenth_of_least(RATES, losses) == pytest.approx(1e-2, rel=0.3)
    found = nearly_least(RATES, losses, FIRST)
    # 95 % of the way of a logistic with slope 6 is log(19) / 6 after its middle.
    assert found == pytest.approx(10 ** (-2 + np.log(19) / 6), rel=0.3)
    assert 1e-2 < found < 1e-1


def test_the_suggestion_is_at_most_ten_times_below_the_best():
    losses = np.geomspace(0.01, 1e-6, 41)  # nothing is left of 2.3 at any rate
    assert nearly_least(RATES, losses, FIRST) == pytest.approx(0.1)


@settings(deadline=None)
@given(
    st.lists(st.floats(-5, 5), min_size=2, max_size=30),
    st.floats(0.1, 100),
    st.floats(-10, 10),
)
def test_the_suggestion_is_the_same_for_losses_scaled_and_shifted(losses, scale, shift):
    rates, losses = np.geomspace(1, 8, len(losses)), np.round(losses, 3)
    before = nearly_least(rates, losses, 6.0)
    after = nearly_least(rates, losses * scale + shift, 6.0 * scale + shift)
    near = np.searchsorted(rates, before)
    bound = 6.0 - 0.95 * (6.0 - smoothed(losses).min())
    on_the_bound = np.isclose(smoothed(losses), bound).any()
    assert on_the_bound or after == rates[near]


def falling(**changes):
    """A task whose gradient is 1: its loss is minus the sum of the rates so far."""

    def evaluate(params, model_state, batch):
        return {"loss": params["p"] * jnp.ones(batch.shape)}

    fields = {
        "name": "falling",
        "init": lambda key: ({"p": jnp.zeros(())}, {}),
        "loss": lambda params, model_state, batch, key: (params["p"], model_state),
        "evaluate": evaluate,
        "train": np.zeros(32, np.float32),
        "valid": np.zeros(8, np.float32),
        "batch_size": 8,
    }
    return Task.from_loss(**{**fields, **changes})


def test_every_rate_is_constant_and_the_loss_a_mean_over_the_last_fifth():
    found = lr_range(
        falling(), jopt.sgd, low=1e-3, high=1.0, rates=5, seeds=2, steps=20, block=5
    )
    np.testing.assert_allclose(found.rates, np.geomspace(1e-3, 1, 5))
    expected = -found.rates * np.mean([16, 17, 18, 19])
    np.testing.assert_allclose(found.loss, expected, rtol=1e-5)
    assert found.losses.shape == (5, 2)
    assert found.edge is None
    assert found.suggestion == found.rates[-1]
    assert found.rule.endswith(
        " The best rate, 1, is the largest tried: extend the range."
    )


@pytest.fixture(scope="module")
def found():
    """A range so wide that its upper end diverges."""
    return lr_range(
        toy.task(),
        jopt.sgd,
        low=1e-3,
        high=1e5,
        rates=17,
        seeds=2,
        steps=30,
        block=17,
    )


@pytest.mark.slow("the edge is tested on given curves")
def test_rates_that_blow_up_are_beyond_the_edge(found):
    assert found.edge is not None
    assert 1 < found.edge < 1e5
    below = found.rates < found.edge
    assert not found.diverged[below].any()
    assert found.diverged[found.rates == found.edge].any()
    gain = found.first_loss - found.loss[below].min()
    blown_up = found.losses > found.first_loss + gain
    assert blown_up.any()  # finite, and the task names no bound
    assert found.diverged[blown_up].all()
    assert np.isnan(found.loss[found.diverged.any(axis=1)]).all()


def test_the_suggestion_is_near_the_best_below_the_edge(found):
    below = found.rates < found.edge
    assert found.suggestion == found.suggestions["nearly least"]
    chosen = found.loss[found.rates == found.suggestion][0]
    gain = found.first_loss - found.loss[below].min()
    assert found.first_loss - chosen > 0.8 * gain
    assert (
        found.suggestion
        <= found.rates[np.nanargmin(np.where(below, found.loss, np.inf))]
    )
    assert list(found.suggestions) == ["nearly least", "a tenth of least"]
    assert "95 %" in found.rule


def test_its_files_are_a_table_a_record_and_a_picture(found, tmp_path):
    files = found.save(tmp_path / "new")
    assert [file.name for file in files] == [
        "lr_find.csv",
        "lr_find.json",
        "lr_find.png",
    ]
    with files[0].open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["learning_rate", "loss", "diverged", "loss_0", "loss_1"]
    np.testing.assert_allclose([float(r["loss"]) for r in rows], found.loss)

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    record = json.loads(files[1].read_text(), parse_constant=refuse)
    assert record["suggestion"] == found.suggestion
    assert record["rule"] == found.rule
    assert record["edge"] == found.edge
    assert files[2].read_bytes().startswith(b"\x89PNG")


def nowhere(params, model_state, batch, key):
    return params["p"] / jnp.zeros(()), model_state


SHORT: dict[str, Any] = {"rates": 5, "seeds": 1, "steps": 5, "block": 5}


@pytest.mark.slow("one sentence is found as another is", but=1)
@pytest.mark.parametrize(
    ("task", "factory", "sentence"),
    [
        (falling(diverged_above=-1.0), jopt.sgd, "Training diverged at 0.001"),
        (falling(), jopt.scale, "No rate from 0.001 to 1 "),
        (falling(loss=nowhere), jopt.sgd, "not finite before the first step"),
    ],
    ids=["all diverged", "none improved", "no loss"],
)
def test_where_no_rate_helps_a_sentence_says_so(task, factory, sentence, tmp_path):
    name = "step_size" if factory is jopt.scale else "learning_rate"
    found = lr_range(task, factory, low=1e-3, high=1.0, hyperparameter=name, **SHORT)
    assert found.suggestion is None
    assert found.suggestions == {}
    assert sentence in found.rule
    assert len(found.save(tmp_path)) == 3


def test_a_factory_may_compute_with_the_rate_and_take_other_settings():
    found = lr_range(
        falling(),
        lambda learning_rate, factor: jopt.sgd(factor * learning_rate),
        low=1e-2,
        high=1.0,
        factor=2.0,
        **SHORT,
    )
    assert found.suggestion is not None
    assert found.info["space"]["factor"] == [2.0]


def test_an_interrupt_leaves_what_was_seen_and_no_suggestion(tmp_path):
    def interrupt(now):
        if now.segment == 2:  # once: a second one is not held back
            signal.raise_signal(signal.SIGINT)

    found = lr_range(falling(), jopt.sgd, progress=interrupt, **SHORT)
    assert found.suggestion is None
    assert found.rule.startswith("Interrupted")
    assert found.info["interrupted"]
    assert len(found.save(tmp_path)) == 3


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"low": 0.0},
            "low and high must be 0 < low < high, got 0.0 and 10.0",
        ),
        ({"low": 1.0, "high": 0.1}, "got 1.0 and 0.1"),
        ({"high": np.inf}, "got 1e-06 and inf"),
        ({"rates": 4}, "lr_range: rates must be at least 5, got 4"),
        ({"steps": 4}, "lr_range: steps must be at least 5, got 4"),
        ({"seeds": 0}, "seeds of at least 1, got 0"),
        ({"b1": [0.8, 0.9]}, "lr_range: b1 must be a single value"),
        ({"beta": 0.9}, "adamw has no hyperparameter beta"),
    ],
    ids=str,
)
def test_bad_input_is_refused_in_a_sentence(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        lr_range(toy.task(), jopt.adamw, **given)


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Run `jopt lr-find` on the small task; return its exit status."""
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text("from toy import task")

    def run(*arguments):
        return main(["lr-find", "own.py:task", "--optimizer", "sgd", *arguments])

    return run


@pytest.mark.slow("the function has its tests in the quick run")
def test_the_command_prints_a_suggestion_and_writes_files(command, capsys):
    few = ["--rates", "7", "--seeds", "1", "--steps", "30", "--block", "7"]
    range_ = ["--low", "1e-3", "--high", "1e3", "--set", "momentum=0.9"]
    assert command(*few, *range_) == 0
    shown = capsys.readouterr().out
    assert re.search(r"Suggested learning rate: [\d.e+-]+\. The least rate, ", shown)
    assert "nearly least" in shown
    assert "a tenth of least" in shown
    picture = Path("sweeps/points-lr-find-1/lr_find.png")
    assert f"Picture: {picture}" in shown
    assert picture.exists()
    record = json.loads(picture.with_suffix(".json").read_text())
    assert record["space"]["momentum"] == [0.9]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["--set", "momentum"], "write NAME=VALUE"),
        (["--set", "momentum=0.8,0.9"], "takes one value"),
        (["--set", "learning_rate=0.1"], "--low and --high"),
        (["--set", "seeds=3"], "an option of lr-find itself"),
        (["--low", "10"], "low and high must be 0 < low < high, got 10.0 and 10.0"),
    ],
)
def test_the_command_refuses_in_a_sentence(command, capsys, given, sentence):
    assert command(*given) == 2
    refusal = capsys.readouterr().err
    assert refusal.startswith("jopt: ")
    assert sentence in refusal
    assert refusal.count("\n") == 1
