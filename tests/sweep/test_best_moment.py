"""Promises about keep="best": what a trial's best moment is, and who sees it."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import specs
import toy

import jopt
from jopt import sweep
from jopt.report import Record, _figures
from jopt.sweep.engine import Pool

SIZES: dict[str, Any] = {"steps": 12, "segments": 6, "block": 2}
RATES = [0.5, 3.0, 8.0, np.inf]  # the last diverges


def wander() -> sweep.Task:
    """A walk at random, whose height goes up and down."""

    def step(config, state, batch, key):
        moved = state["at"] + config["size"] * jax.random.normal(key, (3,))
        return {"at": moved, "moves": state["moves"] + 1}, {"loss": jnp.sum(moved**2)}

    def evaluate(config, state, batch, key):
        return {"height": -jnp.sum(state["at"] ** 2), "moves": state["moves"]}

    def init(config, key):
        return {"at": jax.random.normal(key, (3,)), "moves": jnp.zeros((), jnp.int32)}

    fields = {"metric": "height", "mode": "max", "diverged_above": 300.0}
    return sweep.Task("wander", init, step, evaluate, **fields)


def run(task, trials, **options) -> Any:
    return sweep.run(task, trials, **{**SIZES, "keep": "best", **options})


def of_wander(**options) -> Any:
    return run(wander(), sweep.grid(dict, size=[0.1, 0.5, 2.0, 1e3]), **options)


@pytest.fixture(scope="module")
def walked():
    return of_wander()


def of_toy(**options) -> Any:
    trials = sweep.grid(jopt.sgd, learning_rate=RATES[:3])
    return run(toy.task(), trials, metric="accuracy", mode="max", seeds=2, **options)


@pytest.mark.slow("the other kinds of task are kept by the same lines", but=1)
@pytest.mark.parametrize("made", [of_wander, of_toy])
def test_what_is_kept_is_the_trial_as_a_shorter_sweep_leaves_it(made):
    best = made()
    steps = best.table["best_step"]
    assert len(set(steps)) > 1 or made is of_toy
    for trial in np.flatnonzero(best.table["status"] == "complete"):
        short = {"steps": int(steps[trial]), "segments": int(steps[trial]) // 2}
        last = made(keep="last", **short)
        chex.assert_trees_all_equal(best.model(trial), last.model(trial))
        for name in best.valid:
            column = f"valid_{name}"
            assert best.table[column][trial] == last.table[column][trial]


def test_it_is_the_first_of_the_best_ends_of_segments(walked):
    heights = np.where(
        np.isnan(walked.valid["height"]), -np.inf, walked.valid["height"]
    )
    ends = walked.valid_steps[heights.argmax(axis=1)]
    alive = walked.table["status"] == "complete"
    assert alive.tolist() == [True, True, True, False]
    np.testing.assert_array_equal(walked.table["best_step"][alive], ends[alive])
    np.testing.assert_array_equal(
        walked.table["valid_height"][alive], heights.max(axis=1)[alive]
    )
    # Counters are of that moment, though all trials share them.
    np.testing.assert_array_equal(walked.table["valid_moves"][alive], ends[alive])
    kept = [int(walked.model(trial)["moves"]) for trial in np.flatnonzero(alive)]
    assert kept == ends[alive].tolist()


def test_a_trial_that_diverged_has_no_best_moment_that_wins(walked):
    assert np.isnan(walked.table["valid_height"][3])
    assert walked.table["best_step"][3] == 0
    chex.assert_tree_all_finite(walked.model(3))  # what it began from


def test_the_winner_is_tested_at_its_best_moment():
    best = of_toy()
    winner = best.best.trial
    model, task = best.model(winner), toy.task()
    params, model_state = model
    for split, seen in (("valid", best.best.valid), ("test", best.best.test)):
        values = toy.evaluate(params, model_state, getattr(task, split))
        np.testing.assert_allclose(values["accuracy"].mean(), seen["accuracy"], 1e-6)


def test_the_picture_says_of_which_moment_it_is(walked):
    chart = _figures.response(Record.of(walked), "size")
    assert specs.title(chart, "y") == "validation height at the best moment"


def test_training_goes_on_from_the_last_moment(walked):
    last = of_wander(keep="last")
    np.testing.assert_array_equal(walked.curves, last.curves)
    chex.assert_trees_all_equal(walked.valid, last.valid)


@pytest.mark.slow("a population's moments are kept in the same record", but=1)
@pytest.mark.parametrize("rule", ["pruner", "population"])
def test_a_resume_keeps_the_best_moments(tmp_path, rule):
    size = sweep.uniform(0.1, 2.0)
    rules = {
        "pruner": sweep.SuccessiveHalving(reduction_factor=2),
        "population": sweep.PopulationBasedTraining(
            {"size": size}, perturbation_interval=2
        ),
    }
    options = {rule: rules[rule]}
    trials = sweep.grid(dict, size=[0.1, 0.5, 2.0, 1.0])

    def stop(segment):
        if segment.number == 3:
            raise KeyboardInterrupt

    whole = run(wander(), trials, **options)
    with pytest.raises(KeyboardInterrupt):
        run(wander(), trials, **options, directory=tmp_path, callbacks=[stop])
    resumed: Any = sweep.resume(tmp_path, wander(), trials)
    chex.assert_trees_all_equal(resumed.table, whole.table)
    going = np.flatnonzero(whole.table["status"] == "complete").tolist()
    for trial in going:
        chex.assert_trees_all_equal(resumed.model(trial), whole.model(trial))
        height = -np.sum(np.asarray(whole.model(trial)["at"], np.float32) ** 2)
        np.testing.assert_allclose(height, whole.table["valid_height"][trial], 1e-5)


def test_its_memory_is_the_block_s():
    def needed(**options):
        groups = pooled(of_toy, **options)
        return groups.program.trained_bytes, groups.program.shapes[0]

    (last, own), (best, more) = needed(keep="last"), needed(keep="best")
    copied = sum(x.size * x.dtype.itemsize for x in more)
    copied -= sum(x.size * x.dtype.itemsize for x in own)
    assert copied > 0
    assert best - last >= copied


def pooled(made, **options) -> Pool:
    """Return the pool of trials of the only group of a sweep."""
    found = []
    before = Pool.__init__

    def seen(self, *args):
        before(self, *args)
        found.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pool, "__init__", seen)
        made(**options)
    (pool,) = found
    return pool


def test_another_word_is_a_sentence():
    with pytest.raises(TypeError, match='keep must be "last" or "best", got \'first\''):
        of_wander(keep="first")
