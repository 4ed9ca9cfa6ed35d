"""Promises of the `jopt` command."""

import csv
import json
import os
import pty
import re
import signal
import subprocess
import sys
import textwrap
import time
from typing import Any

import numpy as np
import pytest

from jopt.cli import main
from jopt.sweep.store import Store

COLUMNS = "trial,learning_rate,seed,status,steps,train_loss,valid_loss,valid_accuracy"
SHORT = ["--steps", "20", "--block", "4", "--learning-rate", "1e-4:1e-2:4"]
LONG = ["--steps", "20000", "--segments", "40", "--block", "4"]


def jopt(*arguments):
    """The command as a user runs it, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "jopt", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """Run the command on bad input; return the one sentence that it ends in."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        assert main(["sweep", *arguments]) == 2
        captured = capsys.readouterr()
        assert captured.err.startswith("jopt: ")
        assert captured.err.count("\n") == 1
        assert "Traceback" not in captured.err
        return captured.err

    return run


@pytest.mark.slow("test_predict.py sweeps by the command, tests/report/ has every file")
def test_a_sweep_prints_tables_and_writes_files(tmp_path):
    done = jopt("sweep", *SHORT, "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "segment 10/10: 4 of 4 alive, best learning_rate=" in done.stdout
    assert "best settings" in done.stdout
    assert "the segment compiled once" in done.stdout
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "trials.csv",
        "curves.npz",
        "sweep.json",
        "best.json",
        "best",
        "learning_rate.png",
        "curves.png",
        "report.html",
        "command.json",
        "record",
    }
    with (tmp_path / "out" / "trials.csv").open() as file:
        assert file.readline().strip() == COLUMNS
        assert len(file.readlines()) == 4
    info = json.loads((tmp_path / "out" / "sweep.json").read_text())
    assert info["segment_compiles"] == 1
    assert info["block"] == [4]
    rates = np.asarray(info["space"]["learning_rate"])
    np.testing.assert_allclose(rates, np.geomspace(1e-4, 1e-2, 4))


@pytest.mark.slow("the display's text is tested without a terminal")
def test_a_terminal_shows_a_live_bar(tmp_path):
    shown, child = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "jopt", "sweep", *SHORT, "--out", tmp_path / "out"],
        stdout=child,
        stderr=child,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"},
    ) as process:
        os.close(child)
        text = b""
        while process.poll() is None or text[-1:] != b"\n":
            try:
                text += os.read(shown, 65536)
            except OSError:  # Linux's word for the end of a terminal
                break
    os.close(shown)
    assert process.returncode == 0
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text.decode())
    assert "segment 10/10" in plain
    assert "100%" in plain
    assert "trial-steps/s" in plain


