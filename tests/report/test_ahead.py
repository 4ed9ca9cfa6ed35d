"""Pictures and the page that a process beside this one prepares."""

import sys
import types

import pytest
import recorded_sweeps

from jopt.report import _ahead, _figures as figures, drawing_ahead, page
from jopt.report._page import _vega


@pytest.fixture
def unloaded(monkeypatch):
    # What is loaded stays: the extension cannot be imported twice.
    fresh = types.SimpleNamespace(modules={}, executable=sys.executable)
    monkeypatch.setattr(_ahead, "sys", fresh)
    _vega.cache_clear()
    yield
    _vega.cache_clear()


@pytest.mark.usefixtures("unloaded")
def test_a_process_that_fails_leaves_the_drawing_to_this_one(monkeypatch):
    monkeypatch.setattr(_ahead, "WORK", "raise SystemExit(1)")

    with drawing_ahead():
        assert _ahead.bundled() is None
        assert _ahead.drawn({}) is None


def test_a_process_that_has_loaded_vl_convert_starts_no_other(monkeypatch):
    monkeypatch.setitem(sys.modules, "vl_convert", None)

    with drawing_ahead():
        assert _ahead._worker.get() is None


@pytest.mark.slow(
    "loads vl-convert three times; a process that fails, which is quick, goes the same "
    "way"
)
@pytest.mark.usefixtures("unloaded")
def test_what_is_drawn_ahead_is_what_this_process_draws(tmp_path):
    record = recorded_sweeps.record()
    chart = figures.alone(figures.curves(record), record)

    with drawing_ahead(tmp_path):
        ahead = page(record), figures.png(chart)
    (kept,) = tmp_path.iterdir()
    kept.write_text("/* kept */")
    _vega.cache_clear()
    with drawing_ahead(tmp_path):
        assert _vega() == "/* kept */"
    _vega.cache_clear()

    assert ahead == (page(record), figures.png(chart))
