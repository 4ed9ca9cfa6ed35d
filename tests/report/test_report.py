"""Promises of a sweep's report: the same from a result as from files, and it draws."""

import argparse
import base64
import dataclasses
import importlib.util
import json
import re
import shutil
import sys
import time
from typing import Any

import numpy as np
import pytest
import recorded_sweeps
import told
import toy
from chromium import PATH, Chromium

import jopt
from jopt import sweep
from jopt.cli import report as command
from jopt.report import Record, page, thinned, write
from jopt.report._importance import importance
from jopt.report._page import DRAWN, contents, rungs, shown
from jopt.report._sentences import facts, headline, outcome


@pytest.fixture(scope="module")
def result():
    trials = sweep.grid(
        jopt.sgd, learning_rate=[0.01, 0.1, 1.0, 1e30], momentum=[0.5, 0.9]
    )
    return sweep.run(toy.task(), trials, steps=24, seeds=2, segments=4, block=4)


@pytest.fixture(scope="module")
def saved(result, tmp_path_factory):
    directory = tmp_path_factory.mktemp("saved")
    result.save(directory)
    return directory


def test_a_result_and_its_record_make_the_same_page(result, saved):
    assert page(Record.of(sweep.load(saved))) == page(Record.of(result))


def test_each_row_of_the_page_is_the_trial_of_the_table(result):
    told = contents(Record.of(result))

    assert told["columns"].keys() == result.table.keys()
    for name, column in result.table.items():
        if column.dtype.kind == "f":
            shown_values = np.asarray(told["columns"][name], column.dtype)
            column = np.where(np.isfinite(column), column, np.nan)
        else:
            shown_values = np.asarray(told["columns"][name])
        np.testing.assert_array_equal(shown_values, column, err_msg=name)
    assert told["best"] == result.best.trial
    curves = np.frombuffer(base64.b64decode(told["curves"]["losses"]), np.float32)
    _, means = thinned(result.curves)
    np.testing.assert_array_equal(curves, means.ravel())
    np.testing.assert_allclose(means[:, 0], result.curves[:, 0], rtol=1e-6)


def test_columns_come_back_with_their_types(result, saved):
    of, loaded = Record.of(result), Record.of(sweep.load(saved))

    assert {n: c.dtype for n, c in loaded.table.items()} == {
        n: c.dtype for n, c in of.table.items()
    }
    assert loaded.hyperparameters == ["learning_rate", "momentum"]
    assert loaded.best is not None
    assert loaded.best["test"].keys() == {"loss", "accuracy"}


def test_words_that_look_like_numbers_stay_words(tmp_path):
    def made(learning_rate, kind):
        return jopt.sgd(learning_rate)

    trials = sweep.grid(made, learning_rate=[0.1], kind=["0.5", "nan"])
    sweep.run(toy.task(), trials, steps=2, segments=1, block=2).save(tmp_path)

    assert sweep.load(tmp_path).table["kind"].tolist() == ["0.5", "nan"]


def test_without_a_winner_there_is_a_page(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "sweep")
    path = tmp_path / "sweep" / "record" / "end.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "best": None}))

    record = Record.of(sweep.load(tmp_path / "sweep"))
    assert record.best is None
    assert headline(record) == "No winner is recorded."


@pytest.mark.parametrize("name", ["header.json", "end.json", "segments/1.npz"])
@pytest.mark.parametrize(
    "left", [b"", b'{"task": "dig', b"[]", b"\xff", b"PK\x03\x04to"]
)
def test_a_damaged_file_is_named(saved, tmp_path, name, left):
    shutil.copytree(saved, tmp_path / "sweep")
    (tmp_path / "sweep" / "record" / name).write_bytes(left)

    with pytest.raises(ValueError, match=rf"{name} is damaged or of something else"):
        sweep.load(tmp_path / "sweep")


