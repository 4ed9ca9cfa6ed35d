"""Promises of a sweep that is cut off: nothing changes but the time it takes."""

import dataclasses
import errno
import json
import os
import shutil
from typing import Any

import killed_sweeps
import numpy as np
import pytest
import toy
from interrupted_sweeps import interrupt, numbers

import jopt
from jopt import sweep
from jopt.sweep import plain
from jopt.sweep._deadline import Deadline
from jopt.sweep._group import Group
from jopt.sweep.store import RECORD, Store, read_header, read_segments, task_of
from jopt.tasks import digits, mnist, mnist_nnx, text

RATES = [0.01, 0.03, 0.1, 0.3, 1e38]
SIZES: dict[str, Any] = {"steps": 12, "segments": 6, "block": 2}


@pytest.mark.slow("other tests here resume a sweep that was ended once")
@pytest.mark.parametrize(
    ("kind", "kills"), [("plain", 2), ("pruned", 10), ("evolved", 4), ("folded", 3)]
)
def test_a_sweep_that_is_killed_again_and_again_ends_as_if_it_had_not_been(
    tmp_path, kind, kills
):
    assert killed_sweeps.killed(killed_sweeps.KINDS[kind], kills, 1, tmp_path)


def sgd(learning_rate):
    return jopt.sgd(learning_rate, momentum=0.9)


def trials(rates=RATES, factory=jopt.adamw):
    return sweep.grid(factory, learning_rate=rates)


