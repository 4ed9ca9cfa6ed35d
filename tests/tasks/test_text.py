"""Promises of the task `text`."""

from typing import Any

import jax
import numpy as np
import pytest

import jopt
from jopt import sweep
from jopt.sweep._supervised import Model, training_of
from jopt.sweep._task import check_task
from jopt.tasks import VOCABULARY, Transformer, text

SMALL: Any = {"length": 16, "width": 16, "layers": 1, "heads": 2}
PARTS = ("train", "valid", "test")


@pytest.fixture(scope="module")
def task():
    return text(**SMALL)


@pytest.fixture(scope="module")
def model(task):
    """The task's loss of each sequence, of some parameters, as one program."""
    params, state = training_of(task).start(jax.random.key(0))
    with jax.numpy_rank_promotion("allow"):
        evaluate = jax.jit(lambda batch: training_of(task).values(params, state, batch))
        evaluate(jax.tree.map(lambda a: a[:2], task.valid))
    return params, evaluate


def read(characters):
    return "".join(VOCABULARY[code] for code in characters.ravel())


def test_the_parts_are_the_text_in_one_piece_each(tmp_path):
    content = "".join(f"Line {n} of ninety-nine.\n" for n in range(100))
    (tmp_path / "lines.txt").write_text(content)

    made = text(tmp_path / "lines.txt", **SMALL)

    size, ends = len(content), (0, 0.8, 0.9, 1)
    for name, first, last in zip(PARTS, ends, ends[1:], strict=False):
        part = content[round(first * size) : round(last * size)]
        characters, following = getattr(made, name)
        assert characters.dtype == following.dtype == np.int32
        assert 0 <= len(part) - 1 - characters.size < SMALL["length"]
        assert part.startswith(read(characters))
        assert part[1:].startswith(read(following))


def test_a_character_outside_the_vocabulary_has_the_place_of_all_others(tmp_path):
    (tmp_path / "some.txt").write_text("naïve\tß…\n" * 100, "utf-8")
    characters, _ = text(tmp_path / "some.txt", **SMALL).train
    assert read(characters).startswith("na\0ve\0\0\0\nna\0ve")


def test_the_vocabulary_is_newline_printable_ascii_and_one_for_the_rest():
    assert len(VOCABULARY) == len(set(VOCABULARY)) == 97
    assert {"\n", " ", "a", "~"} < set(VOCABULARY)


def test_the_text_of_python_is_almost_all_in_the_vocabulary(task):
    codes = task.train[0]
    assert codes.size > 200_000
    assert 0 <= codes.min() < codes.max() < len(VOCABULARY)
    assert (codes == 0).mean() < 0.01


def test_the_task_fits_together(task):
    check_task(task, jopt.sgd(0.1))


@pytest.mark.slow("the score has a test in the quick run")
def test_values_are_means_over_the_places_of_a_sequence(task, model):
    _, evaluate = model
    batch = jax.tree.map(lambda a: a[:2], task.valid)
    values = evaluate(batch)
    assert values["loss"].shape == values["accuracy"].shape == (2,)
    # Nothing is known before the first step: about as bad as guessing at random.
    assert np.all(np.abs(values["loss"] - np.log(len(VOCABULARY))) < 1)
    places = values["accuracy"] * SMALL["length"]
    np.testing.assert_allclose(places, np.round(places), atol=1e-4)


@pytest.mark.slow("digits have the same test")
def test_the_score_of_predictions_is_the_evaluation(task, model):
    params, evaluate = model
    batch = jax.tree.map(lambda a: a[:3], task.valid)
    with jax.numpy_rank_promotion("allow"):
        chances = jax.jit(task.predict)(Model(params, {}), batch)
    np.testing.assert_allclose(chances.sum(-1), 1, rtol=1e-5)
    score, expected = task.score(chances, batch), evaluate(batch)
    for name in ("loss", "accuracy"):
        np.testing.assert_allclose(score[name], expected[name], rtol=1e-5)


@pytest.mark.slow("the mask is JAX's own")
def test_no_place_sees_what_follows_it(task):
    network = Transformer(**SMALL, key=jax.random.key(0))
    logits = jax.jit(lambda characters: network(characters))
    rows, half = task.valid[0][:4], SMALL["length"] // 2
    others = np.concatenate([rows[:, :half], (rows[:, half:] + 1) % 97], axis=1)

    with jax.numpy_rank_promotion("allow"):
        apart = np.abs(logits(rows) - logits(others))

    assert apart[:, :half].max() < 1e-5
    assert apart[:, half:].max() > 1e-2


def test_the_network_is_the_transformer_written_out_in_numpy(task, model):
    params, evaluate = model
    batch = jax.tree.map(lambda a: a[:3], task.valid)
    expected = losses_by_numpy(jax.tree.map(np.asarray, dict(params)), *batch)
    np.testing.assert_allclose(evaluate(batch)["loss"], expected, rtol=1e-4)


def losses_by_numpy(params, characters, following):
    """Each sequence's mean loss in float64; one block, two heads."""

    def linear(layer, x):
        return x @ layer["kernel"].astype(float) + layer.get("bias", 0)

    def norm(layer, x):
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
        return scaled * layer["scale"] + layer["bias"]

    def gelu(x):
        return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))

    def attend(q, k, v):
        scores = q @ k.T / np.sqrt(q.shape[-1])
        weights = np.tril(np.exp(scores))
        return weights / weights.sum(-1, keepdims=True) @ v

    block, found = params["blocks"][0], []
    for codes, next_codes in zip(characters, following, strict=True):
        x = params["characters"]["kernel"][codes] + params["places"]
        products = linear(
            block["queries_keys_values"], norm(block["before_attention"], x)
        )
        by_head = [
            np.split(part, 2, axis=-1) for part in np.split(products, 3, axis=-1)
        ]
        heads = [attend(*parts) for parts in zip(*by_head, strict=True)]
        x = x + linear(block["attended"], np.concatenate(heads, axis=-1))
        x = x + linear(
            block["narrow"], gelu(linear(block["widen"], norm(block["before_mlp"], x)))
        )
        logits = linear(params["head"], norm(params["norm"], x))
        chances = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        found.append(-np.log(chances[np.arange(len(codes)), next_codes]).mean())
    return found


@pytest.mark.slow("tests/tasks/test_tasks.py learns digits")
def test_context_is_learned(task):
    trials = sweep.grid(jopt.adamw, learning_rate=[1e-2])
    with jax.numpy_rank_promotion("allow"):
        result = sweep.run(task, trials, steps=100, batch_size=32, block=1, segments=1)
    share = np.bincount(task.train[1].ravel(), minlength=len(VOCABULARY))
    share = (share + 1) / (share + 1).sum()
    without_context = -np.log(share[task.valid[1]]).mean()
    assert result.best is not None
    assert result.best.valid["loss"] < without_context - 0.3


@pytest.mark.parametrize(
    ("sizes", "sentence"),
    [
        ({"length": 0}, "text: length must be at least 1, got 0."),
        ({"layers": 0}, "text: layers must be at least 1, got 0."),
        ({"heads": 3}, "text: heads must divide width, got 3 heads and width 16."),
        ({"length": 10**5}, "is too short for sequences of 100000: its valid part"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(sizes, sentence):
    with pytest.raises(ValueError, match=sentence):
        text(**{**SMALL, **sizes})
