"""Promises of several objectives and bounds: who is on the front, and who may win."""

import dataclasses
import json
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings as runs, strategies as st
from told import TASK, run

from jopt import sweep
from jopt.sweep import nondominated
from jopt.sweep._front import front, within
from jopt.sweep._plan import Plan
from jopt.sweep._result import winner
from jopt.sweep.pruners._pruner import sorted_by_fronts

few = runs(max_examples=200, derandomize=True, deadline=None, database=None)
MODES = st.sampled_from(["min", "max"])
NUMBERS = st.sampled_from([0.0, 1.0, 2.0, 3.0, np.nan, np.inf, -np.inf])


BOTH: Any = {"a": "max", "b": "min"}


# The front


def dominates(one, other, modes):
    signs = [1 if mode == "max" else -1 for mode in modes]
    better = [s * (x - y) for s, x, y in zip(signs, one, other, strict=True)]
    return min(better) >= 0 and max(better) > 0


@pytest.mark.parametrize("count", [2, 3])
@given(data=st.data())
@few
def test_the_front_is_what_no_other_dominates(count, data):
    trials = data.draw(st.integers(1, 12))
    lists = lambda of: st.lists(of, min_size=trials, max_size=trials)  # noqa: E731
    modes = data.draw(st.lists(MODES, min_size=count, max_size=count))
    columns = [np.asarray(data.draw(lists(NUMBERS))) for _ in modes]
    statuses = np.asarray(
        data.draw(lists(st.sampled_from(["complete"] * 5 + ["pruned"])))
    )
    inside = np.asarray(data.draw(lists(st.sampled_from([True, True, True, False]))))
    places = data.draw(lists(st.integers(0, 9)))
    settings = [np.flatnonzero(np.asarray(places) == p) for p in dict.fromkeys(places)]
    ranks = np.asarray(data.draw(lists(NUMBERS.filter(np.isfinite))))
    names = ["first", "second", "third"][:count]
    table = dict(zip([f"valid_{n}" for n in names], columns, strict=True))
    table |= {"status": statuses, "within_bounds": inside}

    found = front(settings, table, dict(zip(names, modes, strict=True)), ranks)

    means = {
        int(rows[np.argmin(ranks[rows])]): [column[rows].mean() for column in columns]
        for rows in settings
        if (statuses[rows] == "complete").all()
        and inside[rows].all()
        and all(np.isfinite(column[rows]).all() for column in columns)
    }
    expected = {
        trial
        for trial, own in means.items()
        if not any(dominates(other, own, modes) for other in means.values())
    }
    assert len(found) == len(expected)
    assert set(found) == expected
    firsts = [means[trial][0] for trial in found]
    assert firsts == sorted(firsts, reverse=modes[0] == "max")


def test_a_sweep_has_its_front_and_ranks_by_the_first_objective():
    result = run([(1, 1), (3, 2), (1, 2), (3, 2), (np.nan, 0)], objectives=BOTH)

    assert result.front == [1, 3, 0]  # both of the equal ones
    assert (result.metric, result.mode) == ("a", "max")
    assert result.best.trial == 1
    assert run(objectives=BOTH, metric="b").best.trial == 0
    assert run(objectives=BOTH, metric="loss").metric == "loss"
    assert run().front == [0]  # of the one metric


def test_a_setting_counts_by_the_mean_over_its_seeds():
    def noisy(config, state, batch, key):
        """A seed's part is greater than the difference between the settings."""
        return {name: config[name] + state["at"] for name in ("a", "b", "loss")}

    draw = lambda config, key: {"at": 9 * jax.random.normal(key)}  # noqa: E731
    task = dataclasses.replace(TASK, init=draw, evaluate=noisy)
    result = run([(1, 1), (2, 2), (0, 3)], task, seeds=4, objectives=BOTH)

    seeds = result.table["valid_a"].reshape(3, 4)
    assert seeds[0].max() > seeds[1].min()
    # The settings, each by its best trial of what ranks.
    assert result.front == [4 + np.argmax(seeds[1]), np.argmax(seeds[0])]


# Bounds


