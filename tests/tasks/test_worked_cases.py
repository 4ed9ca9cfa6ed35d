"""Promises of the tasks that are worked cases: data, splits, scores and baselines."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.metrics import f1_score, ndcg_score, r2_score

import jopt
from jopt import sweep
from jopt.report._labels import number
from jopt.sweep._task import check_task
from jopt.tasks import (
    COUNTS,
    _cache as cache,
    co2,
    diabetes,
    diabetes_linen,
    digits,
    docstrings,
    imports,
    longtail,
    nnx_classifier,
    text,
)
from jopt.tasks._co2_weeks import AHEAD, SEEN, filled, windows
from jopt.tasks._library_docstrings import read_docstrings
from jopt.tasks._library_imports import read_imports
from jopt.tasks._longtail import thinned
from jopt.tasks._scores import confusion, macro_f1, of_ranks, r2, ranks_of, squares

QUICK = [diabetes, diabetes_linen, co2, longtail]
LIBRARY = [
    pytest.param(make, marks=pytest.mark.slow("its parts are tested on small sources"))
    for make in (docstrings, imports)
]


def means(values):
    return {
        name: jnp.mean(jnp.asarray(v, jnp.float32), 0) for name, v in values.items()
    }


@pytest.mark.parametrize("make", [*QUICK, *LIBRARY])
def test_a_task_fits_together_and_has_baselines_of_its_metric(make):
    task = make()
    check_task(task, jopt.sgd(0.1))
    assert make() is task
    assert task.source == f"jopt.tasks:{make.__name__}"
    assert task.baseline
    for values in task.baseline.values():
        assert {task.metric, f"test_{task.metric}"} <= set(values)
        assert all(map(math.isfinite, values.values()))


def test_r2_is_scikit_learns():
    random = np.random.default_rng(0)
    truth = random.normal(1, 2, 50).astype(np.float32)
    said = truth + random.normal(0, 1, 50).astype(np.float32)
    found = r2(None, None, means(squares(jnp.asarray(said), jnp.asarray(truth))))["r2"]
    np.testing.assert_allclose(found, r2_score(truth, said), atol=1e-6)


def test_macro_f1_is_scikit_learns_also_without_a_class():
    random = np.random.default_rng(0)
    logits = random.normal(size=(60, 5)).astype(np.float32)
    for classes in (5, 3):
        labels = random.integers(classes, size=60)
        logits[:, classes:] = -9
        found = macro_f1(
            None,
            None,
            means({"confusion": confusion(jnp.asarray(logits), jnp.asarray(labels))}),
        )
        expected = f1_score(labels, logits.argmax(axis=1), average="macro")
        np.testing.assert_allclose(found["macro_f1"], expected, atol=1e-6)


def test_ndcg_is_scikit_learns_and_leaves_the_known_out():
    random = np.random.default_rng(0)
    scores = random.normal(size=(40, 30)).astype(np.float32)
    item = random.integers(30, size=40)
    right = np.eye(30, dtype=bool)[item]
    known = (random.random((40, 30)) < 0.3) & ~right

    found = of_ranks(ranks_of(*map(jnp.asarray, (scores, item, known))))

    shown = np.where(known, -1e9, scores)
    expected = ndcg_score(right, shown, k=10)
    np.testing.assert_allclose(found["ndcg10"].mean(), expected, atol=1e-6)
    first = np.argsort(-shown, axis=1)[:, :10]
    hits = (first == item[:, None]).any(axis=1)
    np.testing.assert_array_equal(found["hr10"], hits)


def test_a_model_that_cannot_tell_items_apart_gains_nothing():
    none = jnp.zeros((1, 30))
    ranks = ranks_of(none, jnp.array([3]), jnp.zeros((1, 30), bool))
    assert ranks[0] == 14.5
    assert of_ranks(ranks)["hr10"][0] == 0


def test_diabetes_is_scaled_by_its_training_part_and_beats_nothing_by_itself():
    task = diabetes(split=3)
    train, valid = task.train, task.valid
    np.testing.assert_allclose(train[0].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(train[0].std(axis=0), 1, atol=1e-5)
    assert abs(valid[0].mean(axis=0)).max() > 1e-3
    fitted = LinearRegression().fit(*train)
    expected = r2_score(task.test[1], fitted.predict(task.test[0]))
    assert task.baseline
    found = task.baseline["least squares"]["test_r2"]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert [len(part[1]) for part in (train, valid, task.test)] == [265, 88, 89]


def test_weeks_to_forecast_are_in_the_order_of_time():
    series = np.arange(1000.0)
    parts, unit = windows(series + np.sin(series))
    sizes = [len(parts[name][1]) for name in ("train", "valid", "test")]
    assert sizes == [700 - SEEN - AHEAD + 1, 100, 200]
    # The last week that is seen is a year before; nothing is seen of what follows.
    assert all(np.all(seen[:, -1] == 0) for seen, _ in parts.values())
    last = 699 - AHEAD
    change = (series + np.sin(series))[699] - (series + np.sin(series))[last]
    np.testing.assert_allclose(parts["train"][1][-1] * unit, change, rtol=1e-5)
    np.testing.assert_allclose(parts["train"][1].std(), 1, rtol=1e-5)


def test_gaps_are_interpolated_but_not_at_the_ends():
    gap = np.array([1.0, np.nan, np.nan, 4.0])
    np.testing.assert_allclose(filled(gap), [1, 2, 3, 4])
    for wrong in (gap[1:], gap[:3], gap[1:3]):
        with pytest.raises(ValueError, match="must begin and end with a number"):
            filled(wrong)


def test_the_long_tail_is_of_the_training_part_alone():
    task = longtail(split=1)
    np.testing.assert_array_equal(np.bincount(task.train[1]), COUNTS)
    assert task.valid is digits().valid
    assert task.test is digits().test
    rows = {row.tobytes() for row in digits().train[0]}
    assert all(row.tobytes() in rows for row in task.train[0])


def test_a_class_with_too_few_examples_is_refused():
    labels = np.repeat([0, 1], [5, 2])
    with pytest.raises(
        ValueError, match=r"at most its examples, got \[3, 3\] for classes of \[5, 2\]"
    ):
        thinned(np.zeros((7, 2)), labels, [3, 3], 0)


def source(*docstrings):
    return "\n".join(
        f'def f{n}():\n    """{text}"""' for n, text in enumerate(docstrings)
    ).encode()


def test_docstrings_are_read_once_and_without_those_of_two_subjects():
    found = read_docstrings(
        {
            "xml/sax.py": source("Parse a tagName twice.", "Return the length here."),
            "xml/dom.py": source("parse a tag name, TWICE!", "Too short"),
            "email/a.py": source("Return the length here."),
            "email/tests/b.py": source("Test that mail arrives."),
            "http/latin.py": "# -*- coding: latin-1 -*-\n".encode("latin-1")
            + source("Serve pages over there.").replace(b"pages", b"pag\xe9s"),
            "http/wrong.py": b'"""Not \xe9 in UTF-8 here."""',
            "unknown.py": source("Of no subject at all."),
        }
    )
    assert found == [
        ("web", "serve pag s over there"),
        ("xml", "parse a tag name twice"),
    ]


def test_imports_are_those_at_the_left_margin():
    sources = {
        "a.py": b"import os, sys as s\nfrom email.mime import text\nimport nothing\n"
        b"def f():\n    import json\n",
        "b.py": b"import os.path\n# \xff\n",
    }
    assert read_imports(sources) == {"a.py": ["email", "os", "sys"], "b.py": ["os"]}


@pytest.mark.slow("the same is said of small sources")
def test_no_module_is_both_known_and_held_out():
    task = imports(split=2)
    for part, right in (("train", True), ("valid", False), ("test", False)):
        file, known, held = getattr(task, part)
        assert (known[file, held] == right).all()
    assert (task.valid[2] != task.test[2]).all()


@pytest.mark.slow("the same is said of small sources")
def test_no_docstring_is_in_two_parts():
    task = docstrings(split=1)
    sizes = [len(part[1]) for part in (task.train, task.valid, task.test)]
    assert sizes[0] > 4 * sizes[1] > 2000


def test_what_is_read_is_made_once_for_each_content(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    sources, made = {"a.py": b"1"}, []
    monkeypatch.setattr(cache, "library_files", lambda: dict(sources))

    def make(given):
        made.append(given)
        return [len(made)]

    assert cache.of_library("some", make) == cache.of_library("some", make) == [1]
    (file,) = (tmp_path / "jopt").iterdir()
    file.write_text('[1, "cut sh')
    assert cache.of_library("some", make) == [2]
    sources["a.py"] = b"2"
    assert cache.of_library("some", make) == [3]
    assert len(made) == 3


def test_without_a_place_to_write_it_is_read_each_time(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(cache, "library_files", lambda: {"a.py": b"1"})
    assert cache.of_library("some", lambda given: [7]) == [7]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: diabetes(split=-1), "split must be at least 0, got -1"),
        (lambda: co2(width=0), "width must be at least 1, got 0"),
        (lambda: docstrings("rnn"), "model must be transformer or gru, got rnn"),
        (lambda: docstrings(width=6), "width must be a multiple of 4, got 6"),
        (lambda: longtail(tau=-1.0), "tau must be at least 0 and finite, got -1"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_text_of_another_encoding_is_refused(tmp_path):
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9" * 1000)
    with pytest.raises(ValueError, match=r"UTF-8, got .*latin.txt, whose byte 3"):
        text(tmp_path / "latin.txt")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(3, np.int32), "valid must have one label for each of its 4 inputs"),
        (np.zeros(4), "labels of valid must be integers from 0, got float64"),
        (np.array([0, 1, 2, 0]), "labels of valid must be among those of train, got 2"),
    ],
)
def test_labels_that_do_not_match_are_refused(labels, message):
    inputs = np.zeros((4, 2), np.float32)
    train = inputs, np.array([0, 1, 0, 1])
    with pytest.raises(ValueError, match=message):
        nnx_classifier("some", lambda rngs: None, train=train, valid=(inputs, labels))


def test_a_sweep_shows_its_baselines_everywhere(tmp_path):
    rates = sweep.grid(jopt.adamw, learning_rate=[1e-3, 1e-2])
    with jax.numpy_rank_promotion("allow"):
        result = sweep.run(diabetes(width=0), rates, steps=8, segments=1, block=2)
    to_beat = result.info["baseline"]["least squares"]
    assert {"least squares": to_beat} == diabetes(width=0).baseline

    files = {file.name for file in result.save(tmp_path)}

    assert {"learning_rate.png", "report.html"} <= files
    page = (tmp_path / "report.html").read_text("utf-8")
    label = f"least squares {number(to_beat['r2'])}"
    assert label in page
    assert "To beat: least squares, r2" in page
    assert label in str(result.plot().to_dict())
    assert sweep.load(tmp_path).info["baseline"] == result.info["baseline"]
