"""A sweep on several processes of one job gives the numbers of one process.

The processes are real: they find one another by `jax.distributed`.
"""

import pytest
from job import KINDS, seen, start, written

from jopt import sweep


def done(number, *asked, directory):
    """What each process of a job has seen, once all have ended well."""
    statuses, errors = start(number, *asked, directory=directory)
    assert statuses == [0] * number, "\n".join(errors)
    return [written(directory, process) for process in range(number)]


def but_models(found):
    """What has been seen without the models: a resume has none of trials that ended."""
    return {name: value for name, value in found.items() if name != "models"}


def test_two_processes_give_the_numbers_of_one_and_keep_a_record(tmp_path):
    found = done(2, "pruned", directory=tmp_path)
    assert found == [seen(KINDS["pruned"]())] * 2
    assert (tmp_path / "record" / "processes" / "1" / "checkpoints").is_dir()
    assert sweep.load(tmp_path).info["processes"] == 2
    with pytest.raises(ValueError, match=r"as many processes as began it, 2.*got 1"):
        sweep.resume(tmp_path, trust=True)


@pytest.mark.slow("test_two_processes_give_the_numbers_of_one_and_keep_a_record")
@pytest.mark.parametrize("kind", ["plain", "folded", "evolved"])
def test_each_kind_of_sweep_gives_the_numbers_of_one_process(kind, tmp_path):
    assert done(2, kind, directory=tmp_path) == [seen(KINDS[kind]())] * 2


@pytest.mark.slow("test_two_processes_give_the_numbers_of_one_and_keep_a_record")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_to_one_process_ends_all_after_the_same_segment(name, tmp_path):
    first, second = done(2, "signalled", name, 5, directory=tmp_path)
    assert first == second
    assert first["interrupted"]
    record = sweep.load(tmp_path)
    assert record.table["steps"].max() == 5 * 4
    again = done(2, "pruned", directory=tmp_path)
    wanted = but_models(seen(KINDS["pruned"]()))
    assert list(map(but_models, again)) == [wanted] * 2


@pytest.mark.slow("test_two_processes_give_the_numbers_of_one_and_keep_a_record")
def test_an_error_in_one_process_is_told_in_all(tmp_path):
    statuses, (first, second) = start(2, "failing", directory=tmp_path)
    assert 0 not in statuses
    assert "process 1 of the job's 2 raised ValueError: not this time" in first
    assert "not this time" in second
    again = done(2, "plain", directory=tmp_path)
    wanted = but_models(seen(KINDS["plain"]()))
    assert list(map(but_models, again)) == [wanted] * 2


@pytest.mark.slow("tests/sweep/test_devices.py has the rule of devices")
def test_what_a_job_cannot_do_is_refused(tmp_path):
    for process, said in enumerate(done(2, "refused", directory=tmp_path)):
        devices, trials = said
        other = f"of process {1 - process} in process {process}; each process"
        assert other in devices
        assert "must be the same in all, got trials" in trials