@pytest.fixture(scope="module")
def whole():
    return sweep.run(toy.task(), trials(), **SIZES)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A sweep that was interrupted after its fourth segment."""
    directory = tmp_path_factory.mktemp("stopped") / "sweep"
    task = toy.task(source="toy:task")
    stop = [interrupt(4)]
    result = sweep.run(task, trials(), directory=directory, callbacks=stop, **SIZES)
    assert result.info["interrupted"]
    assert result.table["steps"].tolist() == [8, 8, 8, 8, 1]
    return directory


@pytest.fixture
def directory(stopped, tmp_path):
    return shutil.copytree(stopped, tmp_path / "sweep")


def test_a_resumed_sweep_finds_its_task_and_trials_and_is_bitwise_the_same(
    whole, directory
):
    seen = []
    result = sweep.resume(
        directory, trust=True, callbacks=[lambda now: seen.append(now.number)]
    )
    assert numbers(result) == numbers(whole)
    assert seen == [5, 6]
    assert result.info["resumed_after"] == 4
    assert not result.info["interrupted"]
    with pytest.raises(KeyError, match="it had ended before the sweep was resumed"):
        result.params(4)


def test_a_complete_sweep_is_given_again(whole, directory):
    sweep.resume(directory, trust=True)
    seen = []
    again = sweep.resume(
        directory, trust=True, progress=seen.append, callbacks=[seen.append]
    )
    assert numbers(again) == numbers(whole)
    assert seen == []


def test_a_sweep_may_be_stopped_after_every_segment(whole, tmp_path):
    stop = [interrupt(1)]
    sweep.run(toy.task(), trials(), directory=tmp_path, callbacks=stop, **SIZES)
    for segment in (2, 4):
        stop = [interrupt(segment)]
        sweep.resume(tmp_path, toy.task(), trials(), callbacks=stop)
    assert numbers(sweep.resume(tmp_path, toy.task())) == numbers(whole)


def test_a_timeout_ends_a_sweep_at_a_segment_and_changes_no_number(whole, tmp_path):
    given: dict[str, Any] = {"directory": tmp_path, "timeout": 1e-9}
    result = sweep.run(toy.task(), trials(), **given, **SIZES)
    for segment in range(1, 6):
        assert result.info["timed_out"]
        assert not result.info["interrupted"]
        assert result.table["steps"].tolist() == [2 * segment] * 4 + [1]
        assert result.table["status"].tolist() == ["interrupted"] * 4 + ["diverged"]
        assert result.best is not None
        assert result.best.test == {}
        assert sweep.load(tmp_path).info["timed_out"]
        result = sweep.resume(tmp_path, toy.task(), trials(), timeout=1e-9)
    assert numbers(result) == numbers(whole)
    assert not result.info["timed_out"]


def test_the_next_segment_is_late_by_the_longest_block_and_the_longest_rest(
    monkeypatch,
):
    clock = [100.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    deadline = Deadline(130)

    def segment(*groups, rest=0.0):
        for number, (blocks, seconds) in enumerate(groups):
            deadline.trained(number, blocks, seconds)
            clock[0] += seconds
        clock[0] += rest

    assert not deadline.is_late([40])  # the first segment is begun in any case
    segment((2, 6.0), (1, 1.0), rest=2.0)
    assert not deadline.is_late([2, 1])  # at 9, of which the next takes 9
    segment((2, 4.0), (1, 1.5), rest=1.0)
    # At 15.5: two blocks of 3, one of 1.5, and 2 beside them.
    assert not deadline.is_late([3, 1])
    segment((3, 1.0), (0, 0.0))
    assert deadline.is_late([4, 1])  # at 16.5 + 15.5
    assert not deadline.is_late([3, 1])  # of fewer trials, after a pruner


def test_a_callback_that_fails_loses_no_segment(whole, tmp_path):
    def fail(now):
        if now.number == 3:
            raise RuntimeError("out of paper")

    with pytest.raises(RuntimeError, match="out of paper"):
        sweep.run(toy.task(), trials(), directory=tmp_path, callbacks=[fail], **SIZES)
    result = sweep.resume(tmp_path, toy.task())
    assert result.info["resumed_after"] == 3
    assert numbers(result) == numbers(whole)


def test_a_resumed_population_has_the_same_lineage(tmp_path):
    population = sweep.PopulationBasedTraining(
        {"learning_rate": sweep.log_uniform(1e-3, 1e38)}, perturbation_interval=2
    )
    options: dict[str, Any] = {**SIZES, "population": population}
    whole = sweep.run(toy.task(), trials(), **options)
    stops: dict[str, Any] = {
        "directory": tmp_path,
        "callbacks": [interrupt(1)],
    }
    paused = sweep.run(toy.task(), trials(), **options, **stops)
    ended, status = paused.table["status"] == "diverged", whole.table["status"]
    assert (status[ended] == "complete").any()  # it went on from another
    result = sweep.resume(tmp_path, toy.task())
    assert numbers(result) == numbers(whole)
    assert result.lineage == whole.lineage
    assert whole.lineage is not None
    assert {event.segment for event in whole.lineage.events} == {1, 3}


@pytest.mark.slow("each of them is resumed in tests of its own")
def test_seeds_folds_and_structures_are_resumed(tmp_path):
    def made(learning_rate, momentum, batch_size):
        tx = jopt.sgd(learning_rate, momentum=momentum or None)
        return sweep.Setup(tx, batch_size=batch_size)

    settings = {"learning_rate": [0.1, 0.3], "momentum": [0, 0.9]}
    grid = sweep.grid(made, **settings, batch_size=16)
    options = {**SIZES, "segments": 2, "seeds": 2, "folds": 2}
    whole = sweep.run(toy.task(), grid, **options)
    stops: dict[str, Any] = {"directory": tmp_path, "callbacks": [interrupt(1)]}
    sweep.run(toy.task(), grid, **options, **stops)
    result = sweep.resume(tmp_path, toy.task(), grid, trust=True)
    assert result.info["groups"] == 2
    assert numbers(result) == numbers(whole)


@dataclasses.dataclass(frozen=True)
class First(sweep.Pruner):
    """End the first setting at the first report."""

    def check(self, segments, settings):
        pass

    def keep(self, observations):
        return np.arange(len(observations.alive)) > 0


@pytest.mark.slow("a winner that was not pruned is in the quick run")
def test_a_winner_that_was_pruned_before_the_pause_keeps_its_test_metrics(tmp_path):
    def explodes(after):  # the only one that does not is pruned at once
        return jopt.sgd(jopt.piecewise_constant_schedule(0.1, {after: np.inf}))

    grid = sweep.grid(explodes, after=[100, 9, 10])
    whole = sweep.run(toy.task(), grid, pruner=First(), **SIZES)
    assert whole.table["status"].tolist() == ["pruned", "diverged", "diverged"]
    stops: dict[str, Any] = {"directory": tmp_path, "callbacks": [interrupt(3)]}
    sweep.run(toy.task(), grid, pruner=First(), **SIZES, **stops)
    result = sweep.resume(tmp_path, toy.task(), grid, trust=True)
    assert whole.best is not None
    assert whole.best.trial == 0
    assert result.best == whole.best
    again = sweep.resume(tmp_path, toy.task(), grid, trust=True)
    assert again.best == whole.best


def other_loss(params, model_state, batch, key):
    value, model_state = toy.loss(params, model_state, batch, key)
    return 2 * value, model_state


@pytest.mark.parametrize(
    ("task", "given", "sentence"),
    [
        (
            {"train": toy.points(seed=9)},
            None,
            "train has the same shapes, but other",
        ),
        (
            {"valid": toy.points(31)},
            None,
            r"valid\[0\] was 'float32\[30,2\]', now",
        ),
        ({"loss": other_loss}, None, "task points: step is another function."),
        ({"name": "dots"}, None, "task was 'points', now 'dots'."),
        ({"diverged_above": 9.0}, None, "diverged_above was inf, now 9.0."),
        ({}, trials(RATES[:4]), "learning_rate had 5 values, now 4."),
        ({}, trials([*RATES[:4], 1.0]), "learning_rate had the value 1e.38, now 1.0."),
        ({}, trials(RATES[::-1]), "trial 0 was .*0.01.*, now .*1e.38"),
        ({}, trials(factory=sgd), "trial 0: the same setting, .* another config"),
        ({}, sweep.grid(jopt.adamw, learning_rate=RATES, b1=0.8), "space: b1 is new."),
    ],
)
def test_another_sweep_is_refused_with_what_changed(stopped, task, given, sentence):
    said = f"cannot be resumed as another one: .*{sentence}"
    before = {p: p.read_bytes() for p in stopped.rglob("*") if p.is_file()}
    with pytest.raises(ValueError, match=said):
        sweep.resume(stopped, toy.task(**task), given or trials())
    assert {p: p.read_bytes() for p in stopped.rglob("*") if p.is_file()} == before


def test_a_directory_without_a_sweep_is_a_sentence(tmp_path):
    sentence = r"There is no record/header.json in .*none"
    for look in (sweep.resume, sweep.load):
        with pytest.raises(FileNotFoundError, match=sentence):
            look(tmp_path / "none")
    (tmp_path / "record").mkdir()
    (tmp_path / "record" / "header.json").write_text('{"sweep": {')
    with pytest.raises(ValueError, match=r"header\.json is damaged or of something"):
        sweep.resume(tmp_path)
    (tmp_path / "record" / "header.json").unlink()
    sweep.run(toy.task(), trials(RATES[:1]), directory=tmp_path, **SIZES)
    sweep_id = read_header(tmp_path)["id"]
    assert len(read_segments(tmp_path, sweep_id, lambda *_: None)[0]) == 6


def test_a_directory_of_version_0_1_is_refused_with_a_sentence(tmp_path):
    (tmp_path / "journal.jsonl").write_text('{"fingerprint": {}}\n')
    for look in (sweep.resume, sweep.load):
        with pytest.raises(ValueError, match=r"holds a sweep of jopt 0\.1, whose jour"):
            look(tmp_path)
    with pytest.raises(FileExistsError, match=r"has the journal of a sweep of jopt 0"):
        sweep.run(toy.task(), trials(), directory=tmp_path, **SIZES)


def test_names_of_a_record_are_imported_only_if_it_is_trusted(directory):
    with pytest.raises(
        ValueError, match="toy:task, which is not jopt's, and importing"
    ):
        sweep.resume(directory)


def test_what_no_name_gives_back_must_be_given_again(directory, tmp_path):
    stops: dict[str, Any] = {"directory": tmp_path / "own", "callbacks": [interrupt(1)]}
    own = trials([0.1], lambda learning_rate: sgd(learning_rate))
    sweep.run(toy.task(), own, **SIZES, **stops)
    with pytest.raises(ValueError, match="task points has no source to find it by"):
        sweep.resume(tmp_path / "own")
    with pytest.raises(
        ValueError, match=r"<lambda>.* not importable .*give the task, trials"
    ):
        sweep.resume(tmp_path / "own", toy.task())
    change(directory, lambda header: header.update(source="smaller:task"))
    with pytest.raises(ValueError, match="smaller:task, which cannot be imported now"):
        sweep.resume(directory, trust=True)
    change(directory, lambda header: header.update(source="toy:points"))
    with pytest.raises(ValueError, match=r"must name a Task, .* got toy:points"):
        sweep.resume(directory, trust=True)


def change(directory, how):
    """Change what a resume finds the sweep by, as `how` does."""
    path = directory / RECORD / "header.json"
    header = json.loads(path.read_text())
    how(header["sweep"])
    path.write_text(json.dumps(header))


def test_another_version_of_jax_is_said_and_no_more(whole, directory):
    def older(header):
        header["fingerprint"]["surroundings"]["versions"]["jax"] = "0.5.0"
        header["fingerprint"]["task"]["code"]["loss"] = "as 0.5.0 traced it"

    change(directory, older)
    with pytest.warns(
        UserWarning, match=r"goes on elsewhere .* jax was '0\.5\.0', now"
    ):
        result = sweep.resume(directory, trust=True)
    assert numbers(result) == numbers(whole)


def test_a_damaged_segment_is_said_and_trained_again(whole, directory):
    path = directory / RECORD / "segments" / "3.npz"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.warns(UserWarning, match=r"3\.npz is damaged .* goes back before it"):
        result = sweep.resume(directory, trust=True)
    assert result.info["resumed_after"] == 3
    assert numbers(result) == numbers(whole)


def test_a_segment_without_its_checkpoint_is_trained_again(whole, directory):
    shutil.rmtree(directory / RECORD / "checkpoints" / "3")
    (directory / RECORD / "checkpoints" / "partial").mkdir()  # what a kill leaves
    result = sweep.resume(directory, trust=True)
    assert result.info["resumed_after"] == 3
    assert numbers(result) == numbers(whole)


def damage(checkpoint):
    largest = max(
        (path for path in checkpoint.rglob("*") if path.is_file()),
        key=lambda path: path.stat().st_size,
    )
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)


def test_a_damaged_checkpoint_is_said_and_the_one_before_it_taken(whole, directory):
    damage(directory / RECORD / "checkpoints" / "3")
    with pytest.warns(
        UserWarning, match="3 is damaged: .* starts again after segment 3"
    ):
        result = sweep.resume(directory, trust=True)
    assert result.info["resumed_after"] == 3
    assert numbers(result) == numbers(whole)


@pytest.mark.slow("one damaged checkpoint is passed over in the quick run")
def test_where_every_checkpoint_is_damaged_the_sweep_starts_over(whole, directory):
    damage(directory / RECORD / "checkpoints" / "2")
    (directory / RECORD / "checkpoints" / "3" / "jopt.json").unlink()
    said = "3 is not whole: jopt.json is missing. .*2 is damaged: .* starts over."
    with pytest.warns(UserWarning, match=said):
        result = sweep.resume(directory, trust=True)
    assert result.info["resumed_after"] is None
    assert numbers(result) == numbers(whole)


def test_one_process_at_a_time_has_a_sweep(stopped):
    with (
        Store(stopped),
        pytest.raises(BlockingIOError, match=r"Another process is writing .*record"),
    ):
        sweep.resume(stopped, trust=True)


def test_a_directory_takes_one_sweep(stopped, monkeypatch):
    monkeypatch.setattr(Group, "compiled", lambda *given: pytest.fail("compiled"))
    sentence = rf"has the record of a sweep; go on with it by sweep.resume\('{stopped}"
    with pytest.raises(FileExistsError, match=sentence):
        sweep.run(toy.task(), trials(), directory=stopped, **SIZES)


def checkpoints_are_a_file(directory, monkeypatch):
    shutil.rmtree(directory / RECORD / "checkpoints")
    (directory / RECORD / "checkpoints").write_text("in the way")


def the_directory_is_gone(directory, monkeypatch):
    shutil.rmtree(directory)
    directory.write_text("in the way")


def the_disk_is_full(directory, monkeypatch):
    def fsync(file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.slow("another error of the disk is caught at the same place", but=1)
@pytest.mark.parametrize(
    ("breaks", "sentence"),
    [
        (checkpoints_are_a_file, "segment 3 .* in memory: .*File exists"),
        (the_directory_is_gone, "segment 3 .* in memory: .*Not a directory"),
        (the_disk_is_full, "segment 3 .* in memory: .*record.* No space left"),
    ],
)
def test_a_directory_that_breaks_loses_nothing_of_what_is_computed(
    whole, tmp_path, monkeypatch, breaks, sentence
):
    directory = tmp_path / "sweep"

    def callback(now):
        if now.number == 2:
            breaks(directory, monkeypatch)

    with pytest.warns(UserWarning, match=sentence) as said:
        result = sweep.run(
            toy.task(),
            trials(),
            directory=directory,
            callbacks=[callback],
            **SIZES,
        )
    assert numbers(result) == numbers(whole)
    assert [str(warning.message) for warning in said] == [result.info["unsaved"]]
    monkeypatch.undo()
    if breaks is the_disk_is_full:  # what was kept before is good
        again = sweep.resume(directory, toy.task())
        assert again.info["resumed_after"] == 2
        assert numbers(again) == numbers(whole)


def test_a_directory_that_cannot_be_written_is_refused_before_anything_is_computed(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(Group, "compiled", lambda *given: pytest.fail("compiled"))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=r"record cannot be written: "):
        sweep.run(toy.task(), trials(), directory=tmp_path / "file", **SIZES)


def test_a_block_may_be_another_where_that_of_before_does_not_fit(whole, directory):
    result = sweep.resume(directory, trust=True, block=4)
    assert result.info["block"] == [4]
    np.testing.assert_allclose(result.curves, whole.curves, rtol=1e-5)


def test_the_built_in_tasks_are_found_by_their_sources():
    for make in (digits, mnist, mnist_nnx, text):
        assert task_of({"source": make().source}, trust=False) is make()
    assert digits(width=8).source is mnist(width=8).source is text(width=8).source
    assert digits(width=8).source is None


def test_a_sweep_is_loaded_as_it_ended_and_imports_nothing(whole, directory, tmp_path):
    result = sweep.resume(directory, trust=True)
    loaded = sweep.load(directory)
    np.testing.assert_equal(loaded.table, whole.table)
    assert loaded.curves.tobytes() == whole.curves.tobytes()
    assert loaded.valid.keys() == whole.valid.keys()
    assert loaded.best == result.best
    assert json.dumps(plain(loaded.info, exact=True)) == json.dumps(
        plain(result.info, exact=True)
    )
    assert loaded.settings().keys() == whole.settings().keys()
    with pytest.raises(KeyError, match="a record that is loaded has none"):
        loaded.params(0)


def test_a_sweep_in_memory_is_saved_and_loaded(whole, tmp_path):
    whole.save(tmp_path)
    loaded = sweep.load(tmp_path)
    assert loaded.curves.tobytes() == whole.curves.tobytes()
    assert loaded.best == whole.best
    with pytest.raises(ValueError, match="saved from a sweep in memory and has no sta"):
        sweep.resume(tmp_path)
    whole.save(tmp_path)  # again
    loaded.save(tmp_path)  # its models are not at hand, and stay
    assert (tmp_path / "best" / "1").is_dir()
    assert not (tmp_path / "best" / "2").exists()


def test_a_result_is_not_saved_over_the_record_of_another_sweep(whole, stopped):
    with pytest.raises(FileExistsError, match="has the record of another sweep; save"):
        sweep.run(toy.task(), trials(RATES[:2]), **SIZES).save(stopped)


def test_a_sweep_is_loaded_while_it_runs(tmp_path):
    seen = []

    def look(now):
        seen.append(sweep.load(tmp_path))

    stop: dict[str, Any] = {"directory": tmp_path, "callbacks": [look]}
    result = sweep.run(toy.task(), trials(), **SIZES, **stop)
    assert [int(found.table["steps"].max()) for found in seen] == [2, 4, 6, 8, 10, 12]
    assert seen[1].info["interrupted"]
    assert seen[1].best is not None
    assert seen[1].best.test == {}
    np.testing.assert_array_equal(seen[-1].curves, result.curves)


@pytest.mark.slow("another number of steps is cut alike", but=1)
@pytest.mark.parametrize("steps", [12, 11])  # the last segment is whole, or shorter
def test_an_extended_sweep_is_bitwise_one_that_was_longer(steps, tmp_path):
    sizes: dict[str, Any] = {"segments": 3, "block": 2}
    sweep.run(toy.task(), trials(), steps=steps, directory=tmp_path, **sizes)
    longer = sweep.run(toy.task(), trials(), steps=20, segments=5, block=2)
    result = sweep.extend(tmp_path, toy.task(), steps=20)
    assert result.info["segment_steps"] == longer.info["segment_steps"] == 4
    assert result.info["resumed_after"] == (3 if steps == 12 else 2)
    assert numbers(result) == numbers(longer)
    assert numbers(sweep.resume(tmp_path, toy.task())) == numbers(longer)
    assert sweep.load(tmp_path).curves.tobytes() == longer.curves.tobytes()
    with pytest.raises(ValueError, match="steps must be above the 20 that the sweep"):
        sweep.extend(tmp_path, toy.task(), steps=20)


@pytest.mark.slow("a longer sweep and a resumed population are in the quick run")
def test_an_extended_population_goes_on_as_a_longer_one(tmp_path):
    rates = sweep.log_uniform(1e-3, 1.0)
    population = sweep.PopulationBasedTraining({"learning_rate": rates})
    options: dict[str, Any] = {"block": 2, "population": population}
    short = {**options, "steps": 6, "segments": 3, "directory": tmp_path}
    sweep.run(toy.task(), trials(RATES[:4]), **short)
    longer = sweep.run(toy.task(), trials(RATES[:4]), steps=10, segments=5, **options)
    result = sweep.extend(tmp_path, toy.task(), steps=10)
    assert numbers(result) == numbers(longer)
    assert result.lineage == longer.lineage


def test_links_in_a_directory_are_not_written_through(whole, directory, tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("mine")
    files = ("report.html", "trials.csv", "best.json", "curves.npz", "curves.png")
    for name in files:
        (directory / name).symlink_to(outside)
    result = sweep.resume(directory, trust=True)
    result.save(directory)
    assert outside.read_text() == "mine"
    assert not any((directory / name).is_symlink() for name in files)


def link(path, to):
    to.mkdir()
    shutil.rmtree(path, ignore_errors=True)
    path.symlink_to(to)


def test_links_to_directories_are_not_written_into(whole, directory, tmp_path):
    link(directory / "best", tmp_path / "best")
    sweep.resume(directory, trust=True).save(directory)
    assert (directory / "best" / "1").is_dir()
    for name in ("checkpoints", "segments"):
        link(directory / RECORD / name, tmp_path / name)
    link(tmp_path / RECORD, tmp_path / "record of another")
    with Store(directory) as store:
        with pytest.raises(OSError, match="checkpoints is a symbolic link"):
            store.checkpoints.save(0, {"a": np.ones(2)})
        with pytest.raises(OSError, match="segments is a symbolic link"):
            store.keep(0, {}, {})
    with pytest.raises(OSError, match="record is a symbolic link"):
        Store(tmp_path)
    folders = ("best", "checkpoints", "segments", "record of another")
    assert [list((tmp_path / name).iterdir()) for name in folders] == [[]] * 4
