"""Promises of a sweep's report: the same from a result as from files, and it draws."""

import argparse
import dataclasses
import html
import importlib.util
import json
import re
import shutil
import sys
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
import recorded_sweeps
import specs
import told
import toy
from chromium import PATH, Chromium

import jopt
from jopt import sweep
from jopt.cli import report as command
from jopt.report import Record, _figures, page, thinned, write
from jopt.report._importance import importance
from jopt.report._labels import cut_apart, number, told_apart
from jopt.report._page import _vega
from jopt.report._sentences import facts, headline, outcome
from jopt.report._series import DRAWN, rungs, shown


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


class Cells(HTMLParser):
    """The titles and the cells of the table of trials, numbers in full."""

    @classmethod
    def of(cls, text):
        found = cls()
        (table,) = re.findall(r'<table id="table">.*?</table>', text, re.DOTALL)
        found.feed(table)
        return found

    def __init__(self):
        super().__init__()
        self.titles: list[str] = []
        self.rows: list[list[str]] = []
        self.within: str | None = None
        self.full: str | None = None

    def handle_starttag(self, tag, attrs):
        self.within = tag if tag in ("td", "button") else self.within
        if tag == "tr" and self.titles:
            self.rows.append([])
        if tag == "button":
            self.titles.append("")
        if tag == "td":
            self.full = dict(attrs).get("title")
            self.rows[-1].append(self.full or "")

    def handle_endtag(self, tag):
        self.within = None if tag == self.within else self.within

    def handle_data(self, data):
        if self.within == "button":
            self.titles[-1] += data
        if self.within == "td" and self.full is None:
            self.rows[-1][-1] += data


def in_page(text):
    """The looks, specifications and rows that a page holds."""
    (data,) = re.findall(r'id="figures">(.*?)</script>', text, re.DOTALL)
    return json.loads(data, parse_constant=lambda word: pytest.fail(word))


def test_a_result_and_its_record_make_the_same_page(result, saved):
    assert page(Record.of(sweep.load(saved))) == page(Record.of(result))


def test_each_row_of_the_page_is_the_trial_of_the_table(result):
    text = page(Record.of(result))
    found = Cells.of(text)

    assert found.titles == list(result.table)
    for at, (name, column) in enumerate(result.table.items()):
        cells = [row[at] for row in found.rows]
        if column.dtype.kind == "f":
            full = ["nan" if cell == "–" else cell for cell in cells]
            np.testing.assert_array_equal(np.asarray(full, column.dtype), column, name)
        else:
            assert cells == [number(value) for value in column.tolist()]
    assert f'<tr data-row="{result.best.trial}" class="best">' in text
    steps, means = thinned(result.curves)
    chart = _figures.curves(Record.of(result))
    for own in specs.rows(chart, "shade"):
        row = own["row"]
        made = steps[np.isfinite(means[row])]
        np.testing.assert_array_equal(
            own["x"], np.minimum(made, result.table["steps"][row])
        )
        np.testing.assert_array_equal(
            np.asarray(own["y"], np.float32), means[row][np.isfinite(means[row])]
        )


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
    assert re.search(
        r"page\.html: 1\.\d MB|page\.html: \d+ KB", capsys.readouterr().out
    )
    nowhere = tmp_path / "none" / "page.html"
    options = parser.parse_args(["report", str(saved), "--out", str(nowhere)])
    with pytest.raises(OSError, match=r"cannot be written .*give another with --out"):
        options.run(options)


def test_the_page_names_no_address_but_inside_vega():
    text = page(recorded_sweeps.record()).replace(_vega(), "")

    assert "http" not in text.replace("http-equiv", "")
    assert "default-src 'none'" in text
    assert "connect-src" not in text  # what is not named falls back to none


def test_the_page_is_small_and_needs_no_script_for_its_words():
    record = recorded_sweeps.record(trials=64)
    text = page(record)

    assert len(text.encode()) < 3e6
    spoken = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert headline(record) in html.unescape(spoken)
    assert spoken.count("<tr data-row=") >= 64


