"""Sweeps that are interrupted, and all that came of one."""

import signal

import jax
import numpy as np


def interrupt(after):
    """Return a callback that presses Ctrl-C when a segment has ended."""

    def callback(now):
        if now.number == after:
            signal.raise_signal(signal.SIGINT)

    return callback


def numbers(result):
    """Everything that came of a sweep, in bytes."""
    table = {name: column.tolist() for name, column in result.table.items()}
    valid = {name: seen.tobytes() for name, seen in result.valid.items()}
    alive = np.flatnonzero(result.table["status"] == "complete")
    models = [(result.params(n), result.model_state(n)) for n in alive]
    leaves = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(models)]
    return repr(table), result.curves.tobytes(), valid, leaves, result.best
