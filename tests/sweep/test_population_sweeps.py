"""Promises of sweeps with a population: who copies what, and what stays its own."""

import math
from typing import Any

import bitwise
import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

import jopt
from jopt import sweep
from jopt.sweep._plan import Plan
from jopt.sweep._supervised import training_of

RATES = [0.001, 0.01, 0.05, 0.1, 0.2, 0.3]
SIZES: dict[str, Any] = {"steps": 12, "segments": 4, "block": 3}
SPACE = {
    "learning_rate": sweep.log_uniform(1e-3, 0.5),
    "decay": sweep.uniform(0.5, 0.99),
}


def momentum(learning_rate, decay):
    return jopt.sgd(learning_rate, momentum=decay)


def noisy(params, model_state, batch, key):
    """A loss that uses the key, so that it matters whose it is."""
    inputs, labels = batch
    moved = inputs + 0.5 * jax.random.normal(key, inputs.shape)
    return toy.loss(params, model_state, (moved, labels), None)


def population(**changes):
    return sweep.PopulationBasedTraining(SPACE, **changes)


def trials(rates=RATES):
    return sweep.grid(momentum, learning_rate=rates, decay=0.9)


def run(task, rates=RATES, **options) -> Any:
    return sweep.run(task, trials(rates), **{**SIZES, **options})


@pytest.fixture(scope="module")
def task():
    return toy.task(loss=noisy)


@pytest.fixture(scope="module")
def evolved(task):
    return run(task, seeds=2, shuffle="sweep", population=population())


def stopped(task, number, **options):
    """The sweep as it was after this segment, and the generation at its end."""
    callbacks = [bitwise.interrupt_after(number)]
    return run(task, seeds=2, shuffle="sweep", callbacks=callbacks, **options)


@pytest.fixture(scope="module")
def after_one(task):
    """After the first segment: with its generation, and without."""
    options = [{"population": population()}, {}]
    return [stopped(task, 1, **given) for given in options]


def test_a_child_has_its_parents_parameters_bit_for_bit(after_one):
    child_of, before = after_one
    events = child_of.lineage.events
    assert {event.segment for event in events} == {0}
    assert len(events) == 3  # a quarter of 12
    moved = {event.child: event.parent for event in events}
    for trial in range(12):
        parent = moved.get(trial, trial)
        assert bitwise.model(child_of, trial) == bitwise.model(before, parent)
    assert len({str(bitwise.model(before, trial)) for trial in range(12)}) == 12


def test_a_child_goes_on_with_its_own_key_and_its_parents_momentum(
    task, evolved, after_one
):
    """Its next losses, by hand: parameters and momentum of the parent, key its own."""
    plan = Plan(task, 16, 12, 4, jax.random.key(0))
    events = [event for event in evolved.lineage.events if event.segment == 0]
    seeds = evolved.table["seed"]
    others = [event for event in events if seeds[event.child] != seeds[event.parent]]
    assert others, "no child copied a trial of the other seed; draw another generation"
    for event in others:
        losses = _two_losses(task, plan, event, seeds[event.child])
        np.testing.assert_allclose(evolved.curves[event.child, 3:5], losses, rtol=1e-5)
        parents = _two_losses(task, plan, event, seeds[event.parent])
        assert not np.allclose(losses, parents, rtol=1e-3)


