"""Promises of a comparison: the same chances for all, and verdicts of fresh seeds."""

import csv
import json
import math
import re
import shutil
from typing import Any

import jax
import noisy_quadratic
import numpy as np
import pytest
import toy

import jopt
from jopt.cli import lookup, main
from jopt.studies import Contender, Cost, across, compare, compare_cost
from jopt.studies._contender import Made, hidden_matrices
from jopt.studies._ladder import Ladder
from jopt.studies._shapes import metrics_on_test
from jopt.training import Role

RATES = [0.03, 0.1, 0.3]
SHORT: dict[str, Any] = {"steps": 20, "seeds": 2, "confirm": 4, "extend": 1}
SHORT |= {"schedule": "constant", "block": 4}


def sgd(learning_rate):
    return jopt.sgd(learning_rate)


CONTENDERS = {
    "sgd": Contender(sgd, rates=RATES),
    "again": Contender(sgd, rates=RATES),
    "lost": Contender(sgd, rates=[1e12, 2e12, 4e12]),
    "free": Contender(sgd, rates=[0.01], schedule="own"),
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("compared")


@pytest.fixture(scope="module")
def found(directory):
    return compare(
        noisy_quadratic.task(), CONTENDERS, directory=directory / "study", **SHORT
    )


def row(found, name):
    at = found.table["optimizer"].tolist().index(name)
    return {column: values[at] for column, values in found.table.items()}


# Verdicts.


def test_an_optimizer_under_two_names_differs_by_exactly_nothing(found):
    again = row(found, "again")
    assert again["difference"] == again["difference_low"] == 0
    assert again["difference_high"] == 0
    assert again["p"] == again["step_ratio"] == 1
    assert again["verdict"] == "not told apart"
    assert "again (no difference)" in found.outcome
    ours, theirs = (row(found, name) for name in ("sgd", "again"))
    for name in ("learning_rate", "loss", "sd", "optimism", "sensitivity", "octaves"):
        np.testing.assert_equal(ours[name], theirs[name])
    for one, other in zip(found.tuning["sgd"], found.tuning["again"], strict=True):
        np.testing.assert_array_equal(one.curves, other.curves)


def test_a_contender_that_diverges_everywhere_is_a_row_and_the_rest_goes_on(found):
    lost = row(found, "lost")
    assert lost["verdict"] == "diverged at every rate"
    assert math.isnan(lost["learning_rate"])
    assert lost["rank"] == 4
    assert "lost diverged at every rate." in found.remarks
    with pytest.raises(ValueError, match="the baseline lost diverged at every rate"):
        compare(noisy_quadratic.task(), CONTENDERS, baseline="lost", **SHORT)


def test_ranks_are_of_fresh_seeds_the_same_for_all(found):
    seeds = [result.table["seed"].tolist() for result in found.confirmed.values()]
    assert seeds == [[2, 3, 4, 5]] * 3  # tuning has seen 0 and 1
    assert row(found, "sgd")["verdict"] == "baseline"
    means = [result.table["valid_loss"].mean() for result in found.confirmed.values()]
    np.testing.assert_allclose(np.sort(found.table["loss"][:3]), np.sort(means))
    starts = {n: r.curves[:, 0] for n, r in found.confirmed.items()}
    np.testing.assert_array_equal(starts["sgd"], starts["free"])  # bitwise pairs
    assert len(set(starts["sgd"].tolist())) == 4


def test_a_single_rate_is_a_method_without_a_ladder(found):
    free = row(found, "free")
    assert free["trials"] == 2
    assert free["edge"] == "no"
    assert free["schedule"] == "own"
    assert math.isnan(free["sensitivity"])
    assert free["verdict"] == "worse"


def test_pairs_have_their_holm_values_and_seeds(found):
    pairs = {
        (a, b): i
        for i, (a, b) in enumerate(zip(found.pairs["a"], found.pairs["b"], strict=True))
    }
    assert len(pairs) == 3
    same = pairs["again", "sgd"] if ("again", "sgd") in pairs else pairs["sgd", "again"]
    assert found.pairs["seeds_needed"][same] == math.inf
    assert (found.pairs["p_holm"] >= found.pairs["p"]).all()


# What it costs.


def test_the_cost_is_known_before(found):
    cost = compare_cost(noisy_quadratic.task(), CONTENDERS, **SHORT)
    # Three ladders of three rates, half steps beside their best, and a single rate.
    planned = 3 * (3 + 2) * 2 + 2 + 4 * 4
    assert cost == Cost(planned, planned + 18, 20 * planned, 20 * (planned + 18), 4)
    assert found.info["trials"] <= cost.most_trials


def test_a_second_call_goes_on_to_the_same_table(found, directory):
    seen = []
    again = compare(
        noisy_quadratic.task(),
        CONTENDERS,
        directory=directory / "study",
        progress=seen.append,
        **SHORT,
    )
    assert {now.stage for now in seen} == set()  # nothing was trained
    for name, column in found.table.items():
        if name not in ("step_ms", "time_ratio"):
            np.testing.assert_array_equal(again.table[name], column)
    options = {**SHORT, "seeds": 3, "directory": directory / "study"}
    with pytest.raises(ValueError, match="has a study with other seeds: 2, got 3"):
        compare(noisy_quadratic.task(), CONTENDERS, **options)


def test_what_a_killed_process_left_is_trained(found, directory):
    copy = directory / "killed"
    shutil.copytree(directory / "study", copy)
    shutil.rmtree(copy / "free" / "confirm")
    (copy / "free" / "tune" / "record" / "end.json").unlink()
    options = {**SHORT, "directory": copy, "progress": (seen := []).append}
    again = compare(noisy_quadratic.task(), CONTENDERS, **options)
    assert {now.stage for now in seen} == {"free/confirm"}
    np.testing.assert_array_equal(again.table["loss"], found.table["loss"])


# Ladders.


def ladder(center, best, seeds=3, extend=3):
    """Extend a ladder of 9 rates on a valley with its lowest point at `best`."""
    one = Ladder()
    rng = np.random.default_rng(0)

    def train(rates):
        for rate in rates:
            depth = 1 + 0.1 * np.log2(rate / best) ** 2
            one.losses[rate] = depth + 1e-3 * rng.normal(size=seeds)

    train([center * 2.0**k for k in range(-4, 5)])
    for _ in range(extend):
        if not (more := one.beyond()):
            break
        one.extensions += 1
        train(more)
    if one.edge != "open":
        train(one.beside())
    return one


@pytest.mark.parametrize(
    ("times", "extensions", "edge"),
    [(1, 0, "no"), (100, 2, "extended"), (0.01, 2, "extended"), (1e5, 3, "open")],
)
def test_a_ladder_is_extended_to_the_best_rate(times, extensions, edge):
    one = ladder(0.1, 0.1 * times)
    assert (one.extensions, one.edge) == (extensions, edge)
    if edge == "open":
        assert one.rates[-1] == 0.1 * 2.0 ** (4 + 9)
    else:
        np.testing.assert_allclose(one.best.rate, 0.1 * times, rtol=0.02)


def test_where_all_rates_diverge_lower_ones_are_tried():
    one = Ladder({rate: np.full(2, np.inf) for rate in (1.0, 2.0, 4.0)})
    assert one.beyond() == [0.125, 0.25, 0.5]
    assert one.diverged


def test_the_best_rate_of_a_quadratic_is_found_by_a_comparison(found):
    # |w_t|^2 = (1 - r)^2t + r noise / (2 - r), for the loss of the last step by rate.
    rates = found.tuning["sgd"][0].table["learning_rate"]
    best = row(found, "sgd")["learning_rate"]
    noise = noisy_quadratic.NOISE**2 / 4
    start = noisy_quadratic.START**2

    def expected(r):
        left = np.prod((1 - r * np.minimum(np.arange(20) / 2, 1)) ** 2)
        return start * left + noise * r / (2 - r)

    fine = np.geomspace(0.05, 1, 400)
    wanted = fine[np.argmin([expected(r) for r in fine])]
    assert rates.min() < best < 2 * rates.max()
    assert abs(np.log2(best / wanted)) < 1


# What contenders are given.


def test_all_get_one_schedule_and_no_decay_of_their_own():
    made = Made(Contender(jopt.adamw), steps=100, warmup=0.1)
    plain = jopt.adamw(
        jopt.warmup_cosine_decay_schedule(0.0, 0.01, 10.0, 100.0), weight_decay=0.0
    )
    assert made(0.01) == plain
    own = Made(Contender(jopt.schedule_free_adamw), steps=100, warmup=0.1)
    assert own(0.01) == jopt.schedule_free_adamw(0.01, warmup_steps=10.0)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_the_decay_is_the_sum_over_the_run_whatever_the_rate(schedule):
    for rate in (0.01, 1.0):
        made = Made(Contender(jopt.sgd), steps=200, warmup=0.1, decays=True)
        tx = made(rate, schedule, decay=0.3)
        params = {"w": np.ones(3, np.float32)}
        zero = {"w": np.zeros(3, np.float32)}
        state, shares = tx.init(params), []
        for _ in range(200):
            updates, state = tx.update(zero, state, params)
            shares.append(-float(updates["w"][0]))
        np.testing.assert_allclose(sum(shares), 0.3, rtol=0.02)


def test_muon_gets_hidden_matrices_by_their_roles_and_adam_its_share():
    kinds = {
        "a": Role("input", 1, 2, 3, 4),
        "b": Role("hidden", 2, 2, 4, 4),
        "c": Role("output", 2, 1, 4, 2),
    }
    shapes: Any = {("a",): (3, 4), ("b",): (4, 4), ("c",): (4, 2)}
    hidden = hidden_matrices(kinds, shapes)
    made = Made(Contender(jopt.muon), 10, 0.1, hidden=hidden)
    tx = made(0.02, adam_share=0.5)
    params = {path[0]: np.ones(shape, np.float32) for path, shape in shapes.items()}
    held = jax.tree.leaves(tx.init(params).inner_states["muon"])
    assert {leaf.shape for leaf in held if leaf.ndim > 1} == {(4, 4)}
    paths = jax.tree_util.tree_leaves_with_path(tx)
    named = [(jax.tree_util.keystr(path), leaf) for path, leaf in paths]
    rates = [leaf for name, leaf in named if name.endswith("peak_value")]
    assert sorted(rates) == [0.01, 0.02]


# Several tasks, files and the command.


def test_tasks_are_joined_by_log_ratios(found):
    rows = across({"one": found, "two": found, "three": found})
    verdicts = dict(zip(rows["optimizer"], rows["verdict"], strict=True))
    assert verdicts == {"sgd": "baseline", "again": "not told apart", "free": "worse"}
    at = rows["optimizer"].tolist().index("again")
    assert rows["log_ratio"][at] == rows["low"][at] == rows["high"][at] == 0
    two = across({"one": found, "two": found})
    assert "no verdict from two tasks" in two["verdict"]
    not_one: Any = {"one": "found"}
    with pytest.raises(TypeError, match="across: comparisons must be a dict"):
        across(not_one)


@pytest.mark.parametrize("decay", ["0.1", ["0.1"], 1j, None])
def test_a_decay_is_a_number_or_several(decay):
    with pytest.raises(TypeError, match="compare: decay must be a number, or a list"):
        compare_cost(noisy_quadratic.task(), CONTENDERS, **SHORT, decay=decay)


def test_the_files_hold_the_table_the_picture_and_the_page(found, tmp_path):
    written = {path.name for path in found.save(tmp_path)}
    assert written == {
        "compare.csv",
        "pairs.csv",
        "rates.csv",
        "curves.csv",
        "compare.json",
        "compare.png",
        "compare.html",
    }
    with (tmp_path / "compare.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [one["optimizer"] for one in rows] == found.table["optimizer"].tolist()
    held = json.loads((tmp_path / "compare.json").read_text())
    assert held["outcome"][0] == found.outcome
    page = (tmp_path / "compare.html").read_text()
    assert "not told apart" in page
    assert "http" not in page.replace("http-equiv", "")


TASK = """
import jopt, noisy_quadratic
def bowl(): return noisy_quadratic.task()
def mine(learning_rate): return jopt.sgd(learning_rate)
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(TASK)
    return "own.py"


def test_the_command_compares_functions_of_a_file(file, capsys):
    words = ["compare", "sgd", f"{file}:mine", "--task", f"{file}:bowl"]
    words += ["--steps", "20", "--seeds", "2", "--confirm", "2", "--extend", "0"]
    words += ["--rates", "sgd=0.1:0.4:3", "--rates", "mine=0.1:0.4:3"]
    words += ["--schedule", "constant", "--block", "4"]
    assert main([*words, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "bowl: 24 trials, 480 trial-steps, 2 programs" in said
    (seconds,) = re.findall(r"bowl: about ([\d.]+) s on this machine", said)
    assert 0 < float(seconds) < 90
    assert main([*words, "--out", "out"]) == 0
    said = capsys.readouterr().out
    assert "sgd/tune: 6 trials" in said
    assert "Not told apart from sgd: mine (no difference)." in said
    assert "Page: out/compare.html" in said


BAD = [
    (["adamw"], "contenders must be at least 2, got 1"),
    (["adamw", "adamw"], "The optimizer adamw is given a second time"),
    (["adamw", "adamv"], "There is no optimizer adamv (did you mean adam?)"),
    (["adamw", "sgd", "--baseline", "sdg"], "baseline must be a contender, got 'sdg'"),
    (["adamw", "sgd", "--rates", "lion=1:2:3"], "--rates must name one of the optim"),
    (["adamw", "sgd", "--rates", "sgd=1,2"], "rates must be at least 3, or 1 for"),
    (["adamw", "sgd", "--rates", "sgd=-1,1,2"], "rates must be above 0, finite and"),
    (["adamw", "sgd", "--confirm", "1"], "confirm must be at least 2, or 0"),
    (["adamw", "sgd", "--horizons", "0.5,2,3"], "at least 0.1 and have 1 among them"),
    (["adamw", "sgd", "--horizons", "0.01,1,2"], "at least 0.1 and have 1 among them"),
    (["adamw", "sgd", "--set", "sgd.momentun=0.9"], "sgd: space must name arguments"),
    (["adamw", "sgd", "--set", "momentum=0.9"], "write NAME.FIELD=VALUES"),
    (["adamw", "sgd", "--set", "sgd.adam_share=1"], "adam_share is for Muon and its"),
    (["adamw", "sgd", "--decay", "-1"], "decay must be at least 0"),
    (["adamw", "sgd", "--schedule", "cosin"], "schedule must be among cosine"),
    (["adamw", "dog", "--decay", "0.1"], "decay must be 0 with dog"),
    (["adamw", "nowhere.py:x"], "There is no file nowhere.py"),
]


@pytest.mark.parametrize(("words", "sentence"), BAD, ids=[s for _, s in BAD])
def test_bad_input_is_one_sentence(words, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["compare", *words]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.startswith("jopt: ")
    assert said.count("\n") == 1


def test_factories_of_optax_contrib_are_lifted():
    tx = lookup.optimizer("optax.contrib.prodigy")(0.5)
    assert tx.numbers["learning_rate"] == 0.5
    assert Contender(lookup.optimizer("optax.contrib.prodigy")).ladder == [1.0]


def test_test_metrics_are_of_the_confirmed_runs():
    def predict(model, batch):
        hidden = jax.numpy.tanh(batch[0] @ model.params["hidden"])
        return jax.nn.softmax(hidden @ model.params["out"])

    def score(probabilities, batch):
        return {"accuracy": probabilities.argmax(axis=1) == batch[1]}

    task = toy.task(predict=predict, score=score)
    result = jopt.sweep.run(
        task,
        jopt.sweep.grid(jopt.adam, learning_rate=[0.1]),
        steps=10,
        seeds=2,
        block=2,
    )
    scores = metrics_on_test(task, result)["accuracy"]
    assert len(scores) == 2
    assert result.best is not None
    best = result.best.test["accuracy"]
    np.testing.assert_allclose(scores[result.best.trial], best, rtol=1e-6)
