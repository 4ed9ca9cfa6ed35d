"""Promises of population-based training, its lineage and its replay."""

import json
import math
from typing import Any

import chex
import numpy as np
import pytest
import toy
from hypothesis import given, settings as hypothesis_settings, strategies as st

import jopt
from jopt import sweep
from jopt.sweep import (
    Generation,
    Lineage,
    PopulationBasedTraining,
    Replay,
    choice,
    integers,
    log_uniform,
    uniform,
)
from jopt.sweep.population import Event, event_as_dict, event_from_dict
from jopt.sweep.population._lineage import Stretch

RATE = log_uniform(1e-4, 1.0)


def pbt(mutations=None, **changes):
    return PopulationBasedTraining(mutations or {"rate": RATE}, **changes)


def rates(number):
    return [{"rate": 0.001 * (i + 1), "decay": i} for i in range(number)]


def copied(population, values, seed=0):
    """Which trials took which."""
    random = np.random.default_rng(seed)
    parents = population.step(np.asarray(values), rates(len(values)), random).parents
    return {c: p for c, p in enumerate(parents.tolist()) if c != p}


@pytest.mark.parametrize(
    ("trials", "fraction", "moved"),
    [
        (2, 0.25, 1),
        (3, 0.5, 1),
        (4, 0.25, 1),
        (5, 0.25, 2),
        (8, 0.25, 2),
        (9, 0.5, 4),
        (10, 0.01, 1),
        (25, 0.28, 7),  # 0.28 * 25 is above 7 in floating point
    ],
)
def test_the_worst_quantile_copies_from_the_best(trials, fraction, moved):
    order = np.random.default_rng(1).permutation(trials)
    values = np.empty(trials)
    values[order] = np.arange(trials)

    population = pbt(quantile_fraction=fraction)
    found = [copied(population, values, seed) for seed in range(40)]

    for pairs in found:
        assert set(pairs) == set(order[trials - moved :].tolist())
    parents = {parent for pairs in found for parent in pairs.values()}
    assert parents == set(order[:moved].tolist())


def test_parents_are_drawn_uniformly():
    values = np.arange(400.0)
    drawn = np.bincount(list(copied(pbt(), values).values()), minlength=400)

    assert drawn[100:].sum() == 0
    assert drawn[:100].sum() == 100
    # Of 100 draws from 100, as expected 63 are distinct; 7 standard deviations.
    assert 40 < (drawn > 0).sum() < 86


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_at_the_bottom(bad):
    pairs = copied(pbt(), [5.0, bad, 1.0, 4.0])

    assert pairs == {1: 2}


def test_all_that_is_not_finite_is_replaced_even_beyond_the_quantile():
    values = [np.nan, 3.0, np.inf, 2.0, np.nan, -np.inf, np.nan, np.nan]

    for seed in range(20):
        pairs = copied(pbt(), values, seed)
        assert set(pairs) == {0, 2, 4, 5, 6, 7}
        assert set(pairs.values()) <= {1, 3}


def test_where_all_diverged_everyone_keeps_its_own():
    settings = rates(5)

    found = pbt().step(np.full(5, np.inf), settings, np.random.default_rng(0))

    assert found.parents.tolist() == [0, 1, 2, 3, 4]
    assert found.settings == settings


def test_the_same_seed_gives_the_same_generation():
    values, settings = np.arange(40.0), rates(40)

    first, again, other = (
        pbt().step(values, settings, np.random.default_rng(seed)) for seed in (0, 0, 1)
    )

    assert first.parents.tolist() == again.parents.tolist()
    assert first.settings == again.settings
    assert first.settings != other.settings


def explored(distribution, value, number=60, **changes):
    """What becomes of a value in many children of one parent."""
    population = pbt({"x": distribution}, **changes)
    random = np.random.default_rng(0)
    generations = [
        population.step(np.asarray([0.0, 1.0]), [{"x": value}] * 2, random)
        for _ in range(number)
    ]
    return [generation.settings[1]["x"] for generation in generations]


def test_a_perturbed_value_is_a_factor_away_and_clipped():
    never = {"resample_probability": 0}

    assert set(explored(RATE, 0.1, **never)) == {0.1 * 1.2, 0.1 * 0.8}
    assert set(explored(RATE, 0.9, **never)) == {1.0, 0.9 * 0.8}
    assert set(explored(uniform(0.5, 2), 0.5, **never)) == {0.5, 0.6}
    assert set(explored(RATE, 0.1, **never, perturbation_factors=(3,))) == {0.1 * 3}


