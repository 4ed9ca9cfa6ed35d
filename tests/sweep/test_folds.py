"""Promises of cross-validation: folds are one more axis of the same program."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy
from compile_counts import compiled_anew

import jopt
from jopt import sweep
from jopt.sweep._plan import Plan
from jopt.sweep._supervised import training_of
from jopt.sweep._task import examples

RATES = [0.01, 0.1]
FOLDS = 3  # of 96 + 30 examples: 42 each


def run(folds, task=None, **options) -> Any:
    trials = sweep.grid(jopt.adamw, learning_rate=RATES)
    sizes: dict[str, Any] = {"steps": 10, "segments": 2, "block": 4, "folds": folds}
    return sweep.run(task or toy.task(), trials, **{**sizes, **options})


def plan(folds, batch_size=16):
    return Plan(toy.task(), batch_size, 10, 2, jax.random.key(0), folds)


@pytest.fixture(scope="module")
def folded():
    return run(FOLDS)


@pytest.mark.parametrize("folds", [2, 3, 5, 126])
def test_each_example_is_held_out_once(folds):
    parts = plan(folds, 1).held_out
    assert sorted(np.concatenate(parts)) == list(range(126))
    assert len(parts) == folds
    assert np.ptp(list(map(len, parts))) <= 1
    together = plan(folds, 1).examples[0]
    np.testing.assert_array_equal(together[:96], toy.task().train[0])
    np.testing.assert_array_equal(together[96:], toy.task().valid[0])


def test_a_fold_is_no_run_of_the_examples():
    for part in plan(FOLDS).held_out:
        assert 1 <= np.sum(part >= 96) < 30
        assert len(set(np.diff(part))) > 1


def test_no_batch_has_an_example_that_is_held_out():
    cut = plan(FOLDS)
    rows = np.concatenate([cut.batches(s)[0].rows for s in range(2)], axis=1)
    assert rows.shape == (FOLDS, 10, 16)
    for held_out, of_fold in zip(cut.held_out, rows, strict=True):
        assert not np.isin(of_fold, held_out).any()
        epoch = of_fold[: (126 - 42) // 16].ravel()
        assert len(set(epoch.tolist())) == len(epoch)


def by_hand(cut, fold, rate):
    """A fold's training in a Python loop, with optax; its losses on both sets."""
    data, task = cut.examples, toy.task()
    init_key, _ = jax.random.split(jax.random.fold_in(cut.key, 0))
    params, state = training_of(task).start(init_key)
    tx, losses = optax.adamw(rate), []
    step = jax.jit(jax.value_and_grad(training_of(task).loss, has_aux=True))
    with jax.numpy_dtype_promotion("standard"):
        opt_state = tx.init(params)
        for segment in range(2):
            for rows in np.asarray(cut.batches(segment)[0].rows)[fold]:
                batch = jax.tree.map(lambda a, r=rows: jnp.asarray(a[r]), data)
                (loss, state), grads = step(params, state, batch, None)
                updates, opt_state = tx.update(grads, opt_state, params)
                params = optax.apply_updates(params, updates)
                losses.append(loss)
    held_out = jax.tree.map(lambda a: jnp.asarray(a[cut.held_out[fold]]), data)
    return losses, toy.evaluate(params, state, held_out)["loss"].mean()


@pytest.mark.slow("other folds are trained alike", but=1)
@pytest.mark.parametrize("fold", range(FOLDS))
def test_a_fold_equals_optax_on_its_examples(folded, fold):
    trial = FOLDS + fold  # of the second rate
    losses, valid = by_hand(plan(FOLDS), fold, RATES[1])

    np.testing.assert_allclose(folded.curves[trial], losses, rtol=1e-4)
    np.testing.assert_allclose(folded.table["valid_loss"][trial], valid, rtol=1e-4)


@pytest.mark.slow("a fold is compared with optax in the quick run")
def test_a_fold_equals_a_task_of_its_examples():
    """With all examples in a batch, for then their order is no matter."""
    cut = plan(FOLDS)
    folded = run(FOLDS, batch_size=84)
    for fold, held_out in enumerate(cut.held_out):
        kept = np.setdiff1d(np.arange(126), held_out)
        train, valid = (
            jax.tree.map(lambda a, r=rows: a[r], cut.examples)
            for rows in (kept, held_out)
        )
        alone = run(1, toy.task(train=train, valid=valid), batch_size=84)
        of_fold = folded.table["fold"] == fold
        for name in ("train_loss", "valid_loss", "valid_accuracy"):
            np.testing.assert_allclose(
                folded.table[name][of_fold], alone.table[name], rtol=1e-4
            )


