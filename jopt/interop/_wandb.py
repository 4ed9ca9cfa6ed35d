"""Weights & Biases: a group for each sweep, and a run for each trial."""

from typing import Any

from jopt.interop._tracker import Tracker
from jopt.sweep import Segment


class WandbRuns(Tracker):
    """A callback that logs each trial of a sweep as a Weights & Biases run.

        runs = jopt.interop.WandbRuns("digits", group="rates", mode="offline")
        sweep.run(task, trials, callbacks=[runs])
        # later, to upload offline runs: wandb sync wandb/offline-run-*

    `Tracker` describes what is logged, and what happens if logging fails.
    Hyperparameters are the run's config, `status` is in its summary, and a diverged
    trial ends with exit code 1. All runs of a sweep are open at once, with several
    threads each, so use it for sweeps of tens of trials.

    Args:
      project: the project of the runs.
      options: passed to `wandb.init`, such as `group`, `mode`, `dir` or `tags`.

    Raises:
      ImportError: wandb is not installed.
    """

    def __init__(self, project: str, **options: Any):
        super().__init__()
        try:
            import wandb  # an extra  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise ImportError(
                "WandbRuns needs wandb, which is not installed: "
                "pip install 'jopt[wandb]'."
            ) from error
        self._wandb, self._options = wandb, {"project": project, **options}

    def begin(self, number: int, setting: dict[str, Any], now: Segment) -> Any:
        name = f"trial-{number:04d}"
        given = {"name": name, "config": setting, "reinit": "create_new"}
        return self._wandb.init(**{**given, **self._options})

    def log(self, run: Any, step: int, values: dict[str, float]) -> None:
        run.log(values, step=step)

    def end(self, run: Any, status: str) -> None:
        run.summary["status"] = status
        run.finish(exit_code=int(status == "diverged"))
