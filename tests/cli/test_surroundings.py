"""Promises about signals, streams, threads and disks: nothing computed is lost."""

import errno
import logging
import os
import signal
import subprocess
import sys
import threading

import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
import toy

import jopt
from jopt import sweep
from jopt.cli import main
from jopt.cli.streams import Stream
from jopt.report._save import save_models
from jopt.sweep import _array_files as array_files
from jopt.sweep._interrupts import Interrupts, end_sweeps

SHORT = ["--steps", "20", "--block", "4", "--learning-rate", "1e-4:1e-2:4"]


def run(**options):
    trials = sweep.grid(jopt.sgd, learning_rate=[0.1])
    options = {"steps": 4, "segments": 2, "block": 1, **options}
    return sweep.run(toy.task(), trials, **options)


def press(now):
    if now.number == 1:
        signal.raise_signal(signal.SIGINT)


@pytest.fixture
def handler():
    """Set the handler of Ctrl-C; what was there comes back."""
    before = signal.getsignal(signal.SIGINT)
    yield lambda new: signal.signal(signal.SIGINT, new)
    signal.signal(signal.SIGINT, before)


def test_an_ignored_interrupt_stays_ignored(handler):
    handler(signal.SIG_IGN)
    result = run(callbacks=[press])
    assert result.table["status"].tolist() == ["complete"]
    assert not result.info["interrupted"]
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_a_handler_of_the_users_is_put_back(handler):
    def own(number, frame):
        pass

    handler(own)
    assert run(callbacks=[press]).info["interrupted"]
    assert signal.getsignal(signal.SIGINT) is own


def test_a_handler_that_python_does_not_know_is_left_alone(monkeypatch):
    monkeypatch.setattr(signal, "getsignal", lambda number: None)
    with Interrupts() as interrupts:
        assert end_sweeps()
    assert interrupts.asked
    assert not end_sweeps()


def test_sweeps_of_threads_train_save_and_end_when_asked(tmp_path):
    found = {}

    def trained(name, **options):
        directory = tmp_path / name
        found[name] = run(directory=directory, **options)
        save_models(found[name], [0], directory / "best")

    asked = {"callbacks": [lambda now: end_sweeps() if now.number == 1 else None]}
    for name, options in (("whole", {}), ("asked", asked)):
        thread = threading.Thread(target=trained, args=[name], kwargs=options)
        thread.start()
        thread.join()
    assert [found[n].table["status"][0] for n in found] == ["complete", "interrupted"]
    trials = sweep.grid(jopt.sgd, learning_rate=[0.1])
    again = sweep.resume(tmp_path / "asked", toy.task(), trials)
    np.testing.assert_array_equal(again.curves, found["whole"].curves)


@pytest.fixture
def default_signals():
    """Signals that end processes, also where the tests run under nohup."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_DFL) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.slow("SIGTERM is taken alike", but=1)
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
@pytest.mark.usefixtures("default_signals")
def test_a_signal_that_ends_processes_saves_what_was_trained(
    name, tmp_path, monkeypatch, capsys
):
    number = getattr(signal, name)
    monkeypatch.setattr(
        "jopt.cli.display.Display.__call__",
        lambda self, now: signal.raise_signal(number),
    )
    assert main(["sweep", *SHORT, "--out", str(tmp_path / "out")]) == 128 + number
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"Go on with: jopt sweep --resume {tmp_path / 'out'}"
    assert (tmp_path / "out" / "trials.csv").exists()
    assert signal.getsignal(number) is signal.SIG_DFL


def test_a_signal_before_a_sweep_is_one_sentence(tmp_path, monkeypatch, capsys):
    def compiling(*given, **options):
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("jopt.sweep.run", compiling)
    assert main(["sweep", *SHORT, "--out", str(tmp_path / "out")]) == 143
    assert capsys.readouterr().err == "jopt: stopped at once. Nothing was trained.\n"


def test_a_stream_that_nobody_reads_is_silent():
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as pipe:
        stream = Stream(pipe)
        stream.write("a line\n")
        stream.flush()
        stream.write("another\n")
        stream.flush()
        assert stream.failed is None


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="of Linux")
def test_a_stream_that_cannot_be_written_says_why():
    with open("/dev/full", "w") as full:
        stream = Stream(full)
        stream.write("a line\n")
        stream.flush()
        assert stream.failed == os.strerror(errno.ENOSPC)


@pytest.mark.slow("its streams are tested alone")
def test_output_that_cannot_be_written_is_one_sentence_and_loses_no_file(tmp_path):
    command = f"{sys.executable} -m jopt sweep {' '.join(SHORT)} --out"
    said = "jopt: the output cannot be written: No space left on device\n"
    for place, to, expected in (
        ("full", ">/dev/full", (2, said)),
        ("no", ">&-", (0, "")),
    ):
        done = subprocess.run(
            ["sh", "-c", f"{command} {tmp_path / place} {to}"],
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env={**os.environ, "HOME": "/dev/null"},
        )
        assert (done.returncode, done.stderr) == expected
        assert (tmp_path / place / "trials.csv").exists()


def test_models_that_find_no_room_leave_those_that_are_there(tmp_path, monkeypatch):
    result = run()
    (path,) = save_models(result, [0], tmp_path / "best")

    def full(file, offset, length):
        assert length > sum(
            np.asarray(leaf).nbytes for leaf in result.params(0).values()
        )
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    sentence = "^The models cannot be written to .*best: No space left on device$"
    with pytest.raises(OSError, match=sentence):
        save_models(result, [0], tmp_path / "best")
    assert os.listdir(tmp_path) == ["best"]
    kept = ocp.StandardCheckpointer().restore(path)
    np.testing.assert_array_equal(kept["params"]["out"], result.params(0)["out"])


def test_what_orbax_logs_is_kept_back_for_the_while_alone(tmp_path):
    logger = logging.getLogger("absl")
    threads = [
        threading.Thread(
            target=array_files.write_arrays,
            args=[tmp_path / str(i), {"w": jnp.ones(3)}],
        )
        for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not logger.disabled
    assert len(os.listdir(tmp_path)) == 4
