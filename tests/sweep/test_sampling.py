"""Samplers, and the trials that are drawn of a space."""

import dataclasses
import functools
import sys

import numpy as np
import optax
import pytest
import toy
from hypothesis import given, settings, strategies as st
from scipy.stats import qmc

import jopt
from jopt import sweep
from jopt.sweep import (
    Distribution,
    Halton,
    LatinHypercube,
    Random,
    Setup,
    Sobol,
    choice,
    integers,
    log_int,
    log_uniform,
    sample,
    uniform,
)
from jopt.sweep._trial import groups

SAMPLERS = [Random(), Sobol(), Halton(), LatinHypercube()]
EVENER = SAMPLERS[1:]
EXTENDED = SAMPLERS[:3]

each_sampler = pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)


@each_sampler
@pytest.mark.parametrize(("n", "dimensions"), [(1, 1), (2, 3), (7, 2), (64, 5)])
def test_points_are_in_the_cube_and_follow_from_the_seed(sampler, n, dimensions):
    points = sampler.points(n, dimensions, seed=3)
    assert (points.shape, points.dtype) == ((n, dimensions), np.float64)
    assert ((points >= 0) & (points < 1)).all()
    np.testing.assert_array_equal(points, sampler.points(n, dimensions, seed=3))
    assert (points != sampler.points(n, dimensions, seed=4)).any()


@pytest.mark.parametrize("sampler", EXTENDED, ids=repr)
@given(n=st.integers(1, 70), more=st.integers(0, 70), d=st.integers(1, 4))
@settings(max_examples=30, derandomize=True, deadline=None, database=None)
def test_a_point_does_not_depend_on_how_many_there_are(sampler, n, more, d):
    np.testing.assert_array_equal(
        sampler.points(n, d, seed=0), sampler.points(n + more, d, seed=0)[:n]
    )


@pytest.mark.parametrize("sampler", EVENER, ids=repr)
@pytest.mark.parametrize("n", [50, 64])
def test_points_are_more_even_than_chance(sampler, n):
    def discrepancy(sampler):
        return [qmc.discrepancy(sampler.points(n, 3, seed)) for seed in range(20)]

    assert np.median(discrepancy(sampler)) < 0.6 * np.median(discrepancy(Random()))
    assert np.max(discrepancy(sampler)) < np.median(discrepancy(Random()))


def test_a_power_of_two_of_sobol_points_is_balanced():
    cells = np.floor(Sobol().points(32, 4, seed=1) * 32).astype(int)
    assert (np.sort(cells, axis=0) == np.arange(32)[:, None]).all()


def test_a_latin_hypercube_has_a_point_in_each_nth():
    cells = np.floor(LatinHypercube().points(13, 4, seed=1) * 13).astype(int)
    assert (np.sort(cells, axis=0) == np.arange(13)[:, None]).all()


def test_a_latin_hypercubes_points_stay_below_one(monkeypatch):
    monkeypatch.setattr(
        qmc.LatinHypercube, "random", lambda self, n: np.ones((n, 2)), raising=True
    )
    assert (LatinHypercube().points(3, 2, seed=0) < 1).all()


@each_sampler
def test_drawn_settings_lie_in_the_space(sampler):
    trials = sample(
        jopt.adamw,
        20,
        sampler=sampler,
        learning_rate=log_uniform(1e-5, 1),
        b1=uniform(0.8, 0.99),
        nesterov=choice([False, True]),
        weight_decay=1e-4,
    )
    assert len(trials) == 20
    for trial in trials:
        drawn = trial.hyperparameters
        assert list(drawn) == ["learning_rate", "b1", "nesterov", "weight_decay"]
        assert 1e-5 <= drawn["learning_rate"] <= 1
        assert 0.8 <= drawn["b1"] <= 0.99
        assert drawn["weight_decay"] == 1e-4
        assert trial.config == jopt.adamw(**drawn)
    assert {trial.hyperparameters["nesterov"] for trial in trials} == {False, True}
    assert len(groups(trials)) == 2


def test_a_sampled_sweep_is_trained():
    space = {"learning_rate": log_uniform(1e-3, 1), "b1": uniform(0, 0.9)}
    trials = sample(jopt.adamw, 4, sampler=Sobol(), seed=1, **space)
    result = sweep.run(toy.task(), trials, steps=10, segments=2, block=2)
    assert (result.table["status"] == "complete").all()
    rates = [trial.hyperparameters["learning_rate"] for trial in trials]
    np.testing.assert_array_equal(result.table["learning_rate"], rates)
    assert len(set(result.table["valid_loss"])) == 4


def test_the_same_seed_draws_the_same_trials():
    def rates(**changes):
        trials = sample(jopt.sgd, 5, learning_rate=log_uniform(1e-3, 1), **changes)
        return [trial.hyperparameters["learning_rate"] for trial in trials]

    assert rates() == rates(seed=0) != rates(seed=1)
    assert rates() == rates(sampler=Random()) != rates(sampler=Sobol())


