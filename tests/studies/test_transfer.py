"""Promises of a transfer: rules side by side, laws of the best rate, its prediction."""

import json
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jopt
from jopt import sweep
from jopt.cli import main
from jopt.studies import Contender, Cost, transfer, transfer_cost
from jopt.studies._ladder import Ladder
from jopt.studies._transfer import changes
from jopt.studies._transferred import Transfer
from jopt.sweep import Model, Task
from jopt.training import Role

SEED = np.random.default_rng(0)
POINTS = SEED.normal(size=(64, 6)).astype(np.float32)
TARGETS = np.tanh(POINTS[:, :1] * 2 - POINTS[:, 1:2])


def net(width):
    """A regression by a network with one hidden matrix."""

    def make(key):
        keys = jax.random.split(key, 3)
        sizes = [(6, width), (width, width), (width, 1)]
        names = ("first", "second", "last")
        return {
            name: jax.random.normal(k, size) / np.sqrt(size[0])
            for name, k, size in zip(names, keys, sizes, strict=True)
        }

    def predict(params, batch):
        hidden = jnp.tanh(batch[0] @ params["first"])
        return jnp.tanh(hidden @ params["second"]) @ params["last"]

    def loss_fn(params, batch, key):
        return jnp.mean((predict(params, batch) - batch[1]) ** 2)

    def evaluate(params, batch):
        return {"loss": jnp.mean((predict(params, batch) - batch[1]) ** 2, axis=1)}

    def score(predictions, batch):
        return {"loss": jnp.mean((predictions - batch[1]) ** 2, axis=1)}

    data = {"train": (POINTS, TARGETS), "valid": (POINTS, TARGETS)}
    own: dict[str, Any] = {"predict": predict, "score": score, "batch_size": 16}
    return Task.from_model("net", make, loss_fn, evaluate, **data, **own)


WIDTHS = [4, 8, 16]
ADAM = Contender(jopt.adam, rates=[1e-3, 3e-2, 1.0])
SHORT: dict[str, Any] = {"steps": 10, "seeds": 2, "extend": 0, "block": 6}
SHORT |= {"to": 32, "check": True, "coordinates": 4}


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("transfer")


@pytest.fixture(scope="module")
def found(directory):
    return transfer(net, ADAM, WIDTHS, directory=directory / "study", **SHORT)


@pytest.mark.slow("factors of 1 have a quick contract")
def test_at_the_base_every_rule_is_plain_training_bit_for_bit(found):
    rates = found.rates
    base = [(rates["width"] == 4) & (rates["rule"] == rule) for rule in ("sp", "mup")]
    np.testing.assert_array_equal(*(rates["loss"][of] for of in base))
    wide = [(rates["width"] == 16) & (rates["rule"] == rule) for rule in ("sp", "mup")]
    sp, mup = (rates["loss"][of] for of in wide)
    assert not np.isclose(sp[:3], mup[:3]).any()


def test_the_table_has_a_row_a_rule_and_width(found):
    table = found.table
    assert table["rule"].tolist() == ["sp"] * 3 + ["mup"] * 3
    assert table["width"].tolist() == WIDTHS * 2
    assert table["parameters"].tolist() == [7 * w + w * w for w in WIDTHS] * 2
    assert (table["penalty"][[0, 3]] >= 0).all()


def test_the_parameters_of_a_wide_model_move_as_the_narrow_ones_do_under_mup(found):
    rows = found.exponents
    at = {
        (rule, leaf): e
        for rule, leaf, e in zip(
            rows["rule"], rows["leaf"], rows["exponent"], strict=True
        )
    }
    assert at["sp", "second"] > 0.5
    assert abs(at["mup", "second"]) < 0.3
    assert at["sp", "last"] - at["mup", "last"] > 0.7
    assert abs(at["mup", "first"]) < 0.3
    assert ("mup", "predictions") in at