def test_rows_that_several_figures_draw_are_in_the_page_once():
    record = recorded_sweeps.record()
    held = in_page(page(record))

    names = [name for spec in held["specs"] for name in spec["datasets"]]
    assert len(names) > len(set(names)) == len(held["rows"])


def test_a_value_never_becomes_markup():
    text = page(recorded_sweeps.record())

    assert "</script><b>" not in text
    assert "\\u003c/script>\\u003cb>" not in text.split('id="figures"')[0]


@pytest.mark.parametrize("lacking", ["altair", "vl_convert"])
def test_without_an_extra_the_error_says_what_to_install(monkeypatch, lacking):
    _vega.cache_clear()
    monkeypatch.setitem(sys.modules, lacking, None)
    monkeypatch.delitem(sys.modules, "jopt.report._figures", raising=False)
    monkeypatch.delattr(jopt.report, "_figures", raising=False)

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
    def refused(word):
        raise AssertionError(word)

    for kind in recorded_sweeps.KINDS:
        text = page(recorded_sweeps.record(kind))
        data = re.search(r'id="figures">(.*?)</script>', text, re.DOTALL)
        assert data is not None
        json.loads(data[1], parse_constant=refused)


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


# Scrolls through the page, so that all figures are drawn, and waits for them.
DRAW_ALL = """(async () => {
  for (const spec of specs.keys()) {
    element(`figure-${spec}`).scrollIntoView();
    await new Promise((next) => setTimeout(next, 60));
    await queue;
  }
  while (views.filter(Boolean).length < specs.length)
    await new Promise((next) => setTimeout(next, 60));
})()"""


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
            browser.open(write(record, path))
            browser.run(DRAW_ALL)
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


def middle(browser, selector, nth=0):
    """Where an element is, in the window."""
    return browser.run(
        f"(() => {{ const r = document.querySelectorAll({selector!r})[{nth}]"
        ".getBoundingClientRect();"
        "return [r.x + r.width / 2, r.y + r.height / 2]; })()"
    )


def highlighted(browser):
    """The trial of the table's highlighted row."""
    return browser.run("document.querySelector('tr.chosen')?.dataset.row ?? null")


def captions(browser):
    return browser.run(
        "[...document.querySelectorAll('figcaption')].map(c => c.innerText)"
    )


# Where a figure has drawn the mark of a trial: the middle of its bounds, in the window.
PLACE = """(() => {{
  const view = views[{figure}], {{ left, top }} = view.padding(), found = [];
  const box = document.querySelector('#figure-{figure} canvas').getBoundingClientRect();
  const walk = (item, x, y) => {{
    const own = item.datum?.row === {row} && item.shape !== undefined;
    if (own) found.push([x + item.x, y + item.y]);
    const at = [x + (item.x ?? 0), y + (item.y ?? 0)];
    for (const inner of item.items ?? []) walk(inner, ...at);
  }};
  walk(view.scenegraph().root, box.x + left, box.y + top);
  return found[0].map((at, i) => at + view.origin()[i]);
}})()"""


def test_every_figure_of_a_real_sweep_is_drawn(opened, result):
    browser = opened("real", Record.of(result))

    wanted = ["learning_rate", "momentum", "Training loss", "Validation loss"]
    assert set(wanted) <= set(captions(browser))
    figures = browser.run("document.querySelectorAll('figure canvas').length")
    assert figures == browser.run("specs.length") == len(captions(browser))
    assert browser.run("lines.length") == 16
    best = browser.run("document.querySelector('#table tr.best').dataset.row")
    assert best == str(result.best.trial)


