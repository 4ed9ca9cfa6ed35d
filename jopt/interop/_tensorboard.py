"""TensorBoard: a sweep's curves, and its hyperparameters in the HParams tab."""

import functools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from jopt.core import FilePath, checked
from jopt.report import Record, thinned
from jopt.sweep import SweepResult

PLUGIN = "hparams"
POINTS = 300  # the most points of a trial's training loss
STATUSES = {"complete": 1, "pruned": 1, "diverged": 2}  # the plugin's; 0 is unknown


@checked
def write_tensorboard(sweep: SweepResult | Record, directory: FilePath) -> list[Path]:
    """Write TensorBoard logs of a sweep, one run per trial.

        jopt.interop.write_tensorboard(result, "runs/digits")
        # then: tensorboard --logdir runs

    Each trial is a run in its own folder, `trial-0000` and so on. A run has

    - `train/loss` by step, averaged over up to 300 intervals of steps;
    - `valid/...`, each metric at the ends of the segments;
    - for the HParams tab, the trial's hyperparameters, seed, fold and status (complete,
      pruned, diverged or interrupted).

    The tab filters hyperparameters by value, but numbers with more than 32 values by
    interval. Values that are not finite are left out. The tab shows a diverged trial as
    a failure.

    Args:
      sweep: a result, or the record of its files.
      directory: where to write.

    Returns:
      The folders of the trials, in the order of the table.

    Raises:
      ImportError: if tensorboardX is not installed.
    """
    try:
        from tensorboardX import SummaryWriter  # an extra
    except ImportError as error:
        raise ImportError(
            "TensorBoard logs need tensorboardX, which is not installed: "
            "pip install 'jopt[tensorboard]'."
        ) from error
    record = sweep if isinstance(sweep, Record) else Record.of(sweep)
    directory = Path(directory)
    with SummaryWriter(str(directory)) as writer:
        _add(writer, "experiment", _experiment(record))
    steps, losses = thinned(record.curves, POINTS)
    folders = []
    for row, trial in enumerate(record.table["trial"].tolist()):
        folders.append(directory / f"trial-{trial:04d}")
        with SummaryWriter(str(folders[-1])) as writer:
            _add(writer, "session_start_info", _start(record, row))
            made = record.table["steps"][row]
            _scalars(writer, "train/loss", np.minimum(steps, max(made, 1)), losses[row])
            for name, values in record.valid.items():
                _scalars(writer, f"valid/{name}", record.valid_steps, values[row])
            _add(writer, "session_end_info", _end(record, row))
    return folders


def _scalars(writer: Any, tag: str, steps: np.ndarray, values: np.ndarray) -> None:
    for step, value in zip(steps.tolist(), values.tolist(), strict=True):
        if np.isfinite(value):
            writer.add_scalar(tag, value, step)


def _names(record: Record) -> list[str]:
    also = [name for name in ("seed", "fold", "status") if name in record.table]
    return [*record.hyperparameters, *also]


def _start(record: Record, row: int) -> Any:
    info = _messages().SessionStartInfo()
    for name in _names(record):
        value = record.table[name][row].item()
        if value != value:  # NaN: the trial lacks this hyperparameter
            continue
        if isinstance(value, bool):
            info.hparams[name].bool_value = value
        elif isinstance(value, str):
            info.hparams[name].string_value = value
        else:
            info.hparams[name].number_value = value
    return info


def _end(record: Record, row: int) -> Any:
    status = STATUSES.get(record.table["status"][row].item(), 0)
    return _messages().SessionEndInfo(status=status)


def _experiment(record: Record) -> Any:
    """Return the experiment: the values of each hyperparameter, and the metrics."""
    make = _messages()
    experiment = make.Experiment(name=str(record.info.get("task", "")))
    for name in _names(record):
        experiment.hparam_infos.append(_hparam(name, record.table[name]))
    tags = {f"valid/{name}": "DATASET_VALIDATION" for name in record.valid}
    for tag, dataset in {**tags, "train/loss": "DATASET_TRAINING"}.items():
        kind = make.DatasetType.Value(dataset)
        metric = make.MetricInfo(display_name=tag, dataset_type=kind)
        metric.name.tag = tag
        experiment.metric_infos.append(metric)
    return experiment


def _hparam(name: str, column: np.ndarray, most: int = 32) -> Any:
    """Return a hyperparameter with its values, each a checkbox in the tab."""
    make = _messages()
    kind = {"b": "BOOL", "U": "STRING"}.get(column.dtype.kind, "FLOAT64")
    info = make.HParamInfo(name=name, type=make.DataType.Value(f"DATA_TYPE_{kind}"))
    values = sorted({value for value in column.tolist() if value == value})
    if kind == "FLOAT64" and len(values) > most:
        info.domain_interval.min_value = values[0]
        info.domain_interval.max_value = values[-1]
    else:
        info.domain_discrete.extend(values)
    return info


def _add(writer: Any, field: str, message: Any) -> None:
    make = _messages()
    content = make.HParamsPluginData(version=0, **{field: message})
    plugin = make.SummaryMetadata.PluginData(
        plugin_name=PLUGIN, content=content.SerializeToString()
    )
    metadata = make.SummaryMetadata(plugin_data=plugin)
    value = make.Summary.Value(tag=f"_hparams_/{field}", metadata=metadata)
    writer.file_writer.add_summary(make.Summary(value=[value]))


@functools.cache
def _messages() -> Any:
    """Return TensorBoard's message classes by name, which protobuf makes on import."""
    from tensorboardX.proto import api_pb2, plugin_hparams_pb2, summary_pb2

    modules = (api_pb2, plugin_hparams_pb2, summary_pb2)
    return SimpleNamespace(**{k: v for m in modules for k, v in vars(m).items()})
