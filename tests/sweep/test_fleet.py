"""A study that workers share: claims, deaths, torn files, and what is refused."""

import gc
import importlib.util
import os
import signal
import time
from collections import Counter
from typing import Any

import fleet_workers
import numpy as np
import optuna
import pytest
import servers
import toy
from fleet_workers import SEARCH, SIZES, SPACE, TASK, begun, start
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from jopt import sweep
from jopt.cli import main
from jopt.sweep.fleet import Fleet, Place, StorageError, _fleet, _journal, _place
from jopt.sweep.proposals import quiet

PROPOSED = [{"learning_rate": 0.1, "b2": 0.9 + row / 100} for row in range(4)]


def search(path, **options):
    return sweep.search(TASK, SPACE, storage=path, **{**SEARCH, **options})


def propose(block, earlier, known, count):
    return [{**setting, "learning_rate": 0.1 + block} for setting in PROPOSED]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "study.journal"


@pytest.fixture
def impatient(monkeypatch):
    """Workers count as dead soon, and locks as left over."""
    monkeypatch.setattr(_fleet, "GRACE", 1.0)
    monkeypatch.setattr(_journal, "LOCK_GRACE", 3)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one worker makes of the study."""
    return search(tmp_path_factory.mktemp("alone") / "study.journal")


def states(path):
    return Counter(row.trial.state.name for row in Fleet(Place.of(path)).rows())


def assert_same_table(result, other):
    for name, column in other.table.items():
        np.testing.assert_array_equal(result.table[name], column, err_msg=name)
    np.testing.assert_array_equal(result.curves, other.curves)


def assert_each_told_once(path):
    with quiet():
        study = optuna.load_study(study_name="jopt", storage=opened(path))
    ended = [t for t in study.trials if t.state.name in ("COMPLETE", "PRUNED")]
    places = Counter((t.user_attrs["block"], t.user_attrs["row"]) for t in ended)
    assert len(places) == SEARCH["trials"]
    assert set(places.values()) == {1}


def opened(path):
    """The storage by Optuna's own journal."""
    return JournalStorage(JournalFileBackend(str(path)))


# One worker


def test_a_study_is_one_sweep_of_its_settings_bit_for_bit(alone):
    members = [sweep.Trial.of(SPACE, trial.hyperparameters) for trial in alone.trials]
    assert_same_table(alone, sweep.run(TASK, members, **SIZES))
    assert alone.best is not None
    assert alone.best.test
    assert "diverged" in alone.table["status"]


def test_a_study_goes_on_with_more_settings_and_is_read_at_any_time(
    path, alone, tmp_path
):
    search(path, trials=4)
    assert_same_table(search(path), alone)
    loaded = sweep.load(path)
    assert_same_table(loaded, alone)
    assert loaded.best == alone.best
    loaded.save(tmp_path / "saved", keep=0)
    assert_same_table(sweep.load(tmp_path / "saved"), alone)
    assert main(["report", str(path), "--out", str(tmp_path / "page.html")]) == 0


def test_optuna_reads_and_writes_the_journal(path, alone):
    search(path)
    with quiet():
        study = optuna.load_study(study_name="jopt", storage=opened(path))
        best = alone.best.hyperparameters
        assert {k: study.best_params[k] for k in best} == best
        study.set_user_attr("seen", 1)
    assert Fleet(Place.of(path)).get("seen") == 1


def test_tpe_learns_from_all_blocks_and_enqueued_settings_come_first(path):
    first = {"learning_rate": 0.5, "b2": 0.95}
    sampler = sweep.TPE(n_startup_trials=4)
    result = search(path, sampler=sampler, enqueue=[first])
    assert result.trials[0].hyperparameters == first
    settings = {tuple(trial.hyperparameters.values()) for trial in result.trials}
    assert len(settings) == 8


