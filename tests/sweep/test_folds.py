"""Promises of cross-validation: folds are one more axis of the same program."""

import signal
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy
from compile_counts import compiled_anew
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

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


def classes(examples):
    """Three classes, of 60, 30 and 10 in 100."""
    return np.searchsorted([-0.5, 0.3], examples[0][:, 0] + 0.2 * examples[0][:, 1])


def people(examples):
    """The person that an example is from: some have many, most have few."""
    return (np.abs(examples[0][:, 1]) * 40).astype(int) // 3


def cut(folds, examples=None, seed=0):
    examples = toy.points(400) if examples is None else examples
    return folds.parts(examples, np.random.default_rng(seed))


def shares(parts, values):
    """How many examples of each value are in each part, int[parts, values]."""
    return np.stack([np.bincount(values[p], minlength=values.max() + 1) for p in parts])


@pytest.mark.parametrize("n", [2, 5, 7])
def test_a_stratified_part_has_each_class_to_one_example(n):
    values = classes(toy.points(400))
    parts = cut(sweep.Folds(n, stratify=classes))
    assert sorted(np.concatenate(parts)) == list(range(400))
    found = shares(parts, values)
    assert np.abs(found - found.mean(axis=0)).max() < 1
    assert np.ptp(found.sum(axis=1)) <= 1
    other = cut(sweep.Folds(n, stratify=classes), seed=1)
    assert [part.tolist() for part in parts] != [part.tolist() for part in other]


@pytest.mark.parametrize("stratify", [None, classes])
def test_no_group_is_in_two_parts_which_are_as_even_as_scikit_learns(stratify):
    examples = toy.points(400)
    groups, values = people(examples), classes(examples)
    ours, theirs = [], []
    for seed in range(5):
        parts = cut(sweep.Folds(4, stratify, people), seed=seed)
        assert sorted(np.concatenate(parts)) == list(range(400))
        assert (shares(parts, groups) > 0).sum(axis=0).max() == 1
        rule: Any = GroupKFold(4)
        if stratify:
            rule = StratifiedGroupKFold(4, shuffle=True, random_state=seed)
        other = [rows for _, rows in rule.split(groups, values, groups)]
        counted = values if stratify else np.zeros(400, int)
        for found, spreads in ((parts, ours), (other, theirs)):
            counts = shares(found, counted)
            spreads.append(np.std(counts / counts.sum(axis=0), axis=0).mean())
    assert np.mean(ours) <= np.mean(theirs)


def test_classes_and_groups_may_have_any_names():
    names = np.asarray(["b", "a", "b", "a", "a", "b"])
    parts = cut(sweep.Folds(3, stratify=lambda _: names), names)
    assert [sorted(names[part]) for part in parts] == [["a", "b"]] * 3
    parts = cut(sweep.Folds(2, groups=lambda _: names), names)
    assert sorted("".join(names[part]) for part in parts) == ["aaa", "bbb"]


def test_epochs_are_of_the_examples_beside_the_largest_part():
    """The steps fit the fold that trains on the fewest examples."""
    one_of_three = lambda examples: np.minimum(np.arange(126) // 63, 1)  # noqa: E731
    lopsided = lambda examples: np.repeat([0, 1, 2], [90, 20, 16])  # noqa: E731
    for groups, n, most in ((one_of_three, 2, 63), (lopsided, 3, 90)):
        folds = sweep.Folds(n, groups=groups)
        result = run(folds, steps=None, epochs=3, batch_size=16, segments=1)
        assert result.info["steps"] == 3 * ((126 - most) // 16)
        assert result.info["folds"] == n


def test_folds_of_classes_are_cut_once_and_train():
    asked = []

    def stratify(examples):
        asked.append(len(examples[1]))
        return examples[1]

    result = run(sweep.Folds(3, stratify=stratify), steps=None, epochs=1)
    assert asked == [126]
    assert result.table["fold"].tolist() == [0, 1, 2] * 2
    assert np.isfinite(result.table["valid_loss"]).all()


@pytest.mark.slow(
    "test_resume.py resumes; folds of classes are cut once in the quick run"
)
def test_folds_of_classes_are_resumed_bit_for_bit(tmp_path):
    def stop(now):
        signal.raise_signal(signal.SIGINT)

    named, task = sweep.Folds(3, classes, people), toy.task(source="toy:task")
    whole = run(named, task)
    run(named, task, directory=tmp_path / "a", callbacks=[stop])
    again = sweep.resume(tmp_path / "a", trust=True)
    assert again.info["resumed_after"] == 1
    chex.assert_trees_all_equal(again.curves, whole.curves)
    chex.assert_trees_all_equal(again.valid, whole.valid)

    unnamed = sweep.Folds(3, stratify=lambda examples: examples[1])
    run(unnamed, task, directory=tmp_path / "b", callbacks=[stop])
    with pytest.raises(ValueError, match=r"Folds\(n=3.* not importable .* folds,"):
        sweep.resume(tmp_path / "b", trust=True)
    with pytest.raises(ValueError, match="folds: they hold out other examples"):
        sweep.resume(tmp_path / "b", trust=True, folds=named)
    result = sweep.resume(tmp_path / "b", trust=True, folds=unnamed)
    assert (result.table["status"] == "complete").all()


@pytest.mark.parametrize(
    ("folds", "sentence"),
    [
        (
            lambda: sweep.Folds(5, stratify=lambda _: np.r_[np.zeros(122), [1] * 4]),
            r"stratify must give each class at least 5 examples.*got 4 of the class 1",
        ),
        (
            lambda: sweep.Folds(5, groups=lambda _: np.arange(126) % 4),
            r"groups must be at least 5, one a part, got 4",
        ),
        (
            lambda: sweep.Folds(5, groups=lambda _: np.arange(96)),
            r"groups must return one value an example, .*\(126,\), got \(96,\)",
        ),
        (
            lambda: sweep.Folds(5, stratify=lambda examples: examples[0]),
            r"stratify must return one value an example, .* got \(126, 2\)",
        ),
        (lambda: sweep.Folds(1), "Folds: n must be at least 2, got 1"),
    ],
)
def test_folds_that_cannot_be_cut_are_refused(folds, sentence):
    with pytest.raises(ValueError, match=sentence):
        run(folds())


def test_an_error_of_the_function_says_where():
    with pytest.raises(KeyError) as raised:
        run(sweep.Folds(3, stratify=lambda examples: {}["labels"]))
    assert "In stratify of the folds, on all 126 ex" in "".join(raised.value.__notes__)
