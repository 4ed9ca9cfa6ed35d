"""Promises of compression: every level at its own rate, and the smallest good model."""

import csv
import dataclasses
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from compile_counts import compiled_anew
from flax import linen, nnx

import jopt
from jopt import sweep
from jopt.cli import main
from jopt.losses import CrossEntropy, Distilled
from jopt.studies import compress
from jopt.studies._compression import best_levels
from jopt.sweep import Task
from jopt.tasks import linen_classifier, nnx_classifier

WIDTH = 8
BITS, SPARSITY, RATES = (3, None), (0.0, 0.5), (0.003, 0.1)
SHORT: dict[str, Any] = {"steps": 30, "seeds": 2, "block": 4}


def make(key, classes=2):
    first, second = jax.random.split(key)
    return {
        "hidden": jax.random.normal(first, (2, WIDTH)),
        "bias": jnp.zeros(WIDTH),
        "out": jax.random.normal(second, (WIDTH, classes)) / 3,
    }


def logits(params, batch):
    return jnp.tanh(batch[0] @ params["hidden"] + params["bias"][None]) @ params["out"]


def loss_fn(params, batch, key, loss=CrossEntropy()):  # noqa: B008
    return loss(logits(params, batch), batch[1]).mean()


def evaluate(params, batch):
    found = logits(params, batch)
    correct = found.argmax(axis=1) == batch[1]
    return {"loss": CrossEntropy()(found, batch[1]), "accuracy": correct}


def predict(params, batch):
    return jax.nn.softmax(logits(params, batch))


def score(probabilities, batch):
    return {"accuracy": probabilities.argmax(axis=1) == batch[1]}


def task(make=make, loss_fn=loss_fn, **changes):
    """Points of two classes, told apart by a tree of two matrices and a bias."""
    own: dict[str, Any] = {"predict": predict, "score": score, "batch_size": 16}
    own |= {"train": toy.points(), "valid": toy.points(40, 1)}
    own |= {"test": toy.points(40, 2)}
    return Task.from_model("points", make, loss_fn, evaluate, **(own | changes))


@pytest.fixture(scope="module")
def found():
    given = {"sparsity": SPARSITY, "bits": BITS, "learning_rate": RATES}
    with compiled_anew():
        return compress(task(), **given, **SHORT)


@pytest.fixture(scope="module")
def saved(found, tmp_path_factory):
    """The directory with the files of a compression."""
    directory = tmp_path_factory.mktemp("small")
    found.save(directory)
    return directory


# Levels.


def test_levels_are_trained_in_three_programs_however_many_they_are(found):
    info = found.sweep.info
    assert info["trials"] == len(SPARSITY) * len(BITS) * len(RATES) * 2
    assert info["groups"] == info["segment_compiles"] == 3  # the dense level is plain
    assert [group["trials"] for group in info["grouped_by"]] == [4, 8, 4]


def test_each_level_is_judged_at_its_own_best_rate(found):
    levels, trials = found.table, found.sweep.table
    pairs = [(0.0, 32), (0.0, 3), (0.5, 3), (0.5, 32)]
    assert list(zip(levels["sparsity"], levels["bits"], strict=True)) == pairs
    for row, (share, bits) in enumerate(pairs):
        means = []
        for rate in RATES:
            of = (trials["sparsity"] == share) & (trials["learning_rate"] == rate)
            of &= trials["bits"] == bits
            means.append(trials["valid_accuracy"][of].astype(float).mean())
        assert levels["accuracy"][row] == max(means)
        assert levels["learning_rate"][row] == RATES[int(np.argmax(means))]
    assert len(set(levels["learning_rate"])) > 1 or "best at" not in str(found.remark)


def test_weights_are_pruned_quantized_and_counted(found):
    for row, trial in enumerate(found.table["trial"]):
        params = found.sweep.params(trial)
        share, bits = found.table["sparsity"][row], int(found.table["bits"][row])
        matrices = [params["hidden"], params["out"]]
        zeros = sum(int((w == 0).sum()) for w in matrices)
        pruned = round(share * sum(w.size for w in matrices))
        assert zeros == pruned if bits == 32 else zeros >= pruned
        kept = params if bits == 32 else jopt.quantize(params, bits)
        assert found.table["bytes"][row] == jopt.size(kept, "bitmap").bytes
        chex.assert_trees_all_equal(jopt.dequantize(kept), params)