def test_the_command_writes_the_page(saved, tmp_path, capsys):
    parser = argparse.ArgumentParser()
    command.add_to(parser.add_subparsers())
    out = tmp_path / "page.html"

    options = parser.parse_args(["report", str(saved), "--out", str(out)])

    assert options.run(options) == 0
    assert out.read_text() == page(Record.of(sweep.load(saved)))
    assert re.search(r"page\.html: [45]\.\d MB", capsys.readouterr().out)
    nowhere = tmp_path / "none" / "page.html"
    options = parser.parse_args(["report", str(saved), "--out", str(nowhere)])
    with pytest.raises(OSError, match=r"cannot be written .*give another with --out"):
        options.run(options)


def test_the_page_names_no_address_but_inside_plotly():
    from plotly.offline import get_plotlyjs

    text = page(recorded_sweeps.record()).replace(get_plotlyjs(), "")

    assert "http" not in text.replace("http-equiv", "")
    assert "default-src 'none'" in text
    assert "connect-src" not in text  # what is not named falls back to none


def test_a_value_never_becomes_markup():
    text = page(recorded_sweeps.record())

    assert "</script><b>" not in text
    assert "\\u003c/script>\\u003cb>" not in text.split('id="data"')[0]


def test_without_plotly_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly.offline", None)

    with pytest.raises(ImportError, match=r"pip install 'jopt\[report\]'"):
        page(recorded_sweeps.record())


def test_thinned_curves_are_means_of_what_is_finite():
    losses = np.random.default_rng(0).random((3, 47)).astype(np.float32)
    losses[1, 20:], losses[2, 5] = np.nan, np.inf

    steps, means = thinned(losses, 10)

    assert steps[-1] == 47
    for row, own in enumerate(losses):
        for column, (first, end) in enumerate(zip([0, *steps], steps, strict=False)):
            part = own[first:end][np.isfinite(own[first:end])]
            expected = part.mean() if len(part) else np.nan
            np.testing.assert_allclose(means[row, column], expected, rtol=1e-6)


