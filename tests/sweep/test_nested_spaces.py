"""Promises of spaces as data: nested by choices, flat in the table, found again."""

import pickle
import re
import signal
from typing import Any

import chex
import jax
import numpy as np
import pytest
import toy

import jopt
from jopt import sweep
from jopt.sweep import Space, choice, log_uniform, uniform
from jopt.sweep._plan import Plan
from jopt.sweep._shown_values import columns
from jopt.sweep._trial import groups

RATE = "tx.adamw.learning_rate"
LISTED = Space(
    sweep.Supervised,
    tx=choice(
        {
            "adamw": Space(jopt.adamw, learning_rate=[0.01, 0.1], nesterov=[False]),
            "sgd": Space(jopt.sgd, learning_rate=[0.1, 0.3], momentum=0.9),
        }
    ),
)
DRAWN = Space(
    dict,
    tx=choice(
        {
            "adamw": Space(jopt.adamw, learning_rate=log_uniform(1e-4, 1)),
            "sgd": Space(
                jopt.sgd, learning_rate=uniform(1, 2), momentum=uniform(0, 0.9)
            ),
        }
    ),
    width=[16, 32],
    depth=2,
)


class Points:
    """A sampler of given points."""

    def __init__(self, *points):
        self._points = points

    def points(self, n, dimensions, seed):
        assert all(len(point) == dimensions for point in self._points)
        return np.asarray(self._points)


def settings(trials):
    return [trial.hyperparameters for trial in trials]


def test_a_grid_has_every_combination_of_every_branch():
    trials = sweep.grid(LISTED)
    sgd = {"tx": "sgd", "tx.sgd.momentum": 0.9}
    adamw = {"tx": "adamw", "tx.adamw.nesterov": False}
    assert settings(trials) == [
        {**adamw, RATE: 0.01},
        {**adamw, RATE: 0.1},
        {**sgd, "tx.sgd.learning_rate": 0.1},
        {**sgd, "tx.sgd.learning_rate": 0.3},
    ]
    made = [jopt.adamw(0.01), jopt.adamw(0.1)]
    made += [jopt.sgd(0.1, momentum=0.9), jopt.sgd(0.3, momentum=0.9)]
    wanted = [Trial.config for Trial in sweep.grid(sweep.Supervised, tx=made)]
    for trial, config in zip(trials, wanted, strict=True):
        chex.assert_trees_all_equal(trial.config, config)
    assert groups(trials) == [[0, 1], [2, 3]]


def test_a_sample_has_a_coordinate_for_each_number_of_each_branch():
    at = [0.2, 0.5, 0.7, 0.5, 0.9]  # the branch, three numbers, the width
    other = [0.6, 0.5, 0.25, 0.5, 0.1]
    same = [0.3, 0.5, 0.0, 0.0, 0.9]  # other numbers of the branch that is not drawn
    trials = sweep.sample(DRAWN, 3, sampler=Points(at, other, same))
    first, second = settings(trials)
    assert list(first) == ["tx", RATE, "width", "depth"]
    assert (first["tx"], first["width"], first["depth"]) == ("adamw", 32, 2)
    np.testing.assert_allclose(first[RATE], 0.01)
    wanted = {"tx": "sgd", "tx.sgd.learning_rate": 1.25, "tx.sgd.momentum": 0.45}
    assert second == {**wanted, "width": 16, "depth": 2}
    assert trials[1].config["tx"] == jopt.sgd(1.25, momentum=0.45)


@pytest.mark.parametrize("sampler", [sweep.Random(), sweep.Sobol()], ids=repr)
def test_branches_are_drawn_alike_by_real_samplers(sampler):
    trials = sweep.sample(DRAWN, 64, sampler=sampler, seed=2)
    assert len(trials) == 64
    drawn = [s["tx"] for s in settings(trials)]
    assert 24 <= drawn.count("sgd") <= 40
    assert settings(trials) == settings(
        sweep.sample(DRAWN, 64, sampler=sampler, seed=2)
    )


