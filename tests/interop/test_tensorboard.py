"""Promises of a sweep's TensorBoard logs, read back by TensorBoard itself."""

import importlib
import sys

import numpy as np
import pytest
import recorded_sweeps

from jopt.interop import write_tensorboard


@pytest.fixture(scope="module")
def record():
    return recorded_sweeps.record()


@pytest.fixture(scope="module")
def runs(record, tmp_path_factory):
    """What TensorBoard finds in the logs, by folder."""
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="tensorboard is not installed",
    )
    directory = tmp_path_factory.mktemp("logs")
    folders = write_tensorboard(record, directory)
    assert [folder.name for folder in folders[:2]] == ["trial-0000", "trial-0001"]
    found = {}
    for folder in (directory, *folders):
        events = accumulator.EventAccumulator(str(folder), {"tensors": 0})
        found[folder.name if folder in folders else ""] = events.Reload()
    return found


def scalars(events, tag):
    """Steps and values of a tag: a tensor or a scalar, as the version has it."""
    if tag in events.Tags()["scalars"]:
        return [(event.step, event.value) for event in events.Scalars(tag)]
    from tensorboard.util.tensor_util import make_ndarray

    return [(e.step, make_ndarray(e.tensor_proto).item()) for e in events.Tensors(tag)]


def plugin(events, field):
    """What the HParams tab reads of a run."""
    messages = importlib.import_module("tensorboard.plugins.hparams.plugin_data_pb2")
    content = events.SummaryMetadata(f"_hparams_/{field}").plugin_data.content
    return getattr(messages.HParamsPluginData.FromString(content), field)


def test_each_trial_is_a_run_with_its_curves(record, runs):
    assert len(runs) == 1 + 24
    for row in (0, 9, 17, 23):
        events = runs[f"trial-{row:04d}"]
        for tag, steps, values in (
            ("train/loss", np.arange(1, 61), record.curves[row]),
            ("valid/loss", record.valid_steps, record.valid["loss"][row]),
        ):
            known = np.isfinite(values)
            expected = list(zip(steps[known], values[known], strict=True))
            found = scalars(events, tag)
            np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_trials_hyperparameters_seed_and_status_are_its_hparams(record, runs):
    held = plugin(runs["trial-0009"], "session_start_info").hparams

    assert held["learning_rate"].number_value == record.table["learning_rate"][9]
    assert held["nesterov"].bool_value is False
    assert held["nesterov"].WhichOneof("kind") == "bool_value"
    assert held["kind"].string_value == "adam"
    assert held["seed"].number_value == 0
    assert held["status"].string_value == "pruned"


def test_a_trial_that_diverged_ended_with_a_failure(runs):
    ends = [
        plugin(runs[f"trial-{row:04d}"], "session_end_info").status
        for row in (0, 9, 23)
    ]

    assert ends == [1, 1, 2]


def test_the_experiment_lists_the_values_to_filter_by(record, runs):
    experiment = plugin(runs[""], "experiment")
    infos = {info.name: info for info in experiment.hparam_infos}

    assert list(infos) == [*record.hyperparameters, "seed", "status"]
    assert list(infos["width"].domain_discrete) == [8, 16, 32]
    assert list(infos["nesterov"].domain_discrete) == [False, True]
    assert list(infos["status"].domain_discrete) == ["complete", "diverged", "pruned"]
    tags = [metric.name.tag for metric in experiment.metric_infos]
    assert tags == ["valid/loss", "train/loss"]


def test_many_numbers_are_an_interval(tmp_path):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    record = recorded_sweeps.record(trials=40)
    rates = record.table["learning_rate"]

    write_tensorboard(record, tmp_path)

    events = accumulator.EventAccumulator(str(tmp_path)).Reload()
    interval = plugin(events, "experiment").hparam_infos[0].domain_interval
    assert (interval.min_value, interval.max_value) == (rates.min(), rates.max())


def test_the_hparams_tab_itself_reads_the_logs(record, runs, tmp_path):
    """Its session groups are the trials, with their metrics' last values."""
    pytest.importorskip("tensorboard.plugins.hparams.list_session_groups")
    from tensorboard.backend.event_processing import (
        data_provider,
        plugin_event_multiplexer,
    )
    from tensorboard.context import RequestContext
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.hparams import backend_context, list_session_groups

    api_pb2 = importlib.import_module("tensorboard.plugins.hparams.api_pb2")

    write_tensorboard(record, tmp_path)
    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(tmp_path)).Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(tmp_path))
    context = backend_context.Context(TBContext(data_provider=provider))
    metadata = context.hparams_metadata(RequestContext(), "")
    experiment = context.experiment_from_metadata(
        RequestContext(), "", True, metadata, None
    )
    asked = api_pb2.ListSessionGroupsRequest(
        start_index=0,
        slice_size=100,
        allowed_statuses=[0, 1, 2],
        col_params=[api_pb2.ColParams(metric=experiment.metric_infos[0].name)],
    )

    found = (
        list_session_groups.Handler(RequestContext(), context, "", asked)
        .run()
        .session_groups
    )

    assert len(found) == 24
    first = next(g for g in found if g.sessions[0].name == "trial-0000")
    last = {value.name.tag: value.value for value in first.metric_values}
    np.testing.assert_allclose(last["valid/loss"], record.table["valid_loss"][0])


def test_without_tensorboardx_the_error_says_what_to_install(
    record, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)

    with pytest.raises(ImportError, match=r"pip install 'jopt\[tensorboard\]'"):
        write_tensorboard(record, tmp_path)
