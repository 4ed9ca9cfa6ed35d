"""Promises of clients that train apart: at H = 1 they are one training."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import jopt
from jopt import sweep

RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(13, 2)).astype(np.float32)
LABELS = (INPUTS @ [1.0, -2.0] + RNG.normal(size=13)).astype(np.float32)
CLIENTS, STEPS, RATE, EVERY = 3, 12, 0.2, (1, 4, 5)


def error(params, batch):
    return (batch[0] @ params - batch[1]) ** 2


def task(**fields):
    return sweep.Task.from_model(
        "line",
        lambda key: jnp.zeros(2),
        lambda params, batch, key: jnp.mean(error(params, batch)),
        lambda params, batch: {"loss": error(params, batch)},
        **{
            "train": (INPUTS[:12], LABELS[:12]),
            "valid": (INPUTS, LABELS),
            "batch_size": 12,
        }
        | fields,
    )


def factory(every):
    return sweep.Local(jopt.sgd(RATE, momentum=0.5), every)


def run(task, trials) -> Any:
    return sweep.run(task, trials, steps=STEPS, segments=3)


def in_numpy(parts, every):
    """Parameters of the clients' mean by gradient descent with momentum, in float64."""
    params = np.zeros((len(parts), 2))
    traces = np.zeros_like(params)
    for step in range(STEPS):
        for c, rows in enumerate(parts):
            x, y = np.asarray(INPUTS[rows], float), np.asarray(LABELS[rows], float)
            gradient = 2 * x.T @ (x @ params[c] - y) / len(rows)
            traces[c] = 0.5 * traces[c] + gradient
            params[c] = params[c] - RATE * traces[c]
        if (step + 1) % every == 0:
            params[:], traces[:] = params.mean(0), traces.mean(0)
    return params.mean(0)


@pytest.mark.parametrize("apart", [False, True], ids=["alike", "apart"])
def test_clients_are_numpys_for_any_number_of_steps_between_means(apart):
    federation = sweep.local_sgd(
        task(), CLIENTS, by=(lambda examples: examples[1]) if apart else None
    )
    order = np.argsort(LABELS[:12], kind="stable") if apart else np.arange(12)
    parts = order.reshape(3, 4) if apart else order.reshape(4, 3).T

    result = run(federation, sweep.grid(factory, every=list(EVERY)))

    assert result.info["groups"] == 1
    for trial, every in enumerate(EVERY):
        wanted = in_numpy(parts, every)
        np.testing.assert_allclose(result.params(trial), wanted, rtol=1e-4, atol=1e-5)
        loss = np.mean((INPUTS @ wanted - LABELS) ** 2)
        assert result.table["valid_loss"][trial] == pytest.approx(loss, rel=1e-4)
    assert len({float(x) for x in result.table["valid_loss"]}) == len(EVERY)


def test_with_a_mean_at_every_step_it_is_one_training_on_all_data():
    federation, alone = sweep.local_sgd(task(), CLIENTS), task()
    apart = run(federation, sweep.grid(factory, every=[1]))
    together = run(alone, sweep.grid(jopt.sgd, learning_rate=[RATE], momentum=[0.5]))
    assert federation.batch_size == 4
    np.testing.assert_allclose(apart.curves, together.curves, rtol=1e-4)
    np.testing.assert_allclose(apart.params(0), together.params(0), rtol=1e-4)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: sweep.local_sgd(task(), 1),
            "local_sgd: clients must be at least 2, got 1.",
        ),
        (
            lambda: sweep.local_sgd(task(), 13),
            "local_sgd: clients must be at most the 12 training examples, got 13.",
        ),
        (
            lambda: sweep.local_sgd(task(), 2, by=lambda examples: examples[0]),
            "local_sgd: by must return one value an example, of the shape (12,), got",
        ),
        (
            lambda: sweep.local_sgd(task(train=sweep.by_step(lambda step: None)), 2),
            "local_sgd: task must have its training examples as a tree of arrays",
        ),
        (
            lambda: sweep.run(
                sweep.local_sgd(task(), 2), sweep.grid(factory, every=[1]), folds=2
            ),
            "A sweep with folds needs training and validation examples of the same ",
        ),
        (lambda: factory(0.5), "Local: every must be at least 1, got 0.5."),
        (
            lambda: run(
                sweep.local_sgd(task(), 2), sweep.grid(jopt.sgd, learning_rate=[0.1])
            ),
            "Task line: the factory of the trials must return a sweep.Local, with",
        ),
    ],
)
def test_bad_input_is_refused_in_a_sentence(call, sentence):
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    assert str(caught.value).startswith(sentence)
