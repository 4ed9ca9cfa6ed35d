"""A task that is small enough to sweep in a test: points of two classes."""

import jax
import jax.numpy as jnp
import numpy as np

from jopt.sweep import Task


def points(size=96, seed=0):
    """Points in the plane, and on which side of a line they are."""
    inputs = np.random.default_rng(seed).normal(size=(size, 2)).astype(np.float32)
    return inputs, (inputs[:, 0] > inputs[:, 1]).astype(np.int32)


def init(key):
    first, second = jax.random.split(key)
    params = {
        "hidden": jax.random.normal(first, (2, 5)),
        "out": 0.1 * jax.random.normal(second, (5, 2)),
    }
    return params, {"seen": jnp.zeros((), jnp.float32)}


def scores(params, inputs, labels):
    logits = jnp.tanh(inputs @ params["hidden"]) @ params["out"]
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)
    return -chosen[:, 0], logits.argmax(axis=1) == labels


def loss(params, model_state, batch, key):
    value = scores(params, *batch)[0].mean()
    return value, {"seen": model_state["seen"] + len(batch[1])}


def evaluate(params, model_state, batch):
    losses, correct = scores(params, *batch)
    return {"loss": losses, "accuracy": correct}


def task(**changes):
    """The task, with some fields changed."""
    fields = {
        "name": "points",
        "init": init,
        "loss": loss,
        "evaluate": evaluate,
        "train": points(),
        "valid": points(30, seed=1),
        "test": points(30, seed=2),
        "batch_size": 16,
        "epochs": 4,
    }
    return Task.from_loss(**{**fields, **changes})
