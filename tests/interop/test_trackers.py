"""Promises of trackers: each trial of a sweep is a run, read back by its library."""

import importlib
import json
import math
import sys
from typing import Any

import numpy as np
import pytest
import toy

import jopt
from jopt import sweep
from jopt.interop import MlflowRuns, OptunaTrials, Tracker, WandbRuns

RATES = [0.01, 0.1, 1e38, 0.3]  # the third diverges


@pytest.fixture(scope="module")
def segments():
    """What callbacks saw of a sweep: one trial diverged, one went on to the end."""
    found = []
    trials = sweep.grid(jopt.adamw, learning_rate=RATES)
    halving = sweep.SuccessiveHalving(reduction_factor=4, min_resource=2)
    sizes: dict[str, Any] = {"steps": 9, "segments": 3, "block": 2}
    sweep.run(toy.task(), trials, pruner=halving, callbacks=[found.append], **sizes)
    assert [len(set(now.table["status"].tolist())) for now in found] == [2, 3, 3]
    return found


class Written(Tracker):
    """A tracker that keeps what it is told."""

    def __init__(self):
        super().__init__()
        self.runs = {}

    def begin(self, number, setting, now):
        self.runs[number] = {"setting": setting, "values": {}, "status": None}
        return self.runs[number]

    def log(self, run, step, values):
        assert run["status"] is None
        run["values"][step] = values

    def end(self, run, status):
        run["status"] = status


def told(tracker, segments):
    for now in segments:
        tracker(now)
    assert tracker.failed is None
    return tracker


def test_a_tracker_is_told_of_every_trial_by_segment(segments):
    runs = told(Written(), segments).runs
    last = segments[-1]
    assert [run["setting"]["learning_rate"] for run in runs.values()] == RATES
    assert runs[0]["setting"]["seed"] == 0
    assert [run["status"] for run in runs.values()] == last.table["status"].tolist()
    (best,) = np.flatnonzero(last.table["status"] == "complete")
    assert list(runs[best]["values"]) == [3, 6, 9]
    values = runs[best]["values"][6]
    assert values["valid/loss"] == last.valid["loss"][best, 1]
    assert values["valid/accuracy"] == last.valid["accuracy"][best, 1]
    mean = last.curves[best, 3:6].mean(dtype=float)
    assert math.isclose(values["train/loss"], mean)
    assert [*runs[2]["values"]] == [3]
    assert [*runs[2]["values"][3]] == ["train/loss"]  # the others are not finite


def test_a_tracker_that_comes_late_is_told_of_what_was_before(segments):
    assert told(Written(), segments[-1:]).runs == told(Written(), segments).runs


def test_the_runs_of_a_searchs_batches_are_numbered_through(segments):
    runs = told(Written(), [*segments, *segments]).runs
    assert list(runs) == list(range(8))
    assert runs[5] == runs[1]


def test_a_tracker_that_fails_loses_no_sweep():
    class Full(Written):
        def log(self, run, step, values):
            raise OSError(28, "No space left on device")

    tracker, trials = Full(), sweep.grid(jopt.adamw, learning_rate=RATES[:2])
    sizes: dict[str, Any] = {"steps": 4, "segments": 2, "block": 2}
    with pytest.warns(UserWarning, match="Full failed after segment 1 and is silent"):
        result = sweep.run(toy.task(), trials, callbacks=[tracker], **sizes)
    assert result.table["status"].tolist() == ["complete"] * 2
    assert isinstance(tracker.failed, OSError)


def test_an_optuna_study_has_the_trials_and_takes_them_once(segments):
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    told(OptunaTrials(study), segments[:2])
    assert len(study.trials) == 3  # those that had ended
    told(OptunaTrials(study), segments[2:])  # of the sweep, resumed
    assert len(study.trials) == 4
    found = {trial.user_attrs["trial"]: trial for trial in study.trials}
    last = segments[-1]
    for number, trial in found.items():
        assert trial.params == {"learning_rate": RATES[number]}
        assert trial.user_attrs["status"] == last.table["status"][number]
    (best,) = np.flatnonzero(last.table["status"] == "complete")
    seen = last.valid["loss"][best].tolist()
    assert found[best].intermediate_values == dict(zip([3, 6, 9], seen, strict=True))
    assert study.best_trial.user_attrs["trial"] == best
    assert study.best_value == seen[-1]
    assert found[2].state.name == "PRUNED"
    assert found[0].distributions["learning_rate"].log


