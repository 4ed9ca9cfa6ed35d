"""Promises of `jopt search`."""

import json

import numpy as np
import pytest

from jopt import sweep
from jopt.cli import main

SHORT = ["--trials", "6", "--batch", "3", "--block", "3", "--steps", "8"]
SHORT += ["--segments", "2", "--sampler", "tpe:n_startup_trials=2"]


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """Run the command on bad input; return the one sentence that it ends in."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        assert main(["search", *arguments]) == 2
        captured = capsys.readouterr()
        assert captured.err.startswith("jopt: ")
        assert captured.err.count("\n") == 1
        return captured.err

    return run


@pytest.mark.slow(
    "tests/sweep/test_search.py searches and goes on; words are refused here"
)
def test_a_search_writes_files_goes_on_with_more_trials_and_is_reported(
    tmp_path, capsys, refused
):
    out = tmp_path / "out"
    given = ["--set", "weight_decay=0,0.1", "--confirm", "1", "--out", str(out)]
    assert main(["search", *SHORT, *given]) == 0
    shown = capsys.readouterr().out
    assert "search of 6 settings" in shown
    assert "segment 2/2 of batch 2/2: 3 of 3 alive" in shown
    assert (
        "TPE(n_startup_trials=2, n_ei_candidates=24) was asked for 2 batches" in shown
    )
    assert {"trials.csv", "report.html", "best", "batches"} <= {
        path.name for path in out.iterdir()
    }
    before = sweep.load(out)
    assert len(before.trials) == 6 + 4

    assert main(["search", "--resume", str(out), "--trials", "9", "--json"]) == 0
    captured = capsys.readouterr()
    assert "search of 9 settings, resumed" in captured.err
    answer = json.loads(captured.out)  # nothing else is printed there
    assert answer["directory"] == str(out)
    assert str(out / "trials.csv") in answer["files"]
    assert (answer["metric"], answer["mode"]) == ("loss", "min")
    assert len(answer["settings"]) == 9 + 1
    best = answer["best"]
    assert best == json.loads((out / "best.json").read_text())
    (row,) = [row for row in answer["settings"] if row["trial"] == best["trial"]]
    assert row["learning_rate"] == best["hyperparameters"]["learning_rate"]
    assert row["confirmed"] is True
    after = sweep.load(out)
    np.testing.assert_array_equal(after.curves[:6], before.curves[:6])
    assert len(after.trials) == 9 + 4
    (out / "report.html").unlink()
    assert main(["report", str(out)]) == 0
    assert (out / "report.html").exists()

    capsys.readouterr()
    said = refused("--resume", str(out), "--steps", "9")
    assert "takes no other steps" in said
    assert main(["sweep", "--resume", str(out)]) == 2
    said = capsys.readouterr().err
    assert f"Go on with: jopt search --resume {out}" in said


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--sampler", "tpa"], "There is no sampler tpa (did you mean tpe?)"),
        (["--sampler", "tpe:startups=3"], "--sampler got 'startups=3'"),
        (["--sampler", "sobol:n=3"], "sobol has no fields"),
        (["--trials", "-1"], "trials must be an integer of at least 1, got -1"),
        (["--set", "b2=0.9:x"], "--set b2 got '0.9:x'"),
        (["--set", "b4=0.9..0.99"], "adamw has no hyperparameter b4"),
        (["--resume", "nowhere"], "There is no command.json in nowhere"),
    ],
)
def test_bad_input_ends_in_one_sentence(refused, arguments, sentence):
    assert sentence in refused(*arguments)