def test_a_pruner_judges_among_the_settings_of_all_blocks(path):
    pruner = sweep.SuccessiveHalving(reduction_factor=2)
    result = search(path, pruner=pruner, trials=12)
    values = result.valid["loss"][:, 0].astype(float)
    for block in range(3):  # each among those that had come to the segment
        seen = np.where(np.isfinite(values), values, np.inf)[: 4 * block + 4]
        kept = np.argsort(seen, kind="stable")[: len(seen) // 2]
        statuses = result.table["status"][4 * block : 4 * block + 4]
        rows = range(4 * block, 4 * block + 4)
        expected = [row not in kept and np.isfinite(seen[row]) for row in rows]
        assert [s == "pruned" for s in statuses] == expected


# Several workers


def test_two_processes_make_one_workers_table_though_one_is_killed(
    path, alone, impatient
):
    fleet, *_ = begun(path)
    worker = start(path, "between segments")
    worker.join()
    assert worker.exitcode == -signal.SIGKILL
    assert states(path) == {"RUNNING": 4}
    seen = sweep.load(path)  # what the dead one observed
    assert set(seen.table["status"]) <= {"interrupted", "diverged"}
    del fleet

    result = sweep.work(path, TASK, SPACE)

    assert_same_table(result, alone)
    assert_each_told_once(path)


@pytest.mark.slow(
    "5 processes; test_two_processes_make_one_workers_table_though_one_is_killed"
)
@pytest.mark.parametrize("moment", [*fleet_workers.MOMENTS][:-1])
def test_a_worker_may_be_killed_at_any_moment(moment, path, alone, impatient):
    begun(path)
    worker = start(path, moment)
    worker.join()
    assert worker.exitcode == -signal.SIGKILL

    result = sweep.work(path, TASK, SPACE)

    assert_same_table(result, alone)
    assert_each_told_once(path)


@pytest.mark.slow(
    "a process that stands still; test_a_block_that_was_taken_over_is_dropped"
)
def test_a_worker_that_stood_still_tells_nothing_twice(path, alone, impatient):
    begun(path)
    worker = start(path, "stopped")
    while not states(path) or not any(
        row.trial.intermediate_values for row in Fleet(Place.of(path)).rows()
    ):
        time.sleep(0.1)
    result = sweep.work(path, TASK, SPACE)
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGCONT)
    worker.join()
    assert worker.exitcode == 0
    assert_same_table(result, alone)
    assert_same_table(sweep.load(path), alone)
    assert_each_told_once(path)


@pytest.mark.slow("2 processes; test_no_row_is_trained_by_two")
def test_two_workers_share_the_blocks(path, alone, impatient):
    begun(path)
    workers = [start(path), start(path)]
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert_same_table(sweep.load(path), alone)
    assert_each_told_once(path)


@pytest.mark.slow("3 processes and a server; test_of_two_trials_of_a_row_the_first")
@pytest.mark.parametrize(
    "server",
    [
        servers.proxy,
        pytest.param(
            servers.postgresql,
            marks=pytest.mark.skipif(
                servers.postgresql_programs() is None,
                reason="needs PostgreSQL, the package of the system, and psycopg",
            ),
        ),
    ],
    ids=["proxy", "postgresql"],
)
@pytest.mark.filterwarnings("ignore:Exception ignored in", "ignore::ResourceWarning")
def test_a_server_serves_many_workers(server, alone, impatient, tmp_path):
    """Two begin at once, and one of them is killed."""
    with server(tmp_path) as url:
        begun(url)
        workers = [start(url), start(url, "between segments")]
        for worker in workers:
            worker.join()
        assert workers[0].exitcode == 0
        result = sweep.work(url, TASK, SPACE)
        assert_same_table(result, alone)
        assert states(url).keys() <= {"COMPLETE", "PRUNED"}
    with pytest.raises(StorageError, match="cannot be opened"):
        sweep.work(url, TASK, SPACE)
    gc.collect()  # SQLAlchemy's connections, which the server has closed


def two(path) -> Any:
    begun(path)
    return Fleet(Place.of(path)), Fleet(Place.of(path))


def test_no_row_is_trained_by_two(path):
    one, other = two(path)
    header = one.header()

    def meanwhile(block, earlier, known, count):
        if block == 0 and not other.rows():
            claims.append(other.claim(SPACE, header, propose))
        return propose(block, earlier, known, count)

    claims: list[Any] = []
    claims.append(one.claim(SPACE, header, meanwhile))
    assert sorted(claim.block for claim in claims) == [0, 1]
    assert one.claim(SPACE, header, propose) is None


def test_of_two_trials_of_a_row_the_first_counts(path, monkeypatch):
    """As in a database, where no lock is held while both claim."""
    one, other = two(path)
    wanted = dict(enumerate(PROPOSED))
    with monkeypatch.context() as patch:
        patch.setattr(Fleet, "_fail", lambda *_: None)
        patch.setattr(Fleet, "_taken", lambda *_: {})
        for fleet in (one, other):
            with pytest.raises(KeyError):  # it looks for its own trials then
                fleet._claimed(SPACE, 0, wanted, 4)
    taken = one._taken(0)
    assert taken == other._taken(0)
    assert len(set(taken.values())) == 4
    assert max(taken.values()) < 4


