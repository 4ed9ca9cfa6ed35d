"""A sweep as TensorBoard logs: curves, and the hyperparameters in the HParams tab."""

import functools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from jopt.core import FilePath, checked
from jopt.report import Record, thinned
from jopt.sweep import SweepResult

PLUGIN = "hparams"
POINTS = 300  # of a trial's training loss at most
STATUSES = {"complete": 1, "pruned": 1, "diverged": 2}  # the plugin's; others unknown


@checked
def write_tensorboard(sweep: SweepResult | Record, directory: FilePath) -> list[Path]:
    """Write the logs of a sweep into `directory`; return a folder a trial.

        jopt.interop.write_tensorboard(result, "runs/digits")
        # then: tensorboard --logdir runs

    sweep: a result, or the record of its files. Each trial is a run of its own, in
    `trial-0000` and so on: `train/loss`, means over up to 300 stretches of steps, by
    step; `valid/...`, each metric at the segments' ends; and its hyperparameters, seed,
    fold and status (complete, pruned, diverged or interrupted) for the HParams tab,
    where all but numbers of many values can be filtered by value. What is not finite is
    left out. A trial that diverged has ended with a failure, as the tab says it.

    Raises an ImportError without tensorboardX.
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
        if value != value:  # NaN: the trial has none of that name
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
    """What all trials have in common: the hyperparameters' values, and the metrics."""
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
    """A hyperparameter with its values: the tab makes a box to tick of each."""
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
    """TensorBoard's messages, by name: of no known type, being made when imported."""
    from tensorboardX.proto import api_pb2, plugin_hparams_pb2, summary_pb2

    modules = (api_pb2, plugin_hparams_pb2, summary_pb2)
    return SimpleNamespace(**{k: v for m in modules for k, v in vars(m).items()})
