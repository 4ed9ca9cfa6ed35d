"""Promises of a sweep that goes on after its end: more trials, and revived ones."""

import random
import shutil
import time
from typing import Any

import killed_sweeps
import numpy as np
import pytest
import toy
from interrupted_sweeps import interrupt, numbers

import jopt
from jopt import sweep

SIZES: dict[str, Any] = {"steps": 12, "segments": 6, "block": 2}
RATES = {"learning_rate": sweep.log_uniform(1e-3, 1.0)}


def sampled(n, seed=0):
    return sweep.sample(jopt.adamw, n, seed=seed, **RATES)


def pruner():
    return sweep.SuccessiveHalving(min_resource=2, reduction_factor=2)


def test_more_trials_are_bitwise_those_of_one_sweep_of_all(tmp_path):
    options: dict[str, Any] = {**SIZES, "seeds": 2, "shuffle": "trial"}
    whole = sweep.run(toy.task(), sampled(5), **options)
    sweep.run(toy.task(), sampled(3), directory=tmp_path, **options)
    result = sweep.extend(tmp_path, toy.task(), sampled(5))
    assert numbers(result) == numbers(whole)
    assert result.info["setting"] == whole.info["setting"]
    loaded = sweep.load(tmp_path)
    np.testing.assert_equal(loaded.table, whole.table)
    assert loaded.best == whole.best
    result.save(tmp_path)
    assert numbers(sweep.resume(tmp_path, toy.task())) == numbers(whole)
    longer = sweep.run(
        toy.task(), sampled(5), **{**options, "steps": 16, "segments": 8}
    )
    assert numbers(sweep.extend(tmp_path, toy.task(), steps=16)) == numbers(longer)
    with pytest.raises(ValueError, match=r"above the 16 .* or trials more than its 5"):
        sweep.extend(tmp_path, toy.task(), steps=16)
    with pytest.raises(ValueError, match="trials must be a list, those of the sweep f"):
        sweep.extend(tmp_path, toy.task(), 9)


def test_steps_and_trials_may_be_asked_for_at_once_and_interrupted(tmp_path):
    whole = sweep.run(toy.task(), sampled(4), steps=16, segments=8, block=2)
    sweep.run(toy.task(), sampled(2), directory=tmp_path, **SIZES)
    stop: dict[str, Any] = {"callbacks": [interrupt(7)]}
    paused = sweep.extend(tmp_path, toy.task(), sampled(4), steps=16, **stop)
    assert paused.info["interrupted"]
    assert paused.table["steps"].tolist() == [14, 14]
    stop = {"callbacks": [interrupt(3)]}
    paused = sweep.extend(tmp_path, toy.task(), sampled(4), steps=16, **stop)
    assert paused.table["steps"].tolist() == [16, 16, 6, 6]
    assert sweep.load(tmp_path).table["steps"].tolist() == [16, 16, 6, 6]
    assert numbers(sweep.resume(tmp_path, toy.task())) == numbers(whole)


