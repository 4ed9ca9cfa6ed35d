"""MLflow: an experiment for each sweep, and a run for each trial."""

import time
from typing import Any

from jopt.interop._tracker import Tracker
from jopt.sweep import Segment


class MlflowRuns(Tracker):
    """A callback that logs each trial of a sweep as an MLflow run.

        runs = jopt.interop.MlflowRuns("digits", tracking_uri="sqlite:///mlflow.db")
        sweep.run(task, trials, callbacks=[runs])
        # then: mlflow ui --backend-store-uri sqlite:///mlflow.db

    `Tracker` describes what is logged, and what happens if logging fails.
    Hyperparameters are the run's params, and the tag `status` says how the trial ended.
    A diverged trial is a FAILED run, an interrupted one stays RUNNING.

    Args:
      experiment: the name of the experiment, which is made if it does not exist.
      tracking_uri: the address of the server, database or folder; by default MLflow's
        own. Newer versions write to a folder, such as "file:mlruns", only if the
        environment has MLFLOW_ALLOW_FILE_STORE=true.

    Raises:
      ImportError: mlflow is not installed.
    """

    def __init__(self, experiment: str, tracking_uri: str | None = None):
        super().__init__()
        try:
            from mlflow import MlflowClient, entities  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise ImportError(
                "MlflowRuns needs mlflow, which is not installed: "
                "pip install 'jopt[mlflow]'."
            ) from error
        self._client, self._entities = MlflowClient(tracking_uri), entities
        self._name, self._experiment = experiment, ""

    def begin(self, number: int, setting: dict[str, Any], now: Segment) -> Any:
        client, params = self._client, []
        if not self._experiment:
            known = client.get_experiment_by_name(self._name)
            made = known and known.experiment_id
            self._experiment = made or client.create_experiment(self._name)
        run = client.create_run(self._experiment, run_name=f"trial-{number:04d}")
        for name, value in setting.items():
            params.append(self._entities.Param(name, str(value)))
        client.log_batch(run.info.run_id, params=params)
        return run.info.run_id

    def log(self, run: Any, step: int, values: dict[str, float]) -> None:
        now, metric = int(1000 * time.time()), self._entities.Metric
        metrics = [metric(name, value, now, step) for name, value in values.items()]
        self._client.log_batch(run, metrics=metrics)

    def end(self, run: Any, status: str) -> None:
        self._client.set_tag(run, "status", status)
        ended = "FAILED" if status == "diverged" else "FINISHED"
        self._client.set_terminated(run, ended)
