"""Promises of the picture of a front, and of the sentences on fronts, bounds, ends."""

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import specs
import told
from rich.console import Console

from jopt import sweep
from jopt.cli import display
from jopt.report import Record, _figures, no_winner, page, remarks
from jopt.report._front import front_of
from jopt.report._sentences import facts, headline

BOTH: Any = {"a": "max", "b": "min"}
ROWS = [(1, 1), (2, 2), (1, 2), (3, 3), (2, 5), (np.nan, 1), (2, 4), (4, 9)]
KINDS = ["x", "x", "y", "y", "z", "x", "y", "z"]


@pytest.fixture(scope="module")
def result():
    bounds: Any = {"b": (None, 4)}
    return told.run(ROWS, kinds=KINDS, objectives=BOTH, bounds=bounds)


@pytest.fixture(scope="module")
def nothing():
    return told.run(objectives=BOTH, bounds={"b": (5, 9), "a": (0, None)})


def printed(result):
    console = Console(width=200, record=True, file=io.StringIO())
    display.summary(console, result, Path("out"), [])
    return console.export_text()


def test_the_files_hold_the_front(result, tmp_path):
    result.save(tmp_path)

    assert page(Record.of(sweep.load(tmp_path))) == page(Record.of(result))
    assert json.loads((tmp_path / "sweep.json").read_text())["front"] == [3, 1, 0]
    best = json.loads((tmp_path / "best.json").read_text())
    assert [each["trial"] for each in best["front"]] == [3, 1, 0]
    first = best["front"][0]
    assert first["hyperparameters"] == {"a": 3.0, "b": 3.0, "loss": 3.0, "kind": "y"}
    assert first["valid"] == {"a": 3.0, "b": 3.0, "loss": 3.0}
    assert (tmp_path / "front.png").stat().st_size > 5000


@pytest.mark.parametrize("of_a", ["min", "max"])
@pytest.mark.parametrize("of_b", ["min", "max"])
def test_the_line_is_the_border_of_what_is_reached(of_a, of_b):
    """At each x it has the best y of what is at that x or better."""
    rows = np.random.default_rng(0).permutation(12).reshape(6, 2)
    result = told.run(rows, objectives={"a": of_a, "b": of_b})
    chart = _figures.front(Record.of(result))
    (line,) = [part for part in specs.parts(chart) if "interpolate" in part]
    held = [row for row in specs.rows(chart, "kind") if row["kind"] == "front"]
    by_x = {row["x"]: row["y"] for row in held}
    x = np.asarray(sorted(by_x))
    y = np.asarray([by_x[at] for at in x])

    assert (np.diff(x) > 0).all()
    assert set(zip(y, x, strict=True)) == {tuple(rows[trial]) for trial in result.front}
    best = {"min": np.min, "max": np.max}
    for left, right in zip(range(len(x)), range(1, len(x)), strict=False):
        middle = (x[left] + x[right]) / 2
        shown = y[left] if line["interpolate"] == "step-after" else y[right]
        better = rows[:, 1] <= middle if of_b == "min" else rows[:, 1] >= middle
        assert shown == best[of_a](rows[better, 0])
    words = {"min": "(lower is better)", "max": "(higher is better)"}
    assert specs.title(chart, "x") == f"validation b {words[of_b]}"
    assert specs.title(chart, "y") == f"validation a {words[of_a]}"


def test_points_are_settings_by_what_became_of_them(result):
    found = front_of(Record.of(result))

    assert found is not None
    front, low, out = "front", "dominated", "out of bounds"
    assert found.kinds == [front, front, low, front, out, "", low, out]
    assert found.line == [0, 1, 3]
    assert found.best == 3
    assert found.x.bounds == [4]
    assert front_of(Record.of(told.run(objectives={"a": "max"}))) is None
    assert len(told.run().plot().hconcat) == 1  # its task has no training loss
    assert len(result.plot().hconcat) == 2


def test_three_objectives_are_drawn_by_the_first_two():
    three: Any = {**BOTH, "loss": "max"}
    result = told.run([(1, 1), (2, 2), (1, 2)], objectives=three)
    found = front_of(Record.of(result))

    assert result.front == [1, 0, 2]
    assert found is not None
    assert found.kinds == ["front"] * 3
    assert found.line == [0, 1]


def test_the_best_of_each_kind_is_the_best_first(result):
    found = Record.of(result).best_of_each()

    assert list(found) == ["kind"]
    assert found["kind"][:2] == [("y", 3, 3), ("x", 1, 2)]
    assert found["kind"][2][:2] == ("z", None)  # out of bounds
    text = printed(result)
    assert "best of each kind" in text
    assert "front of a and b" in text


def test_numbers_that_make_programs_are_kinds_too(result):
    record = Record.of(result)
    groups = [{"because": {"b": 1.0}}, {"because": {"b": 2.0}}]
    info = {**record.info, "grouped_by": groups}
    assert list(Record.of(told.run()).best_of_each()) == []
    assert list(dataclasses.replace(record, info=info).best_of_each()) == ["b", "kind"]


def test_trials_without_a_hyperparameter_are_no_value_of_it():
    result = told.run([(1, 1), (2, 2)], kinds=["x", None])
    assert Record.of(result).best_of_each() == {"kind": [("x", 0, 0), ("", 1, 1)]}
    trials = [*told.trials([(1, 1), (2, 2)], ["x", "y"]), *told.trials([(3, 3)])]
    result = sweep.run(told.TASK, trials, steps=2, segments=1, block=3)
    assert Record.of(result).best_of_each() == {"kind": [("x", 0, 0), ("y", 1, 1)]}


def test_sentences_are_of_the_front_the_bounds_and_the_ends(result):
    wanted = [
        "The front of a and b has 3 settings.",
        "Out of bounds (b at most 4): 3 of 8 settings.",
    ]
    record = Record.of(result)

    assert remarks(record) == wanted
    for sentence in wanted:
        assert sentence in printed(result)
        assert sentence in page(record)
    assert ("Bounds", "b at most 4") in facts(record)
    assert ("Objectives", "a max, b min") in facts(record)


def test_a_best_value_at_an_end_is_a_sentence():
    result = told.run(metric="a", mode="max")
    wanted = "The best a, 3, is the largest tried: extend the range."

    assert wanted in remarks(Record.of(result))
    assert wanted in printed(result)
    assert wanted in page(Record.of(result))


def test_with_nothing_within_bounds_a_sentence_says_so(nothing):
    wanted = (
        "No setting is within the bounds, b from 5 to 9 and a at least 0: try others, "
        "or widen them."
    )
    record = Record.of(nothing)

    assert no_winner(record) == headline(record) == wanted
    assert wanted in printed(nothing)
    assert "True" not in printed(nothing)
    assert record.best_of_each() == {}
