"""`fit` trains by epochs, keeps the best state, and goes on after a kill."""

import dataclasses
import multiprocessing
import os
import pty
import signal
import subprocess
import sys
import textwrap
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from classifiers import BATCH, KINDS, LinenModel, cross_entropy, plain_loss, plain_model
from comparison import key_data, stack
from fits import BATCHES, STEP, created, evaluate, kept
from flax.training import early_stopping as flax_early_stopping

import jopt
from jopt.training import EarlyStopping, TrainState, fit, train_step, train_steps


def scripted(*values):
    """An evaluation that returns these values, one an epoch."""
    left = iter([values[0], *values])  # the first call is the check before training
    return lambda state: {"score": next(left)}


def numbers(state):
    return jax.tree.map(np.array, key_data(jax.tree.leaves(state.by_leaf())))


def assert_same(ours, theirs):
    """Assert that two results are the same, bit for bit."""
    chex.assert_trees_all_equal(numbers(ours.state), numbers(theirs.state))
    chex.assert_trees_all_equal(numbers(ours.best), numbers(theirs.best))
    chex.assert_trees_all_equal(ours.history, theirs.history)


def test_it_is_the_loop_that_a_user_writes():
    state, losses, valid = created(), [], []
    for _ in range(3):
        epoch = []
        for batch in BATCHES:
            state, metrics = STEP(state, batch)
            epoch.append(float(metrics.loss))
        losses.append(np.mean(epoch))
        valid.append(float(evaluate(state)["loss"]))

    found = fit(created(), STEP, BATCHES, epochs=3, evaluate=evaluate)

    chex.assert_trees_all_equal(numbers(found.state), numbers(state))
    assert list(found.history) == ["train_loss", "valid_loss"]
    np.testing.assert_allclose(found.history["train_loss"], losses, rtol=1e-6)
    np.testing.assert_array_equal(found.history["valid_loss"], valid)


@pytest.mark.parametrize(
    ("mode", "values", "epoch"),
    [
        ("min", [3.0, 1.0, 2.0, 1.0], 2),
        ("max", [1.0, 3.0, 2.0, 3.0], 2),
        ("min", [np.nan, -np.inf, 2.0, np.inf], 3),
        ("max", [np.inf, 1.0, np.nan, 2.0], 4),
    ],
)
def test_the_best_state_is_that_of_the_first_best_finite_epoch(mode, values, epoch):
    options: dict[str, Any] = {"metric": "score", "mode": mode}
    found = fit(
        created(), STEP, BATCHES, epochs=4, evaluate=scripted(*values), **options
    )
    until = fit(created(), STEP, BATCHES, epochs=epoch)
    chex.assert_trees_all_equal(numbers(found.best), numbers(until.state))


def test_there_is_no_best_state_if_the_metric_was_never_finite():
    never = scripted(np.nan, np.nan)
    found = fit(created(), STEP, BATCHES, epochs=2, evaluate=never, metric="score")
    assert found.best is None


def test_without_an_evaluation_the_metrics_of_the_step_rank():
    def loss(params, batch, key):
        value = plain_loss(params, batch, key)
        return value, {"count": jnp.asarray(len(batch[1])), "negative": -value}

    step = train_step(loss, has_aux=True)
    found = fit(created(), step, BATCHES, epochs=3, metric="negative", mode="max")

    assert set(found.history) == {"train_loss", "train_count", "train_negative"}
    np.testing.assert_array_equal(found.history["train_count"], 4)
    assert found.best is not None
    best = np.argmax(found.history["train_negative"]) + 1
    assert int(found.best.step) == 4 * best


def test_means_leave_out_the_steps_that_were_skipped():
    bad = (BATCH[0] * np.nan, BATCH[1])
    found = fit(created(), STEP, [BATCH, bad], epochs=1)
    first = STEP(created(), BATCH)[1].loss
    np.testing.assert_array_equal(found.history["train_loss"], [first])
    assert int(found.state.skipped) == 1

    found = fit(created(), STEP, [bad], epochs=1)
    assert np.isnan(found.history["train_loss"]).all()
    assert found.best is None


def test_many_steps_a_call_are_counted_each():
    pairs = [stack(BATCHES[:2]), stack(BATCHES[2:])]
    found = fit(created(), train_steps(plain_loss), pairs, epochs=2)
    each = fit(created(), STEP, BATCHES, epochs=2)
    for name, values in each.history.items():
        np.testing.assert_allclose(found.history[name], values, rtol=1e-6)


