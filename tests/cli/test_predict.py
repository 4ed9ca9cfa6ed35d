"""A sweep's winner predicts on new examples, by the command and in Python."""

import argparse
import shutil
import sys
import textwrap
import time
from types import SimpleNamespace
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
import toy

import jopt
from jopt import sweep
from jopt.cli import main, predict
from jopt.sweep import Task, _predictions, named_batch

FILE = """
import jax, jax.numpy as jnp, toy

def answer(model, batch):
    inputs, labels = batch  # no labels with new examples
    hidden = jnp.tanh(inputs @ model.params["hidden"])
    return jax.nn.softmax(hidden @ model.params["out"])

def score(probabilities, batch):
    return {"accuracy": probabilities.argmax(axis=1) == batch[1]}

def task(width=5):
    def init(key):
        params, model_state = toy.init(key)
        hidden = jax.random.normal(key, (2, width))
        out = jnp.resize(params["out"], (width, 2))
        return {"hidden": hidden, "out": out}, model_state

    return toy.task(init=init, predict=answer, score=score)
"""
INPUTS = toy.points(20, seed=7)[0]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A sweep of two structures, by the command, and the file of its task."""
    folder = tmp_path_factory.mktemp("predict")
    file, directory = folder / "predicted.py", folder / "sweep"
    file.write_text(textwrap.dedent(FILE))
    arguments = ["--set", "width=3,5", "--learning-rate", "0.1,0.3", "--block", "2"]
    arguments += ["--steps", "6", "--segments", "2", "--out", str(directory)]
    with pytest.MonkeyPatch.context() as patch:
        for name in ("altair", "vl_convert"):  # no pictures: they are slow to load
            patch.setitem(sys.modules, name, cast(Any, None))
        assert main(["sweep", f"{file}:task", *arguments]) == 0
    task = sys.modules["predicted"].task  # the command has imported it
    return SimpleNamespace(file=file, directory=directory, task=task)


@pytest.fixture
def winner(saved):
    """The result, with the winner's task and its model."""
    best = sweep.load(saved.directory).best
    assert best is not None
    return sweep.load(saved.directory, task=saved.task(best.hyperparameters["width"]))