@given(
    st.lists(NUMBERS, min_size=4, max_size=4),
    st.lists(st.sampled_from([None, 0, 1, 2])),
)
@few
def test_a_setting_is_within_by_its_mean(values, ends):
    low, high = (*ends, None, None)[:2]
    settings, column = [np.asarray([0, 2]), np.asarray([1]), np.asarray([3])], values
    table = {
        "valid_a": np.asarray(column, np.float32),
        "status": np.full(4, "complete"),
    }

    found = within(settings, table, {"a": (low, high)})

    for rows in settings:
        own = [values[row] for row in rows]
        fits = bool(np.isfinite(own).all())
        fits = fits and (low is None or low <= np.mean(own))
        fits = fits and (high is None or np.mean(own) <= high)
        assert found[rows].tolist() == [fits] * len(rows)


def test_a_bound_is_rounded_as_the_metric_is():
    table = {"valid_a": np.asarray([0.9], np.float32), "status": np.asarray(["x"])}
    rows = [np.asarray([0])]
    assert float(np.float32(0.9)) < 0.9
    assert within(rows, table, {"a": (0.9, None)}).all()
    assert not within(rows, table, {"a": (0.9001, None)}).any()
    assert not within(rows, table, {"a": (1e300, None)}).any()


def test_a_trial_out_of_bounds_cannot_win():
    bounds: Any = {"b": (None, 2)}
    result = run(objectives=BOTH, bounds=bounds)

    assert result.table["within_bounds"].tolist() == [True, True, True, False]
    assert result.best.trial == 1
    assert result.top(4)[0] == 1
    assert 3 not in result.top(4) + result.front
    assert result.best_by("a", "max") == 1
    assert result.front == [1, 0]
    assert result.settings()["within_bounds"].tolist() == [True, True, True, False]
    assert "within_bounds" not in run().table


def test_with_nothing_within_bounds_there_is_no_winner():
    result = run(objectives=BOTH, bounds={"b": (9, None)})

    assert result.best is None
    assert (result.front, result.top(4), result.at_ends()) == ([], [], {})
    assert result.best_by("loss") is None
    assert set(result.table["status"]) == {"complete"}


def test_pruners_do_not_look_at_bounds():
    pruner = sweep.SuccessiveHalving(reduction_factor=2)
    options: dict[str, Any] = {"metric": "a", "mode": "max", "pruner": pruner}
    free = run(**options)
    bound = run(**options, bounds={"b": (None, 1)})

    assert bound.table["status"].tolist() == free.table["status"].tolist()
    assert bound.best.trial == 0  # pruned, and the only one within
    assert free.best.trial == 3


@pytest.mark.parametrize("pruned", [[0, 1], [1, 0]])
def test_a_pruned_one_within_bounds_wins_over_a_complete_one_that_is_out(pruned):
    table = {
        "valid_loss": np.asarray([1.0, 2.0]),
        "status": np.where(pruned, "pruned", "complete"),
        "within_bounds": np.asarray([False, True]),
    }
    assert winner([np.asarray([0]), np.asarray([1])], table) == 1


# A pruner's own metric

OWN = {"metric": "b", "mode": "max"}
PRUNERS = {
    "halving": lambda **own: sweep.SuccessiveHalving(1, 2, **own),
    "hyperband": lambda **own: sweep.Hyperband(1, 4, 2, **own),
    "median": lambda **own: sweep.MedianPruner(2, **own),
    "patient": lambda **own: sweep.PatientPruner(None, 1, **own),
    "wrapped": lambda **own: sweep.PatientPruner(
        sweep.MedianPruner(2, **own), 0, **own
    ),
    "threshold": lambda **own: sweep.ThresholdPruner(-0.5, 1.0, **own),
    "spike": lambda **own: sweep.LossSpike(1.1, 1, 0.0, **own),
}


