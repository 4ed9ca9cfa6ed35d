"""Pruners: who goes on, beside Optuna's where the rules are one."""

import logging
import re
import warnings

import chex
import jax
import numpy as np
import optuna
import pytest
from hypothesis import given, settings as runs, strategies as st

from jopt.sweep import Observations
from jopt.sweep.pruners import (
    Hyperband,
    LossSpike,
    MedianPruner,
    PatientPruner,
    Rung,
    SuccessiveHalving,
    ThresholdPruner,
)

optuna.logging.set_verbosity(logging.WARNING)
few = runs(max_examples=40, derandomize=True, deadline=None, database=None)


def of(values, alive=None, train_losses=None):
    values = np.atleast_2d(np.asarray(values, float))
    alive = np.isfinite(values[:, -1]) if alive is None else np.asarray(alive)
    losses = values if train_losses is None else np.atleast_2d(train_losses)
    return Observations(values, np.asarray(losses, float), alive)


def swept(pruner, values, train_losses=None):
    """Train as a sweep does; return the segments that each setting made."""
    values = np.array(values, float)
    losses = values if train_losses is None else np.array(train_losses, float)
    settings, segments = values.shape
    alive, made = np.ones(settings, bool), np.zeros(settings, int)
    seen = np.full(values.shape, np.nan)
    for segment in range(segments):
        seen[alive, segment] = values[alive, segment]
        made += alive
        so_far = slice(0, segment + 1)
        alive = alive & np.isfinite(values[:, segment])
        if segment + 1 < segments:
            observations = Observations(seen[:, so_far], losses[:, so_far], alive)
            kept = pruner.keep(observations)
            assert not (kept & ~alive).any()
            alive = kept
    return made


def random(settings, segments, seed=0):
    return np.random.default_rng(seed).normal(size=(settings, segments))


def optuna_study(pruner):
    return optuna.create_study(pruner=pruner, sampler=optuna.samplers.RandomSampler())


def segments_in_optuna(study, values, first=0):
    """Tell one of Optuna's trials until it is pruned; return how often."""
    trial = study.ask()
    for number, value in enumerate(values):
        trial.report(value, first + number)
        if trial.should_prune():
            return number + 1
    return len(values)


# Halving and Hyperband


