"""Promises of the sweep engine."""

import csv
import json
import signal
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import specs
import toy
from compile_counts import compiled_anew

import jopt
from jopt import sweep
from jopt.report._labels import number as as_text
from jopt.sweep._plan import Plan
from jopt.sweep._result import winner
from jopt.sweep._supervised import training_of
from jopt.sweep._trial import repeated, settings_of, stack
from jopt.sweep.engine import StackedTrials, chunked, means_over, pick, place

RATES = np.geomspace(1e-3, 0.3, 65).tolist()


def run(rates, task=None, factory=jopt.adamw, **options):
    trials = sweep.grid(factory, learning_rate=rates)
    options = {"steps": 12, "block": 8, "segments": 3, **options}
    return sweep.run(task or toy.task(), trials, **options)


@pytest.fixture(scope="module")
def whole():
    return run(RATES)


def rows(result):
    """Everything seen of each trial, in bytes, by learning rate and seed."""
    found = {}
    for number, trial in enumerate(result.trials):
        metrics = {
            n: c[number].tobytes() for n, c in result.table.items() if n != "trial"
        }
        arrays = jax.tree.leaves((result.params(number), result.model_state(number)))
        key = trial.hyperparameters["learning_rate"], trial.seed
        found[key] = metrics, result.curves[number].tobytes(), *map(bytes, arrays)
    return found


@pytest.mark.slow("tests/sweep/test_independence.py draws what is beside it", but=2)
@pytest.mark.parametrize(
    "rates",
    [
        RATES[:7],
        RATES[:64],
        RATES[::-1],
        [*RATES, 1e6],
        [*RATES[:20], 1e6, *RATES[20:]],
        [1e6, *RATES[:7]],
        RATES[40:41],
    ],
    ids=["7", "64", "backwards", "bad last", "bad inside", "bad first", "1"],
)
def test_a_trial_is_bitwise_the_same_whatever_is_beside_it(whole, rates):
    expected, found = rows(whole), rows(run(rates))
    shared = expected.keys() & found.keys()
    assert len(shared) == len(set(rates) - {1e6})
    assert all(found[key] == expected[key] for key in shared)


def test_a_trial_that_diverges_is_frozen_with_its_step():
    result = run([0.01, 1e6, 1e38], toy.task(), jopt.sgd)
    assert result.table["status"].tolist()[0] == "complete"
    assert result.table["status"].tolist()[2] == "diverged"
    step = int(result.table["steps"][2])
    assert 0 < step < 12
    losses = result.curves[2]
    assert np.isfinite(losses[:step]).all()
    assert not np.isfinite(losses[step])
    assert np.isnan(losses[step + 1 :]).all()
    assert np.isnan(result.table["valid_loss"][2])


def test_a_loss_above_the_tasks_limit_is_divergence():
    result = run([0.01, 1e3], toy.task(diverged_above=5.0), jopt.sgd)
    assert result.table["status"].tolist() == ["complete", "diverged"]
    step = int(result.table["steps"][1])
    assert result.curves[1, step] > 5
    assert (result.curves[1, :step] <= 5).all()


def test_diverged_trials_are_dropped_from_the_next_segment():
    seen = []
    rates = [0.01, 0.02, 0.03, *np.linspace(1e38, 2e38, 5)]
    run(rates, factory=jopt.sgd, block=2, progress=seen.append)
    blocks = [sum(now.segment == segment for now in seen) for segment in (1, 2, 3)]
    assert blocks == [4, 2, 2]
    assert [now.alive for now in seen][-1] == 3