def test_an_integer_moves_by_at_least_one():
    found = explored(integers(1, 9), 2, resample_probability=0)

    assert set(found) == {1, 3}
    assert {type(value) for value in found} == {int}
    assert set(explored(integers(1, 9), 1, resample_probability=0)) == {1, 2}


def test_a_choice_moves_to_a_neighbour():
    sizes = choice(["s", "m", "l", "xl"])
    never = {"resample_probability": 0}

    assert set(explored(sizes, "m", **never)) == {"s", "l"}
    assert set(explored(sizes, "s", **never)) == {"m"}
    assert set(explored(sizes, "xl", **never)) == {"l"}
    assert set(explored(choice(["one"]), "one", **never)) == {"one"}


def test_a_resampled_value_follows_its_distribution():
    drawn = np.log10(explored(RATE, 0.1, 400, resample_probability=1))

    quartiles = np.quantile(drawn, [0.25, 0.5, 0.75])
    np.testing.assert_allclose(quartiles, [-3, -2, -1], atol=0.3)
    some = explored(RATE, 0.1, 400)  # a quarter, by default
    assert 60 < sum(value not in (0.1 * 1.2, 0.1 * 0.8) for value in some) < 140


losses = st.floats(allow_nan=True, allow_infinity=True, width=32)


@hypothesis_settings(deadline=None, max_examples=150)
@given(
    values=st.lists(losses, min_size=2, max_size=24),
    fraction=st.floats(0.01, 0.5),
    seed=st.integers(0, 2**32),
)
def test_a_generation_keeps_its_promises(values, fraction, seed):
    values, settings = np.asarray(values), rates(len(values))
    before = json.dumps(settings)
    population = pbt(quantile_fraction=fraction)

    parents, new = population.step(values, settings, np.random.default_rng(seed))

    trials = np.arange(len(values))
    moved = parents != trials
    finite = np.isfinite(values)
    assert json.dumps(settings) == before
    assert np.isfinite(values[parents[moved]]).all()
    assert (parents[parents] == parents).all()  # a parent keeps its own
    if finite.any():
        assert moved[~finite].all()
        assert not moved[np.argmin(np.where(finite, values, np.inf))]
    for trial, parent in enumerate(parents):
        if trial == parent:
            assert new[trial] == settings[trial]
        else:
            assert values[trial] >= values[parent] or not finite[trial]
            assert new[trial]["decay"] == settings[parent]["decay"]
            assert RATE.low <= new[trial]["rate"] <= RATE.high


def test_it_acts_by_the_interval_and_never_after_the_last_segment():
    def when(population, segments):
        return [s for s in range(segments) if population.due(s, segments)]

    assert when(pbt(), 4) == [0, 1, 2]
    assert when(pbt(perturbation_interval=3), 9) == [2, 5]
    assert when(pbt(perturbation_interval=3), 10) == [2, 5, 8]
    assert when(pbt(), 1) == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"quantile_fraction": 0.6}, "quantile_fraction must be .* most 0.5, got 0.6"),
        ({"quantile_fraction": 0}, "quantile_fraction must be above 0"),
        ({"resample_probability": math.nan}, "resample_probability must be at least 0"),
        ({"perturbation_interval": 0}, "perturbation_interval must be at least 1"),
        ({"perturbation_factors": (1.2, 0)}, r"above 0, got \(1.2, 0\)"),
        ({"perturbation_factors": ()}, "perturbation_factors must be"),
        ({"mutations": {"rate": [1, 2]}}, r"got \[1, 2\] for rate"),
    ],
)
def test_a_wrong_number_is_refused_in_a_sentence(changes, sentence):
    with pytest.raises(ValueError, match=f"^PopulationBasedTraining: .*{sentence}"):
        pbt(**changes)


def test_no_mutation_is_refused():
    with pytest.raises(ValueError, match="must name at least one"):
        PopulationBasedTraining({})


def test_a_population_that_does_not_fit_the_trials_is_refused():
    pbt().check(10, rates(2))

    with pytest.raises(ValueError, match="trials must be at least 2"):
        pbt().check(10, rates(1))
    with pytest.raises(ValueError, match="below the sweep's 4 segments, got 4"):
        pbt(perturbation_interval=4).check(4, rates(8))
    with pytest.raises(ValueError, match=r"\(rate, decay\), got momentum"):
        pbt({"momentum": RATE}).check(10, rates(8))
    with pytest.raises(ValueError, match=r"rate .* got None"):
        pbt().check(10, [{"rate": 0.1}, {"rate": None}])
    with pytest.raises(ValueError, match=r"rate .* one of 'a', 'b'.* got 0.1"):
        pbt({"rate": choice(["a", "b"])}).check(10, [{"rate": 0.1}] * 2)