def test_an_epoch_waits_for_the_device_once(monkeypatch):
    waits = []
    get = jax.device_get
    monkeypatch.setattr(jax, "device_get", lambda x: waits.append(1) or get(x))
    fit(created(), STEP, BATCHES, epochs=2)
    assert waits == [1, 1]


def test_batches_may_be_a_function_of_the_epoch():
    asked = []

    def batches(epoch):
        asked.append(epoch)
        return iter(BATCHES)

    found = fit(created(), STEP, batches, epochs=3)
    assert asked == [0, 1, 2]
    np.testing.assert_array_equal(
        found.history["train_loss"],
        fit(created(), STEP, BATCHES, epochs=3).history["train_loss"],
    )


def test_early_stopping_ends_training():
    values = scripted(3.0, 2.0, 2.5, 2.5, 1.0)
    early = EarlyStopping(patience=1)
    found = fit(
        created(),
        STEP,
        BATCHES,
        epochs=9,
        evaluate=values,
        metric="score",
        early_stopping=early,
    )
    np.testing.assert_array_equal(found.history["valid_score"], [3, 2, 2.5, 2.5])
    assert found.best is not None
    assert int(found.best.step) == 8


def linen_evaluation(state):
    logits = LinenModel().apply(state.eval_model, BATCH[0], False)
    return {"loss": cross_entropy(logits, BATCH[1])}


def nnx_evaluation(state):
    return {"loss": cross_entropy(state.eval_model(BATCH[0]), BATCH[1])}


@pytest.mark.slow("a run of linen is kept by the same lines", but=1)
@pytest.mark.parametrize(
    ("kind", "valid"), [("nnx", nnx_evaluation), ("linen", linen_evaluation)]
)
def test_a_run_goes_on_where_its_checkpoint_ends(kind, valid, tmp_path):
    model, loss = KINDS[kind]
    step = train_step(loss)
    options: dict[str, Any] = {"evaluate": valid}

    for epochs in (2, 4):
        found = fit(
            created(model=model),
            step,
            BATCHES,
            epochs=epochs,
            checkpoint=tmp_path / "run",
            **options,
        )
    whole = fit(created(model=model), step, BATCHES, epochs=4, **options)

    assert_same(found, whole)


def test_the_last_and_the_best_epoch_are_kept_and_read_back(tmp_path):
    options: dict[str, Any] = {"metric": "score", "checkpoint": tmp_path}
    scores = [5.0, 2.0, 4.0, 3.0]

    first = fit(
        created(), STEP, BATCHES, epochs=4, evaluate=scripted(*scores), **options
    )
    again = fit(created(0.5), STEP, [], epochs=3, evaluate=scripted(9.0), **options)

    assert {path.name for path in tmp_path.iterdir()} == {"2", "4"}
    assert_same(again, first)


def test_early_stopping_is_resumed_too(tmp_path):
    scores = [3.0, 2.0, 2.5, 2.5, 1.0]
    options: dict[str, Any] = {"metric": "score", "checkpoint": tmp_path}
    options["early_stopping"] = EarlyStopping(patience=1)
    fit(created(), STEP, BATCHES, epochs=3, evaluate=scripted(*scores), **options)
    # A resume has no call before training.
    left = iter(scores[3:])
    options["evaluate"] = lambda state: {"score": next(left)}
    found = fit(created(), STEP, BATCHES, epochs=9, **options)
    assert len(found.history["valid_score"]) == 4


@pytest.mark.slow("runs that were not killed are resumed in the quick run")
def test_a_run_that_was_killed_ends_as_one_that_was_not(tmp_path):
    processes = multiprocessing.get_context("spawn")
    for epoch in (2, 4):
        process = processes.Process(target=kept, args=(tmp_path / "run", epoch))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    assert (tmp_path / "run" / "4").exists()

    assert_same(kept(tmp_path / "run"), kept(tmp_path / "whole"))