def test_a_sweep_equals_plain_optax(whole):
    task, trial = toy.task(), 30
    plan = Plan(task, 16, 12, 3, jax.random.key(0))
    init_key, _ = jax.random.split(jax.random.fold_in(plan.key, 0))
    params, model_state = training_of(task).start(init_key)
    updated: Any = params
    tx = optax.adamw(RATES[trial])
    with jax.numpy_dtype_promotion("standard"):
        opt_state, losses = tx.init(updated), []
        for rows_ in np.concatenate([plan.batches(s)[0].rows for s in range(3)]):
            batch = jax.tree.map(
                lambda array, r=rows_: jnp.asarray(array[r]), task.train
            )
            loss = jax.value_and_grad(training_of(task).loss, has_aux=True)
            (value, model_state), grads = loss(updated, model_state, batch, None)
            updates, opt_state = tx.update(grads, opt_state, updated)
            updated = optax.apply_updates(updated, updates)
            losses.append(value)
    np.testing.assert_allclose(whole.curves[trial], losses, rtol=1e-4)
    np.testing.assert_allclose(
        whole.params(trial)["out"], updated["out"], rtol=1e-4, atol=1e-6
    )
    correct = training_of(task).values(updated, model_state, task.valid)
    np.testing.assert_allclose(
        whole.table["valid_loss"][trial], correct["loss"].mean(), rtol=1e-4
    )
    assert whole.model_state(trial)["seen"] == 12 * 16


def test_steps_that_segments_do_not_divide_are_made_exactly():
    whole, cut = (
        run(RATES[:3], steps=11, segments=1),
        run(RATES[:3], steps=11, segments=3),
    )
    assert cut.curves.shape == (3, 11)
    assert cut.valid_steps.tolist() == [4, 8, 11]
    np.testing.assert_allclose(whole.curves, cut.curves, rtol=1e-5)
    chex.assert_trees_all_close(whole.params(1), cut.params(1), rtol=1e-5)
    np.testing.assert_array_equal(cut.table["steps"], 11)


@pytest.mark.slow("other numbers of steps are cut alike", but=1)
@pytest.mark.parametrize(("steps", "segments"), [(1, 10), (11, 10), (7, 3), (200, 2)])
def test_any_number_of_steps_is_cut_into_segments(steps, segments):
    result = run(RATES[:2], steps=steps, segments=segments)
    assert result.curves.shape == (2, steps)
    assert np.isfinite(result.curves).all()
    assert result.valid_steps[-1] == steps
    assert len(result.valid_steps) <= segments
    assert np.isfinite(result.valid["loss"]).all()


def test_the_segment_is_compiled_once_however_many_are_left(caplog):
    with compiled_anew(), jax.log_compiles():
        result = run([*RATES[:20], 1e38], factory=jopt.sgd)
    compiled = [record for record in caplog.records if "jit(train)" in record.message]
    assert sum("Finished XLA compilation" in r.message for r in compiled) == 1
    assert result.info["segment_compiles"] == 1
    assert "diverged" in result.table["status"]


@pytest.mark.slow("tests/sweep/test_groups.py has groups")
def test_structures_are_groups_with_a_program_each():
    trials = sweep.grid(
        jopt.sgd, learning_rate=[0.1, 0.01], momentum=0.9, nesterov=[True, False]
    )
    result = sweep.run(toy.task(), trials, steps=6, block=2, segments=2)
    assert result.info["groups"] == result.info["segment_compiles"] == 2
    alone = sweep.run(toy.task(), trials[1:2], steps=6, block=2, segments=2)
    np.testing.assert_array_equal(result.curves[1], alone.curves[0])
    assert result.table["nesterov"].tolist() == [True, False, True, False]


def test_seeds_repeat_every_setting_with_other_keys():
    result = run(RATES[:2], seeds=3)
    assert result.table["seed"].tolist() == [0, 1, 2, 0, 1, 2]
    assert len({curve.tobytes() for curve in result.curves}) == 6
    settings = result.settings()
    losses = result.table["valid_loss"].astype(float).reshape(2, 3)
    np.testing.assert_allclose(settings["valid_loss"], losses.mean(axis=1))
    np.testing.assert_allclose(settings["valid_loss_std"], losses.std(axis=1, ddof=1))
    np.testing.assert_array_equal(settings["trials"], 3)
    np.testing.assert_array_equal(run(RATES[:2]).curves[1], result.curves[3])


def test_another_seed_is_another_start_and_order():
    curves = run(RATES[:1], seed=0).curves, run(RATES[:1], seed=1).curves
    assert not np.array_equal(*curves)