def test_a_space_without_branches_is_its_factory_with_ranges():
    ranges: dict[str, Any] = {"learning_rate": [0.1, 0.2], "b1": [0.8, 0.9]}
    assert sweep.grid(Space(jopt.adamw, **ranges)) == sweep.grid(jopt.adamw, **ranges)
    ranges["learning_rate"] = log_uniform(1e-3, 1)
    trials = sweep.sample(Space(jopt.adamw, **ranges), 5, seed=1)
    assert trials == sweep.sample(jopt.adamw, 5, seed=1, **ranges)
    assert {setting["b1"] for setting in settings(trials)} <= {0.8, 0.9}


def test_ranges_by_name_take_the_place_of_the_spaces():
    trials = sweep.sample(DRAWN, 4, width=64, tx=DRAWN.ranges["tx"].values["adamw"])
    assert [list(setting) for setting in settings(trials)] == [
        ["tx.learning_rate", "width", "depth"]
    ] * 4
    assert {setting["width"] for setting in settings(trials)} == {64}
    assert len(sweep.grid(LISTED, loss=[1.0, 2.0])) == 8
    assert LISTED.size == 4


def test_spaces_nest_as_deep_as_they_are_written():
    inner = Space(dict, gain=[1.0, 2.0])
    middle = Space(dict, loss=choice({"focal": inner, "plain": Space(dict)}), scale=3.0)
    trials = sweep.grid(Space(lambda part: part, part=middle))
    assert [trial.hyperparameters for trial in trials] == [
        {"part.loss": "focal", "part.loss.focal.gain": 1.0, "part.scale": 3.0},
        {"part.loss": "focal", "part.loss.focal.gain": 2.0, "part.scale": 3.0},
        {"part.loss": "plain", "part.scale": 3.0},
    ]
    assert trials[1].config == {"loss": {"gain": 2.0}, "scale": 3.0}


def test_a_branch_has_no_value_in_the_columns_of_another():
    table = columns(sweep.grid(LISTED))
    assert table["tx"].tolist() == ["adamw"] * 2 + ["sgd"] * 2
    np.testing.assert_array_equal(table[RATE], [0.01, 0.1, np.nan, np.nan])
    assert table["tx.adamw.nesterov"].tolist() == [False, False, None, None]


def test_the_numbers_of_a_branch_change_in_training():
    space = Space(DRAWN, tx=DRAWN.ranges["tx"].values["sgd"])
    population = sweep.PopulationBasedTraining({"tx.momentum": uniform(0, 0.9)})
    trials = sweep.sample(space, 3, width=16)
    plan = Plan(toy.task(), 16, 4, 2, jax.random.key(0), population=population)
    plan.check(trials)
    setting = {**trials[0].hyperparameters, "tx.momentum": 0.5}
    wanted = jopt.sgd(setting["tx.learning_rate"], momentum=0.5)
    assert trials[0].changed(setting).config["tx"] == wanted
    with pytest.raises(
        ValueError, match=r"^The hyperparameter tx must be one of adamw"
    ):
        sweep.grid(LISTED)[0].changed({"tx": "adam"})
    with pytest.raises(
        ValueError, match=r"tx\.sgd\.\w+ is of a branch that is not cho"
    ):
        sweep.grid(LISTED)[2].changed(
            {**sweep.grid(LISTED)[2].hyperparameters, "tx": "adamw"}
        )


def test_a_space_makes_what_a_trial_was_made_of():
    trial = sweep.grid(LISTED)[3]
    made = LISTED(**trial.hyperparameters)
    assert (made.tx, made.loss) == (jopt.sgd(0.3, momentum=0.9), None)
    assert sweep.Trial.of(LISTED, trial.hyperparameters) == trial


def test_static_names_of_a_branch_hold_where_it_is_chosen():
    wide = Space(dict, static=("width",), width=[2, 3], rate=[0.1, 0.2])
    plain = Space(dict, width=[4, 5], rate=0.1)
    trials = sweep.grid(Space(lambda net: net, net=choice({"a": wide, "b": plain})))
    assert [trial.static for trial in trials] == [("width",)] * 4 + [()] * 2
    assert groups(trials) == [[0, 1], [2, 3], [4, 5]]
    assert len(groups(sweep.grid(plain, static=("width",)))) == 2