def test_a_click_on_a_point_highlights_its_trial_everywhere(opened):
    browser = opened("pruned", recorded_sweeps.record())
    browser.run("element('figure-0').scrollIntoView()")
    where = browser.run(PLACE.format(figure=0, row=10))

    browser.click(*where)

    assert highlighted(browser) == "10"
    assert "trial 10 " in browser.run("element('chosen').textContent")
    assert set(browser.run("views.map((view) => view.signal('chosen'))")) == {10}

    browser.click(*where)

    assert highlighted(browser) is None
    assert browser.run("element('chosen').hidden")
    assert set(browser.run("views.map((view) => view.signal('chosen'))")) == {-1}


def test_a_click_reaches_the_figures_that_are_drawn(opened):
    browser = opened("pruned", recorded_sweeps.record())
    browser.run("globalThis.held = views[1]; delete views[1]; choose(3)")
    browser.run("views[1] = held; true")
    assert highlighted(browser) == "3"
    assert browser.run("views[0].signal('chosen')") == 3
    browser.run("choose(3)")


def test_a_headline_names_the_first_of_many_hyperparameters():
    record = recorded_sweeps.record()
    names = [f"h{n}" for n in range(8)]
    columns = {name: np.arange(24) for name in names}
    table = {"trial": np.arange(24), **columns, "seed": np.zeros(24, int)}
    best: Any = {**(record.best or {}), "hyperparameters": dict.fromkeys(names, 1)}
    found = headline(dataclasses.replace(record, table=table, best=best))
    assert "h5\N{NO-BREAK SPACE}1 and 2 more: " in found
    assert "h6" not in found


def test_a_click_on_a_row_highlights_its_trial_and_escape_ends_it(opened):
    browser = opened("pruned", recorded_sweeps.record())

    browser.run("element('table').scrollIntoView()")
    browser.click(*middle(browser, "#table tbody tr[data-row='3'] td", 1))
    assert highlighted(browser) == "3"
    browser.call("Input.dispatchKeyEvent", type="keyDown", key="Escape")
    assert highlighted(browser) is None
    assert browser.run("document.querySelector('.scroll tr[data-row]').click()") is None
    assert highlighted(browser) == "0"  # the best setting


def test_a_click_on_a_title_sorts_with_what_is_missing_last(opened):
    browser = opened("pruned", recorded_sweeps.record())
    title = "[...document.querySelectorAll('th button')].find(b => b.textContent === "
    trials = "[...body.rows].map((row) => +row.dataset.row)"

    browser.run(f"{title}'valid_loss').click()")
    up = browser.run(trials)
    browser.run(f"{title}'valid_loss').click()")
    down = browser.run(trials)

    losses = recorded_sweeps.record().table["valid_loss"]
    assert (np.diff(losses[up][:20]) >= 0).all()
    assert (np.diff(losses[down][:20]) <= 0).all()
    assert np.isnan(losses[up][20:]).all()
    assert np.isnan(losses[down][20:]).all()
    assert (
        browser.run("document.querySelectorAll('th[aria-sort=descending]').length") == 1
    )


def test_a_search_shows_the_rows_that_have_its_words(opened):
    browser = opened("pruned", recorded_sweeps.record())
    shown_rows = "lines.filter((line) => !line.hidden).map((line) => +line.dataset.row)"
    type_in = "element('search').value = {!r}; element('search').oninput; search()"

    browser.run(type_in.format("PRUNED lion"))
    status = recorded_sweeps.record().table["status"]
    kind = recorded_sweeps.record().table["kind"]
    wanted = np.flatnonzero((status == "pruned") & (kind == "lion"))
    assert browser.run(shown_rows) == wanted.tolist()
    browser.run(type_in.format(""))
    assert len(browser.run(shown_rows)) == 24


@pytest.mark.slow("their data is checked without a browser", but=1)
@pytest.mark.parametrize("kind", recorded_sweeps.KINDS[1:])
def test_every_kind_of_sweep_is_drawn(opened, kind):
    browser = opened(kind, recorded_sweeps.record(kind))

    assert browser.run("views.length") == browser.run("specs.length") > 0
    headings = browser.run("[...document.querySelectorAll('h2')].map(h => h.innerText)")
    assert ("How the population moved" in headings) == (kind == "population")
    assert ("Validation loss" in captions(browser)) == (
        kind not in ("dead", "interrupted")
    )
    browser.run("choose(1)")
    assert highlighted(browser) == "1"


