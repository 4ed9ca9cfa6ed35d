"""Promises of sweeps with a pruner: time is saved, and nothing else changes."""

from typing import Any

import bitwise
import jax
import numpy as np
import pytest
import toy
from bitwise import NEVER
from compile_counts import compiled_anew

from jopt import sweep

RATES = np.geomspace(1e-4, 3.0, 16).tolist()
# In no order, so that who goes on is nowhere side by side.
SETTINGS = [(RATES[i], NEVER) for i in np.random.default_rng(0).permutation(16)]
SIZES: dict[str, Any] = {"steps": 18, "segments": 9, "block": 3}
PRUNERS: dict[str, sweep.Pruner] = {
    "halving": sweep.SuccessiveHalving(reduction_factor=2),
    "hyperband": sweep.Hyperband(reduction_factor=2),
    "median": sweep.MedianPruner(),
    "patient": sweep.PatientPruner(None, patience=1),
    "threshold": sweep.ThresholdPruner(upper=0.62, n_warmup_steps=4),
    "spike": sweep.LossSpike(factor=1.01, segments=1, min_rise=0.0),
}


@pytest.fixture(scope="module")
def whole():
    return bitwise.run(SETTINGS, **SIZES)


@pytest.fixture(scope="module")
def pruned():
    return {
        name: bitwise.run(SETTINGS, **SIZES, pruner=pruner)
        for name, pruner in PRUNERS.items()
    }


@pytest.mark.slow("the other pruners end trials by the same lines", but=2)
@pytest.mark.parametrize("name", PRUNERS)
def test_rows_are_the_beginnings_of_the_whole_sweeps(whole, pruned, name):
    result = pruned[name]
    status = result.table["status"]
    assert set(status) == {"complete", "pruned"}
    for trial in range(16):
        segments = int(np.isfinite(result.valid["loss"][trial]).sum())
        steps = int(result.table["steps"][trial])
        assert steps == 2 * segments
        assert (status[trial] == "complete") == (segments == 9)
        np.testing.assert_array_equal(
            result.curves[trial, :steps], whole.curves[trial, :steps]
        )
        assert np.isnan(result.curves[trial, steps:]).all()
        for metric, seen in result.valid.items():
            expected = whole.valid[metric][trial, :segments]
            np.testing.assert_array_equal(seen[trial, :segments], expected)
            assert result.table[f"valid_{metric}"][trial] == expected[-1]
        if status[trial] == "complete":
            assert bitwise.row(result, trial) == bitwise.row(whole, trial)
            assert bitwise.model(result, trial) == bitwise.model(whole, trial)


@pytest.mark.parametrize("name", PRUNERS)
def test_who_goes_on_is_what_the_rule_says_of_the_whole_sweep(whole, pruned, name):
    """Segment by segment, from the observations of the sweep without a pruner."""
    losses = whole.valid["loss"].astype(float)
    train = whole.curves.reshape(16, 9, 2).mean(axis=2).astype(float)
    rule, alive = PRUNERS[name].for_sweep(9, 16), np.full(16, True)
    ends = np.full(16, 9)
    for segment in range(1, 9):
        cut = np.arange(1, segment + 1) > ends[:, None]
        seen = [np.where(cut, np.nan, a[:, :segment]) for a in (losses, train)]
        kept = rule.keep(sweep.Observations(seen[0], seen[1], alive))
        ends[alive & ~kept] = segment
        alive &= kept
    assert pruned[name].table["steps"].tolist() == (2 * ends).tolist()


def test_the_winner_of_a_pruned_sweep_was_trained_to_the_end(pruned):
    for result in pruned.values():
        complete = np.flatnonzero(result.table["status"] == "complete")
        losses = result.table["valid_loss"][complete]
        assert result.best.trial == complete[np.argmin(losses)]
        assert result.info["trial_steps"] == result.table["steps"].sum() < 16 * 18
        assert result.info["trial_steps_of_all"] == 16 * 18


def test_pruning_compiles_nothing_more(caplog):
    seen = []
    with compiled_anew(), jax.log_compiles():
        options = {**SIZES, "pruner": PRUNERS["halving"], "progress": seen.append}
        result = bitwise.run(SETTINGS, **options)
    said = [record.message for record in caplog.records]
    assert sum("Finished XLA compilation of jit(train)" in s for s in said) == 1
    assert result.info["segment_compiles"] == 1
    # What is alive fills blocks of 3: 16, 8, 4, 4, 2, ... of the segments 1, 2, 3 ...
    told = [now.segment for now in seen]
    blocks = [told.count(segment) for segment in range(1, 10)]
    assert blocks == [6, 3, 2, 2, 1, 1, 1, 1, 1]