def test_what_a_trial_may_become_is_known_before_the_start():
    population = pbt({"rate": RATE, "kind": choice(["a", "b"])})

    found = population.reachable({"rate": 0.1, "kind": "a", "decay": 3})

    assert [(s["rate"], s["kind"]) for s in found[2:]] == [(0.1, "a"), (0.1, "b")]
    assert len({setting["rate"] for setting in found[:2]}) == 2
    assert {setting["decay"] for setting in found} == {3}
    assert Replay([(0, FIRST[0]), (2, FIRST[1])]).reachable(FIRST[0]) == FIRST[:2]


# Trial 2 copied 0, after 10 steps; 1 copied 2 after 20, as 0 copied 3; 2 copied 1 after
# 40. So 2 was at last: 0 for 10 steps, 2 for 10, 1 for 20, then itself.
FIRST = [{"rate": r, "kind": "a"} for r in (0.1, 0.2, 0.3, 0.4)]


def generation(parents, *new):
    return Generation(np.asarray(parents), [{"rate": r, "kind": "a"} for r in new])


@pytest.fixture
def lineage():
    history = Lineage(FIRST)
    history.record(0, 10, generation([0, 1, 0, 3], 0.1, 0.2, 0.12, 0.4))
    history.record(1, 20, generation([3, 2, 2, 3], 0.32, 0.12, 0.12, 0.4))
    history.record(3, 40, generation([0, 1, 1, 3], 0.32, 0.12, 0.5, 0.4))
    return history


def test_a_lineage_notes_who_copied_whom(lineage):
    pairs = [(e.segment, e.step, e.child, e.parent) for e in lineage.events]

    assert pairs == [(0, 10, 2, 0), (1, 20, 0, 3), (1, 20, 1, 2), (3, 40, 2, 1)]
    assert [event.old["rate"] for event in lineage.events] == [0.3, 0.1, 0.2, 0.12]
    assert [s["rate"] for s in lineage.last_settings()] == [0.32, 0.12, 0.5, 0.4]
    assert FIRST[2]["rate"] == 0.3


def test_ancestors_are_the_runs_that_made_a_trial(lineage):
    def of(rate):
        return {"rate": rate, "kind": "a"}

    assert lineage.ancestors(2) == (
        Stretch(0, 0, 0, of(0.1)),
        Stretch(1, 10, 2, of(0.12)),
        Stretch(2, 20, 1, of(0.12)),
        Stretch(4, 40, 2, of(0.5)),
    )
    assert lineage.ancestors(0) == (
        Stretch(0, 0, 3, of(0.4)),
        Stretch(2, 20, 0, of(0.32)),
    )
    assert lineage.ancestors(3) == (Stretch(0, 0, 3, of(0.4)),)


def test_a_parent_counts_as_it_was_before_it_copied_too():
    history = Lineage(FIRST[:3])
    history.record(0, 5, generation([0, 0, 1], 0.1, 0.11, 0.21))

    assert [s.trial for s in history.ancestors(2)] == [1, 2]
    assert history.ancestors(2)[0].setting["rate"] == 0.2


def test_only_changes_are_events():
    history = Lineage(FIRST[:2])

    events = history.record(0, 5, generation([0, 1], 0.1, 0.7))

    assert events == [Event(0, 5, 1, 1, FIRST[1], {"rate": 0.7, "kind": "a"})]
    assert history.record(1, 10, generation([0, 1], 0.1, 0.7)) == []


def test_a_lineage_survives_json(lineage):
    first = [{"rate": np.float32(0.1), "b": (0.9, 0.99)}, {"rate": 1, "b": None}]
    other = Lineage(first)
    other.record(0, 3, Generation(np.asarray([0, 0]), [first[0], first[0]]))

    for one in (lineage, other):
        read = Lineage.from_dict(json.loads(json.dumps(one.as_dict())))
        assert read == one
        assert read.ancestors(1) == one.ancestors(1)
        for event in one.events:
            line = json.dumps(event_as_dict(event))
            assert event_from_dict(json.loads(line)) == event
    assert lineage != other