def test_of_two_reapers_one_fails_a_dead_workers_trials(path, monkeypatch):
    one, other = two(path)
    dead: Any = Fleet(Place.of(path))
    claim = dead.claim(SPACE, dead.header(), propose)
    dead.beat()
    assert (one.reap(), other.reap()) == (0, 0)  # both have seen its beat
    monkeypatch.setattr(_fleet, "GRACE", 0.0)
    rows = one.rows()
    assert one.reap() == 4
    with monkeypatch.context() as patch:
        patch.setattr(Fleet, "rows", lambda _: rows)  # what it read before
        assert other.reap() == 4
    assert states(path) == {"FAIL": 4}
    again = one.claim(SPACE, one.header(), propose)
    assert again.block == claim.block
    assert again.settings == claim.settings
    with pytest.raises(_fleet.Lost):
        dead.observe(claim, {0: 1.0}, 1)


def test_a_block_that_was_taken_over_is_dropped(path, alone, monkeypatch):
    begun(path)
    lost = []

    def observe(self, claim, values, segment):
        if not lost:
            lost.append(self._fail(claim.ids))
        return observed(self, claim, values, segment)

    observed = Fleet.observe
    monkeypatch.setattr(Fleet, "observe", observe)
    with pytest.warns(UserWarning, match="has taken over block 0"):
        result = sweep.work(path, TASK, SPACE)
    assert_same_table(result, alone)


def test_an_interrupted_block_is_given_back(path, alone):
    begun(path)

    def interrupt(now):
        if now.number == 1:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        sweep.work(path, TASK, SPACE, callbacks=[interrupt])
    assert states(path) == {"FAIL": 4}
    assert_same_table(sweep.work(path, TASK, SPACE), alone)


# The journal


def test_a_group_is_one_write_and_a_torn_line_is_cut(tmp_path, monkeypatch):
    """Cut at every byte of the last line, the journal loses that line alone."""
    path = str(tmp_path / "torn.journal")
    journal = _journal.GroupedJournal(path)
    syncs = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (syncs.append(file), fsync(file)))
    with quiet():
        storage = optuna.storages.JournalStorage(journal)
        study = storage.create_new_study([optuna.study.StudyDirection.MINIMIZE], "s")
        with journal.group():
            ids = [storage.create_new_trial(study) for _ in range(20)]
            for id_ in ids:
                storage.set_trial_intermediate_value(id_, 1, 0.5)
    assert ids == list(range(20))
    assert len(syncs) == 2
    whole = (tmp_path / "torn.journal").read_bytes()
    begin = whole[:-1].rfind(b"\n") + 1
    for end in range(begin, len(whole)):
        (tmp_path / "torn.journal").write_bytes(whole[:end])
        with quiet():
            storage = optuna.storages.JournalStorage(_journal.GroupedJournal(path))
            storage.set_study_user_attr(study, "end", end)
            plain = opened(path)
        seen = [bool(t.intermediate_values) for t in plain.get_all_trials(study)]
        assert seen == [True] * 19 + [False]
        assert plain.get_study_user_attrs(study) == {"end": end}


def test_a_group_whose_lock_was_broken_writes_nothing(tmp_path):
    path = tmp_path / "broken.journal"
    journal = _journal.GroupedJournal(str(path))
    with quiet():
        storage = optuna.storages.JournalStorage(journal)
        study = storage.create_new_study([optuna.study.StudyDirection.MINIMIZE], "s")

        def stand_still():
            with journal.group():
                storage.create_new_trial(study)
                with path.open("ab") as file:  # another worker
                    file.write(path.read_bytes().splitlines(keepends=True)[0])

        with pytest.raises(OSError, match="broke this one's lock"):
            stand_still()
        assert opened(path).get_all_trials(study) == []


@pytest.mark.usefixtures("impatient")
def test_the_lock_of_a_killed_worker_is_broken(path):
    fleet, *_ = begun(path)
    (path.parent / f"{path.name}.lock").symlink_to(path)
    fleet.beat()
    assert not (path.parent / f"{path.name}.lock").is_symlink()


# What is refused


def said(*arguments, capsys):
    assert main(list(map(str, arguments))) == 2
    return capsys.readouterr().err


