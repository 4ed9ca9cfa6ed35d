"""Train trials of the toy task in a pool, as the sweep's engine does."""

import functools

import jax
import numpy as np
import toy

import jopt
from jopt import sweep
from jopt.sweep._plan import Plan
from jopt.sweep._trial import stack
from jopt.sweep.engine import StackedTrials

SEGMENTS = 3


@functools.cache
def plan():
    return Plan(toy.task(), 16, 12, SEGMENTS, jax.random.key(0))


def first_call():
    """The batches of the first call."""
    return plan().batches(0)[0]


def stacked_trials(number):
    """Trials at `number` learning rates."""
    rates = np.geomspace(1e-3, 0.3, number).tolist()
    trials = sweep.grid(jopt.adamw, learning_rate=rates)
    configs = stack([trial.config for trial in trials])
    own = plan()
    return StackedTrials(
        own.task, configs, own.starts(trials), own.data(), first_call()
    )


def trained(pool, survivors=None):
    """All that is seen of trials; after a segment only `survivors` are trained."""
    rows = np.arange(pool.program.stacked.count)
    seen = {}
    for segment in range(SEGMENTS):
        shared = pool.shared
        for taken in pool.cut(rows):
            result = pool.train(taken, shared, plan().batches(segment))()
            for place, row in enumerate(taken.tolist()):
                row_seen = jax.tree.map(lambda x, at=place: x[at].tobytes(), result)
                seen[segment, row] = row_seen
        rows = rows if survivors is None else survivors
    params, model_state = pool.models()
    left = [leaf.tobytes() for leaf in pool.read(np.arange(pool.program.stacked.count))]
    tested = pool.evaluate(3, toy.task().test)
    return seen, jax.tree.map(bytes, (params, model_state)), left, tested