@pytest.mark.slow("two processes load JAX to print one line")
def test_a_terminal_shows_a_bar_and_a_pipe_shows_nothing():
    script = textwrap.dedent("""
        from fits import *
        fit(created(), STEP, BATCHES, epochs=2)
    """)
    run = [sys.executable, "-c", script]
    paths = os.pathsep.join(sys.path)
    environment = {**os.environ, "PYTHONPATH": paths, "TERM": "xterm-256color"}
    shown, child = pty.openpty()
    subprocess.run(run, stdout=child, env=environment, check=True)
    os.close(child)
    assert b"epoch 2/2" in os.read(shown, 65536)
    os.close(shown)
    done = subprocess.run(run, capture_output=True, env=environment, check=True)
    assert done.stdout == b""


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"epochs": 0}, ValueError, "fit: epochs must be a whole number of at least 1"),
        ({"batches": []}, ValueError, "at least one batch an epoch, got none in epoch"),
        ({"batches": iter(BATCHES)}, ValueError, "got list_iterator, which ends with"),
        ({"metric": "f1"}, ValueError, "what evaluate returns, loss, got 'f1'"),
        ({"metric": "los"}, ValueError, r"\(did you mean loss\?\)"),
        (
            {"evaluate": None, "metric": "f1"},
            ValueError,
            "what the step returns, loss, got 'f1'",
        ),
        (
            {"mode": "max", "early_stopping": EarlyStopping()},
            ValueError,
            "must have the mode of the metric, 'max', got 'min'",
        ),
        ({"mode": "best"}, ValueError, "mode must be one of min, max"),
        (
            {"evaluate": lambda state: {"loss": np.zeros(3)}},
            TypeError,
            r"got the shape \[3\] for loss; take the mean",
        ),
        ({"evaluate": lambda state: 1.0}, TypeError, "return numbers by name, got 1.0"),
        ({"step": lambda s, b: (s, 1.0)}, TypeError, "a dict of scalars by name"),
        ({"state": {}}, TypeError, "state must be a jopt.TrainState"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_sentence(options, error, sentence):
    given: dict[str, Any] = {
        "state": created(),
        "step": STEP,
        "batches": BATCHES,
        "epochs": 1,
        "evaluate": evaluate,
    }
    with pytest.raises(error, match=sentence):
        fit(**{**given, **options})


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    fit(created(), STEP, BATCHES, epochs=1, checkpoint=tmp_path)
    runs: list[tuple[Any, dict[str, Any], str]]
    wide = TrainState.create({"w": jnp.ones((4, 3)), "b": jnp.zeros(3)}, jopt.adam(0.1))
    sgd = TrainState.create(plain_model(), jopt.sgd(0.1), 3)
    runs = [
        (wide, {}, r"state\.packed\['b'\] must be float32\[2\], as in .* float32\[3\]"),
        (sgd, {}, r"state\.opt_state.* must be .*, as in the checkpoint .* is missing"),
        (created(), {"mode": "max"}, "mode must be min, as in the checkpoint"),
        (created(), {"evaluate": evaluate}, "metric must be train_loss, as in the"),
    ]
    for state, options, sentence in runs:
        with pytest.raises(ValueError, match=f"^fit: {sentence}"):
            fit(state, STEP, BATCHES, epochs=2, checkpoint=tmp_path, **options)


VALUES = [4.0, 3.0, 2.95, 2.9, 3.5, 2.0, 2.0, 2.0, 1.0]


@pytest.mark.parametrize(
    ("patience", "delta"), [(0, 0.0), (0, 0.25), (2, 0.0), (2, 0.25)]
)
def test_early_stopping_is_flaxs(patience, delta):
    ours = EarlyStopping(min_delta=delta, patience=patience)
    theirs = flax_early_stopping.EarlyStopping(min_delta=delta, patience=patience)
    names = ("best_metric", "patience_count", "should_stop", "has_improved")
    highest = EarlyStopping(min_delta=delta, patience=patience, mode="max")
    for value in VALUES:
        ours, theirs = ours.update(value), theirs.update(value)
        highest = highest.update(-value)
        for name in names:
            np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name))
        for name in names[1:]:
            assert getattr(highest, name) == getattr(ours, name)
    chex.assert_trees_all_equal(ours.reset(), EarlyStopping(delta, patience))


def test_early_stopping_is_a_pytree():
    values = jnp.asarray(VALUES)
    eager = EarlyStopping(patience=2)
    for value in VALUES:
        eager = eager.update(value)

    @jax.vmap
    def scanned(patience):
        early = EarlyStopping(patience=patience)
        early = jax.lax.scan(lambda e, x: (e.update(x), None), early, values)[0]
        return early

    found = scanned(jnp.asarray([2.0, 100.0]))
    assert found.should_stop.tolist() == [bool(eager.should_stop), False]
    np.testing.assert_array_equal(found.best_metric, 1.0)


def test_a_value_that_is_not_finite_never_improves():
    early = EarlyStopping(patience=1)
    for value in (np.nan, np.inf, 1.0, np.nan, -np.inf):
        early = early.update(value)
    assert float(early.best_metric) == 1
    assert early.should_stop


@pytest.mark.parametrize("field", ["patience", "min_delta"])
def test_early_stopping_refuses_numbers_below_zero(field):
    sentence = f"EarlyStopping: {field} must be at least 0, got -1"
    with pytest.raises(ValueError, match=sentence):
        dataclasses.replace(EarlyStopping(), **{field: -1})