def test_revived_trials_are_bitwise_those_of_a_sweep_without_the_pruner(tmp_path):
    def made(learning_rate, nesterov):
        return jopt.sgd(learning_rate, momentum=0.9, nesterov=nesterov)

    rates = [0.003, 0.3, 0.03, 1e38]
    trials = sweep.grid(made, learning_rate=rates, nesterov=[True, False])
    options: dict[str, Any] = {**SIZES, "seeds": 2, "shuffle": "trial"}
    whole = sweep.run(toy.task(), trials, **options)
    kept: dict[str, Any] = {"directory": tmp_path, "keep_pruned": True}
    before = sweep.run(toy.task(), trials, pruner=pruner(), **options, **kept)
    pruned = np.flatnonzero(before.table["status"] == "pruned")
    assert len(set(before.table["steps"][pruned])) == 2  # at two rungs
    asked = [int(pruned[0]), int(pruned[-1])]
    asked += [int(row) for row in pruned if before.table["steps"][row] == 8][:1]
    result = sweep.revive(tmp_path, asked, toy.task(), trials)
    rows = np.flatnonzero(result.table["status"] != before.table["status"])
    assert set(asked) <= set(rows.tolist())
    assert len(rows) == 2 * len({row // 2 for row in asked})
    for name, column in whole.table.items():
        np.testing.assert_array_equal(result.table[name][rows], column[rows])
    assert result.curves[rows].tobytes() == whole.curves[rows].tobytes()
    others = np.setdiff1d(np.arange(16), rows)
    assert result.curves[others].tobytes() == before.curves[others].tobytes()
    for row in rows:
        for found, wanted in zip(
            result.params(row).values(), whole.params(row).values(), strict=True
        ):
            np.testing.assert_array_equal(found, wanted)
    assert sweep.load(tmp_path).curves.tobytes() == result.curves.tobytes()
    again = sweep.resume(tmp_path, toy.task(), trials)
    assert again.curves.tobytes() == result.curves.tobytes()
    ended = int(np.flatnonzero(result.table["status"] == "diverged")[0])
    with pytest.raises(ValueError, match=f"got {ended}, which is diverged"):
        sweep.revive(tmp_path, [ended], toy.task(), trials)


def test_what_was_not_kept_cannot_be_revived(tmp_path):
    options: dict[str, Any] = {**SIZES, "pruner": pruner(), "directory": tmp_path}
    result = sweep.run(toy.task(), sampled(4), **options)
    pruned = int(np.flatnonzero(result.table["status"] == "pruned")[0])
    with pytest.raises(ValueError, match=r"was not kept .*; run .* keep_pruned=True"):
        sweep.revive(tmp_path, [pruned], toy.task())
    best = result.best
    assert best is not None
    with pytest.raises(ValueError, match=r"which is complete; sweep.extend trains it"):
        sweep.revive(tmp_path, [best.trial], toy.task())
    with pytest.raises(ValueError, match="directory must be given with keep_pruned"):
        sweep.run(toy.task(), sampled(4), keep_pruned=True, **SIZES)


def test_a_population_takes_no_more_trials(tmp_path):
    population = sweep.PopulationBasedTraining(RATES)
    options: dict[str, Any] = {**SIZES, "population": population}
    sweep.run(toy.task(), sampled(4), directory=tmp_path, **options)
    with pytest.raises(ValueError, match="one generation after the other; start a sw"):
        sweep.extend(tmp_path, toy.task(), sampled(6))


def test_a_search_is_extended_as_if_it_had_been_asked_for_more(tmp_path):
    space = sweep.Space(jopt.adamw, **RATES)
    options: dict[str, Any] = {**SIZES, "batch": 3, "sampler": sweep.Halton()}
    whole = sweep.search(toy.task(), space, trials=6, **options)
    first = tmp_path / "first"
    sweep.search(toy.task(), space, trials=3, directory=first, **options)
    copied = shutil.copytree(first, tmp_path / "copy")
    result = sweep.extend(first, toy.task(), 6)
    assert numbers(result) == numbers(whole)
    again = sweep.search(toy.task(), space, trials=6, directory=copied, **options)
    assert numbers(again) == numbers(whole)
    with pytest.raises(ValueError, match="a search must be extended by trials"):
        sweep.extend(first, toy.task(), steps=20)


def part(directory, begin, more):
    """Begin a sweep, ask for more, or go on with what was asked for."""
    if (directory / "batches" / "1" / "record" / "header.json").exists():
        return sweep.resume(directory, toy.task())
    if not (directory / "record" / "end.json").exists():
        begin(directory)
    return more(directory)


def first_trials(directory):
    sweep.run(toy.task(), sampled(3), directory=directory, **LONGER)


def more_trials(directory):
    return sweep.extend(directory, toy.task(), sampled(6))


def with_pruner(directory):
    given: dict[str, Any] = {"pruner": pruner(), "keep_pruned": True}
    sweep.run(toy.task(), sampled(6), directory=directory, **LONGER, **given)


def revived_trials(directory):
    status = sweep.load(directory).table["status"]
    pruned = np.flatnonzero(status == "pruned").tolist()
    return sweep.revive(directory, pruned, toy.task()) if pruned else None


LONGER: dict[str, Any] = {"steps": 60, "segments": 20, "block": 2}


@pytest.mark.slow("other tests here interrupt it by the keyboard")
@pytest.mark.parametrize(
    ("begin", "more"), [(first_trials, more_trials), (with_pruner, revived_trials)]
)
def test_what_goes_on_after_the_end_may_be_killed(begin, more, tmp_path):
    whole = sweep.run(toy.task(), sampled(6), **LONGER)
    begin(tmp_path)
    segments = tmp_path / "batches" / "1" / "record" / "segments"
    for until in ("", "", "4.npz", "9.npz", "14.npz"):
        process = killed_sweeps.PROCESSES.Process(
            target=part, args=(tmp_path, begin, more)
        )
        process.start()
        while until and not (segments / until).exists() and process.is_alive():
            time.sleep(1e-3)
        time.sleep(0 if until else random.Random(until).uniform(0, 2))
        process.kill()
        process.join()
        assert process.exitcode == -9
    result = part(tmp_path, begin, more)
    if more is revived_trials:  # those of the later rungs have a part each
        result = revived_trials(tmp_path) or result
    assert set(result.table["status"].tolist()) == {"complete"}
    for name, column in whole.table.items():
        np.testing.assert_array_equal(result.table[name], column)
    assert result.curves.tobytes() == whole.curves.tobytes()