def _two_losses(task, plan, event, seed):
    """Train the parent for a segment, then two steps with the child's setting."""
    start = jax.random.fold_in(plan.key, event.parent % 2)  # by its seed
    init_key, key = jax.random.split(start)
    params, state = training_of(task).start(init_key)
    trace = jax.tree.map(jnp.zeros_like, params)
    settings = {"learning_rate": RATES[event.parent // 2], "decay": 0.9}
    losses = []
    rows = np.concatenate([plan.batches(s)[0].rows for s in range(2)])
    for step in range(5):
        if step == 3:
            settings = event.new
            _, key = jax.random.split(jax.random.fold_in(plan.key, seed))
        batch = jax.tree.map(lambda a, r=rows[step]: jnp.asarray(a[r]), task.train)
        step_key = jax.random.fold_in(key, step)
        grad = jax.value_and_grad(training_of(task).loss, has_aux=True)
        (loss, state), grads = grad(params, state, batch, step_key)
        trace = jax.tree.map(
            lambda g, t, d=settings["decay"]: g + jnp.float32(d) * t, grads, trace
        )
        params = jax.tree.map(
            lambda p, t, r=settings["learning_rate"]: p - jnp.float32(r) * t,
            params,
            trace,
        )
        losses.append(loss)
    return losses[3:]


def test_trials_that_copy_nobody_are_those_of_a_sweep_without(task, evolved):
    plain = run(task, seeds=2, shuffle="sweep")
    children = {event.child for event in evolved.lineage.events}
    kept = [trial for trial in range(12) if trial not in children]
    assert len(kept) > 3
    for trial in kept:
        assert bitwise.row(evolved, trial) == bitwise.row(plain, trial)


@pytest.mark.slow("tests/sweep/test_population.py replays")
def test_a_replay_of_the_winner_is_the_winner():
    """Bit for bit, for this loss uses no key, so that it is no matter whose it is."""
    task = toy.task()
    result = run(task, population=population(resample_probability=0.0))
    grown = [trial for trial in range(6) if len(result.lineage.ancestors(trial)) > 1]
    assert grown
    for trial in {result.best.trial, *grown}:
        policy = result.lineage.policy(trial)
        again = [sweep.Trial.of(momentum, dict(policy[0][1]))]
        replay = sweep.run(task, again, population=sweep.Replay(policy), **SIZES)
        assert bitwise.model(replay, 0) == bitwise.model(result, trial)
        starts = [stretch.trial for stretch in result.lineage.ancestors(trial)]
        steps = [stretch.step for stretch in result.lineage.ancestors(trial)]
        for number, (start, step) in enumerate(zip(starts, steps, strict=True)):
            end = [*steps, 12][number + 1]
            np.testing.assert_array_equal(
                replay.curves[0, step:end], result.curves[start, step:end]
            )


def test_a_schedule_of_the_winner_trains_as_it_did():
    task = toy.task()
    result = run(task, population=population())
    trial = max(range(6), key=lambda t: len(result.lineage.ancestors(t)))
    rate = result.lineage.schedule(trial, "learning_rate")
    decay = result.lineage.schedule(trial, "decay")
    assert len({float(rate(step)) for step in range(12)}) > 1

    stretches = result.lineage.ancestors(trial)
    for stretch in stretches:
        assert float(rate(stretch.step)) == pytest.approx(
            stretch.setting["learning_rate"]
        )
        assert float(decay(stretch.step)) == pytest.approx(stretch.setting["decay"])


@pytest.mark.slow("schedules have tests of their own")
def test_a_learning_rates_schedule_is_an_ordinary_one():
    space = {"learning_rate": sweep.log_uniform(1e-3, 0.5)}
    task = toy.task()
    options = {"population": sweep.PopulationBasedTraining(space)}
    result = run(task, **options)
    best = result.best.trial
    for trial in {best, result.lineage.events[-1].child}:
        rate = result.lineage.schedule(trial, "learning_rate")
        once = sweep.Trial.of(lambda rate=rate: momentum(rate, 0.9), {})
        found = sweep.run(task, [once], **SIZES)
        chex.assert_trees_all_close(
            found.params(0), result.params(trial), rtol=1e-4, atol=1e-6
        )


@pytest.mark.slow("another interval is another number", but=1)
@pytest.mark.parametrize("interval", [1, 2])
def test_a_member_that_diverges_is_replaced_and_complete(task, interval):
    rates = [*RATES[:5], math.inf]
    options = {"population": population(perturbation_interval=interval)}
    result = run(task, rates, **options)
    first = next(e for e in result.lineage.events if e.child == 5)
    assert (first.segment, first.parent) != (0, 5)
    assert first.segment == interval - 1
    assert result.table["status"].tolist() == ["complete"] * 6
    assert result.table["steps"].tolist() == [12] * 6
    assert np.isfinite(result.table["valid_loss"]).all()
    gap = np.isnan(result.valid["loss"][5])
    assert gap.tolist() == [s < interval for s in range(4)]
    assert np.isfinite(result.settings()["valid_loss"]).all()


@pytest.mark.slow("tests/sweep/test_resume.py resumes sweeps")
@pytest.mark.parametrize("interval", [1, 2])
@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_population_goes_on_after_an_interrupt_as_if_there_was_none(
    task, tmp_path, interval, stop
):
    """Also one of which a member had diverged, and was not saved, and came back."""
    rates = [*RATES[:5], math.inf]
    options = {"population": population(perturbation_interval=interval)}
    whole = run(task, rates, **options)
    callbacks = [bitwise.interrupt_after(stop)]
    run(task, rates, **options, directory=tmp_path, callbacks=callbacks)
    result = sweep.resume(tmp_path, task, trials(rates))

    assert result.lineage == whole.lineage
    for trial in range(6):
        assert bitwise.row(result, trial) == bitwise.row(whole, trial)
        assert bitwise.model(result, trial) == bitwise.model(whole, trial)
    assert result.best == whole.best
    result.save(tmp_path / "files", keep=6)
    assert len(list((tmp_path / "files" / "best").iterdir())) == 6


def test_the_last_settings_are_in_the_table_and_its_space(evolved):
    last = evolved.lineage.last_settings()
    for name in SPACE:
        assert evolved.table[name].tolist() == [s[name] for s in last]
    assert "PopulationBasedTraining" in evolved.info["population"]
    assert evolved.info["segment_compiles"] == evolved.info["groups"] == 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"segments": 1}, "must be below the sweep's 1 segments, got 1"),
        ({"pruner": sweep.MedianPruner()}, "a pruner or a population, got both"),
    ],
)
def test_what_does_not_fit_a_population_is_refused(task, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        run(task, population=population(), **options)
