"""Promises of the picture that follows a sweep."""

import builtins
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
from matplotlib.figure import Figure

import jopt
from jopt import sweep
from jopt.report import LivePlot, _live as live
from jopt.sweep import Segment

PNG = b"\x89PNG"


def segment(number, trials=6, segments=4, valid=None, best: int | None = 2):
    """A segment's end: trial 0 has ended at the first."""
    losses = np.full((trials, segments), np.nan, np.float32)
    losses[:, :number] = np.linspace(1, 2, trials)[:, None] / np.arange(1, number + 1)
    losses[0, 1:] = np.nan
    alive = np.arange(trials) > 0
    row = None if best is None else {"trial": best, "valid_loss": losses[best, 0]}
    valid = {"loss": losses} if valid is None else valid
    curves = np.zeros((trials, 40), np.float32)
    return Segment(number, segments, 10 * number, {}, valid, curves, alive, row)


def axes_of(figure) -> list[Any]:
    """The two axes; what they hold has no types worth naming."""
    return figure.axes


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still but where the test or a drawing moves it."""

    class Clock:
        now, drawing = 100.0, 0.0

        def perf_counter(self):
            return self.now

    found = Clock()
    monkeypatch.setattr(live, "time", found)
    return found


@pytest.fixture
def watched(clock, monkeypatch):
    """A plot that is not drawn, what it has shown, and the clock."""
    shown = []

    def drawn(figure, now):
        clock.now += clock.drawing
        shown.append(now.number)

    monkeypatch.setattr(live, "draw", drawn)
    monkeypatch.setattr(Figure, "savefig", lambda self, file, **options: None)
    return LivePlot(every=10, show=lambda picture: None), shown


def test_it_draws_the_first_and_the_last_and_no_sooner_than_every_so_often(
    watched, clock
):
    plot, shown = watched
    plot(segment(1, segments=9))
    clock.now += 9.9
    plot(segment(2, segments=9))
    assert shown == [1]
    clock.now += 0.2
    plot(segment(3, segments=9))
    assert shown == [1, 3]
    plot(segment(8, segments=9))
    plot(segment(9, segments=9))
    assert shown == [1, 3, 9]


def test_drawing_takes_no_more_than_a_hundredth_of_the_time(watched, clock):
    plot, shown = watched
    clock.drawing = 0.5  # seconds, so that the next but one is due 50 after the next
    plot(segment(1, segments=9))
    clock.now += 10.1  # the first is slow for once
    plot(segment(2, segments=9))
    clock.now += 49.8
    plot(segment(3, segments=9))
    assert shown == [1, 2]
    clock.now += 0.3
    plot(segment(4, segments=9))
    assert shown == [1, 2, 4]


def test_a_picture_has_a_line_a_trial_and_how_many_go_on():
    figure = Figure()
    live.draw(figure, segment(3))
    losses, counts = axes_of(figure)
    lines = losses.collections[0].get_segments()
    assert sorted(len(line) for line in lines) == [1, 3, 3, 3, 3, 3]
    assert len(lines[0]) == 1  # the trial that ended is below the others
    (best,) = losses.lines
    np.testing.assert_allclose(best.get_ydata()[:3], segment(3).valid["loss"][2, :3])
    assert counts.lines[0].get_ydata().tolist() == [6, 5, 5]
    title = figure.get_suptitle()
    assert title.startswith("segment 3 of 4, step 30: 5 of 6 trials go on")
    assert title.endswith("best trial 2 with 1.4")


def test_of_many_trials_some_are_drawn_and_the_best():
    figure = Figure()
    live.draw(figure, segment(2, trials=5000, best=4999))
    losses, _ = axes_of(figure)
    assert len(losses.collections[0].get_segments()) <= live.MOST
    assert losses.lines[0].get_ydata()[0] == 2


def test_nothing_finite_makes_a_picture_too():
    pictures = []
    nothing = {"loss": np.full((6, 4), np.nan, np.float32)}
    LivePlot(show=pictures.append)(segment(1, valid=nothing, best=None))
    LivePlot(show=pictures.append)(segment(1, trials=1, best=None))
    assert all(picture.startswith(PNG) for picture in pictures)
    assert len(pictures) == 2


@pytest.mark.slow("callbacks are tested without a picture")
def test_a_sweep_shows_it_at_its_segments_ends(tmp_path):
    trials = sweep.grid(jopt.sgd, learning_rate=[0.1, 1e6])
    file = tmp_path / "live.png"
    plot = LivePlot(every=0, show=file.write_bytes)
    sweep.run(toy.task(), trials, steps=6, segments=2, block=2, callbacks=[plot])
    assert file.read_bytes().startswith(PNG)
    assert plot.figure.get_suptitle().startswith("segment 2 of 2, step 6: ")


@pytest.mark.slow("the picture is drawn without a notebook in the quick run")
def test_a_notebooks_cell_gets_one_picture_that_is_updated(tmp_path):
    pytest.importorskip("IPython")
    script = """
        from IPython.core.interactiveshell import InteractiveShell
        from IPython.utils.capture import capture_output
        from test_live import segment
        from jopt.sweep.live import LivePlot

        shell = InteractiveShell.instance()
        with capture_output() as captured:
            plot = LivePlot(every=0)
            plot(segment(1))
            plot(segment(4))
        first, second = captured.outputs
        assert list(first.data) == ["image/png", "text/plain"], first.data
        assert second.update and not first.update
        assert first.transient["display_id"] == second.transient["display_id"]
        assert first.data["image/png"] != second.data["image/png"]
        print("one cell")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=Path(__file__).parents[1] / "support",
        env={**os.environ, "IPYTHONDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "one cell", done.stderr


@pytest.mark.parametrize("missing", ["IPython", "matplotlib"])
def test_a_missing_package_is_named_in_a_sentence(monkeypatch, missing):
    found = builtins.__import__

    def without(name, *rest):
        if name.split(".")[0] == missing:
            raise ModuleNotFoundError(name=missing)
        return found(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=f"LivePlot needs the package {missing}"):
        LivePlot()


@pytest.mark.parametrize("every", [-1.0, float("nan")])
def test_a_bad_interval_is_refused(every):
    with pytest.raises(ValueError, match="LivePlot: every must be at least 0 seconds"):
        LivePlot(every=every, show=print)
