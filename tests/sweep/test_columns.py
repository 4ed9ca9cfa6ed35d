"""Names that trials have apart, or share with the table's own columns."""

import csv
import io
import json
import math
from typing import Any

import numpy as np
import pytest
import specs
import toy
from rich.console import Console

import jopt
from jopt import sweep
from jopt.cli import display
from jopt.report import Record, _figures, page
from jopt.report._importance import importance
from jopt.report._sentences import headline
from jopt.sweep._shown_values import column_of, columns, space
from jopt.sweep._trial import settings_of

SIZES: Any = {"steps": 4, "segments": 2, "block": 2}


def summary(result, tmp_path):
    text = io.StringIO()
    display.summary(Console(file=text, width=200), result, tmp_path, [])
    return text.getvalue()


def strict(path):
    def refuse(word):
        raise ValueError(word)

    return json.loads(path.read_text(), parse_constant=refuse)


@pytest.fixture(scope="module")
def noisy():
    trials = sweep.grid(
        jopt.noisy_sgd, learning_rate=0.1, eta=0.01, gamma=0.55, seed=[1, 2, 3]
    )
    return sweep.run(toy.task(), trials, seeds=2, **SIZES)


@pytest.mark.slow("other names of columns are in the quick run")
def test_a_hyperparameter_called_as_a_column_has_another(noisy, tmp_path):
    assert noisy.table["param_seed"].tolist() == [1, 1, 2, 2, 3, 3]
    assert noisy.table["seed"].tolist() == [0, 1] * 3
    assert noisy.settings()["param_seed"].tolist() == [1, 2, 3]
    assert noisy.info["space"]["param_seed"] == [1, 2, 3]
    noisy.save(tmp_path)
    with (tmp_path / "trials.csv").open() as file:
        assert [row["param_seed"] for row in csv.DictReader(file)] == list("112233")
    record = Record.of(sweep.load(tmp_path))
    assert record.varying == ["param_seed"]
    assert page(record) == page(Record.of(noisy))
    best = strict(tmp_path / "best.json")
    assert best["hyperparameters"]["seed"] in (1, 2, 3)  # as the factory takes it
    assert best["seed"] in (0, 1)
    assert f"seed\N{NO-BREAK SPACE}{best['hyperparameters']['seed']}" in headline(
        record
    )
    assert "param_seed" in summary(noisy, tmp_path)
    chart = _figures.response(record, "param_seed")
    assert specs.title(chart, "x") == "param_seed"


def test_no_two_hyperparameters_share_a_column():
    names = ["seed", "param_seed", "param_param_seed", "steps", "trials", "valid_loss"]
    names += ["train_loss_std", "param_scale", "seeds", "learning_rate"]
    found = [column_of(name) for name in names]
    assert len(set(found)) == len(names)
    assert found[-3:] == names[-3:]
    assert not {"seed", "steps", "trials", "valid_loss", "train_loss_std"} & set(found)


@pytest.fixture(scope="module", params=["more first", "fewer first"])
def mixed(request):
    more = sweep.grid(jopt.sgd, learning_rate=[0.1, 1.0], momentum=[0.5, 0.9])
    fewer = sweep.grid(jopt.adamw, learning_rate=[1e-3, 1e-2])
    trials = [*more, *fewer] if request.param == "more first" else [*fewer, *more]
    return sweep.run(toy.task(), trials, **SIZES)


@pytest.mark.slow("tests/sweep/test_groups.py has such trials")
def test_trials_may_have_other_hyperparameters(mixed, tmp_path):
    has = np.asarray(["momentum" in t.hyperparameters for t in mixed.trials])
    assert np.isnan(mixed.table["momentum"]).tolist() == (~has).tolist()
    assert mixed.info["space"]["momentum"] == [0.5, 0.9]
    assert len(mixed.info["grouped_by"]) == 2
    mixed.save(tmp_path)
    record = Record.of(sweep.load(tmp_path))
    assert page(record) == page(Record.of(mixed))
    assert "momentum" in record.varying
    assert len(record.settings()) == 6
    assert " -" in summary(mixed, tmp_path)
    mixed.plot("momentum").save(tmp_path / "momentum.png")
    response = _figures.response(record, "momentum")
    assert "momentum=nan" not in specs.legend(response)