def test_a_key_may_be_given_for_the_seed():
    np.testing.assert_array_equal(
        run(RATES[:1], seed=3).curves, run(RATES[:1], seed=jax.random.key(3)).curves
    )


def test_every_epoch_shows_every_example_once_in_a_new_order():
    plan = Plan(toy.task(), 16, 12, 2, jax.random.key(0))  # 96 examples: 6 steps
    first, second = (np.asarray(plan.batches(s)[0].rows).ravel() for s in range(2))
    assert sorted(first) == sorted(second) == list(range(96))
    assert first.tolist() != second.tolist()


def test_the_test_set_is_seen_once_by_the_winner():
    test = toy.points(30, seed=2)
    result = run(RATES, toy.task(test=test))
    assert result.best is not None
    params = result.params(result.best.trial)
    correct = toy.evaluate(params, None, tuple(map(jnp.asarray, test)))
    np.testing.assert_allclose(
        result.best.test["accuracy"], correct["accuracy"].mean(), rtol=1e-6
    )
    assert result.best.trial == np.argmin(result.table["valid_loss"])


def test_the_winner_has_the_best_mean_over_its_seeds():
    result = run(RATES[::8], seeds=2)
    assert result.best is not None
    means = result.table["valid_loss"].reshape(-1, 2).mean(axis=1)
    assert result.best.trial // 2 == np.argmin(means)


def test_a_task_without_a_test_set_has_a_winner_all_the_same():
    best = run(RATES[:2], toy.task(test=None)).best
    assert best is not None
    assert best.test == {}


def test_nothing_wins_where_all_diverge():
    result = run([1e38, 2e38], factory=jopt.sgd)
    assert result.best is None


def test_a_trial_wins_even_where_every_setting_has_a_diverged_seed():
    trials = repeated(sweep.grid(jopt.sgd, learning_rate=[0.1, 0.2]), 2)
    settings, status = settings_of(trials), np.full(4, "complete")
    losses = np.asarray([np.nan, np.nan, np.nan, 0.5], np.float32)
    assert winner(settings, {"valid_loss": losses, "status": status}) == 3
    losses = np.full(4, np.nan, np.float32)
    assert winner(settings, {"valid_loss": losses, "status": status}) is None


def test_an_interrupt_keeps_what_was_trained():
    seen = []

    def interrupt(now):
        seen.append(now)
        if [past.segment for past in seen].count(2) == 1 and now.segment == 2:
            signal.raise_signal(signal.SIGINT)

    result = run(RATES[:15], progress=interrupt, block=5)
    assert result.info["interrupted"]
    assert result.table["status"].tolist() == ["interrupted"] * 15
    assert result.table["steps"].tolist() == [8] * 15  # the segment was finished
    assert np.isfinite(result.table["valid_loss"]).all()


def test_counters_have_no_trial_axis_and_branches_stay_branches():
    trials = sweep.grid(
        lambda learning_rate: jopt.chain(
            jopt.adamw(jopt.linear_schedule(learning_rate, 0.0, 10)), _EveryOther()
        ),
        learning_rate=RATES[:4],
    )
    stacked, batches = stacked_trials(trials)
    own, shared = jax.eval_shape(stacked.start, stacked.configs, stacked.starts)
    # Adam's count, the schedule's, the branch's, the steps taken and those skipped.
    assert len(shared) == 5
    assert all(leaf.shape == () for leaf in shared)
    program = str(
        jax.make_jaxpr(stacked.train)(
            own, shared, stacked.data.fixed, stacked.data.train, batches
        )
    )
    assert "cond[" in program


def test_counters_that_differ_by_trial_get_an_axis():
    tx = optax.apply_if_finite(optax.scale(-1.0), max_consecutive_errors=9)

    def factory(learning_rate):
        return jopt.chain(jopt.scale(learning_rate), tx)

    with jax.numpy_dtype_promotion("standard"):
        stacked, _ = stacked_trials(sweep.grid(factory, learning_rate=[0.1, 0.2]))
        _, shared = jax.eval_shape(stacked.start, stacked.configs, stacked.starts)
    assert len(shared) == 2  # the steps taken, and those skipped