def test_optimizers_widths_and_batch_sizes_are_drawn_like_numbers():
    @functools.cache
    def network(width):
        return toy.task(name=f"width {width}")

    def factory(optimizer, learning_rate, width, batch_size):
        return Setup(optimizer(learning_rate), network(width), batch_size)

    trials = sample(
        factory,
        64,
        optimizer=choice([jopt.adamw, jopt.lion]),
        learning_rate=log_uniform(1e-4, 1e-1),
        width=log_int(1, 2),
        batch_size=choice([8, 16]),
    )
    assert len(groups(trials)) == 2 * 2 * 2
    for trial in trials:
        drawn = trial.hyperparameters
        assert trial.config == drawn["optimizer"](drawn["learning_rate"])
        assert trial.task is network(drawn["width"])
        assert trial.batch_size == drawn["batch_size"]


def test_a_setting_that_is_drawn_again_is_left_out():
    space: dict = {
        "learning_rate": choice([0.1, 1.0]),
        "nesterov": choice([True, False]),
    }
    trials = sample(jopt.sgd, 64, momentum=0.9, **space)
    found = [tuple(trial.hyperparameters.values())[1:] for trial in trials]
    assert len(found) == len(set(found)) == 4


def test_a_sampler_and_a_distribution_may_be_the_users_own():
    class Corner:
        def points(self, n, dimensions, seed):
            return np.full((n, dimensions), 0.25)

    @dataclasses.dataclass(frozen=True)
    class Squared(Distribution):
        def at(self, u):
            return u**2

        def clip(self, value):
            return value

    space = {"learning_rate": Squared(), "momentum": integers(0, 3)}
    trials = sample(jopt.sgd, 3, sampler=Corner(), **space)
    drawn = [trial.hyperparameters for trial in trials]
    assert drawn == [{"learning_rate": 0.0625, "momentum": 1}]


def test_a_transformation_a_schedule_or_a_word_may_be_fixed():
    def factory(rate, inner, schedule, name, scale):
        assert name == "name"
        return jopt.chain(inner, jopt.scale_by_schedule(schedule), jopt.sgd(rate))

    fixed = {"inner": optax.scale(0.5), "schedule": jopt.linear_schedule(1, 0, 10)}
    fixed |= {"name": "name", "scale": np.float32(1)}
    assert len(sample(factory, 2, rate=uniform(0, 1), **fixed)) == 2


@pytest.mark.parametrize(
    "rates",
    [[0.1, 0.2], (0.1, 0.2), np.array([0.1, 0.2]), iter([0.1, 0.2])],
    ids=lambda rates: type(rates).__name__,
)
def test_of_a_sequence_each_value_is_as_likely(rates):
    trials = sample(jopt.sgd, 40, learning_rate=rates, momentum=uniform(0, 0.9))
    drawn = [trial.hyperparameters["learning_rate"] for trial in trials]
    assert set(drawn) == {0.1, 0.2}
    assert 10 <= drawn.count(0.1) <= 30


def test_a_set_has_no_order_to_draw_from():
    with pytest.raises(TypeError, match="b1 must have its values in an order, got"):
        sample(jopt.adamw, 2, learning_rate=uniform(0, 1), b1={1})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"n": 0}, "sample: n must be an integer of at least 1, got 0"),
        ({"n": 2.0}, "sample: n must be an integer of at least 1, got 2.0"),
        ({"n": True}, "sample: n must be an integer of at least 1, got True"),
        ({"seed": -1}, "sample: seed must be an integer of at least 0, got -1"),
        ({"seed": None}, "sample: seed must be an integer of at least 0, got None"),
        ({"rate": 0.1}, "adamw has no hyperparameter rate"),
        ({"learning_rate": 0.1}, "sample: nothing is drawn, .* or use sweep.grid"),
        ({"b1": uniform(2, 3)}, "b1 must be below 1, got 2"),
    ],
)
def test_bad_input_is_a_sentence(changes, sentence):
    given = {"n": 2, "learning_rate": uniform(0, 1), **changes}
    with pytest.raises(ValueError, match=sentence):
        sample(jopt.adamw, given.pop("n"), **given)


def test_a_missing_hyperparameter_is_named():
    with pytest.raises(ValueError, match="adamw needs a value for learning_rate"):
        sample(jopt.adamw, 2, b1=uniform(0, 1))


def test_a_distribution_without_its_ends_is_refused():
    with pytest.raises(TypeError, match="learning_rate got the class Uniform; give it"):
        sample(jopt.sgd, 2, learning_rate=type(uniform(0, 1)))


@pytest.mark.parametrize("sampler", EVENER, ids=repr)
def test_without_scipy_only_random_draws(sampler, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    space: dict = {"learning_rate": log_uniform(1e-3, 1)}
    assert len(sample(jopt.sgd, 3, **space)) == 3
    name = type(sampler).__name__
    sentence = rf"{name} needs SciPy, 1.15 or later; pip install 'jopt\[samplers\]'\.$"
    with pytest.raises(ImportError, match=sentence):
        sample(jopt.sgd, 3, sampler=sampler, **space)


def test_a_scipy_that_is_too_old_is_said(monkeypatch):
    class Old:
        def __init__(self, d, *, scramble=True, seed=None): ...

    monkeypatch.setattr(qmc, "Sobol", Old)
    with pytest.raises(ImportError, match=r"Sobol needs SciPy, 1\.15 or later"):
        Sobol().points(2, 2, seed=0)
