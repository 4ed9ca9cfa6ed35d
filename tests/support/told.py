"""A task that measures of a trial what the trial is made of."""

from typing import Any

import jax.numpy as jnp

from jopt import sweep

NAMES = ("a", "b", "loss")


def init(config, key):
    return {"at": jnp.zeros(())}


def step(config, state, batch, key):
    return state, {}


def evaluate(config, state, batch, key):
    return {name: jnp.asarray(config[name], jnp.float32) for name in NAMES}


TASK = sweep.Task("told", init, step, evaluate, source="told:TASK")


def made(kind=None, **setting):
    return setting


def trials(rows, kinds=None):
    """Trials whose metrics `a` and `b` are those of a row, and whose loss is its place.

    kinds: a hyperparameter without effect, one value a row.
    """
    return [
        sweep.Trial.of(
            made,
            {"a": float(a), "b": float(b), "loss": float(row)}
            | ({} if kinds is None else {"kind": kinds[row]}),
        )
        for row, (a, b) in enumerate(rows)
    ]


def run(rows=((1, 1), (2, 2), (1, 2), (3, 3)), task=TASK, kinds=None, **options) -> Any:
    sizes: dict[str, Any] = {"steps": 4, "segments": 2, "block": 4}
    return sweep.run(task, trials(rows, kinds), **{**sizes, **options})