@pytest.mark.parametrize("name", PRUNERS)
@given(seed=st.integers(0, 2**16), segments=st.integers(1, 4))
@runs(max_examples=30, derandomize=True, deadline=None, database=None)
def test_a_pruner_with_a_metric_judges_as_a_sweep_of_that_metric(name, seed, segments):
    random = np.random.default_rng(seed)
    loss, own, train = random.normal(size=(3, 8, segments)).round(1)
    died, ended = (random.integers(0, 9, (8, 1)) for _ in range(2))
    at = np.arange(segments)
    of_sweep, of_metric = (
        np.where(at >= ended, np.nan, np.where(at >= died, of_dead, values))
        for values, of_dead in ((loss, np.inf), (own, np.nan))
    )
    alive = (at[-1] < ended)[:, 0] & (at[-1] < died)[:, 0]
    values = np.where(np.isinf(of_sweep), np.inf, -of_metric)

    by_sweep = PRUNERS[name]().keep(
        sweep.Observations(values, train, alive, {"b": of_metric}, -1)
    )
    by_own = PRUNERS[name](**OWN).kept(
        sweep.Observations(of_sweep, train, alive, {"a": loss, "b": of_metric})
    )

    np.testing.assert_array_equal(by_own, by_sweep)


def test_a_value_that_is_not_finite_is_the_worst_of_a_pruners_metric():
    own = np.asarray([[1.0], [np.inf], [np.nan], [2.0]])
    alive = np.full(4, True)
    seen = sweep.Observations(np.zeros((4, 1)), np.zeros((4, 1)), alive, {"b": own})

    wanted: dict[Any, Any] = {"min": [0], "max": [3]}
    for mode, kept in wanted.items():
        pruner = sweep.SuccessiveHalving(1, 4, metric="b", mode=mode)
        assert np.flatnonzero(pruner.kept(seen)).tolist() == kept


@pytest.mark.parametrize(
    ("mode", "objectives", "kept"),
    [("max", None, 3), (None, None, 0), (None, {"a": "max", "b": "max"}, 3)],
)
def test_a_sweep_ends_trials_by_the_pruners_metric(mode, objectives, kept):
    """By default it is least that is kept, or what an objective says."""
    pruner = sweep.SuccessiveHalving(1, 4, metric="b", mode=mode)
    result = run(pruner=pruner, objectives=objectives)

    assert np.flatnonzero(result.table["status"] == "complete").tolist() == [kept]


def test_a_wrapped_pruner_has_a_metric_of_its_own():
    halving = sweep.SuccessiveHalving(1, 4, metric="b", mode="max")
    seen = sweep.Observations(
        np.asarray([[1.0, 2.0]] * 4),
        np.zeros((4, 2)),
        np.full(4, True),
        {"b": np.asarray([[0, 0], [0, 1], [0, 2], [0, 3.0]])},
    )
    at_second = dataclasses.replace(halving, min_resource=2)

    kept = sweep.PatientPruner(at_second, 0).kept(seen)

    assert kept.tolist() == [False, False, False, True]


def test_several_metrics_are_sorted_by_fronts_and_then_by_mean_rank():
    nan, inf = np.nan, np.inf
    values = np.asarray([[1, 2, 3, 3, inf, nan], [3, 2, 1, 4, 0, nan]])[:, :, None]
    found = sorted_by_fronts(values)[:, 0].tolist()
    # Of four: the first three do not dominate each other, and each one the fourth.
    assert found[:5] == [1 + 1 / 4, 1 + 1 / 4, 1 + 1.25 / 4, 2 + 2.75 / 4, inf]
    assert np.isnan(found[5])


@given(seed=st.integers(0, 2**16), count=st.integers(1, 20))
@runs(max_examples=30, derandomize=True, deadline=None, database=None)
def test_fronts_are_what_is_left_without_those_before(seed, count):
    points = np.random.default_rng(seed).integers(0, 6, (count, 2)).astype(float)
    fronts = np.floor(sorted_by_fronts(points.T[:, :, None]))[:, 0]
    left = np.arange(count)
    for number in range(1, int(fronts.max()) + 1):
        best = left[nondominated(points[left])]
        assert sorted(best) == np.flatnonzero(fronts == number).tolist()
        left = np.setdiff1d(left, best)
    assert not len(left)