def test_several_objectives_are_an_optuna_studys_directions(segments):
    optuna = pytest.importorskip("optuna")
    study = optuna.create_study(directions=["minimize", "maximize"])
    with pytest.raises(ValueError, match="metrics must be one for each of the 2"):
        OptunaTrials(study)
    with pytest.raises(TypeError, match="study must be a study of Optuna"):
        OptunaTrials(None)
    told(OptunaTrials(study, ["loss", "accuracy"]), segments)
    (trial,) = study.best_trials
    last, number = segments[-1], trial.user_attrs["trial"]
    pair = [last.valid[name][number, -1] for name in ("loss", "accuracy")]
    assert trial.values == pair


def test_mlflow_has_a_run_a_trial(segments, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "mlruns").as_uri()
    told(MlflowRuns("points", uri), segments)
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("points").experiment_id
    runs = {run.info.run_name: run for run in client.search_runs([experiment])}
    assert len(runs) == 4
    last = segments[-1]
    for number, status in enumerate(last.table["status"].tolist()):
        run = runs[f"trial-{number:04d}"]
        assert float(run.data.params["learning_rate"]) == RATES[number]
        assert run.data.tags["status"] == status
        assert run.info.status == ("FAILED" if status == "diverged" else "FINISHED")
    (best,) = np.flatnonzero(last.table["status"] == "complete")
    run_id = runs[f"trial-{best:04d}"].info.run_id
    history = client.get_metric_history(run_id, "valid/loss")
    assert [point.step for point in history] == [3, 6, 9]
    assert [point.value for point in history] == last.valid["loss"][best].tolist()


def wandb_records(path):
    """The records of a run that was offline: LevelDB's log, of one block."""
    records = importlib.import_module("wandb.proto.wandb_internal_pb2")
    content, at = path.read_bytes(), 7
    assert len(content) < 2**15
    while at < len(content):
        size = int.from_bytes(content[at + 4 : at + 6], "little")
        yield records.Record.FromString(content[at + 7 : at + 7 + size])
        at += 7 + size


def test_wandb_has_a_run_a_trial(segments, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    for name in ("XDG_CACHE_HOME", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    options = {"mode": "offline", "dir": tmp_path, "group": "rates"}
    options["settings"] = wandb.Settings(silent=True, x_disable_stats=True)
    told(WandbRuns("points", **options), segments)
    files = list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
    found = {}
    for records in map(list, map(wandb_records, files)):
        (run,) = [r.run for r in records if r.WhichOneof("record_type") == "run"]
        found[run.display_name] = run, records
    assert len(found) == len(files) == 4
    last = segments[-1]
    for number, status in enumerate(last.table["status"].tolist()):
        run, records = found[f"trial-{number:04d}"]
        assert (run.project, run.run_group) == ("points", "rates")
        config = {item.key: item.value_json for item in run.config.update}
        assert json.loads(config["learning_rate"]) == RATES[number]
        updates = [item for r in records for item in r.summary.update]
        words = [item.value_json for item in updates if item.key == "status"]
        assert words == [json.dumps(status)]
        (code,) = [r.exit.exit_code for r in records if r.HasField("exit")]
        assert code == (status == "diverged")
    (best,) = np.flatnonzero(last.table["status"] == "complete")
    lines = [
        {(*item.nested_key, item.key)[0]: json.loads(item.value_json) for item in items}
        for r in found[f"trial-{best:04d}"][1]
        if (items := r.history.item)
    ]
    assert [line["_step"] for line in lines] == [3, 6, 9]
    assert [line["valid/loss"] for line in lines] == last.valid["loss"][best].tolist()


@pytest.mark.parametrize(
    ("module", "make", "extra"),
    [
        ("wandb", lambda: WandbRuns("points"), "wandb"),
        ("mlflow", lambda: MlflowRuns("points"), "mlflow"),
        ("optuna", lambda: OptunaTrials(None), "search"),
    ],
)
def test_without_the_package_a_sentence_names_the_extra(
    monkeypatch, module, make, extra
):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"pip install 'jopt\[{extra}\]'"):
        make()