def stacked_trials(trials):
    task = toy.task()
    plan = Plan(task, 16, 12, 3, jax.random.key(0))
    batches = plan.batches(0)[0]
    configs = stack([trial.config for trial in trials])
    return StackedTrials(
        task, configs, plan.starts(trials), plan.data(), batches
    ), batches


@jopt.pytree
class _EveryOther(jopt.GradientTransformation):
    """Let every other update through, by a branch on a counter."""

    def init(self, params):
        return jopt.ScaleByScheduleState(jnp.zeros((), jnp.int32))

    def update(self, updates, state, params=None, **extra):
        zero = jax.tree.map(jnp.zeros_like, updates)
        updates = jax.lax.cond(state.count % 2 == 0, lambda: updates, lambda: zero)
        return updates, jopt.ScaleByScheduleState(state.count + 1)


@pytest.mark.slow("a smaller sweep is timed in the quick run", but=1)
@pytest.mark.parametrize("trials", [1, 5, 65])
def test_the_block_is_picked_by_timing(trials):
    stacked, batches = stacked_trials(
        sweep.grid(jopt.sgd, learning_rate=RATES[:trials])
    )
    program, search = pick(stacked, batches, steps=10**9)  # worth any compile
    seconds = search["expected_train_seconds"]
    assert len(seconds) > 1 or trials == 1
    assert program.block == int(min(seconds, key=seconds.get).partition(",")[0])
    assert 1 <= program.block <= trials


def test_a_block_is_not_looked_for_where_that_costs_more_than_it_saves():
    stacked, batches = stacked_trials(sweep.grid(jopt.sgd, learning_rate=RATES))
    _, search = pick(stacked, batches, steps=1)
    assert list(search["expected_train_seconds"]) == ["4"]


def test_chunks_count_every_example_once():
    data = np.arange(600.0, dtype=np.float32)
    valid: Any = place(data, [data]).valid
    assert valid.counted.shape == (3, 200)
    parts = chunked(data, (2, 129))
    assert [int(part.counted.sum()) for part in parts] == [258, 258, 84]
    values = lambda batch, number: {"loss": batch}  # noqa: E731
    means = [means_over(values, part)["loss"] for part in parts]
    np.testing.assert_allclose(means, [128.5, 386.5, 557.5], rtol=1e-6)


def test_the_table_goes_to_pandas(whole):
    frame = whole.to_pandas()
    assert len(frame) == 65
    assert list(frame.columns) == list(whole.table)


def test_files_hold_the_table_the_curves_and_the_winner(whole, tmp_path):
    names = {path.name for path in whole.save(tmp_path / "new")}
    assert names == {
        "trials.csv",
        "curves.npz",
        "sweep.json",
        "best.json",
        "learning_rate.png",
        "curves.png",
        "report.html",
    }
    with (tmp_path / "new" / "trials.csv").open() as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == [
        "trial",
        "learning_rate",
        "seed",
        "status",
        "steps",
        "train_loss",
        "valid_loss",
        "valid_accuracy",
    ]
    losses = np.asarray([row["valid_loss"] for row in table], np.float32)
    np.testing.assert_array_equal(losses, whole.table["valid_loss"])
    with np.load(tmp_path / "new" / "curves.npz") as curves:
        np.testing.assert_array_equal(curves["train_loss"], whole.curves)
    info = json.loads((tmp_path / "new" / "sweep.json").read_text())
    assert info["segment_compiles"] == 1
    assert info["space"] == {"learning_rate": RATES}
    best = json.loads((tmp_path / "new" / "best.json").read_text())
    assert best["hyperparameters"]["learning_rate"] in RATES
    assert set(best["test"]) == {"loss", "accuracy"}


def test_a_figure_shows_the_response_and_the_curves(whole):
    response, curves = whole.plot().hconcat
    assert {held["scale"]["type"] for held in specs.encodings(response, "x")} == {"log"}
    assert specs.title(response, "x") == "learning_rate"
    assert [row["row"] for row in specs.rows(curves, "shade")] == [*range(len(RATES))]