def test_spaces_are_compared_by_value_printed_and_pickled():
    def space(low=1e-4):
        rate = log_uniform(low, 1)
        return Space(dict, tx=choice({"a": Space(jopt.sgd, learning_rate=rate)}), b=[1])

    assert space() == space() != space(1e-3)
    assert hash(space()) == hash(space())
    assert space() != Space(dict, b=[1])
    assert repr(space()) == (
        "Space(dict, tx=Choice(values={'a': Space(sgd, learning_rate=LogUniform("
        "low=0.0001, high=1.0))}), b=(1,))"
    )
    assert pickle.loads(pickle.dumps(space())) == space()
    with pytest.raises(AttributeError):
        space().factory = list  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.slow("test_resume.py resumes by names")
def test_a_sweep_of_branches_is_resumed_by_its_names(tmp_path):
    def stop(now):
        signal.raise_signal(signal.SIGINT)

    sizes: dict[str, Any] = {"steps": 4, "segments": 2, "block": 2}
    task = toy.task(source="toy:task")
    whole = sweep.run(task, sweep.grid(LISTED), **sizes)
    stops: dict[str, Any] = {"directory": tmp_path, "callbacks": [stop]}
    sweep.run(task, sweep.grid(LISTED), **sizes, **stops)
    result = sweep.resume(tmp_path, trust=True)
    assert result.info["resumed_after"] == 1
    assert result.trials == whole.trials
    chex.assert_trees_all_equal(result.valid, whole.valid)
    chex.assert_trees_all_equal(result.curves, whole.curves)
    assert whole.best is not None
    assert whole.best.hyperparameters["tx"] in ("adamw", "sgd")
    settings = result.settings()
    assert np.isnan(settings[RATE]).tolist() == [False, False, True, True]


SGD = Space(jopt.sgd, learning_rate=[0.1])
NUMBER: Any = 3
DOTTED: Any = {"a.b": 1}
WORD: Any = {"static": "width", "width": 1}


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (lambda: Space(jopt.sgd, rate=1), ValueError, "sgd has no hyperparameter rate"),
        (lambda: Space(jopt.sgd), ValueError, "sgd needs a value for learning_rate"),
        (
            lambda: Space(dict, **WORD),
            TypeError,
            "Space: static must be a tuple of names of hyperparameters, got 'width'",
        ),
        (
            lambda: Space(NUMBER),
            TypeError,
            "must be callable, such as jopt.adamw, got 3",
        ),
        (lambda: Space(dict, a=[]), ValueError, "a has no values; give at least one"),
        (lambda: Space(dict, a={1}), TypeError, "a must have its values in an order"),
        (
            lambda: Space(dict, c=SGD, **DOTTED),
            ValueError,
            "a.b must have a name without a dot beside spaces",
        ),
        (
            lambda: Space(dict, a=type(uniform(0, 1))),
            TypeError,
            "a got the class Uniform; give it ends",
        ),
        (
            lambda: Space(dict, a=[SGD, SGD]),
            TypeError,
            "a must be values, got a list of spaces; give sweep.choice({name: ",
        ),
        (
            lambda: Space(dict, a={"sgd": SGD, "x": 1}),
            TypeError,
            "a must be a range, got a dict of spaces; give a=sweep.choice(",
        ),
        (
            lambda: choice([SGD, SGD]),
            TypeError,
            "Choice: values must give spaces by name, got a list of them",
        ),
        (
            lambda: choice({"sgd": SGD, "x": jopt.sgd}),
            TypeError,
            "or a sweep.Space by each name, got the function sgd by 'x'",
        ),
        (
            lambda: choice({"v1.0": SGD}),
            ValueError,
            "a space must have a name without a dot, got 'v1.0'",
        ),
        (lambda: choice({}), ValueError, "Choice: values must not be empty"),
        (
            lambda: sweep.grid(DRAWN),
            TypeError,
            "grid: tx.adamw.learning_rate must be values, got LogUniform",
        ),
        (
            lambda: sweep.sample(SGD, 4, learning_rate=0.1),
            ValueError,
            "sample: nothing is drawn",
        ),
        (
            lambda: sweep.grid(SGD, static=("learning_rates",)),
            ValueError,
            "static must name numbers of the config, got 'learning_rates' (did you",
        ),
        (
            lambda: sweep.grid(Space(dict, tx=SGD, k=range(10**6), m=range(2))),
            ValueError,
            "grid: the number of trials must be at most 1,000,000",
        ),
    ],
)
def test_what_makes_no_space_is_a_sentence(make, error, sentence):
    with pytest.raises(error, match=re.escape(sentence)):
        make()