def test_folds_are_one_more_axis_of_one_program(caplog):
    with compiled_anew(), jax.log_compiles():
        result = run(4, steps=8)
    said = [record.message for record in caplog.records]
    compiled = [s for s in said if "Finished XLA compilation of jit(train)" in s]
    assert len(compiled) == result.info["segment_compiles"] == 1
    assert result.info["groups"] == 1
    assert result.info["folds"] == 4
    assert result.table["fold"].tolist() == [0, 1, 2, 3] * 2
    assert result.table["learning_rate"].tolist() == sorted(RATES * 4)


def test_folds_of_unlike_sizes_count_their_own_examples():
    sizes = [len(part) for part in plan(4).held_out]
    assert sorted(set(sizes)) == [31, 32]

    def count(params, model_state, batch):
        return {"loss": batch[0][:, 0]}

    result = run(4, toy.task(evaluate=count))
    inputs = plan(4).examples[0][:, 0]
    expected = [inputs[part].mean() for part in plan(4).held_out]
    np.testing.assert_allclose(
        result.table["valid_loss"], expected * 2, rtol=1e-5, atol=1e-6
    )


def test_settings_have_the_mean_and_the_spread_of_their_folds(folded):
    settings = folded.settings()
    assert settings["trials"].tolist() == [FOLDS, FOLDS]
    assert settings["learning_rate"].tolist() == RATES
    for name in ("train_loss", "valid_loss", "valid_accuracy"):
        values = folded.table[name].astype(float).reshape(2, FOLDS)
        np.testing.assert_allclose(settings[name], values.mean(axis=1))
        np.testing.assert_allclose(settings[f"{name}_std"], values.std(axis=1, ddof=1))
        np.testing.assert_allclose(settings[f"{name}_max"], values.max(axis=1))
    assert len(set(folded.table["valid_loss"].tolist())) == 2 * FOLDS


def test_the_setting_with_the_best_mean_over_its_folds_wins(folded):
    means = folded.table["valid_loss"].reshape(2, FOLDS).mean(axis=1)
    assert folded.best.trial // FOLDS == np.argmin(means)
    assert folded.best.fold == folded.table["fold"][folded.best.trial]
    assert set(folded.best.test) == {"loss", "accuracy"}


def test_folds_of_a_seed_begin_with_the_same_parameters():
    trials = sweep.grid(jopt.sgd, learning_rate=0.0)  # where they begin, they stay
    result = sweep.run(toy.task(), trials, steps=2, block=4, seeds=2, folds=2)
    assert result.table["fold"].tolist() == [0, 1, 0, 1]
    assert result.table["seed"].tolist() == [0, 0, 1, 1]
    outs = [result.params(trial)["out"].tobytes() for trial in range(4)]
    assert outs[0] == outs[1] != outs[2] == outs[3]
    assert len({curve.tobytes() for curve in result.curves}) == 4


def test_one_fold_is_the_tasks_own_validation_set():
    one = run(1)
    assert "fold" not in one.table
    assert one.info["folds"] == 1
    model = jax.tree.map(jnp.asarray, one.params(0))
    valid = jax.tree.map(jnp.asarray, toy.task().valid)
    expected = toy.evaluate(model, None, valid)["loss"].mean()
    np.testing.assert_allclose(one.table["valid_loss"][0], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("folds", "options", "sentence"),
    [
        (0, {}, "folds of at least 1, got 0"),
        (-1, {}, "folds of at least 1, got -1"),
        (127, {}, "folds of at most the 126 examples of points, got 127"),
        (3, {"batch_size": 85}, "between 1 and the 84 training examples.*got 85"),
    ],
)
def test_folds_out_of_range_are_refused(folds, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        run(folds, **options)


@pytest.mark.slow("fewer folds are in the quick run")
def test_each_example_may_be_a_fold_of_its_own():
    task = toy.task(train=toy.points(9), valid=toy.points(3, seed=1))
    result = run(12, task, batch_size=4, steps=2, segments=1)
    assert len(result.curves) == 24
    assert examples(task.train) == 9
    assert np.isfinite(result.table["valid_loss"]).all()


def test_a_population_has_no_folds():
    population = sweep.PopulationBasedTraining(
        {"learning_rate": sweep.log_uniform(1e-3, 1)}
    )
    with pytest.raises(ValueError, match=r"A population cannot have folds: .* got 3"):
        run(3, population=population)