def test_a_schedule_gives_the_hyperparameter_by_step(lineage):
    steps = [0, 9, 10, 19, 20, 39, 40, 1000]

    found = lineage.schedule(2, "rate")(np.asarray(steps))

    expected = np.asarray([0.1, 0.1, 0.12, 0.12, 0.12, 0.12, 0.5, 0.5], np.float32)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(lineage.schedule(3, "rate")(7), np.float32(0.4))


def test_only_numbers_become_schedules(lineage):
    with pytest.raises(
        TypeError, match=r"kind must be a number .* got 'a' from step 0"
    ):
        lineage.schedule(2, "kind")
    with pytest.raises(TypeError, match="nesterov must be a number"):
        Lineage([{"nesterov": True}]).schedule(0, "nesterov")
    with pytest.raises(KeyError, match="no hyperparameter x; there are rate, kind"):
        lineage.schedule(2, "x")
    with pytest.raises(KeyError, match="no trial 4; they are 0 to 3"):
        lineage.ancestors(4)


def test_a_replay_gives_every_trial_the_recorded_settings(lineage):
    policy = lineage.policy(2)
    replay = Replay(json.loads(json.dumps(policy)))  # as read from a file
    settings, seen = [dict(policy[0][1])] * 3, []
    replay.check(6, settings)

    for segment in range(6):
        seen.append(settings[1]["rate"])
        if replay.due(segment, 6):
            random = np.random.default_rng(0)
            step = replay.step(np.full(3, np.nan), settings, random, segment)
            parents, settings = step
            assert parents.tolist() == [0, 1, 2]

    assert [start for start, _ in policy] == [0, 1, 4]
    assert [s for s in range(6) if replay.due(s, 6)] == [0, 3]
    assert seen == [0.1, 0.12, 0.12, 0.12, 0.5, 0.5]
    assert settings == [{"rate": 0.5, "kind": "a"}] * 3


def test_a_replay_that_does_not_fit_is_refused(lineage):
    replay = Replay(lineage.policy(2))

    with pytest.raises(ValueError, match="segments must be above 4"):
        replay.check(4, [FIRST[0]])
    with pytest.raises(ValueError, match=r"trials must start with \{'rate': 0.1"):
        replay.check(6, [FIRST[0], FIRST[1]])
    with pytest.raises(ValueError, match=r"from 0 on, got \[1, 4\]"):
        Replay(lineage.policy(2)[1:])
    with pytest.raises(ValueError, match=r"from 0 on, got \[\]"):
        Replay(())


SIZES: dict[str, Any] = {"steps": 24, "segments": 4, "block": 2}


def momentum(learning_rate):
    return jopt.sgd(learning_rate, momentum=0.9)


@pytest.fixture(scope="module")
def evolved():
    """A population of which one trial diverges in the first segment."""
    trials = sweep.grid(momentum, learning_rate=[1e-3, 1e-2, 0.1, math.inf])
    population = pbt({"learning_rate": log_uniform(1e-3, 1.0)})
    return sweep.run(toy.task(), trials, population=population, **SIZES)


def test_a_trial_that_diverged_goes_on_from_one_that_did_not(evolved):
    first = evolved.lineage.events[0]

    assert (first.segment, first.step, first.child) == (0, 6, 3)
    assert first.parent != 3
    assert evolved.table["status"].tolist() == ["complete"] * 4
    assert len(evolved.lineage.events) == 3  # one of four trials, three times


def test_the_table_shows_the_last_hyperparameters(evolved):
    last = [s["learning_rate"] for s in evolved.lineage.last_settings()]

    assert evolved.table["learning_rate"].tolist() == last


def test_a_replayed_trial_is_the_trial_bit_for_bit(evolved):
    policy = evolved.lineage.policy(3)
    again = sweep.Trial.of(momentum, dict(policy[0][1]))

    found = sweep.run(toy.task(), [again], population=Replay(policy), **SIZES)

    chex.assert_trees_all_equal(found.params(0), evolved.params(3))
    assert found.table["valid_loss"][0] == evolved.table["valid_loss"][3]


def test_a_schedule_trains_as_the_trial_did(evolved):
    rate = evolved.lineage.schedule(3, "learning_rate")
    once = sweep.Trial.of(lambda: momentum(rate), {})

    found = sweep.run(toy.task(), [once], **SIZES)

    chex.assert_trees_all_close(
        found.params(0), evolved.params(3), rtol=1e-5, atol=1e-7
    )