def probabilities(directory, inputs):
    """The winner's, from the checkpoint alone."""
    params = ocp.StandardCheckpointer().restore(directory / "best" / "1")["params"]
    hidden, out = (np.asarray(params[name]) for name in ("hidden", "out"))
    logits = np.tanh(inputs @ hidden) @ out
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """Predict on bad input; return the one sentence that it ends in."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        assert main(["predict", *map(str, arguments)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("jopt: ")
        assert error.count("\n") == 1
        return error

    return run


@pytest.mark.parametrize("name", ["new.npy", "new.npz"])
def test_the_command_writes_what_the_winner_predicts(saved, tmp_path, capsys, name):
    save = np.save if name.endswith(".npy") else np.savez
    save(tmp_path / name, INPUTS.astype(np.float64))

    assert main(["predict", str(saved.directory), str(tmp_path / name)]) == 0

    expected = probabilities(saved.directory, INPUTS)
    path = tmp_path / "new.predictions.npy"
    np.testing.assert_allclose(np.load(path), expected, rtol=1e-5)
    ones = int(expected.argmax(axis=1).sum())
    assert capsys.readouterr().out.splitlines() == [
        f"imports {saved.file}:task",
        f"{path}: float32[20, 2]",
        f"examples of each class: 0: {20 - ones}, 1: {ones}",
    ]


def test_out_says_where_to_write(saved, tmp_path):
    np.save(tmp_path / "new.npy", INPUTS)
    out = tmp_path / "there.npy"
    arguments = [str(saved.directory), str(tmp_path / "new.npy"), "--out", str(out)]
    assert main(["predict", *arguments]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"new.npy", "there.npy"}


def test_a_loaded_result_has_the_winners_model(saved, winner, monkeypatch):
    expected = probabilities(saved.directory, INPUTS)
    for batch in (INPUTS, (INPUTS, None), (INPUTS, np.zeros(20, np.int32))):
        np.testing.assert_allclose(winner.predict(batch), expected, rtol=1e-5)
    monkeypatch.setattr(_predictions, "AT_ONCE", 8)
    np.testing.assert_allclose(winner.predict(INPUTS), expected, rtol=1e-5)

    best = winner.best.trial
    assert winner.params(best)["hidden"].shape == (2, int(winner.table["width"][best]))
    assert set(winner.model_state(best)) == {"seen"}
    with pytest.raises(KeyError, match="which gives the winner's alone"):
        winner.params((best + 1) % 4)


def test_a_result_predicts_without_a_record_too(saved):
    task = saved.task
    trials = sweep.grid(jopt.sgd, learning_rate=[0.1, 0.3])
    result = sweep.run(task(), trials, steps=2, segments=1, block=2)
    assert result.best is not None
    model = result.model(result.best.trial)
    expected = task().predict(model, (INPUTS, None))
    np.testing.assert_allclose(result.predict(INPUTS), expected, rtol=1e-6)


def test_a_task_of_ones_own_predicts_with_its_model(tmp_path):
    inputs = jnp.linspace(0, 1, 8)[:, None]
    own = Task(
        "line",
        lambda config, key: {"slope": jnp.zeros(1)},
        lambda config, state, batch, key: (
            {"slope": state["slope"] + config["rate"]},
            {},
        ),
        lambda config, state, batch, key: {
            "loss": jnp.abs(batch @ state["slope"] - 1.0)
        },
        predict=lambda model, batch: batch @ model["slope"],
        score=lambda predictions, batch: {"loss": jnp.abs(predictions - 1.0)},
        train=inputs,
        valid=inputs,
        batch_size=4,
    )
    trials = sweep.grid(dict, rate=[0.5])
    result = sweep.run(own, trials, steps=2, segments=1, directory=tmp_path)
    result.save(tmp_path)

    loaded = sweep.load(tmp_path, task=own)

    np.testing.assert_array_equal(loaded.predict(np.ones((3, 1))), np.ones(3))


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (
            np.zeros((4, 3)),
            "must have examples of the shape [2], as the task points has",
        ),
        (np.zeros((4, 3)), ", got [3]; its first axis is the example"),
        (np.zeros((0, 2)), "at least one example, on the first axis of its arrays"),
        (np.zeros(()), "at least one example, on the first axis of its arrays"),
        (np.zeros((4, 2), complex), "must be float32, as the task points has"),
        (np.asarray([["a", "b"]]), "must be float32, as the task points has"),
        (np.asarray([{}], object), "a .npy or .npz of numbers, without Python's obj"),
        ({}, "must have at least one array, got none"),
        ({"images": np.zeros((4, 2))}, "those of the task points, 0, 1, got 'images'"),
        ({"0": np.zeros((4, 2)), "1": np.zeros(3, np.int32)}, "got [4, 2], [3]"),
        ({"0": np.zeros((4, 2)), "1": np.zeros(4)}, "1 must be int32, as the task"),
    ],
)
def test_examples_unlike_the_tasks_are_refused(
    saved, refused, tmp_path, array, sentence
):
    path = tmp_path / ("new.npz" if isinstance(array, dict) else "new.npy")
    if isinstance(array, dict):
        np.savez(path, **array)
    else:
        np.save(path, array)
    assert sentence in refused(saved.directory, path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"", b"text", b"\x93NUMPY", b"PK\x03\x04"])
def test_a_file_of_another_kind_is_refused(saved, refused, tmp_path, content):
    path = tmp_path / "new.npy"
    path.write_bytes(content)
    assert "must be a .npy or .npz of numbers" in refused(saved.directory, path)


def test_a_file_that_is_not_there_is_refused(saved, refused):
    assert "There is no file none.npy" in refused(saved.directory, "none.npy")


@pytest.mark.parametrize(
    ("out", "sentence"),
    [
        ("new.npz", "--out must end in .npy, as the predictions are one array"),
        ("new.npy", "--out must be another file than the input, got new.npy"),
        ("none/new.npy", "none/new.npy cannot be written (No such file"),
    ],
)
def test_a_place_that_does_not_fit_is_refused(saved, refused, tmp_path, out, sentence):
    np.save(tmp_path / "new.npy", INPUTS)
    assert sentence in refused(saved.directory, "new.npy", "--out", out)


def test_a_directory_without_a_sweep_or_a_model_is_refused(saved, refused, tmp_path):
    np.save("new.npy", INPUTS)
    assert "no sweep was started there" in refused("nowhere", "new.npy")
    directory = tmp_path / "copy"
    shutil.copytree(saved.directory, directory)
    shutil.rmtree(directory / "best")
    assert "copy has no saved model, best/1; save" in refused(directory, "new.npy")
    (directory / "command.json").unlink()
    error = refused(directory, "new.npy")
    assert "call sweep.load(directory, task=...).predict(examples)." in error


def test_a_model_of_another_task_is_refused(saved):
    with pytest.raises(ValueError, match=r"^load: the model in .*best/1 must have the"):
        sweep.load(saved.directory, task=saved.task(7))
    nothing: Any = lambda *given: None  # noqa: E731
    own = Task("own", nothing, nothing, nothing)
    with pytest.raises(ValueError, match="must be of the task own, got one of superv"):
        sweep.load(saved.directory, task=own)


# Reads that TensorStore had begun end after the loop that waited for them.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", ["_METADATA", "manifest.ocdbt"])
def test_a_damaged_model_is_refused(saved, refused, tmp_path, name):
    np.save("new.npy", INPUTS)
    shutil.copytree(saved.directory, tmp_path / "copy")
    (tmp_path / "copy" / "best" / "1" / name).write_bytes(b"{")
    assert "copy/best/1" in refused("copy", "new.npy")
    time.sleep(0.2)  # for those reads


def test_a_result_without_a_task_or_a_winner_or_predict_is_refused(saved, winner):
    with pytest.raises(ValueError, match="a record has none; load it"):
        sweep.load(saved.directory).predict(INPUTS)
    blind = toy.task(init=lambda key: (winner.params(winner.best.trial), {"seen": 0.0}))
    with pytest.raises(ValueError, match="the task points must have predict, got none"):
        sweep.load(saved.directory, task=blind).predict(INPUTS)
    trials = sweep.grid(jopt.sgd, learning_rate=[1e38])
    result = sweep.run(toy.task(), trials, steps=4, segments=1)
    with pytest.raises(ValueError, match="must have a winner, and every trial div"):
        result.predict(INPUTS)


def test_arrays_are_found_by_their_names():
    examples = {"image": np.zeros((3, 2)), "size": np.zeros(3), "label": np.zeros(3)}
    named = toy.task(valid=examples)
    given = {"image": np.ones((5, 2)), "arr_2": np.ones(5)}
    found = named_batch(named, given)
    assert found["label"] is None
    assert found["image"] is given["image"]
    assert found["size"] is given["arr_2"]


def test_several_arrays_of_predictions_are_a_npz(tmp_path):
    options = argparse.Namespace(out=None, input=tmp_path / "new.npy")
    answers = {"mean": np.ones(3), "scale": jnp.ones(3, jnp.bfloat16)}
    path = predict.write(jax.device_get(answers), options)
    assert path.name == "new.predictions.npz"
    np.testing.assert_array_equal(np.load(path)["scale"], np.ones(3, np.float32))


def test_class_scores_are_probabilities():
    assert predict.are_scores(np.full((4, 5), 0.2))
    for other in (
        np.ones((4, 5)),
        np.full((4, 1), 1.0),
        np.ones(4),
        np.eye(3, dtype=int),
    ):
        assert not predict.are_scores(other)
    assert predict.counted(np.eye(25)[:3]).endswith("19: 0 and 5 classes more")