@pytest.mark.slow("tests/compress/ has the optimizer inside without quantization")
def test_the_dense_level_is_plain_training_bit_for_bit(found):
    plain = sweep.run(
        task(), sweep.grid(jopt.adamw, learning_rate=list(RATES)), **SHORT
    )
    trials = found.sweep.table
    dense = np.flatnonzero((trials["sparsity"] == 0) & (trials["bits"] == 32))
    assert len(dense) == len(plain.trials)
    np.testing.assert_array_equal(found.sweep.curves[dense], plain.curves)
    for ours, theirs in zip(dense, range(len(dense)), strict=True):
        chex.assert_trees_all_equal(found.sweep.params(ours), plain.params(theirs))


def test_32_bits_are_none_and_the_dense_level_need_not_be_asked_for(monkeypatch):
    seen = []

    def run(task, trials, **options):
        seen.extend(trial.hyperparameters for trial in trials)
        raise InterruptedError

    monkeypatch.setattr("jopt.studies._compress.run", run)
    with pytest.raises(InterruptedError):
        compress(task(), sparsity=0.5, bits=[32, None, 4], learning_rate=0.01)
    assert [(s["sparsity"], s["bits"]) for s in seen] == [
        (0.0, 32),
        (0.5, 32),
        (0.5, 4),
    ]


# The smallest model.


def test_the_smallest_model_within_the_tolerance_is_chosen_and_tested_once(found):
    levels, row = found.table, found.smallest
    good = levels["accuracy"] >= levels["accuracy"][0] - 0.01 - 1e-9
    assert good[row]
    assert levels["bytes"][row] == levels["bytes"][good].min()
    assert found.sweep.best.test == {}  # the engine's winner is another trial
    params = found.sweep.params(levels["trial"][row])
    correct = evaluate(params, toy.points(40, 2))["accuracy"]
    assert found.test["accuracy"] == pytest.approx(float(correct.mean()))
    assert f"{levels['accuracy'][row]:.4g}" in found.outcome
    assert "on the test set: accuracy" in found.outcome


def test_the_front_is_what_no_level_dominates(found):
    levels = found.table
    pairs = list(zip(-levels["accuracy"], levels["bytes"], strict=True))
    for pair, on in zip(pairs, levels["front"], strict=True):
        better = [p for p in pairs if p != pair and p[0] <= pair[0] and p[1] <= pair[1]]
        assert on == (not better)


def test_where_lower_is_better_the_tolerance_is_above_the_dense_loss(found):
    info = found.sweep.info | {"metric": "loss", "mode": "min"}
    table, smallest = best_levels(dataclasses.replace(found.sweep, info=info), 0.05)
    good = table["loss"] <= table["loss"][0] + 0.05
    assert table["bytes"][smallest] == table["bytes"][good].min()
    settings = found.sweep.settings()
    dense = (settings["sparsity"] == 0) & (settings["bits"] == 32)
    assert table["loss"][0] == settings["valid_loss"][dense].min()


ALONE: dict[str, Any] = {"sparsity": 0.0, "bits": None, "seeds": 1, "block": 1}


def test_without_a_dense_model_a_sentence_says_why_none_is_chosen(tmp_path):
    never = task(diverged_above=-1.0)
    lost = compress(never, learning_rate=0.1, steps=5, **ALONE)
    assert lost.smallest is None
    assert "The dense model has no finite accuracy at any rate" in lost.outcome
    assert "compressed.safetensors" not in [f.name for f in lost.save(tmp_path)]


@pytest.mark.slow("test_lr_range.py interrupts a study in the quick run")
def test_an_interrupt_leaves_what_was_seen_and_no_model(tmp_path):
    def interrupt(now):
        if now.segment == 2:  # once: a second one is not held back
            signal.raise_signal(signal.SIGINT)

    given = {"learning_rate": 0.01, "steps": 10, "progress": interrupt}
    left = compress(task(), **given, **ALONE)
    assert left.smallest is None
    assert left.outcome.startswith("Interrupted")
    assert left.test == {}
    assert (tmp_path / "compress.csv") in left.save(tmp_path)