def test_a_change_to_a_dark_background_draws_again(opened):
    browser = opened("pruned", recorded_sweeps.record())

    assert browser.run("views[0].background()") == "#ffffff"
    browser.dark()
    try:
        browser.until("views[0].background() === '#181c21'")
    finally:
        browser.dark(False)
    browser.until("views[0].background() === '#ffffff'")
    browser.run("queue.then(() => null)")


def test_negative_losses_are_on_the_picture(result):
    record = Record.of(dataclasses.replace(result, curves=result.curves - 1e3))
    chart = _figures.curves(record)

    (scale,) = {
        tuple(held["scale"]["domain"])
        for held in specs.encodings(chart, "y")
        if held["scale"].get("type", "linear") == "linear"
    }
    status = result.table["status"]
    values = [
        value
        for row in specs.rows(chart, "y1")
        if status[row["row"]] != "diverged"
        for value in row["y"]
    ]
    assert scale[0] < min(values) <= max(values) < scale[1]


def test_names_are_text_in_a_figure_whatever_they_are(tmp_path):
    def made(**setting):
        return jopt.sgd(*setting.values())

    for name in ("$\\frac{$", "a.b[0]", "image", "datum['x']", "<b>'\""):
        rates: Any = {name: [0.1, 0.2]}
        trials = sweep.grid(made, **rates)
        result = sweep.run(toy.task(), trials, steps=2, segments=1, block=2)
        chart = _figures.response(Record.of(result), name)
        assert specs.title(chart, "x") == name
        assert [row["h0"] for row in specs.rows(chart, "h0")] == [0.1, 0.2]
        assert all(f"{name} 0." in row["tip"] for row in specs.rows(chart, "h0"))
    result.plot().save(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 5000


@pytest.mark.parametrize(
    "values",
    [
        [-1e3, 5.0],
        [0.0, 1e-4, 1e2],
        [1e-300, 1e300],
        [5e-324, 1.7e308],
        [-1.7e308, 1.7e308],
        [3.0],
        [0.0],
        [1e-5, 1.0],
        [-1e-9, -1e9],
        [1.0, np.nan, np.inf],
    ],
)
def test_an_axis_has_a_place_for_every_finite_value(values):
    scale = _figures._numeric(values, "x")["scale"].to_dict()
    low, high = scale["domain"]

    assert np.isfinite([low, high]).all()
    assert low < high
    known = [value for value in values if np.isfinite(value)]
    assert low <= min(known) <= max(known) <= high
    if scale.get("type") == "log":
        assert low > 0


def test_labels_are_cut_in_the_middle_and_never_to_equality():
    long = ["l" * 100 + "x" + "r" * 100, "l" * 100 + "y" + "r" * 100]

    first, second = cut_apart(long)
    assert first != second
    assert max(len(first), len(second)) < 70
    assert cut_apart([long[0], long[0]])[0] == cut_apart([long[0], long[0]])[1]
    assert told_apart([0.1, 0.10000001, 0.1]) == ["0.1", "0.10000001", "0.1"]
    assert told_apart([0.5, 1e-7]) == ["0.5", "1e-7"]
    assert cut_apart(["a\nb", "a b", "bell\a"]) == ["a b", "a b #2", "bell\ufffd"]


def test_different_settings_are_different_lines():
    rows = [(a, b) for b in (0.1, 0.10000001) for a in (1, 2, 3)]
    record = Record.of(told.run(rows, metric="a", mode="min"))
    del record.table["loss"]  # of each trial its own
    chart = _figures.response(record, "a")

    lines = {row["line"]: row["kind"] for row in specs.rows(chart, "low")}
    assert list(lines.values()) == ["b=0.1", "b=0.10000001"]
    assert [name for name in specs.legend(chart) if "b=" in name][:2] == [
        *lines.values()
    ]