def test_importance_takes_hyperparameters_that_some_have():
    trials = sweep.grid(jopt.sgd, learning_rate=[0.1, 1.0, 2.0], momentum=[0.5, 0.9])
    trials += sweep.grid(jopt.adamw, learning_rate=[1e-3, 1e-2, 0.1, 0.2, 0.3, 0.4])
    table = {"trial": np.arange(12), **columns(trials), "seed": np.zeros(12, int)}
    losses = np.linspace(1, 2, 12).astype(np.float32)
    table |= {"status": np.full(12, "complete"), "steps": np.full(12, 4)}
    table |= {"train_loss": losses, "valid_loss": losses}
    info = {"task": "points", "space": space(trials), "setting": [*range(12)]}
    curves = np.ones((12, 4), np.float32)
    found = importance(Record(table, curves, {}, np.asarray([4]), info))
    assert found["names"] == ["learning_rate", "momentum"]
    assert math.isclose(sum(found["ped_anova"]), 1, rel_tol=1e-6)


def test_words_and_flags_that_some_have_are_none_elsewhere():
    trials = sweep.grid(lambda kind: jopt.sgd(0.1), kind=["a", "b"])
    trials += sweep.grid(lambda flag: jopt.sgd(0.1), flag=[True])
    assert columns(trials)["kind"].tolist() == ["a", "b", None]
    assert columns(trials)["flag"].tolist() == [None, None, True]


def test_optimizers_of_the_same_numbers_are_settings_of_their_own():
    trials = sweep.grid(jopt.sgd, learning_rate=[0.1, 0.2])
    trials += sweep.grid(jopt.adamw, learning_rate=[0.1, 0.2])
    assert [rows.tolist() for rows in settings_of(trials)] == [[0], [1], [2], [3]]


@pytest.mark.slow("tests/sweep/test_record.py keeps such numbers")
def test_numbers_that_are_not_finite_are_strict_json_and_come_back(tmp_path):
    def factory(rate, clip):
        return jopt.chain(jopt.clip_by_global_norm(clip), jopt.sgd(rate))

    trials = sweep.grid(factory, rate=[0.1, 0.2], clip=[math.inf])
    huge = toy.points(8, seed=3)[0] * np.float32(np.inf), toy.points(8)[1]
    result = sweep.run(toy.task(test=huge), trials, **SIZES)
    result.save(tmp_path)
    assert strict(tmp_path / "sweep.json")["space"]["clip"] == ["inf"]
    best = strict(tmp_path / "best.json")
    assert best["hyperparameters"]["clip"] == "inf"
    assert best["test"]["loss"] == "nan"
    record = Record.of(sweep.load(tmp_path))
    assert record.table["clip"].tolist() == [math.inf, math.inf]
    assert page(record) == page(Record.of(result))


@pytest.mark.slow("titles are tested without seeds")
def test_titles_count_seeds_and_folds():
    trials = sweep.grid(jopt.sgd, learning_rate=[0.1, 0.1, 0.2])
    result = sweep.run(toy.task(), trials, seeds=3, folds=2, **SIZES)

    def title(result):
        tables = display._settings_tables(result, Record.of(result), ["learning_rate"])
        return next(tables).title

    assert title(result) == "best settings, means of 3 seeds and 2 folds"
    assert title(sweep.run(toy.task(), trials, **SIZES)) == "best settings"


@pytest.mark.slow("the sentences have tests without a sweep")
def test_what_a_result_does_not_have_is_named(noisy, tmp_path):
    wrong: Any = [-1, 1.5]
    for k in wrong:
        words = r"^SweepResult\.top: k must be an integer"
        with pytest.raises((TypeError, ValueError), match=words):
            noisy.top(k)
    with pytest.raises(ValueError, match="of at least 0, got -1"):
        noisy.save(tmp_path / "none", keep=-1)
    assert not (tmp_path / "none").exists()
    assert noisy.top(0) == []
    with pytest.raises(ValueError, match=r"column of numbers \(learn.*, got 'nope'"):
        noisy.plot("nope")
    with pytest.raises(TypeError, match=r"trial must be an integer, got 0\.5\."):
        noisy.params(0.5)  # pyright: ignore[reportArgumentType]


@pytest.mark.slow("tests/report/test_report.py looks at pictures")
def test_pictures_say_when_and_join_no_members(tmp_path):
    rates = sweep.grid(jopt.sgd, learning_rate=[0.1, 0.2, 0.4, 0.8])
    pruned = sweep.run(toy.task(), rates, pruner=sweep.SuccessiveHalving(1, 2), **SIZES)
    chart = _figures.response(Record.of(pruned), "learning_rate")
    assert specs.title(chart, "y") == "validation loss at the last segment"
    rate = {"learning_rate": sweep.log_uniform(0.01, 1)}
    population = sweep.PopulationBasedTraining(rate)
    evolved = sweep.run(toy.task(), rates, population=population, **SIZES)
    chart = _figures.response(Record.of(evolved), "learning_rate")
    assert specs.title(chart, "y") == "validation loss after 4 steps"
    assert not {"line", "area"} & set(specs.marks(chart))
    assert _figures.main_hyperparameter(Record.of(evolved)) == "learning_rate"
