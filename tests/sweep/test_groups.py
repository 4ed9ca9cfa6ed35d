"""Promises about trials of several structures: a program each, rungs across them."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

import jopt
from jopt import sweep

SIZES: dict[str, Any] = {"steps": 8, "segments": 4, "block": 2}


@functools.cache
def network(width):
    """The small task with a hidden layer of this width."""

    def init(key):
        first, second = jax.random.split(key)
        params = {
            "hidden": jax.random.normal(first, (2, width)),
            "out": 0.1 * jax.random.normal(second, (width, 2)),
        }
        return params, {"seen": jnp.zeros((), jnp.float32)}

    return toy.task(init=init)


def of_any_kind(learning_rate, optimizer="sgd", nesterov=False, width=5, batch=16):
    if optimizer == "sgd":
        tx = jopt.sgd(learning_rate, momentum=0.9, nesterov=nesterov)
    else:
        tx = {"adamw": jopt.adamw, "lion": jopt.lion}[optimizer](learning_rate)
    return sweep.Setup(tx, network(width), batch)


def run(task=None, factory=of_any_kind, options=SIZES, **space) -> Any:
    return sweep.run(task or toy.task(), sweep.grid(factory, **space), **options)


def because(result):
    return [group["because"] for group in result.info["grouped_by"]]


@pytest.mark.slow("two groups run in the quick run")
@pytest.mark.parametrize(
    ("space", "reasons"),
    [
        ({"optimizer": ["sgd", "adamw", "lion"]}, ["sgd", "adamw", "lion"]),
        ({"nesterov": [False, True]}, [False, True]),
        ({"width": [5, 3]}, [5, 3]),
        ({"batch": [16, 8, 32]}, [16, 8, 32]),
    ],
)
def test_a_structure_is_a_group_and_says_why(space, reasons):
    result = run(learning_rate=[0.01, 0.1], **space)
    (name,) = space
    assert result.info["groups"] == len(reasons)
    assert result.info["segment_compiles"] == len(reasons)
    assert because(result) == [{name: reason} for reason in reasons]
    assert [g["trials"] for g in result.info["grouped_by"]] == [2] * len(reasons)
    assert [g["block"] for g in result.info["grouped_by"]] == [2] * len(reasons)
    assert result.table[name].tolist() == reasons * 2
    assert np.isfinite(result.curves).all()


def test_numbers_alone_make_one_group():
    result = run(learning_rate=[0.01, 0.1, 0.2])
    assert result.info["groups"] == result.info["segment_compiles"] == 1
    assert because(result) == [{}]


@pytest.mark.slow("two groups run in the quick run")
def test_structures_multiply():
    space = {"optimizer": ["sgd", "adamw"], "width": [5, 3]}
    result = run(learning_rate=[0.01, 0.1], **space)
    assert result.info["groups"] == 4
    assert {tuple(group.items()) for group in because(result)} == {
        (("optimizer", kind), ("width", width))
        for kind in ("sgd", "adamw")
        for width in (5, 3)
    }
    for trial in range(8):
        width = result.table["width"][trial]
        assert result.params(trial)["hidden"].shape == (2, width)


@pytest.mark.slow("a group of its own task runs in the quick run")
@pytest.mark.parametrize("batch", [8, 32])
def test_a_setups_task_and_batch_size_are_those_of_the_trial(batch):
    inside = run(learning_rate=[0.1], batch=[16, batch], width=3)
    alone = run(
        network(3),
        jopt.sgd,
        {**SIZES, "batch_size": batch},
        learning_rate=[0.1],
        momentum=0.9,
    )
    np.testing.assert_array_equal(inside.curves[1], alone.curves[0])
    assert inside.model_state(1)["seen"] == 8 * batch
    assert inside.model_state(0)["seen"] == 8 * 16


@pytest.mark.slow("a winner of one group is evaluated in the quick run")
def test_a_winner_of_any_group_is_evaluated_by_its_own_task():
    result = run(learning_rate=[1e-6, 0.2], width=[5, 3, 2])
    assert result.best is not None
    width = result.best.hyperparameters["width"]
    model = jax.tree.map(jnp.asarray, result.params(result.best.trial))
    assert model["hidden"].shape == (2, width)
    test = jax.tree.map(jnp.asarray, toy.task().test)
    expected = toy.evaluate(model, None, test)["loss"].mean()
    np.testing.assert_allclose(result.best.test["loss"], expected, rtol=1e-5)


def test_rungs_compare_across_groups():
    space = {
        "learning_rate": np.geomspace(1e-5, 0.3, 4).tolist(),
        "optimizer": ["sgd", "adamw"],
    }
    whole = run(**space)
    pruner = sweep.SuccessiveHalving(reduction_factor=2)
    result = run(options={**SIZES, "pruner": pruner}, **space)

    assert result.info["groups"] == whole.info["segment_compiles"] == 2
    going = np.full(8, True)
    for segment, kept in ((0, 4), (1, 2)):  # the third rung would be at the end
        order = np.argsort(np.where(going, whole.valid["loss"][:, segment], np.inf))
        going = np.isin(np.arange(8), order[:kept])
        ended = np.isfinite(result.valid["loss"][:, segment + 1])
        np.testing.assert_array_equal(ended, going)
    assert result.table["status"].tolist() == [
        "complete" if alive else "pruned" for alive in going
    ]
    for trial in range(8):
        steps = result.table["steps"][trial]
        np.testing.assert_array_equal(
            result.curves[trial, :steps], whole.curves[trial, :steps]
        )


def test_a_group_may_end_before_the_others():
    def factory(learning_rate, optimizer):
        return of_any_kind(learning_rate, optimizer)

    trials = [
        *sweep.grid(factory, learning_rate=[0.1, 0.2], optimizer="adamw"),
        *sweep.grid(factory, learning_rate=[math.inf], optimizer=["sgd", "lion"]),
    ]
    seen = []
    result = sweep.run(toy.task(), trials, progress=seen.append, **SIZES)

    assert result.table["status"].tolist() == ["complete"] * 2 + ["diverged"] * 2
    assert [now.segment for now in seen if now.last_block] == [1, 2, 3, 4]
    assert result.info["groups"] == 3


def test_tasks_with_other_metrics_share_a_table():
    def evaluate(params, model_state, batch):
        seen = toy.evaluate(params, model_state, batch)
        return {"loss": seen["loss"], "wrong": ~seen["accuracy"]}

    tasks = {"a": toy.task(), "b": toy.task(evaluate=evaluate)}

    def factory(learning_rate, kind):
        return sweep.Setup(jopt.sgd(learning_rate), tasks[kind])

    result = run(factory=factory, learning_rate=[0.1], kind=["a", "b"])

    assert np.isfinite(result.table["valid_loss"]).all()
    assert np.isnan(result.table["valid_accuracy"]).tolist() == [False, True]
    assert np.isnan(result.table["valid_wrong"]).tolist() == [True, False]


def test_a_batch_size_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"between 1 and the 96 .* got 97"):
        run(learning_rate=[0.1], batch=[16, 97])


def test_a_population_of_two_structures_is_refused():
    population = sweep.PopulationBasedTraining(
        {"learning_rate": sweep.log_uniform(1e-3, 1)}
    )
    with pytest.raises(ValueError, match="must have one structure"):
        run(
            options={**SIZES, "population": population},
            learning_rate=[0.1],
            width=[5, 3],
        )