def test_halvings_numbers_are_in_the_info(pruned):
    info = pruned["halving"].info
    assert [(rung["segment"], rung["kept"]) for rung in info["rungs"]] == [
        (1, 8),
        (2, 4),
        (4, 2),
        (8, 1),
    ]
    assert "SuccessiveHalving" in info["pruner"]
    alive = np.isfinite(pruned["halving"].valid["loss"]).sum(axis=0)
    assert alive.tolist() == [16, 8, 4, 4, 2, 2, 2, 2, 1]


def test_hyperband_runs_all_its_brackets_at_once(whole):
    pruner = sweep.Hyperband(reduction_factor=3)  # nine segments: (9, 1) (5, 3) (3, 9)
    result = bitwise.run(SETTINGS, **SIZES, pruner=pruner)
    assert pruner.brackets(9) == [(9, 1), (5, 3), (3, 9)]
    own = pruner.assign(16, 9)
    segments = result.table["steps"] // 2
    for bracket, (first, ends) in enumerate(((1, {1, 3, 9}), (3, {3, 9}), (9, {9}))):
        of_bracket = own == bracket
        assert set(segments[of_bracket]) == ends
        # In a bracket, each rung keeps its best third.
        among, kept = of_bracket, int(of_bracket.sum())
        for segment in sorted({first, 3 * first} - {9, 27}):
            kept = max(1, kept // 3)
            losses = np.where(among, whole.valid["loss"][:, segment - 1], np.inf)
            among = np.isin(np.arange(16), np.argsort(losses)[:kept])
            np.testing.assert_array_equal(among, of_bracket & (segments > segment))
    assert result.info["segment_compiles"] == 1
    assert "max_resource=9" in result.info["pruner"]


@pytest.mark.slow("pruners have quick tests on settings of several trials")
def test_the_seeds_and_folds_of_a_setting_live_and_die_together():
    pruner = sweep.SuccessiveHalving(reduction_factor=2)
    options = {**SIZES, "pruner": pruner, "seeds": 2, "folds": 2}
    result = bitwise.run(SETTINGS[:8], **options)
    steps = result.table["steps"].reshape(8, 4)
    status = result.table["status"].reshape(8, 4)
    assert (steps == steps[:, :1]).all()
    assert (status == status[:, :1]).all()
    assert sorted(steps[:, 0].tolist()) == [2, 2, 2, 2, 4, 4, 8, 18]
    # By the mean over them: the first rung's best half.
    means = result.valid["loss"][:, 0].reshape(8, 4).mean(axis=1)
    assert set(np.flatnonzero(steps[:, 0] > 2)) == set(np.argsort(means)[:4])
    assert result.settings()["status"].tolist().count("complete") == 1


def test_a_pruned_trial_wins_only_where_all_others_diverged():
    """The one that is ended did better than any, before the others got worse."""
    ends = bitwise.Ends((NEVER, 3, NEVER))
    settings = [(0.1, 15), (0.01, NEVER), (0.2, 16)]
    result = bitwise.run(settings, **SIZES, pruner=ends)
    assert result.table["status"].tolist() == ["diverged", "pruned", "diverged"]
    assert result.best.trial == 1
    assert np.isfinite(result.best.test["loss"])
    assert result.top(3) == []

    settings[0] = (1e-5, NEVER)
    result = bitwise.run(settings, **SIZES, pruner=ends)
    assert result.table["valid_loss"][1] < result.table["valid_loss"][0]
    assert result.best.trial == 0


@pytest.mark.slow("tests/sweep/test_resume.py resumes sweeps")
def test_a_pruned_winner_is_still_at_hand_after_a_resume(tmp_path):
    settings, ends = [(0.1, 15), (0.01, NEVER)], bitwise.Ends((NEVER, 3))
    options = {**SIZES, "pruner": ends}
    whole: Any = bitwise.run(settings, **options)
    stop = bitwise.interrupt_after(4)
    bitwise.run(settings, **options, directory=tmp_path, callbacks=[stop])
    result: Any = sweep.resume(
        tmp_path, toy.task(), bitwise.trials(settings), trust=True
    )

    assert result.best == whole.best
    assert result.best.trial == 1
    assert bitwise.model(result, 1) == bitwise.model(whole, 1)
    result.save(tmp_path / "files", keep=2)


@pytest.mark.parametrize("name", PRUNERS)
def test_a_pruner_that_has_no_time_is_refused_before_anything_is_trained(name):
    seen = []
    options = {"steps": 18, "segments": 1, "pruner": PRUNERS[name]}
    sentence = f"^{type(PRUNERS[name]).__name__}: .*1 segment"
    with pytest.raises(ValueError, match=sentence):
        bitwise.run(SETTINGS, **options, progress=seen.append)
    assert seen == []