def test_a_pruner_of_several_metrics_keeps_the_front():
    both: Any = {"a": "min", "b": "max"}
    metrics = {"a": np.asarray([[1.0], [2], [3], [4]])}
    metrics["b"] = np.asarray([[1.0], [4], [2], [3]])
    seen = sweep.Observations(np.zeros((4, 1)), np.zeros((4, 1)), np.full(4, True))
    seen = seen._replace(metrics=metrics)
    halving = sweep.SuccessiveHalving(1, 2, metric=both)
    assert halving.kept(seen).tolist() == [True, True, False, False]

    result = run(pruner=sweep.SuccessiveHalving(1, 2, metric=both))
    assert (result.table["status"] == "pruned").sum() == 2
    with pytest.raises(ValueError, match="the pruner's metric 'c' must be among"):
        run(pruner=sweep.SuccessiveHalving(1, 2, metric={"a": "min", "c": "min"}))
    for rule in (sweep.ThresholdPruner(0, metric=both), sweep.PatientPruner(None, 0)):
        rule = dataclasses.replace(rule, metric=both)
        with pytest.raises(ValueError, match="metric must be one, whose values it"):
            rule.check(4, 4)


# The ends of what was tried


@pytest.fixture(scope="module")
def ends():
    def far(config, state, batch, key):
        goals = {"most": 9.0, "least": -9.0, "inside": 2.0, "zero": -9.0, "two": 9.0}
        return {"loss": sum((config[name] - at) ** 2 for name, at in goals.items())}

    task = dataclasses.replace(TASK, evaluate=far)
    grid = {name: [1.0, 2.0, 3.0] for name in ("most", "least", "inside")}
    grid: dict[str, Any] = {**grid, "word": ["x"]}
    grid |= {"zero": [0.0, 1.0, 2.0], "two": [1.0, 2.0]}
    make = lambda word, **setting: setting  # noqa: E731
    return sweep.run(task, sweep.grid(make, **grid), steps=2, segments=1, block=200)


def test_a_best_value_at_an_end_of_three_is_told(ends):
    assert ends.best.hyperparameters["two"] == 2.0
    assert ends.at_ends() == {"most": "largest", "least": "smallest"}
    assert ends.best_as_dict()["at_ends"] == ends.at_ends()


def test_in_a_population_all_settings_that_there_were_are_tried(ends):
    tried = [trial.hyperparameters for trial in ends.trials]
    lineage = sweep.Lineage([*tried, {**tried[0], "most": 4}])
    assert dataclasses.replace(ends, lineage=lineage).at_ends() == {"least": "smallest"}


# What is refused, before anything is compiled


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        (
            {"objectives": ["a", "b"]},
            TypeError,
            "objectives must be a dict of .min. or",
        ),
        (
            {"objectives": {"a": None}},
            TypeError,
            "objectives must be a dict of .min. or",
        ),
        ({"objectives": {"a": "high"}}, TypeError, "objectives .* got {'a': 'high'}"),
        ({"objectives": {}}, TypeError, "objectives must be a dict of .min. or .max."),
        ({"bounds": {"a": 3000}}, TypeError, r"bounds must be a dict of \(low, high\)"),
        (
            {"bounds": {"a": (2, 1)}},
            TypeError,
            r"low at most high.* got {'a': \(2, 1\)}",
        ),
        (
            {"bounds": {"a": (0, np.inf)}},
            TypeError,
            "finite numbers with low at most h",
        ),
        ({"bounds": {"a": (None, None)}}, TypeError, "or one of them None, such as"),
        (
            {"objectives": {"a": "max", "byte": "min"}},
            ValueError,
            "the objective 'byte' must be among .*, got a, b, loss",
        ),
        (
            {"bounds": {"aa": (None, 1)}},
            ValueError,
            r"the bounded metric 'aa' must be among .*, got a, b, loss \(did you mean",
        ),
        (
            {"pruner": sweep.MedianPruner(1, metric="bytes")},
            ValueError,
            "the pruner's metric 'bytes' must be among .*, got a, b, loss",
        ),
        (
            {"pruner": sweep.PatientPruner(sweep.MedianPruner(1, metric="no"), 0)},
            ValueError,
            "the pruner's metric 'no' must be among",
        ),
        (
            {"pruner": sweep.MedianPruner(1, metric="a", mode="up")},  # pyright: ignore[reportArgumentType]
            TypeError,
            'a mode of "min", "max" or None, .* got metric .a. and mode .up.',
        ),
        (
            {"pruner": sweep.MedianPruner(1, mode="max")},
            TypeError,
            "or neither, got metric None and mode .max.",
        ),
        (
            {"objectives": BOTH, "pruner": sweep.MedianPruner(1)},
            ValueError,
            r"beside the objectives a, b, .* MedianPruner\(\.\.\., metric='a'\)",
        ),
        (
            {
                "objectives": BOTH,
                "population": sweep.PopulationBasedTraining({"a": sweep.uniform(0, 9)}),
            },
            ValueError,
            "metric must be given with a population and the objectives a, b",
        ),
        (
            {"objectives": BOTH, "mode": "min"},
            ValueError,
            "mode must be 'max', as objectives has it for 'a', got 'min'; leave it out",
        ),
    ],
)
def test_a_goal_that_is_none_is_refused(options, error, sentence):
    seen = []
    with pytest.raises(error, match=sentence):
        run(**options, progress=seen.append)
    assert seen == []