def test_of_many_trials_the_best_and_a_fair_rest_are_drawn():
    losses = np.random.default_rng(0).permutation(4096).astype(float)
    losses[7] = np.nan

    rows = shown(losses, best=7)

    assert 7 in rows
    assert len(rows) <= DRAWN + 1
    assert set(np.argsort(losses)[: DRAWN // 4]) <= set(rows)
    assert abs(np.nanmean(losses[rows[losses[rows] > 100]]) - 2096) < 200
    np.testing.assert_array_equal(shown(losses[:9], None), np.arange(9))


def test_rungs_count_who_began_a_segment_and_who_ended_in_it():
    found = rungs(recorded_sweeps.record())

    assert found["steps"] == [10, 20, 30, 40, 50, 60]
    assert found["trained"] == [24, 24, 12, 8, 8, 8]
    assert found["pruned"] == [0, 8, 4, 0, 0, 0]
    assert found["diverged"] == [0, 4, 0, 0, 0, 0]
    interrupted = rungs(recorded_sweeps.record("interrupted"))
    assert interrupted["trained"] == [20, 0, 0, 0, 0, 0]
    assert interrupted["last"][-4:] == [-1] * 4


def test_the_data_of_a_page_is_strict_json():
    for kind in recorded_sweeps.KINDS:
        json.dumps(contents(recorded_sweeps.record(kind)), allow_nan=False)


def test_sentences_say_what_came_of_the_sweep():
    pruned, dead = recorded_sweeps.record(), recorded_sweeps.record("dead")

    assert "24 trials: 8 complete, 12 pruned and 4 diverged." in outcome(pruned)
    assert "44% of the 1,440 trial-steps were saved." in outcome(pruned)
    assert "accuracy\N{NO-BREAK SPACE}0.75 and loss" in headline(pruned)
    assert headline(dead) == "Every trial diverged: try smaller values."
    assert outcome(dead).startswith("24 trials, all diverged.")
    assert ("Held fixed", "learning_rate=0.1") in facts(recorded_sweeps.record("fixed"))


def test_the_hyperparameter_that_decides_is_the_most_important():
    record = recorded_sweeps.record("complete", trials=48)
    rates, widths = record.table["learning_rate"], record.table["width"]
    record.table["valid_loss"][:] = 1 + abs(np.log10(rates) + 2.5) + 1e-3 * widths

    found = importance(record)

    for evaluator in ("ped_anova", "fanova"):
        assert found["names"][np.argmax(found[evaluator])] == "learning_rate"
        np.testing.assert_allclose(sum(found[evaluator]), 1)


def test_importance_is_what_optuna_says_of_the_same_study():
    import optuna

    record = recorded_sweeps.record("complete", trials=60)
    del record.table["decay"]  # Optuna's log axis has no zero
    names, rates = record.varying, record.table["learning_rate"]
    study = optuna.create_study()

    def objective(trial):
        row = trial.number
        trial.suggest_float("learning_rate", rates.min(), rates.max(), log=True)
        trial.suggest_int("width", 8, 32)
        trial.suggest_categorical("nesterov", [False, True])
        trial.suggest_categorical("kind", sorted(set(record.table["kind"])))
        return float(np.log(record.table["valid_loss"][row]))

    for row in range(60):
        study.enqueue_trial({n: record.table[n][row].item() for n in names})
    study.optimize(objective, n_trials=60)
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    expected = optuna.importance.get_param_importances(study, evaluator=evaluator)

    found = importance(record)["ped_anova"]
    np.testing.assert_allclose(found, [expected[name] for name in names], atol=1e-6)


def test_where_importance_has_no_meaning_a_sentence_says_why(monkeypatch):
    assert "at least two" in importance(recorded_sweeps.record("fixed"))["sentence"]
    assert "at least 10" in importance(recorded_sweeps.record("dead"))["sentence"]
    few = recorded_sweeps.record("complete", trials=8)
    assert "at least 10 settings" in importance(few)["sentence"]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install" in importance(recorded_sweeps.record())["sentence"]


def test_importance_leaves_optunas_log_as_it_was(capfd):
    import optuna

    before = optuna.logging.get_verbosity()
    importance(recorded_sweeps.record())

    assert optuna.logging.get_verbosity() == before
    assert capfd.readouterr().err == ""


DRAWN_ALL = "document.body?.dataset.drawn === 'all'"


@pytest.fixture(scope="module")
def browser():
    if PATH is None:
        pytest.skip("no Chromium is installed")
    with Chromium(1280, 4000) as started:
        yield started


@pytest.fixture(scope="module")
def opened(browser, tmp_path_factory):
    """Open the page of a record, if it is not open: it takes long to draw."""
    path, names = tmp_path_factory.mktemp("page") / "report.html", []

    def opened(name, record):
        if names[-1:] != [name]:
            names.append(name)
            browser.open(write(record, path), DRAWN_ALL)
        return browser

    yield opened
    asked = {url for url in browser.requests if not url.startswith("data:")}
    assert asked == {path.as_uri()}


@pytest.fixture(autouse=True)
def _no_problem(request):
    """Whatever a test does with a page, the console stays empty, and nothing chosen."""
    yield
    if "opened" in request.fixturenames:
        browser = request.getfixturevalue("browser")
        browser.run("chosen === null || choose(chosen)")
        assert browser.problems == []


def drawn(browser, plot):
    return browser.run(f"document.querySelectorAll('#{plot} svg.main-svg').length") > 0


def middle(browser, selector, nth=0):
    """Where an element is, in the window."""
    return browser.run(
        f"(() => {{ const r = document.querySelectorAll({selector!r})[{nth}]"
        ".getBoundingClientRect();"
        "return [r.x + r.width / 2, r.y + r.height / 2]; })()"
    )


def highlighted(browser):
    """The trial of the table's highlighted row."""
    return browser.run("document.querySelector('tr.chosen')?.dataset.trial ?? null")


def test_every_figure_of_a_real_sweep_is_drawn(opened, result):
    browser = opened("real", Record.of(result))

    for plot in ("response-0", "response-1", "train", "valid", "rungs"):
        assert drawn(browser, plot), plot
    assert browser.run("document.querySelectorAll('#response-0 .points path').length")
    assert browser.run("document.querySelectorAll('#parallel canvas').length") == 3
    assert browser.run("document.querySelectorAll('#table tbody tr').length") == 16
    assert browser.run("document.querySelector('#table tr.best').dataset.trial") == str(
        result.best.trial
    )


def test_a_front_is_drawn_and_a_click_highlights_its_setting(opened):
    bounds: Any = {"b": (None, 4)}
    objectives: Any = {"a": "max", "b": "min"}
    rows, kinds = [(1, 1), (2, 2), (1, 2), (3, 3), (2, 5)], ["x", "x", "y", "y", "x"]
    result = told.run(rows, kinds=kinds, objectives=objectives, bounds=bounds)
    browser = opened("front", Record.of(result))

    assert drawn(browser, "front")
    assert browser.run("element('front').data.map((trace) => trace.name)")[1:] == [
        "dominated",
        "out of bounds",
        "front",
        "best",
    ]
    browser.click(*middle(browser, "#front .points path", 0))  # the dominated one
    assert highlighted(browser) == "2"
    assert "chosen" in browser.run("element('front').layout.shapes.map(s => s.name)")
    browser.run("document.querySelector('#each tbody tr').click()")
    assert highlighted(browser) == "3"
    assert browser.run("document.querySelectorAll('tr.out').length") == 1


def test_a_click_on_a_point_highlights_its_trial_everywhere(opened):
    browser = opened("pruned", recorded_sweeps.record())
    # The first trace of points is of the pruned: of trials 8 to 19.
    where = middle(browser, "#response-0 .points path", 2)

    browser.click(*where)

    assert highlighted(browser) == "10"
    assert "trial 10 " in browser.run("document.getElementById('chosen').textContent")
    for plot in ("response-0", "response-4"):
        shapes = browser.run(f"element('{plot}').layout.shapes.map(s => s.name)")
        assert "chosen" in shapes
    for plot in ("train", "valid"):
        last = f"element('{plot}').data.at(-1).customdata"
        assert set(browser.run(last)) == {10}
    assert browser.run("element('rungs').layout.shapes.length") == 1
    assert 1 in browser.run("Array.from(element('parallel').data[0].line.color)")
    # Of the steps: it was pruned after the second segment.
    assert max(browser.run("element('train').data.at(-1).x")) == 20

    browser.click(*where)

    assert highlighted(browser) is None
    assert browser.run("document.getElementById('chosen').hidden")
    assert browser.run("element('rungs').layout.shapes.length") == 0
    assert browser.run("element('train').data.at(-1).x.length") == 0


def test_a_click_on_a_curve_a_line_or_a_row_highlights_its_trial(opened):
    browser = opened("pruned", recorded_sweeps.record())

    browser.click(*browser.run(CURVE))
    assert highlighted(browser) == "3"
    browser.click(*middle(browser, "#table tbody tr td", 10 * 11))
    assert highlighted(browser) == browser.run("String(columns.trial[chosen])") != "3"
    browser.call("Input.dispatchKeyEvent", type="keyDown", key="Escape")
    assert highlighted(browser) is None

    x, y = browser.run(LINE)
    for shift in range(-12, 13):  # lines are thin, and may lie between two pixels
        browser.click(x + shift % 2, y + shift)
        if highlighted(browser) is not None:
            break
    assert highlighted(browser) is not None


# Where the curve of trial 3 is after 30 steps.
CURVE = """(() => {
  const plot = element('train'), r = plot.getBoundingClientRect(), l = plot._fullLayout;
  const own = curveOf(3, data.curves.steps, trainLosses), i = own.x.length >> 1;
  const at = [l.xaxis.d2p(own.x[i]), l.yaxis.d2p(own.y[i])];
  return [r.x + l._size.l + at[0], r.y + l._size.t + at[1]];
})()"""
# Where the winner's line crosses its first axis, a little to the right.
LINE = """(() => {
  const plot = element('parallel'), r = plot.getBoundingClientRect();
  const l = plot._fullLayout._size;
  const at = plot.data[0].dimensions.slice(0, 2).map(({range, values}) =>
    r.y + l.t + l.h * (1 - (values[0] - range[0]) / (range[1] - range[0])));
  const apart = l.w / (plot.data[0].dimensions.length - 1);
  return [r.x + l.l + 0.3 * apart, at[0] + 0.3 * (at[1] - at[0])];
})()"""


def test_a_click_on_a_title_sorts_with_what_is_missing_last(opened):
    browser = opened("pruned", recorded_sweeps.record())
    title = "[...document.querySelectorAll('th button')].find(b => b.textContent === "
    trials = (
        "[...document.querySelectorAll('#table tbody tr')].map(r => +r.dataset.trial)"
    )

    browser.run(f"{title}'valid loss').click()")
    up = browser.run(trials)
    browser.run(f"{title}'valid loss').click()")
    down = browser.run(trials)

    losses = recorded_sweeps.record().table["valid_loss"]
    assert (np.diff(losses[up][:20]) >= 0).all()
    assert (np.diff(losses[down][:20]) <= 0).all()
    assert np.isnan(losses[up][20:]).all()
    assert np.isnan(losses[down][20:]).all()
    assert (
        browser.run("document.querySelectorAll('th[aria-sort=descending]').length") == 1
    )


@pytest.mark.parametrize("kind", recorded_sweeps.KINDS[1:])
def test_every_kind_of_sweep_is_drawn(opened, kind):
    browser = opened(kind, recorded_sweeps.record(kind))

    assert drawn(browser, "train")
    assert drawn(browser, "rungs")
    assert drawn(browser, "valid") == (kind != "interrupted")
    assert drawn(browser, "ancestry-0") == (kind == "population")
    browser.run("choose(1)")
    assert highlighted(browser) == "1"


def test_a_change_to_a_dark_background_draws_again(opened):
    browser = opened("pruned", recorded_sweeps.record())
    paper = "element('train').layout.paper_bgcolor"
    light = browser.run(paper)

    browser.dark()
    try:
        browser.until(f"{paper} !== {light!r}")
    finally:
        browser.dark(False)


def test_four_thousand_trials_stay_usable(opened):
    record = recorded_sweeps.record(trials=4096)
    for name in ("decay", "width", "kind"):  # a panel each, which take their time
        del record.table[name]
    browser = opened("many", record)

    assert browser.run("document.querySelectorAll('#table tbody tr').length") == 4096
    began = time.monotonic()
    browser.run("choose(4000)")
    assert time.monotonic() - began < 10  # a second or less where nothing else runs
    assert set(browser.run("element('train').data.at(-1).customdata")) == {4000}


def test_negative_losses_are_on_the_picture(result):
    below = dataclasses.replace(result, curves=result.curves - 1e3)
    axes = below.plot().axes[1]
    assert axes.get_yscale() == "linear"
    low, high = axes.get_ylim()
    drawn = np.concatenate([line.get_ydata() for line in axes.lines[:8]])
    assert len(drawn)
    assert ((low <= drawn) & (drawn <= high)).all()


def test_a_figure_takes_dollars_in_names_as_they_are(tmp_path):
    def made(**setting):
        return jopt.sgd(*setting.values())

    rates = {"$\\frac{$": [0.1, 0.2]}
    trials = [sweep.Trial.of(made, {n: r}) for n, held in rates.items() for r in held]
    result = sweep.run(toy.task(), trials, steps=2, segments=1, block=2)
    figure = result.plot()
    figure.canvas.draw()  # mathematics that is none would be an error
    assert figure.axes[0].get_xlabel() == "$\\frac{$"