def test_the_target_is_trained_around_the_predicted_rate(found):
    laws = dict(zip(found.laws["rule"], found.laws["rate_at"], strict=True))
    check = found.check
    for rule in set(check["rule"]):
        rates = check["learning_rate"][check["rule"] == rule]
        np.testing.assert_allclose(rates, laws[rule] * np.array([1 / 3, 1, 3]))
    assert set(check["rule"]) == {"sp", "mup"}
    assert np.isfinite(check["loss"]).any()


def test_a_second_call_goes_on_to_the_same_tables(found, directory):
    seen = []
    again = transfer(
        net, ADAM, WIDTHS, directory=directory / "study", progress=seen.append, **SHORT
    )
    assert {now.stage for now in seen} == set()
    for ours, theirs in ((found.table, again.table), (found.laws, again.laws)):
        for name, column in ours.items():
            np.testing.assert_array_equal(theirs[name], column)
    with pytest.raises(ValueError, match="has a study with other widths"):
        transfer(net, ADAM, [4, 8], directory=directory / "study", **SHORT)


def test_the_cost_is_known_before(found):
    cost = transfer_cost(net, ADAM, WIDTHS, **SHORT)
    planned, checked, moved = 6 * 3 * 2, 3 * 2 * 2, 2 * 6
    trials = planned + checked + moved
    steps = 10 * (planned + checked) + 4 * moved
    assert cost == Cost(trials, trials, steps, steps, 4)
    assert found.info["trials"] <= cost.most_trials


def test_files_and_page(found, tmp_path):
    names = {path.name for path in found.save(tmp_path)}
    assert {"transfer.csv", "laws.csv", "transfer.html", "transfer.png"} <= names
    held = json.loads((tmp_path / "transfer.json").read_text())
    assert held["outcome"] == [found.outcome]


# Laws of ladders whose best rates are known.


def ladders(exponent, spread=0.02, rule="sp"):
    """Ladders at four widths with the best rate 0.1 width^exponent."""
    rng, made = np.random.default_rng(1), {}
    for width in (16, 32, 64, 128):
        best = np.log2(0.1 * width**exponent)
        one = Ladder()
        moved = best + spread * rng.normal(size=4)  # of each seed
        for rate in 2.0 ** np.arange(-16.0, 0.0):
            one.losses[rate] = 1 + 0.05 * (np.log2(rate) - moved) ** 2
        made[rule, width] = one
    return made


@pytest.mark.parametrize("exponent", [-0.8, 0.0])
def test_a_known_law_is_found_with_its_interval(exponent):
    info = {"level": 0.95, "base": 16, "task": "t", "optimizer": "o", "steps": 1}
    counts: dict[int, int] = dict.fromkeys((16, 32, 64, 128), 1)
    found = Transfer.of(ladders(exponent), counts, 512, info)
    law = {name: column[0] for name, column in found.laws.items()}
    np.testing.assert_allclose(law["exponent"], exponent, atol=0.03)
    assert law["exponent_low"] - 0.02 <= exponent <= law["exponent_high"] + 0.02
    np.testing.assert_allclose(law["rate_at"], 0.1 * 512**exponent, rtol=0.1)
    # The parabola 0.05 x^2 at the distance that the narrowest's rate is off.
    off = exponent * np.log2(8)
    np.testing.assert_allclose(found.table["penalty"][-1], 0.05 * off**2, atol=0.02)
    np.testing.assert_allclose(found.table["penalty_law"], 0, atol=0.02)
    assert "At 512:" in found.outcome


def test_a_best_rate_at_the_edge_gives_no_law():
    made = ladders(0.0)
    one = made["sp", 128]
    one.losses = {rate: loss for rate, loss in one.losses.items() if rate < 0.05}
    info = {"level": 0.95, "base": 16}
    found = Transfer.of(made, dict.fromkeys((16, 32, 64, 128), 1), 512, info)
    assert np.isnan(found.laws["exponent"][0])
    assert found.table["edge"].tolist() == ["no", "no", "no", "open"]
    assert "no law; give more rates" in found.outcome