def test_a_study_that_is_not_there_is_said(tmp_path, capsys):
    assert "There is no study at" in said("worker", tmp_path / "no", capsys=capsys)
    with quiet():
        optuna.create_study(study_name="other", storage=opened(tmp_path / "study"))
    text = said("worker", tmp_path / "study", capsys=capsys)
    assert "has no study jopt; it has other" in text
    (tmp_path / "text").write_text("some\ntext\n")
    assert "no journal" in said("report", tmp_path / "text", capsys=capsys)
    address = "grpc://localhost:1"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_place, "WAIT", 0.1)
        text = said("worker", address, capsys=capsys)
    assert f"The storage {address} cannot be opened" in text
    text = said("report", "nodb://u:secret@host/name", capsys=capsys)
    assert "secret" not in text


def test_a_study_of_optuna_or_another_version_is_refused(path):
    with quiet():
        study = optuna.create_study(study_name="jopt", storage=opened(path))
        study.tell(study.ask(), 1.0)
    with pytest.raises(ValueError, match="is not one that jopt search --storage began"):
        search(path)
    path.unlink()
    fleet, header, _ = begun(path)
    fleet.set(_fleet.HEADER, {**header, "format": 99})
    with pytest.raises(ValueError, match="of another version of jopt"):
        sweep.work(path, TASK, SPACE)


def test_another_task_space_or_search_is_refused_by_what_differs(path):
    begun(path)
    space = sweep.Space(SPACE, b2=sweep.uniform(0.8, 0.999))
    with pytest.raises(ValueError, match=r"b2 was Uniform\(low=0.9.*is Uniform"):
        sweep.work(path, TASK, space)
    other = toy.task(train=toy.points(seed=5))
    with pytest.raises(ValueError, match="train has the same shapes, but other numb"):
        sweep.work(path, other, SPACE)
    with pytest.raises(ValueError, match="batch was 4, now 2"):
        begun(path, batch=2)
    assert states(path) == {}


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"sampler": sweep.CMAES()}, "CMAES learns from generations"),
        ({"shuffle": "trial"}, "shuffle must be"),
        ({"confirm": 2}, "confirm must be left out"),
        ({"directory": "x"}, "directory must be left out"),
        ({"pruner": sweep.Hyperband(reduction_factor=2)}, "must have one bracket"),
        (
            {"pruner": sweep.MedianPruner(metric="accuracy", mode="max")},
            "must judge by the metric loss",
        ),
        ({"pruner": sweep.MedianPruner(cooled=0.1)}, "judge the trials as they are"),
    ],
)
def test_what_workers_cannot_share_is_refused(path, options, match):
    with pytest.raises(ValueError, match=match):
        search(path, segments=4, **options)


def test_a_second_worker_on_sqlite_is_refused(tmp_path):
    place = Place.of(f"sqlite:///{tmp_path / 'study.db'}")
    file = place.alone()
    assert file is not None
    with pytest.raises(BlockingIOError, match="SQLite serves one"):
        place.alone()
    os.close(file)
    os.close(place.alone() or 0)


def test_without_optuna_the_extra_is_named(path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name == "optuna" else find(name),
    )
    with pytest.raises(ImportError, match=r"pip install 'jopt\[search\]'"):
        Place.of(path).opened(new=True)


def test_a_block_that_cannot_be_told_is_kept(path, alone, monkeypatch):
    begun(path)
    full = OSError(28, "No space left on device")

    def write(self):
        if any(log.get("system_attr") for log in self._held):
            raise full
        return written(self)

    written = _journal.GroupedJournal._write
    monkeypatch.setattr(_journal.GroupedJournal, "_write", write)
    monkeypatch.setattr("jopt.sweep._worker.PATIENCE", 0.0)
    with pytest.raises(StorageError, match="Block 0 was trained, and is kept") as info:
        sweep.work(path, TASK, SPACE)
    kept = str(info.value).partition("is kept in ")[2].partition(":")[0]
    np.testing.assert_array_equal(sweep.load(kept).curves, alone.curves[:4])


def test_the_command_searches_works_and_reports(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.py").write_text("from toy import task\n")
    arguments = ["search", "my.py:task", "--storage", "s.journal", "--out", "out"]
    arguments += ["--trials", "4", "--batch", "4", "--steps", "4", "--segments", "2"]
    arguments += ["--sampler", "sobol"]
    assert main([*arguments, "--confirm", "2"]) == 2
    assert "confirm must be left out" in capsys.readouterr().err
    assert main(["report", "s.journal"]) == 2 or not (tmp_path / "s.journal").exists()
    assert main([*arguments, "--overwrite"]) == 0
    assert main(["worker", "s.journal"]) == 0
    out = capsys.readouterr().out
    assert "imports " in out
    assert "4 settings were trained by 1 workers" in out
    assert main(["report", "s.journal"]) == 0
    assert (tmp_path / "report.html").exists()
