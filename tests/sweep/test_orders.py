"""Promises about the order of the examples, the seeds, and what is validated on."""

from typing import Any

import numpy as np
import pytest
import toy

import jopt
from jopt import sweep
from jopt.sweep._plan import Plan, base_key
from jopt.sweep._trial import repeated

SIZES: dict[str, Any] = {"steps": 12, "segments": 3, "block": 2}
TRIALS = sweep.grid(jopt.sgd, learning_rate=[0.1, 0.3])


def run(task=None, **options) -> Any:
    return sweep.run(task or toy.task(), TRIALS, **{**SIZES, **options})


def rows(shuffle, seeds, folds=1):
    """The rows of the first call, and which of their orders each trial has."""
    trials = repeated(TRIALS, seeds, folds)
    positions = range(len(trials))
    plan = Plan(toy.task(), 16, 12, 3, base_key(0), folds, shuffle=shuffle)
    plan = plan.for_orders(trials, positions)
    found = np.asarray(plan.batches(0)[0].rows)
    places = np.asarray(plan.starts(trials, positions).orders)
    found = found if found.ndim == 3 else found[None]
    return [found[place] for place in places]


def kinds(found):
    return [next(i for i, x in enumerate(found) if np.array_equal(x, y)) for y in found]


def test_what_shares_an_order_is_the_sweep_the_seed_or_the_trial():
    # Two settings of three seeds each.
    assert kinds(rows("sweep", 3)) == [0] * 6
    assert kinds(rows("seed", 3)) == [0, 1, 2] * 2
    assert kinds(rows("trial", 3)) == list(range(6))
    # And of two folds: a setting's seeds are apart, and each seed's folds.
    assert kinds(rows("seed", 2, folds=2)) == [0, 1, 2, 3] * 2


def test_seed_0_has_the_order_of_the_sweep():
    shared = rows("sweep", 1)[0]
    np.testing.assert_array_equal(rows("seed", 3)[0], shared)
    assert not np.array_equal(rows("seed", 3)[1], shared)


def test_with_one_seed_the_batch_is_shared():
    for seeds in (1, (7,)):
        trials = repeated(TRIALS, seeds)
        plan = Plan(toy.task(), 16, 12, 3, base_key(0), shuffle="seed")
        assert plan.for_orders(trials, range(2)).batches(0)[0].rows.ndim == 2


def test_every_order_is_an_epoch_of_all_examples():
    for order in rows("trial", 2):  # the four steps of a segment
        assert len(np.unique(order)) == 4 * 16


def test_a_seed_is_the_same_whatever_others_there_are():
    every, two, alone = run(seeds=3), run(seeds=[1, 2]), run(seeds=[2])
    assert alone.table["seed"].tolist() == [2, 2]
    np.testing.assert_array_equal(two.curves[1::2], every.curves[2::3])
    # With one order the batch is shared, and products are others' to the last bit.
    np.testing.assert_allclose(alone.curves, every.curves[2::3], rtol=1e-6)
    assert run(seeds=range(3)).table["seed"].tolist() == [0, 1, 2] * 2
    np.testing.assert_array_equal(run(seeds=range(3)).curves, every.curves)


def test_orders_change_what_seeds_see():
    shared, own = run(seeds=2, shuffle="sweep"), run(seeds=2)
    np.testing.assert_allclose(shared.curves[::2], own.curves[::2], rtol=1e-6)
    assert not np.allclose(shared.curves[1::2], own.curves[1::2])


@pytest.mark.slow(
    "test_resume.py resumes; orders follow from the seed in the quick run"
)
def test_trials_of_their_own_orders_resume(tmp_path):
    def stop(now):
        if now.number == 1:
            raise KeyboardInterrupt

    options: dict[str, Any] = {"seeds": [3, 9], "shuffle": "trial", "valid_examples": 9}
    with pytest.raises(KeyboardInterrupt):
        run(directory=tmp_path, callbacks=[stop], **options)
    again, through = sweep.resume(tmp_path, toy.task(), TRIALS), run(**options)
    np.testing.assert_array_equal(again.curves, through.curves)
    np.testing.assert_array_equal(again.valid["loss"], through.valid["loss"])


def test_fewer_examples_are_validated_on():
    result, seen = run(valid_examples=10), []
    plan = Plan(toy.task(), 16, 12, 3, base_key(0), valid_examples=10)
    inputs, labels = plan.valid
    assert len(inputs) == 10
    every = toy.points(30, seed=1)[0]
    assert {tuple(x) for x in inputs.tolist()} <= {tuple(x) for x in every.tolist()}
    for trial in (0, 1):
        params = result.params(trial)
        seen.append(toy.evaluate(params, None, (inputs, labels))["loss"].mean())
    np.testing.assert_allclose(result.table["valid_loss"], seen, rtol=1e-5)
    assert len(run(valid_examples=1000).table) == len(result.table)
    folded = run(folds=3, valid_examples=5)
    assert np.isfinite(folded.table["valid_loss"]).all()


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "seeds, equal": ({"seeds": [1, 1]}, "seeds that differ"),
    "seeds, none": ({"seeds": []}, "seeds of at least 1, got 0"),
    "seeds, negative": ({"seeds": [-1]}, "a list of integers from 0"),
    "shuffle": ({"shuffle": "block"}, '"sweep", "seed" or "trial"'),
    "valid_examples": ({"valid_examples": 0}, "valid_examples must be an integer of"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_values_are_refused(name):
    options, sentence = BAD[name]
    with pytest.raises((ValueError, TypeError), match=sentence):
        run(**options)