def test_changes_are_spectral_norms_over_the_fans():
    kinds = {
        "h": Role("hidden", 2, 2, 4, 6),
        "i": Role("input", 1, 2, 4, 6),
        "v": Role("vector", 1, 2, 1, 6),
    }
    before = {"h": np.zeros((2, 2, 6)), "i": np.zeros((4, 6)), "v": np.zeros(6)}
    after = {"h": np.ones((2, 2, 6)), "i": np.ones((4, 6)), "v": 3 * np.ones(6)}
    found = changes(Model(before, {}), Model(after, {}), kinds)
    norm = np.sqrt(24)
    expected = {"h": norm / np.sqrt(6 / 4), "i": norm / np.sqrt(6), "v": 3}
    for name, value in expected.items():
        np.testing.assert_allclose(found[name][1], value)


def test_the_initial_scale_is_a_number_that_is_swept():
    def factory(scale):
        return sweep.Supervised(
            jopt.sgd(0.0), init_scale={"first": 1.0, "second": scale, "last": 1.0}
        )

    result = sweep.run(net(4), sweep.grid(factory, scale=[1.0, 0.5]), steps=2, block=2)
    assert result.info["segment_compiles"] == 1
    one, half = (result.params(trial) for trial in (0, 1))
    np.testing.assert_allclose(half["second"], 0.5 * one["second"], rtol=1e-6)
    np.testing.assert_array_equal(half["first"], one["first"])


# Bad input, and the command.

BAD = [
    (["--axis", "width=32"], "widths must be at least 2 ascending integers"),
    (["--axis", "width=64,32"], "widths must be at least 2 ascending integers"),
    (["--axis", "width=a,b"], "--axis got 'a,b', not whole sizes"),
    (["--axis", "depth=1,2"], "--axis must name an argument of the task digits, got"),
    (["--rule", "mup,np"], "rules must be different ones among sp, mup, spectral"),
    (["--check"], "check needs the width that is predicted"),
    (["--to", "64"], "to must be above the widths that are trained, "),
    (["--optimizer", "prodigy"], "must have a ladder of rates and no other"),
    (["--override", "head=output"], "overrides must name parameters, got 'head'"),
    (["--schedule", "step"], 'schedule must be "cosine", "linear" or "constant"'),
    (["--seeds", "0"], "seeds must be at least 1"),
]


@pytest.mark.parametrize(("words", "sentence"), BAD, ids=[s for _, s in BAD])
def test_bad_input_is_one_sentence(words, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["transfer", "digits", *words, "--dry-run"]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.startswith("jopt: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"warmup": 1.0}, r"transfer: warmup must be in \[0, 1\), got 1.0"),
        ({"warmup": np.nan}, r"transfer: warmup must be in \[0, 1\), got nan"),
        ({"extend": -1}, "transfer: extend must be at least 0, got -1"),
        ({"epochs": 0}, "transfer: epochs must be at least 1, got 0"),
    ],
)
def test_a_number_that_breaks_its_rule_is_refused(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        transfer_cost(net, jopt.sgd, [4, 8], **given)


def test_heads_that_do_not_divide_a_width_are_the_tasks_sentence(capsys):
    words = ["transfer", "text", "--axis", "width=6,8", "--dry-run"]
    assert main(words) == 2
    assert "heads must divide width, got 4 heads and width 6" in capsys.readouterr().err


def test_the_command_says_what_it_costs_and_transfers(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text("from test_transfer import net\n")
    monkeypatch.syspath_prepend(str(__file__).rpartition("/")[0])
    words = ["transfer", "own.py:net", "--axis", "width=4,8", "--steps", "6"]
    words += ["--seeds", "1", "--extend", "0", "--block", "6"]
    words += ["--learning-rate", "1e-3:1e-1:3", "--to", "16"]
    assert main([*words, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "12 trials, 72 trial-steps, 2 programs" in said
    assert re.search(r"about [\d.]+ s on this machine", said)
    assert main([*words, "--out", "out"]) == 0
    said = capsys.readouterr().out
    assert "best rates" in said
    assert "Page: out/transfer.html" in said
