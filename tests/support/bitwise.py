"""Run sweeps, some with diverging settings, and compare their rows bit by bit."""

import dataclasses
import functools
import math
import signal
from typing import Any

import jax
import numpy as np
import toy

import jopt
from jopt import sweep

NEVER = 99
STEPS, SEGMENTS, BLOCK = 12, 3, 3
RATES = (0.003, 0.01, 0.03, 0.05, 0.1, 0.2)
# The rate, and the step at which it is infinite: the loss is not finite one later.
BAD = ((0.01, 0), (0.02, 5), (0.1, 9), (0.2, 11))
SETTINGS = (*((rate, NEVER) for rate in RATES), *BAD)


def momentum(learning_rate, fails=NEVER):
    """A rate that is infinite from a step on: for all other steps it is as it was."""
    pieces = [jopt.constant_schedule(learning_rate), jopt.constant_schedule(math.inf)]
    return jopt.sgd(jopt.join_schedules(pieces, [fails]), momentum=0.9)


@dataclasses.dataclass(frozen=True)
class Ends(sweep.Pruner):
    """End each setting after a given segment, whatever its loss."""

    after: tuple[int, ...]

    def check(self, segments, settings):
        assert len(self.after) == settings

    def keep(self, observations):
        return observations.alive & (
            np.asarray(self.after) > observations.values.shape[1]
        )


def trials(settings):
    return [
        sweep.Trial.of(momentum, {"learning_rate": rate, "fails": fails})
        for rate, fails in settings
    ]


def run(settings, task=None, **options) -> Any:
    sizes: dict[str, Any] = {"steps": STEPS, "segments": SEGMENTS, "block": BLOCK}
    return sweep.run(task or toy.task(), trials(settings), **{**sizes, **options})


def row(result, trial):
    """Everything seen of a trial, in bytes; of its parameters, those at hand."""
    table = {n: c[trial].tobytes() for n, c in result.table.items() if n != "trial"}
    valid = {name: seen[trial].tobytes() for name, seen in result.valid.items()}
    return table, result.curves[trial].tobytes(), valid


def model(result, trial):
    """A trial's parameters and model state, in bytes."""
    arrays = jax.tree.leaves((result.params(trial), result.model_state(trial)))
    return [np.asarray(array).tobytes() for array in arrays]


@functools.cache
def by_itself(setting, end=NEVER, task=None):
    """What comes of a setting by itself, in a block of the same size."""
    result = run([setting], task, pruner=Ends((end,)), devices=jax.local_devices()[:1])
    return row(result, 0), model(result, 0)


def interrupt_after(number):
    """A callback that is Ctrl-C at the end of a segment, counted from 1."""

    def callback(now):
        if now.number == number:
            signal.raise_signal(signal.SIGINT)

    return callback


def check(result, settings, ends, task=None, resumed_after=0):
    """Assert that each row is that of the trial alone.

    resumed_after: segment; parameters of those that ended before are not at hand.
    """
    for trial, (setting, end) in enumerate(zip(settings, ends, strict=True)):
        expected_row, expected_model = by_itself(setting, end, task)
        assert row(result, trial) == expected_row, (setting, end)
        died = math.ceil((setting[1] + 2) * SEGMENTS / STEPS)  # its last segment
        if min(end, died) > resumed_after:
            assert model(result, trial) == expected_model, (setting, end)