def test_rules_that_know_their_metric_are_taken():
    spike = sweep.LossSpike(segments=1)
    assert run(objectives=BOTH, segments=4, pruner=spike).front == [3, 1, 0]
    evolve = sweep.PopulationBasedTraining({"a": sweep.uniform(0, 9)})
    result = run(objectives=BOTH, metric="a", population=evolve)
    assert result.info["metric"] == "a"


# Resume


@pytest.mark.slow("test_resume.py resumes; the front is of the table")
def test_a_resumed_sweep_has_the_same_front(tmp_path):
    def stop(now):
        if now.number == 1:
            raise KeyboardInterrupt

    pruner = sweep.SuccessiveHalving(1, 2, metric="b")
    options: dict[str, Any] = {"objectives": {"b": "min", "a": "max"}}
    options |= {"pruner": pruner, "bounds": {"b": (None, 2)}}
    whole = run(**options)
    with pytest.raises(KeyboardInterrupt):
        run(**options, directory=tmp_path, callbacks=[stop])
    result = sweep.resume(tmp_path, trust=True)

    assert result.front == whole.front == [0, 1]
    assert result.table["status"].tolist()[2:] == ["pruned"] * 2
    assert result.best == whole.best
    for name, column in whole.table.items():
        np.testing.assert_array_equal(result.table[name], column, err_msg=name)
    for name in ("objectives", "bounds", "front"):
        assert result.info[name] == whole.info[name]
    assert list(result.info["objectives"]) == ["b", "a"]


def test_a_pruned_winner_within_bounds_is_at_hand_after_a_resume(tmp_path):
    def stop(now):
        if now.number == 3:
            raise KeyboardInterrupt

    pruner = sweep.SuccessiveHalving(1, 2)
    options: dict[str, Any] = {"metric": "a", "mode": "max", "bounds": {"b": (None, 2)}}
    options |= {"pruner": pruner, "segments": 4}
    rows = [(1, 1), (2, 9), (0, 2), (3, 3)]
    with pytest.raises(KeyboardInterrupt):
        run(rows, **options, directory=tmp_path, callbacks=[stop])
    result = sweep.resume(tmp_path, trust=True)

    assert result.table["status"].tolist() == ["pruned"] * 3 + ["complete"]
    assert result.best is not None
    assert result.best.trial == 0  # the second is better, and out of bounds
    assert result.params(0)["at"] == 0


def test_options_of_an_older_directory_have_no_objectives():
    plan = Plan(TASK, 1, 4, 2, jax.random.key(0), objectives=BOTH, bounds={"a": (0, 1)})
    held = json.loads(json.dumps(plan.as_json()))
    again = Plan.from_json(held, TASK)
    assert (again.objectives, again.bounds) == (plan.objectives, plan.bounds)
    for name in ("objectives", "bounds"):
        del held[name]
    old = Plan.from_json(held, TASK)
    assert (old.objectives, old.bounds) == ({}, {})