def test_a_figure_marks_where_divergence_begins():
    result = run([0.1, 1e37, 1e38], factory=jopt.sgd)
    texts = [row["text"] for row in specs.rows(result.plot(), "text")]
    first = result.table["learning_rate"][result.table["status"] == "diverged"].min()
    assert f"divergence from {as_text(first)}" in texts


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"steps": 0}, "steps of at least 1, got 0"),
        ({"steps": None, "epochs": -1}, "epochs of at least 1, got -1"),
        ({"block": 0}, "block of at least 1, got 0"),
        ({"segments": 0}, "segments of at least 1, got 0"),
        ({"seeds": 0}, "seeds of at least 1, got 0"),
        (
            {"batch_size": 97},
            "between 1 and the 96 training examples of points, got 97",
        ),
        ({"batch_size": 0}, "between 1 and the 96 training examples of points, got 0"),
        ({"seed": jax.random.key(0, impl="rbg")}, "bits differ by trial, got rbg"),
    ],
)
def test_an_option_out_of_range_is_named(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        run(RATES[:1], **options)


def test_no_trials_are_refused():
    with pytest.raises(ValueError, match="at least one trial, got none"):
        sweep.run(toy.task(), [])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"init": lambda key: ({}, {})}, "the model has no parameters, got"),
        ({"loss": lambda p, s, b, k: (p["out"], s)}, "must return a real scalar"),
        (
            {"evaluate": lambda p, s, b: {"accuracy": b[1]}},
            "the metric 'loss' must be among .*, got accuracy",
        ),
        (
            {"evaluate": lambda p, s, b: {"loss": b[0].mean()}},
            "a dict of one value an example by name",
        ),
        (
            {"valid": (np.zeros((3, 2)), np.zeros(2))},
            "the arrays of valid must have one",
        ),
        (
            {"train": (np.zeros((0, 2)), np.zeros(0))},
            "the arrays of train must have one",
        ),
    ],
)
def test_a_task_that_does_not_fit_is_refused(changes, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence):
        run(RATES[:1], toy.task(**changes))


def test_grid_names_what_a_factory_does_not_take():
    sentence = r"adamw has no hyperparameter lr.*; it has learning_rate, b1"
    with pytest.raises(ValueError, match=sentence):
        sweep.grid(jopt.adamw, lr=[0.1])
    with pytest.raises(ValueError, match=r"did you mean weight_decay\?"):
        sweep.grid(jopt.adamw, learning_rate=0.1, weight_decays=[0.1])
    with pytest.raises(ValueError, match="adamw needs a value for learning_rate"):
        sweep.grid(jopt.adamw, b1=[0.9])
    with pytest.raises(ValueError, match="learning_rate has no values"):
        sweep.grid(jopt.adamw, learning_rate=[])


def test_grid_names_the_trial_that_a_factory_refuses():
    with pytest.raises(ValueError, match=r"b1 must be below 1, got 1\.0") as raised:
        sweep.grid(jopt.adamw, learning_rate=0.1, b1=[0.9, 1.0])
    assert raised.value.__notes__ == ["In the trial with learning_rate=0.1, b1=1.0."]


def test_grid_is_every_combination():
    trials = sweep.grid(jopt.adamw, learning_rate=np.asarray([0.1, 0.2]), b1=[0.8, 0.9])
    settings = [tuple(trial.hyperparameters.values()) for trial in trials]
    assert settings == [(0.1, 0.8), (0.1, 0.9), (0.2, 0.8), (0.2, 0.9)]


@pytest.mark.slow("every sweep calls a factory")
def test_any_callable_can_be_swept():
    def factory(peak, warmup):
        return jopt.adamw(jopt.warmup_cosine_decay_schedule(0.0, peak, warmup, 12))

    trials = sweep.grid(factory, peak=[0.01, 0.1], warmup=[2, 4])
    result = sweep.run(toy.task(), trials, steps=12, block=4, segments=1)
    assert result.info["segment_compiles"] == 1
    assert len({curve.tobytes() for curve in result.curves}) == 4