@pytest.mark.slow("tests/sweep/test_columns.py has columns")
def test_seeds_and_other_hyperparameters_are_columns(tmp_path, capsys):
    out = tmp_path / "out"
    arguments = [*SHORT, "--optimizer", "sgd", "--set", "momentum=0.5,0.9"]
    arguments += ["--set", "nesterov=true,false", "--seeds", "2", "--out", str(out)]
    assert main(["sweep", *arguments]) == 0
    with (out / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * 2 * 2 * 2
    assert {row["momentum"] for row in rows} == {"0.5", "0.9"}
    assert {row["nesterov"] for row in rows} == {"True", "False"}
    assert {row["seed"] for row in rows} == {"0", "1"}
    assert "means of 2 seeds" in capsys.readouterr().out


@pytest.mark.slow("tests/sweep/test_nonfinite.py has diverged trials")
def test_a_diverged_trial_is_listed_with_its_step(tmp_path, capsys):
    arguments = ["--learning-rate", "0.01,1e6", "--steps", "20", "--block", "2"]
    assert main(["sweep", *arguments, "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "diverged: 1 of 2 trials" in shown
    with (tmp_path / "out" / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["complete", "diverged"]
    assert 0 < int(rows[1]["steps"]) < 20


@pytest.mark.slow("tests/interop/test_lift.py lifts them")
def test_optaxs_optimizers_are_swept_by_their_names(tmp_path):
    arguments = [*SHORT, "--optimizer", "optax.adan", "--set", "b1=0.9,0.98"]
    assert main(["sweep", *arguments, "--out", str(tmp_path / "out")]) == 0


TASK = """
import toy

task = toy.task()

def made():
    return toy.task(name="made")

number = 3

def broken():
    return toy.task(loss=lambda params, state, batch, key: params["nothing"])
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(textwrap.dedent(TASK))
    return str(path)


@pytest.mark.slow("an example in CI does it")
@pytest.mark.parametrize("name", ["task", "made"])
def test_a_task_of_the_users_own_comes_from_a_file(file, tmp_path, name):
    arguments = [f"{file}:{name}", *SHORT, "--out", str(tmp_path / "out")]
    assert main(["sweep", *arguments]) == 0


def test_a_mistake_in_the_users_file_is_given_with_its_line(file, tmp_path, refused):
    error = refused(f"{file}:broken", *SHORT)
    assert "KeyError at" in error
    assert "mine.py, line 12: 'nothing'" in error


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["digit"], "There is no task digit (did you mean digits?)"),
        (["missing.py:task"], "There is no file missing.py"),
        (["--optimizer", "lyon"], "There is no optimizer lyon (did you mean lion?)"),
        (["--optimizer", "optax.nothing"], "There is no optimizer optax.nothing"),
        (["--learning-rate", "1e-5:1"], "'1e-5:1', a range without a COUNT; write LOW"),
        (["--learning-rate", "1:1e-5:3"], "a range needs 0 < LOW <= HIGH"),
        (["--learning-rate", "0:1:3"], "a range needs 0 < LOW <= HIGH"),
        (["--learning-rate", "1e-5:1:2.5"], "a whole COUNT"),
        (["--learning-rate", "fast"], "--learning-rate got 'fast', not numbers"),
        (["--learning-rate", "1e-3,,1"], "which has an empty value"),
        (["--learning-rate", "-0.1"], "learning_rate must be at least 0, got -0.1"),
        (["--learning-rate", "nan"], "learning_rate must be at least 0, got nan"),
        (["--set", "lr=0.1"], "adamw has no hyperparameter lr"),
        (["--set", "b1"], "--set got 'b1'; write NAME=VALUES"),
        (["--set", "b1=0.9,1.0"], "b1 must be below 1, got 1.0"),
        (["--set", "learning_rate=0.1"], "learning_rate a second time"),
        (["--batch-size", "99999"], "between 1 and the 1078 training examples"),
        (["--steps", "0"], "steps of at least 1, got 0"),
        (["--seeds", "0"], "seeds of at least 1, got 0"),
        (["--block", "0"], "block of at least 1, got 0"),
        (["--keep", "-1"], "--keep must be at least 0, got -1"),
        (["--objective", "accuracy"], "--objective got 'accuracy'; write NAME:min or"),
        (
            ["--objective", "accuracy:high"],
            "--objective got 'accuracy:high'; write NAME",
        ),
        (
            ["--objective", "bytes:min"],
            "the objective 'bytes' must be among what evalu",
        ),
        (["--objective", "a:max", "--objective", "a:min"], "gives a a second time"),
        (["--bound", "loss"], "--bound got 'loss'; write NAME=LOW..HIGH"),
        (["--bound", "loss=3000"], "--bound loss got '3000'; write LOW..HIGH"),
        (["--bound", "bytes=..3000"], "the bounded metric 'bytes' must be among"),
        (["--pruner", "median:metric=bytes"], "the pruner's metric 'bytes' must be am"),
        (["--out", "/proc/none/here"], "/proc/none/here cannot be written"),
    ],
)
def test_bad_input_ends_in_one_sentence(refused, arguments, sentence):
    assert sentence in refused(*arguments)


@pytest.mark.slow("tests/sweep/test_resume.py has timeouts; test_search.py --json")
def test_a_sweep_whose_time_is_up_says_how_to_go_on(tmp_path, capsys):
    out = tmp_path / "out"
    given = ["--timeout", "1e-9", "--json"]
    assert main(["sweep", *SHORT, *given, "--out", str(out)]) == 0
    captured = capsys.readouterr()
    answer = json.loads(captured.out)
    assert answer["timed_out"] is True
    assert answer["best"]["test"] == {}
    assert {row["status"] for row in answer["settings"]} == {"interrupted"}
    assert "The time was up: the rest is left for later." in captured.err
    assert f"Go on with: jopt sweep --resume {out}" in captured.err
    assert main(["sweep", "--resume", str(out), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["timed_out"] is False
    assert {row["status"] for row in answer["settings"]} == {"complete"}


@pytest.mark.slow("sweep.run's have quick tests")
def test_objectives_and_bounds_are_options(tmp_path, capsys):
    out = tmp_path / "out"
    goals = ["--objective", "accuracy:max", "--objective", "loss:min"]
    goals += ["--bound", "loss=..2", "--pruner", "threshold:lower=0.1,metric=accuracy"]
    assert main(["sweep", *SHORT, *goals, "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "front of accuracy and loss" in shown
    assert "Out of bounds (loss at most 2):" in shown
    info = json.loads((out / "sweep.json").read_text())
    assert info["objectives"] == {"accuracy": "max", "loss": "min"}
    assert info["bounds"] == {"loss": [None, 2]}
    assert (out / "front.png").exists()
    assert main(["sweep", "--resume", str(out)]) == 0
    again = json.loads((out / "sweep.json").read_text())
    assert again["front"] == info["front"] != []


def test_a_name_that_a_file_lacks_is_given_with_those_it_has(file, refused):
    error = refused(f"{file}:tusk")
    assert "has no 'tusk' (did you mean task?); it defines task, made, broken" in error


def test_what_is_no_task_is_named(file, refused):
    assert "number is int, but a task must be a jopt.sweep.Task" in refused(
        f"{file}:number"
    )


@pytest.mark.slow("tests/sweep/test_record.py refuses such a directory")
def test_a_directory_with_files_is_kept(refused, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    error = refused(*SHORT, "--out", "out")
    assert "out is not empty" in error
    assert "--overwrite" in error
    assert main(["sweep", *SHORT, "--out", "out", "--overwrite"]) == 0
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"
    assert (tmp_path / "out" / "trials.csv").exists()


@pytest.mark.slow("tests/sweep/test_record.py has a directory that cannot be written")
def test_what_was_computed_survives_a_full_disk(tmp_path, monkeypatch, capsys):
    def full(*arguments, keep=1):
        raise OSError(28, "No space left on device")

    save = "jopt.sweep.SweepResult.save"
    monkeypatch.setattr(save, full)
    assert main(["sweep", *SHORT, "--out", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    assert "could not be written: [Errno 28] No space left on device" in captured.err
    lines = captured.out.splitlines()
    start = lines.index(COLUMNS)
    assert [line.split(",")[0] for line in lines[start + 1 : start + 5]] == list("0123")


@pytest.mark.slow("tests/sweep/test_resume.py interrupts sweeps")
def test_an_interrupt_saves_what_was_trained(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        "jopt.cli.display.Display.__call__",
        lambda self, now: signal.raise_signal(signal.SIGINT),
    )
    assert main(["sweep", *SHORT, "--out", str(tmp_path / "out")]) == 130
    assert "Interrupted: the table and the curves end" in capsys.readouterr().out
    with (tmp_path / "out" / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["status"], row["steps"]) for row in rows] == [("interrupted", "2")] * 4


@pytest.mark.slow("other tests name a directory")
def test_the_default_directory_is_a_new_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        assert main(["sweep", *SHORT]) == 0
        assert (tmp_path / "sweeps" / f"digits-{number}" / "trials.csv").exists()


def test_help_shows_examples_values_tasks_and_files():
    done = jopt("sweep", "--help")
    assert done.returncode == 0
    for word in ("examples:", "LOW:HIGH:COUNT", "mnist", "trials.csv", "exit status"):
        assert word in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.slow("tests/sweep/test_resume.py interrupts sweeps in one process")
def test_ctrl_c_ends_the_segment_and_the_sweep_goes_on_as_if_there_had_been_none(
    tmp_path, capsys
):
    # As a user does: in a process of its own, with a signal from outside.
    long = ["--steps", "2000", "--block", "4", "--learning-rate", "1e-4:1e-2:4"]
    out = tmp_path / "out"
    with subprocess.Popen(
        [sys.executable, "-m", "jopt", "sweep", *long, "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        shown = [next(line for line in process.stdout if "segment 2/10" in line)]
        process.send_signal(signal.SIGINT)
        rest, error = process.communicate()
    shown += rest.splitlines()
    assert (process.returncode, error) == (130, "")
    assert shown[-1] == f"Go on with: jopt sweep --resume {out}"
    (steps,) = {row["steps"] for row in rows_of(out)}
    assert {row["status"] for row in rows_of(out)} == {"interrupted"}
    assert 400 <= int(steps) < 2000
    assert int(steps) % 200 == 0  # a whole number of segments

    assert main(["sweep", "--resume", str(out)]) == 0
    assert "digits: 4 trials, resumed" in capsys.readouterr().out
    assert main(["sweep", *long, "--out", str(tmp_path / "whole")]) == 0
    for name in ("trials.csv", "best.json"):
        resumed, whole = (tmp_path / d / name for d in ("out", "whole"))
        assert resumed.read_bytes() == whole.read_bytes()


def rows_of(directory):
    with (directory / "trials.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow("tests/sweep/test_record.py has the sentences")
def test_what_cannot_be_resumed_is_one_sentence(refused, tmp_path):
    assert "There is no command.json in nowhere" in refused("--resume", "nowhere")
    assert main(["sweep", *SHORT, "--out", "out"]) == 0
    assert "go on with its sweep with --resume DIR" in refused(*SHORT, "--out", "out")
    with (tmp_path / "out" / "command.json").open() as file:
        command = json.load(file)
    changed = json.dumps({**command, "learning_rate": "1e-4:1e-2:5"})
    (tmp_path / "out" / "command.json").write_text(changed)
    error = refused("--resume", "out")
    assert "learning_rate had 4 values, now 5." in error


@pytest.mark.slow("sweep.run's warning has a quick test")
@pytest.mark.filterwarnings("default")
def test_a_directory_that_breaks_in_mid_run_is_said_and_the_status_is_2(
    tmp_path, monkeypatch, capsys
):
    save = Store.save

    def full(self, segment, *given):
        if segment == 1:
            raise OSError(28, "No space left on device")
        save(self, segment, *given)

    monkeypatch.setattr(Store, "save", full)
    sentence = "could not be saved after segment 2 and went on in memory: "
    assert main(["sweep", *SHORT, "--out", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    assert sentence in captured.err
    assert sentence in captured.out
    assert {row["status"] for row in rows_of(tmp_path / "out")} == {"complete"}


@pytest.mark.slow("tests/sweep/test_refused_sweeps.py refuses them before a sweep")
def test_a_bad_argument_costs_no_sweep_that_is_there(tmp_path, refused):
    place = tmp_path / "out"
    arguments = [*SHORT, "--out", str(place)]
    assert main(["sweep", *arguments]) == 0
    before = {path.name: path.stat().st_mtime for path in place.iterdir()}
    assert "block of at least 1" in refused(*arguments, "--overwrite", "--block", "0")
    assert {path.name: path.stat().st_mtime for path in place.iterdir()} == before | {
        "command.json": (place / "command.json").stat().st_mtime
    }
    assert main(["sweep", "--resume", str(place)]) == 0


@pytest.mark.slow("a store in which nothing was begun has a quick test")
def test_a_bad_argument_leaves_the_directory_free(tmp_path, refused):
    place = str(tmp_path / "out")
    assert "block of at least 1" in refused(*SHORT, "--out", place, "--block", "0")
    assert "There is no pruner foo" in refused(*SHORT, "--out", place, "--pruner=foo")
    assert main(["sweep", *SHORT, "--out", place]) == 0


@pytest.mark.slow("the record's lock has a quick test")
def test_a_sweep_that_is_being_written_is_not_overwritten(tmp_path, refused):
    place = tmp_path / "out"
    assert main(["sweep", *SHORT, "--out", str(place)]) == 0
    asked = (place / "command.json").read_text()
    with Store(place):
        error = refused(*SHORT, "--out", str(place), "--overwrite")
    assert "Another process is writing" in error
    assert (place / "command.json").read_text() == asked


@pytest.mark.slow("sweep.run's overwrite has a quick test")
def test_overwriting_removes_the_other_sweep_and_no_file_of_the_users(tmp_path):
    place = tmp_path / "out"
    place.mkdir()
    for name in ("notes.txt", "lineage.json", "mine.png", "learning_rate.png"):
        (place / name).write_text("here")
    (place / "trials.csv").write_text("trial,learning_rate,seed\n")
    with Store(place) as store:
        store.begin({"another": "sweep"})
    assert main(["sweep", *SHORT, "--out", str(place), "--overwrite"]) == 0
    assert not (place / "lineage.json").exists()
    assert (place / "notes.txt").read_text() == (place / "mine.png").read_text()
    assert b"another" not in (place / "record" / "header.json").read_bytes()


@pytest.mark.slow("sweep.extend has quick tests")
def test_a_sweep_is_extended_by_the_command(tmp_path, refused, capsys):
    place = str(tmp_path / "out")
    assert main(["sweep", *SHORT, "--out", place]) == 0
    before = rows_of(tmp_path / "out")
    steps = 2 * int(before[0]["steps"])
    assert "--extend needs the steps of each trial" in refused("--extend", place)
    assert "takes no other seeds" in refused("--extend", place, "--seeds", "2")
    assert main(["sweep", "--extend", place, "--steps", str(steps)]) == 0
    assert {int(row["steps"]) for row in rows_of(tmp_path / "out")} == {steps}
    assert main(["report", place]) == 0
    assert main(["sweep", "--resume", place]) == 0
    assert {int(row["steps"]) for row in rows_of(tmp_path / "out")} == {steps}
    rates = ["--learning-rate", "0.002,0.003"]
    assert main(["sweep", "--extend", place, *rates]) == 0
    assert main(["sweep", "--resume", place]) == 0
    rows = rows_of(tmp_path / "out")
    assert [row["learning_rate"] for row in rows[:4]] == [
        row["learning_rate"] for row in before
    ]
    assert [row["learning_rate"] for row in rows[-2:]] == ["0.002", "0.003"]
    assert {int(row["steps"]) for row in rows} == {steps}


@pytest.mark.slow("sweep.revive has quick tests")
def test_pruned_trials_are_revived_by_the_command(tmp_path, refused, capsys):
    place = str(tmp_path / "out")
    pruned = [*SHORT, "--pruner", "halving:min_resource=1", "--keep-pruned"]
    assert main(["sweep", *pruned, "--out", place]) == 0
    before = {row["trial"]: row for row in rows_of(tmp_path / "out")}
    stopped = [number for number, row in before.items() if row["status"] == "pruned"]
    complete = [number for number in before if number not in stopped]
    assert stopped
    assert complete
    assert "--revive needs the sweep" in refused("--revive", stopped[0])
    with pytest.raises(SystemExit):
        main(["sweep", "--extend", place, "--revive", "a"])
    assert "such as 3,17, got 'a'" in capsys.readouterr().err
    both = ("--revive", stopped[0], "--steps", "99")
    assert "leave out --steps" in refused("--extend", place, *both)
    was_complete = refused("--extend", place, "--revive", complete[0])
    assert "which is complete; sweep.extend trains it on" in was_complete
    assert main(["sweep", "--extend", place, "--revive", ",".join(stopped)]) == 0
    after = {row["trial"]: row for row in rows_of(tmp_path / "out")}
    assert {row["status"] for row in after.values()} == {"complete"}
    assert all(after[number] == before[number] for number in complete)
    assert main(["sweep", "--resume", place]) == 0
    assert {row["trial"]: row for row in rows_of(tmp_path / "out")} == after


@pytest.mark.slow("a record is loaded while a sweep runs in a quick test")
def test_a_report_is_built_while_another_process_trains(tmp_path):
    place = tmp_path / "out"
    command = [sys.executable, "-m", "jopt", "sweep", *LONG, "--out", str(place)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as running:
        try:
            while not (place / "record" / "segments" / "0.npz").exists():
                assert running.poll() is None
                time.sleep(0.01)
            assert main(["report", str(place)]) == 0
            assert running.poll() is None, "it had ended before the report was built"
        finally:
            running.kill()
    assert "interrupted" in (place / "report.html").read_text()


@pytest.mark.parametrize("content", ["{}", "[]", '{"task"'])
def test_a_damaged_command_is_said_to_be_so(tmp_path, refused, content):
    (tmp_path / "command.json").write_text(content)
    assert "command.json is damaged" in refused("--resume", str(tmp_path))


@pytest.mark.slow("resume has quick tests")
def test_an_option_that_a_directory_is_older_than_has_its_default(tmp_path, capsys):
    place = tmp_path / "out"
    assert main(["sweep", *SHORT, "--out", str(place)]) == 0
    command = json.loads((place / "command.json").read_text())
    for name in ("folds", "evolve", "pruner"):
        del command[name]
    (place / "command.json").write_text(json.dumps(command))

    assert main(["sweep", "--resume", str(place)]) == 0

    assert "digits: 4 trials, resumed" in capsys.readouterr().out


def test_a_task_file_that_is_no_python_is_named_with_the_line(tmp_path, refused):
    (tmp_path / "mine.py").write_text("def f(:\n")
    assert "mine.py, line 1, is no Python" in refused(f"{tmp_path}/mine.py:f")


@pytest.mark.slow("a closed pipe is rare")
def test_a_reader_that_leaves_does_not_end_the_training(tmp_path):
    place = tmp_path / "out"
    command = [sys.executable, "-m", "jopt", "sweep", *SHORT, "--out", str(place)]
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    running: Any = subprocess.Popen(command, **pipes)
    with running:
        running.stdout.readline()
        running.stdout.close()
        assert running.stderr.read() == b""
    assert running.returncode == 0
    assert (place / "trials.csv").exists()