@pytest.mark.parametrize(
    ("settings", "least", "segments", "eta", "total"),
    [(81, 1, 81, 3, 297), (64, 1, 64, 4, 208), (256, 4, 1024, 4, 256 * 1024 // 64)],
)
def test_halving_takes_the_papers_budget(settings, least, segments, eta, total):
    values = np.tile(random(settings, 1), segments)

    made = swept(SuccessiveHalving(least, eta), values)

    assert made.sum() == total
    assert made[np.argmin(values[:, 0])] == made.max() == segments


def test_hyperbands_brackets_are_the_papers():
    brackets = Hyperband().brackets(81)

    assert brackets == [(81, 1), (34, 3), (15, 9), (8, 27), (5, 81)]
    assert Hyperband().brackets(10) == [(9, 1), (5, 3), (3, 10)]
    later = Hyperband(min_resource=3).brackets(81)
    assert later == [(27, 3), (12, 9), (6, 27), (4, 81)]


def test_hyperband_shares_by_largest_remainder():
    sizes = [np.bincount(Hyperband().assign(n, 81)).tolist() for n in (143, 100)]

    assert sizes == [[81, 34, 15, 8, 5], [57, 24, 10, 6, 3]]


def test_hyperband_takes_the_budget_of_its_brackets_side_by_side():
    pruner = Hyperband().for_sweep(81, 143)
    own = pruner.assign(143, 81)

    made = swept(pruner, random(143, 81))

    sums = [made[own == bracket].sum() for bracket in range(5)]
    assert sums == [297, 276, 279, 324, 405]


@pytest.mark.parametrize("bracket", range(4))
def test_a_bracket_is_a_halving_of_its_own(bracket):
    pruner = Hyperband(max_resource=27)
    own = pruner.assign(100, 27) == bracket
    alone = SuccessiveHalving(1, 3, min_early_stopping_rate=bracket)
    values = random(100, 27)

    np.testing.assert_array_equal(swept(pruner, values)[own], swept(alone, values[own]))


@given(st.integers(20, 400), st.integers(3, 100))
@few
def test_hyperband_shares_by_proportion_whatever_the_number(settings, segments):
    pruner = Hyperband()
    asked = np.asarray([n for n, _ in pruner.brackets(segments)])

    own = pruner.assign(settings, segments)

    shares = np.bincount(own, minlength=len(asked))
    assert shares.sum() == settings
    assert (np.abs(shares - settings * asked / asked.sum()) < 1).all()


def test_each_bracket_has_some_of_all_of_a_sorted_grid():
    for bracket in range(5):
        places = np.flatnonzero(Hyperband().assign(1430, 81) == bracket)
        quarters = np.histogram(places, 4, (0, 1430))[0] / len(places)
        assert (quarters > 0.12).all()


def test_rungs_say_who_goes_on_where():
    assert SuccessiveHalving(2, 3).rungs(50, 40) == [
        Rung(0, 2, 40, 13),
        Rung(0, 6, 13, 4),
        Rung(0, 18, 4, 1),
    ]
    assert SuccessiveHalving(2, 3).rungs(18, 40)[-1] == Rung(0, 6, 13, 4)
    assert Hyperband().rungs(9, 17) == [
        Rung(0, 1, 9, 3),
        Rung(0, 3, 3, 1),
        Rung(1, 3, 5, 1),
    ]
    assert [rung.kept for rung in SuccessiveHalving(1, 3).rungs(100, 9)] == [3, 1]
    assert MedianPruner().rungs(9, 17) == []


@given(st.integers(2, 60), st.integers(2, 5), st.integers(0, 1), st.integers(0, 20))
@few
def test_a_rung_keeps_what_it_says(settings, eta, rate, seed):
    pruner = SuccessiveHalving(1, eta, rate)
    made = swept(pruner, random(settings, 40, seed))

    for rung in pruner.rungs(40, settings):
        assert (made >= rung.segment).sum() == rung.settings
        assert (made > rung.segment).sum() == rung.kept


def test_the_first_of_equals_goes_on():
    values = random(1000, 1).round()

    kept = SuccessiveHalving().keep(of(values))

    best = sorted(range(1000), key=lambda setting: values[setting, 0])[:250]
    assert np.flatnonzero(kept).tolist() == sorted(best)


def test_a_rung_keeps_as_many_of_those_that_did_not_diverge():
    values = [[np.inf]] * 6 + [[3.0], [2.0], [1.0]]

    assert SuccessiveHalving(1, 2).keep(of(values)).tolist() == [False] * 6 + [True] * 3
    assert SuccessiveHalving(1, 4).keep(of(values)).tolist() == [False] * 7 + [True] * 2
    assert not SuccessiveHalving().keep(of([[np.inf]] * 8)).any()


@pytest.mark.parametrize("eta", [2, 3, 4])
def test_halving_is_optunas_with_all_settings_at_the_rung(eta):
    values = random(13, 2 * eta)
    ours = swept(SuccessiveHalving(1, eta), values)
    rungs = SuccessiveHalving(1, eta).rungs(2 * eta, 13)
    assert len(rungs) == 2

    def optunas(setting, segment):
        """Whether Optuna ends the setting, if it is the last to come to the rung."""
        study = optuna_study(optuna.pruners.SuccessiveHalvingPruner(1, eta))
        ended = False
        came = [other for other in np.flatnonzero(ours >= segment) if other != setting]
        for one in [*came, setting]:
            trial = study.ask()
            for step in range(1, segment + 1):
                trial.report(values[one, step - 1], step)
                ended = trial.should_prune()
        return ended

    for rung in rungs:
        for setting in np.flatnonzero(ours >= rung.segment):
            assert optunas(setting, rung.segment) == (ours[setting] == rung.segment)


# The median rule


@pytest.mark.parametrize("settings", [6, 7, 12])
@pytest.mark.parametrize("pruner", [{}, {"n_warmup_steps": 1, "interval_steps": 2}])
def test_the_median_rule_is_optunas_with_all_others_complete(settings, pruner):
    values = random(settings, 6).round(1)
    values[2, 3:] = np.inf

    for setting in range(settings):
        study = optuna_study(optuna.pruners.MedianPruner(**pruner))
        for other in np.delete(values, setting, axis=0):
            shown = np.where(np.isfinite(other), other, np.nan)
            steps = dict(enumerate(shown))
            study.add_trial(
                optuna.trial.create_trial(value=0.0, intermediate_values=steps)
            )
        trial = study.ask()
        for step, value in enumerate(values[setting]):
            if not np.isfinite(value):
                break
            trial.report(value, step)
            kept = MedianPruner(**pruner).keep(of(values[:, : step + 1]))
            assert kept[setting] != trial.should_prune()


def test_the_median_rule_compares_the_best_so_far():
    others = [[3.0, 3.0], [4.0, 4.0], [5.0, 5.0]]
    pruner = MedianPruner(n_startup_trials=0)

    assert pruner.keep(of([[3.5, 9.0], *others])).tolist() == [True, True, True, False]
    assert not pruner.keep(of([[4.5, 9.0], *others]))[0]


def test_an_ended_setting_keeps_its_last_value():
    nan = np.nan
    pruner = MedianPruner(n_startup_trials=0)
    alive = [True, True, True, False, False]
    values = [[2.0, 1.0], [3.0, 2.0], [4.0, 3.0], [5.0, nan], [6.0, nan]]

    # The median of the third's others, 1, 2, 5 and 6, is 3.5; without the ended, 1.5.
    assert pruner.keep(of(values, alive)).tolist() == [True, True, True, False, False]


def test_the_median_rule_keeps_about_half():
    falling = np.linspace(1, 0, 20) + np.linspace(0, 3, 41)[:, None]

    made = swept(MedianPruner(), np.random.default_rng(1).permutation(falling))

    assert (made == 20).sum() == 21


def test_a_diverged_setting_is_no_yardstick():
    values = [[1.0], [2.0], [3.0]] + [[np.inf]] * 4
    pruner = MedianPruner(n_startup_trials=0)

    assert pruner.keep(of(values)).tolist() == [True, True] + [False] * 5
    for least, kept in [(2, 2), (3, 3)]:
        careful = MedianPruner(n_startup_trials=0, n_min_trials=least)
        assert careful.keep(of(values)).tolist() == [True] * kept + [False] * (7 - kept)
    assert MedianPruner(7).keep(of(values)).sum() == 3
    assert MedianPruner(6).keep(of(values)).sum() == 2


# Threshold, patience, spikes


@pytest.mark.parametrize(
    "bounds",
    [
        {"upper": 0.5},
        {"lower": -1},
        {"lower": -1, "upper": 1.2, "n_warmup_steps": 2},
        {"upper": 0.3, "n_warmup_steps": 1, "interval_steps": 3},
    ],
)
def test_the_threshold_is_optunas(bounds):
    values = random(12, 8).round(1)

    made = swept(ThresholdPruner(**bounds), values)

    study = optuna_study(optuna.pruners.ThresholdPruner(**bounds))
    assert made.tolist() == [segments_in_optuna(study, row) for row in values]
    assert len(set(made.tolist())) > 1


@pytest.mark.parametrize("patience", [0, 1, 3])
@pytest.mark.parametrize("min_delta", [0.0, 0.4])
@pytest.mark.parametrize("upper", [None, 0.2])
def test_patience_is_optunas(patience, min_delta, upper):
    values = random(12, 9).round(1)
    ours, theirs = None, None
    if upper is not None:
        ours = ThresholdPruner(upper=upper)
        theirs = optuna.pruners.ThresholdPruner(upper=upper)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna_study(optuna.pruners.PatientPruner(theirs, patience, min_delta))

    made = swept(PatientPruner(ours, patience, min_delta), values)

    assert made.tolist() == [segments_in_optuna(study, row) for row in values]
    assert len(set(made.tolist())) > 1


def test_a_spike_must_last():
    values = np.ones((4, 6))
    losses = [
        [2, 1, 5, 1, 5, 1],  # one at a time
        [2, 1, 5, 5, 1, 1],
        [2, 1, 3.9, 3.9, 3.9, 3.9],  # no spike
        [1, 2, 2, 5, 5, 1],
    ]

    assert swept(LossSpike(), values, losses).tolist() == [6, 4, 6, 5]
    assert swept(LossSpike(segments=1), values, losses).tolist() == [3, 3, 6, 4]
    assert swept(LossSpike(n_warmup_steps=3), values, losses).tolist() == [6, 6, 6, 5]


def test_a_rise_from_next_to_nothing_is_no_spike():
    values = np.ones((1, 5))

    assert swept(LossSpike(), values, [[2, 1e-9, 1e-3, 1e-3, 1e-3]]) == 5
    assert swept(LossSpike(min_rise=0), values, [[2, 1e-9, 1e-3, 1e-3, 1e-3]]) == 4
    assert swept(LossSpike(), values, [[2, 1e-9, 0.1, 0.1, 0.1]]) == 4


def test_a_negative_loss_has_spikes_too():
    values = np.ones((2, 5))
    losses = [[-1, -2, -1.9, -1.8, -1.7], [-1, -2, 5, 5, 5]]

    assert swept(LossSpike(), values, losses).tolist() == [5, 4]


# All of them

PRUNERS = [
    SuccessiveHalving(1, 2),
    SuccessiveHalving(1, 3, 1),
    Hyperband(max_resource=9),
    MedianPruner(),
    MedianPruner(0, 1, 2, n_min_trials=3),
    PatientPruner(None, 1),
    PatientPruner(MedianPruner(1), 2, 0.1),
    ThresholdPruner(upper=1),
    LossSpike(1.5, 1),
]
any_pruner = pytest.mark.parametrize("pruner", PRUNERS, ids=repr)


@st.composite
def histories(draw):
    """Observations of settings, some of which were ended and some diverged."""
    settings, made = draw(st.integers(1, 30)), draw(st.integers(1, 9))
    values = random(settings, made, draw(st.integers(0, 1000)))
    ends = draw(st.lists(st.integers(1, 30), min_size=settings, max_size=settings))
    diverged = draw(st.lists(st.booleans(), min_size=settings, max_size=settings))
    for row, end, worst in zip(values, ends, diverged, strict=True):
        row[end:] = np.inf if worst else np.nan
    return Observations(values, values.copy(), np.asarray(ends) >= made)


@any_pruner
@given(histories(), st.integers(1, 3))
@few
def test_only_those_alive_and_finite_go_on(pruner, observations, every):
    finite = np.isfinite(observations.values[:, -1])
    alive = np.arange(len(finite)) % every == 0  # whatever they lost

    kept = pruner.keep(observations._replace(alive=alive))

    assert kept.dtype == bool
    assert kept.shape == finite.shape
    assert not (kept & ~(alive & finite)).any()


@any_pruner
@given(histories())
@few
def test_a_pruner_is_a_pure_function(pruner, observations):
    before = jax.tree.map(np.array, observations)

    first = pruner.keep(observations)

    np.testing.assert_array_equal(first, pruner.keep(before))
    chex.assert_trees_all_equal(observations, before)


@pytest.mark.parametrize(
    "pruner", [p for p in PRUNERS if not isinstance(p, Hyperband)], ids=repr
)
@given(histories(), st.randoms(use_true_random=False))
@few
def test_the_order_of_the_settings_is_no_matter(pruner, observations, chance):
    order = list(range(len(observations.alive)))
    chance.shuffle(order)

    names = ("values", "train_losses", "alive")
    moved = {name: getattr(observations, name)[order] for name in names}
    kept = pruner.keep(observations._replace(**moved))

    np.testing.assert_array_equal(kept, pruner.keep(observations)[order])


@any_pruner
def test_a_pruner_is_plain_data(pruner):
    again = eval(repr(pruner))

    assert again == pruner
    assert hash(again) == hash(pruner)
    pruner.check(50, 50)
    assert pruner.for_sweep(50, 50) == pruner


def test_auto_becomes_the_segments_of_the_sweep():
    assert Hyperband().for_sweep(81, 143) == Hyperband(max_resource=81)
    patient = PatientPruner(Hyperband(), 2)
    assert patient.for_sweep(27, 60) == PatientPruner(Hyperband(1, 27), 2)
    with pytest.raises(ValueError, match="is known to a sweep only"):
        Hyperband().keep(of([[1.0]]))


@pytest.mark.parametrize(
    ("pruner", "arguments", "sentence"),
    [
        (
            SuccessiveHalving,
            {"reduction_factor": 1},
            "SuccessiveHalving: reduction_factor must be at least 2, got 1.",
        ),
        (SuccessiveHalving, {"min_resource": 0}, "min_resource must be at least 1"),
        (SuccessiveHalving, {"min_resource": 1.5}, "must be an integer, got 1.5"),
        (SuccessiveHalving, {"min_early_stopping_rate": -1}, "at least 0, got -1"),
        (Hyperband, {"max_resource": "most"}, "integer or \"auto\", got 'most'"),
        (Hyperband, {"max_resource": 2.5}, "max_resource must be an integer, got 2.5"),
        (Hyperband, {"min_resource": 4, "max_resource": 8}, "nothing to halve"),
        (MedianPruner, {"n_startup_trials": -1}, "n_startup_trials must be at least 0"),
        (MedianPruner, {"interval_steps": 0}, "interval_steps must be at least 1"),
        (ThresholdPruner, {}, "ThresholdPruner: lower or upper must be given"),
        (ThresholdPruner, {"lower": 2, "upper": 1}, "lower must be at most 1, got 2"),
        (ThresholdPruner, {"upper": "2"}, "upper must be a number, got '2'."),
        (ThresholdPruner, {"lower": True}, "lower must be a number, got True."),
        (LossSpike, {"factor": "2"}, "LossSpike: factor must be a number, got '2'."),
        (LossSpike, {"min_rise": None}, "min_rise must be a number, got None."),
        (
            PatientPruner,
            {"wrapped_pruner": None, "patience": 1, "min_delta": "0"},
            "min_delta must be a number, got '0'.",
        ),
        (PatientPruner, {"wrapped_pruner": 5, "patience": 1}, "or None, got 5"),
        (PatientPruner, {"wrapped_pruner": None, "patience": -1}, "least 0, got -1"),
        (LossSpike, {"factor": 1}, "LossSpike: factor must be above 1, got 1."),
        (LossSpike, {"min_rise": np.nan}, "min_rise must be at least 0, got nan"),
    ],
)
def test_a_wrong_number_is_refused_in_a_sentence(pruner, arguments, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        pruner(**arguments)


@pytest.mark.parametrize(
    ("pruner", "segments", "settings", "words"),
    [
        (
            SuccessiveHalving(4, 4, 1),
            10,
            64,
            ["is 16 (min_resource 4 times 4^1)", "10"],
        ),
        (SuccessiveHalving(10), 10, 64, ["is 10 ", "10 segments", "more than 10 segm"]),
        (SuccessiveHalving(), 10, 3, ["needs at least 4 settings", "got 3"]),
        (Hyperband(max_resource=20), 10, 64, ["20 is more than the 10 segments"]),
        (Hyperband(4), 10, 64, ["10 segments", "at least 12 segments"]),
        (Hyperband(), 3, 3, ["3 settings are too few for 2 brackets", "[2, 1]"]),
        (Hyperband(), 81, 8, ["8 settings are too few for 5 brackets", "about 143"]),
        (MedianPruner(), 10, 5, ["n_startup_trials 5", "5 in all"]),
        (MedianPruner(0, n_min_trials=5), 10, 5, ["n_min_trials 5", "5 in all"]),
        (MedianPruner(n_warmup_steps=9), 10, 64, ["is 10 (n_warmup_steps 9)"]),
        (ThresholdPruner(upper=1, n_warmup_steps=9), 10, 64, ["n_warmup_steps 9"]),
        (PatientPruner(None, 8), 10, 64, ["is 10 (patience 8", "less patience"]),
        (PatientPruner(MedianPruner(), 1), 10, 2, ["MedianPruner: n_startup_trials"]),
        (LossSpike(segments=9), 10, 64, ["is 10 (segments 9"]),
    ],
)
def test_a_pruner_that_cannot_prune_is_refused(pruner, segments, settings, words):
    for ask in (pruner.check, pruner.for_sweep):
        with pytest.raises(ValueError, match=type(pruner).__name__ + "|Med") as refused:
            ask(segments, settings)
        assert all(word in str(refused.value) for word in words), refused.value


@pytest.mark.parametrize(
    ("pruner", "fewest"),
    [
        (SuccessiveHalving(4, 4), 5),
        (Hyperband(), 3),
        (MedianPruner(n_warmup_steps=2), 4),
        (ThresholdPruner(upper=1, n_warmup_steps=2), 4),
        (PatientPruner(None, 2), 5),
        (LossSpike(n_warmup_steps=2), 5),
        (LossSpike(), 4),
    ],
    ids=repr,
)
def test_a_pruner_is_accepted_as_soon_as_it_can_prune(pruner, fewest):
    rising = np.exp(3 * random(40, 1)) * [1.0, *range(20, 30)]

    with pytest.raises(ValueError, match="segments"):
        pruner.check(fewest - 1, 40)

    ready = pruner.for_sweep(fewest, 40)
    assert (swept(ready, rising[:, :fewest]) < fewest).any()
    if ready == pruner:
        assert (swept(ready, rising[:, : fewest - 1]) == fewest - 1).all()