def test_the_saved_model_gives_the_same_predictions(found, saved):
    model = jopt.dequantize(jopt.load_compressed(saved / "compressed.safetensors"))
    params = found.sweep.params(found.table["trial"][found.smallest])
    chex.assert_trees_all_equal(model["params"], params)
    begun = task().starting_from(saved / "compressed.safetensors")
    assert begun.model is not None
    begin = begun.init(jopt.sgd(0.1), jax.random.key(1))
    chex.assert_trees_all_equal(begun.model(jopt.sgd(0.1), begin).params, params)


def test_its_files_are_a_table_a_record_a_model_and_a_picture(found, saved):
    with (saved / "compress.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(found.table)
    assert [float(row["bytes"]) for row in rows] == found.table["bytes"].tolist()
    record = json.loads((saved / "compress.json").read_text())
    assert record["smallest"] == found.smallest
    assert record["outcome"] == found.outcome
    assert record["levels"]["accuracy"] == found.table["accuracy"].tolist()
    assert (saved / "compress.png").read_bytes().startswith(b"\x89PNG")
    assert {"report.html", "trials.csv", "best"} <= {p.name for p in saved.iterdir()}


class Net(nnx.Module):
    def __init__(self, rngs):
        self.layers = nnx.List([nnx.Linear(2, WIDTH, rngs=rngs)])
        self.norm = nnx.BatchNorm(WIDTH, rngs=rngs)
        self.drop = nnx.Dropout(0.1, rngs=rngs)
        self.last = nnx.Linear(WIDTH, 2, rngs=rngs)

    def __call__(self, x):
        return self.last(self.drop(self.norm(nnx.relu(self.layers[0](x)))))


class LinenNet(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.Dense(2)(linen.relu(linen.Dense(WIDTH)(x)))


@pytest.mark.slow("a file's arrays are compared in the quick run", but=1)
@pytest.mark.parametrize("kind", ["nnx", "linen"])
def test_three_lines_load_a_model_and_run_it(kind, tmp_path):
    module: Any = LinenNet()
    inputs, labels = toy.points()
    data = {"train": (inputs, labels), "valid": (inputs, labels)}
    if kind == "nnx":
        own, start = nnx_classifier("net", Net, **data), Net(nnx.Rngs(5))
    else:
        own = linen_classifier("net", module, **data)
        start = module.init(jax.random.key(5), inputs)
    small = compress(own, start=start, steps=0, sparsity=0.5, bits=4, tolerance=1.0)
    small.save(tmp_path)

    names: dict[str, Any] = {"jopt": jopt, "nnx": nnx, "inputs": inputs}
    names |= {"module": module, "model": Net(nnx.Rngs(6)).eval()}
    if kind == "nnx":
        names["model"] = Net(nnx.Rngs(6))
        names["model"].eval()
    lines = small.lines(tmp_path)
    exec(lines, names)

    assert len(lines.splitlines()) == 3
    model = small.sweep.model(int(small.table["trial"][small.smallest]))
    assert own.predict is not None
    expected = own.predict(model, (inputs, labels))
    np.testing.assert_allclose(jax.nn.softmax(names["outputs"]), expected, rtol=1e-5)


# Models that are given.


def test_without_training_the_given_weights_are_quantized_bit_for_bit():
    start = make(jax.random.key(3))
    given = {"sparsity": (0.0, 0.5), "bits": (2, 4, 8, None)}
    with compiled_anew():
        found = compress(task(), start=start, steps=0, **given)
    assert found.sweep.info["segment_compiles"] == found.sweep.info["groups"] == 2
    assert "learning_rate" not in found.table
    assert len(found.sweep.trials) == 8
    for row, trial in enumerate(found.table["trial"]):
        params = found.sweep.params(trial)
        share, bits = found.table["sparsity"][row], int(found.table["bits"][row])
        expected = start
        if share:
            bound = np.median(np.abs([*start["hidden"].ravel(), *start["out"].ravel()]))
            expected = jax.tree.map(
                lambda w, bound=bound: (
                    jnp.where(jnp.abs(w) > bound, w, 0) if w.ndim > 1 else w
                ),
                start,
            )
        if bits != 32:
            expected = jopt.dequantize(jopt.quantize(expected, bits))
        chex.assert_trees_all_equal(params, expected)
        correct = evaluate(params, toy.points(40, 1))["accuracy"]
        assert found.table["accuracy"][row] == pytest.approx(float(correct.mean()))


@pytest.mark.slow(
    "tests/sweep/test_given_weights.py begins from weights, a teacher is below"
)
def test_a_saved_model_is_trained_further_and_teaches(found, saved):
    whole = toy.points()
    best = saved / "best" / "1"
    wide = task(lambda key: {**make(key), "bias": jnp.zeros(WIDTH)})
    teacher = wide.starting_from(best)
    found_again = compress(
        task(batch_size=len(whole[1])),
        start=saved,  # the directory of a sweep: its best model
        teacher=teacher,
        distilled=Distilled(temperature=2.0, weight=0.7),
        sparsity=0.0,
        bits=None,
        learning_rate=1e-3,
        steps=2,
        seeds=1,
        block=1,
    )
    params = found.sweep.params(found.sweep.best.trial)
    outputs = logits(params, whole)
    expected = Distilled(2.0, 0.7)(outputs, whole[1], teacher_logits=outputs).mean()
    assert found_again.sweep.curves[0, 0] == pytest.approx(float(expected), rel=1e-5)
    plain = CrossEntropy()(outputs, whole[1]).mean()
    assert float(expected) != pytest.approx(float(plain), rel=1e-2)
    assert "No smaller model is within 0.01 of it" in found_again.outcome


def test_a_teachers_logits_are_of_their_examples():
    params = make(jax.random.key(7))
    seen = {}

    def keep(model, batch, key, loss):
        value = loss(logits(model, batch), batch[1])
        seen["given"] = loss.keywords["teacher_logits"]
        own = jax.nn.log_softmax(logits(params, batch))
        return jnp.abs(seen["given"] - own).max() + 0 * value.mean()

    teacher = task().starting_from(params)
    found = compress(
        task(loss_fn=keep),
        teacher=teacher,
        sparsity=0.0,
        bits=None,
        learning_rate=1e-3,
        steps=8,
        seeds=1,
        block=1,
    )
    assert found.sweep.curves.max() < 1e-5  # in batches that were shuffled


# Errors.


def three_classes(key):
    return make(key, classes=3)


def other(**changed):
    return make(jax.random.key(0)) | changed


BAD: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (
        lambda: {"sparsity": 1.0},
        ValueError,
        r"compress: sparsity must be in \[0, 1\), got 1.0",
    ),
    (
        lambda: {"sparsity": [0, -0.5]},
        ValueError,
        r"sparsity must be in \[0, 1\), got -0.5",
    ),
    (
        lambda: {"sparsity": "half"},
        TypeError,
        "sparsity must be a number or a list of numbers",
    ),
    (
        lambda: {"bits": 1},
        ValueError,
        "bits must be integers from 2 to 16, or None or 32",
    ),
    (lambda: {"bits": [4, 17]}, ValueError, r"for no quantization, got \[4, 17\]"),
    (lambda: {"bits": 2.5}, ValueError, "bits must be integers from 2 to 16"),
    (
        lambda: {"learning_rate": 0.0},
        ValueError,
        "learning_rate must be above 0 and finite",
    ),
    (
        lambda: {"tolerance": -0.1},
        ValueError,
        "tolerance must be at least 0 and finite, got",
    ),
    (lambda: {"steps": -1}, ValueError, "compress: steps must be at least 0, got -1"),
    (lambda: {"steps": 0}, ValueError, "steps must be at least 1 without start, got 0"),
    (
        lambda: {"steps": 0, "start": other(), "teacher": other()},
        ValueError,
        "steps must be at least 1 with a teacher, got 0; with 0 steps no loss is used",
    ),
    (
        lambda: {"start": "none/there"},
        FileNotFoundError,
        "start must be a saved model, got",
    ),
    (
        lambda: {"start": other(out=jnp.zeros((WIDTH, 3)))},
        ValueError,
        r"must have the shapes of the model, got \[8, 3\] at out, where .* \[8, 2\]",
    ),
    (
        lambda: {
            "start": {"hidden": jnp.zeros((2, WIDTH)), "out": jnp.zeros((WIDTH, 2))}
        },
        ValueError,
        "start must have every array of the model, got none at bias",
    ),
    (
        lambda: {"teacher": {"x": jnp.zeros(2)}},
        ValueError,
        "start has x, and the model has no",
    ),
    (
        lambda: {
            "teacher": task(three_classes).starting_from(
                three_classes(jax.random.key(0))
            )
        },
        ValueError,
        r"teacher_logits must be of the shape \[16, 2\], as the student's",
    ),
    (lambda: {"metric": "f1"}, ValueError, "mode must be given with the metric 'f1'"),
]


@pytest.mark.parametrize(
    ("given", "error", "words"), BAD, ids=lambda x: x if isinstance(x, str) else ""
)
def test_bad_input_is_refused_in_a_sentence(given, error, words):
    with pytest.raises(error, match=words):
        compress(task(), **given())


def test_a_task_that_takes_no_loss_cannot_be_taught():
    def alone(params, batch, key):
        return loss_fn(params, batch, key)

    with pytest.raises(TypeError, match="loss_fn must take a trial's loss, to which a"):
        compress(task(loss_fn=alone), teacher=other())


# The command.


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Run `jopt compress` on the small task; return its exit status."""
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text("from toy import task")
    return lambda *arguments: main(["compress", "own.py:task", *arguments])


@pytest.mark.slow("the function has its tests in the quick run")
def test_the_command_prints_levels_and_writes_files(command, capsys):
    few = ["--steps", "20", "--seeds", "2", "--block", "2", "--bits", "4,32"]
    assert command(*few, "--sparsity", "0..0.5:2", "--learning-rate", "0.01") == 0
    shown = capsys.readouterr().out
    out = Path("sweeps/points-compress-1")
    assert "16 trials" not in shown
    assert "8 trials of 20 steps in" in shown
    assert "3 programs compiled" in shown
    assert "Dense: accuracy " in shown
    assert f"Picture: {out / 'compress.png'}" in shown
    assert f'jopt.load_compressed("{out / "compressed.safetensors"}")' in shown
    assert (out / "compressed.safetensors").exists()

    again = ["--start", str(out), "--steps", "0", "--sparsity", "0,0.5", "--bits", "8"]
    assert command(*again) == 0
    assert "best rate" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["--sparsity", "0,1"], "sparsity must be in [0, 1), got 1.0"),
        (["--sparsity", "some"], "--sparsity got 'some', not numbers"),
        (["--bits", "1,2"], "bits must be integers from 2 to 16, or None or 32"),
        (["--tolerance", "-1"], "tolerance must be at least 0"),
        (["--steps", "0"], "steps must be at least 1 without start"),
        (["--start", "nowhere"], "start must be a saved model, got"),
        (["--temperature", "2"], "are for a --teacher"),
        (["--set", "b1=0.8,0.9"], "compress takes one value"),
        (["--set", "beta=0.9"], "adamw has no hyperparameter beta"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else "",
)
def test_the_command_refuses_in_a_sentence(command, capsys, given, sentence):
    assert command(*given) == 2
    refusal = capsys.readouterr().err
    assert refusal.startswith("jopt: ")
    assert sentence in refusal
    assert refusal.count("\n") == 1


# How good it is.


@pytest.mark.slow("bench/compress.py measures it; the mechanism has its tests")
def test_digits_of_an_eighth_of_the_weights_in_three_bits_are_97_percent():
    from jopt.tasks import digits

    found = compress(digits(), sparsity=0.875, bits=3, block=9)
    accuracy = found.table["accuracy"]
    assert accuracy[0] >= 0.975
    assert accuracy[1] >= 0.97
    assert found.table["bytes"][1] * 10 < found.table["bytes"][0]
