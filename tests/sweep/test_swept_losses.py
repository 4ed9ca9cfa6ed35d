"""Promises of sweeps over the numbers of a loss: they are data, as the optimizer's."""

from typing import Any

import bitwise
import chex
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from compile_counts import compiled_anew

import jopt
from jopt import losses, sweep

SIZES: dict[str, Any] = {"steps": 12, "segments": 4, "block": 3}
GAMMAS = [0.0, 0.5, 1.0, 2.0, 4.0, 8.0]


def logits(params, inputs):
    return jnp.tanh(inputs @ params["hidden"]) @ params["out"]


def task(loss_fn, **fields):
    return sweep.Task.from_model(
        "points",
        lambda key: toy.init(key)[0],
        loss_fn,
        lambda params, batch: toy.evaluate(params, None, batch),
        train=toy.points(),
        valid=toy.points(30, seed=1),
        batch_size=16,
        **fields,
    )


def pointwise(params, batch, key, loss):
    inputs, labels = batch
    return loss(logits(params, inputs), labels).mean()


def focal(learning_rate, gamma):
    tx = jopt.sgd(learning_rate, momentum=0.9)
    return sweep.Supervised(tx, loss=losses.Focal(gamma))


def run(gammas=GAMMAS, **options) -> Any:
    trials = sweep.grid(focal, learning_rate=0.3, gamma=gammas)
    return sweep.run(task(pointwise), trials, **{**SIZES, **options})


@pytest.fixture(scope="module")
def swept():
    with compiled_anew():
        return run()


def test_all_gammas_are_one_program(swept):
    assert (swept.info["groups"], swept.info["segment_compiles"]) == (1, 1)
    assert len({str(bitwise.model(swept, trial)) for trial in range(6)}) == 6
    first = swept.curves[:, 0]  # of the same parameters: focal weights are below 1
    assert (np.diff(first) < 0).all()


def test_a_focal_loss_of_no_gamma_trains_as_cross_entropy(swept):
    trials = sweep.grid(jopt.sgd, learning_rate=0.3, momentum=0.9)
    plain = sweep.run(
        task(lambda p, batch, key: toy.scores(p, *batch)[0].mean()), trials, **SIZES
    )
    chex.assert_trees_all_close(swept.params(0), plain.params(0), rtol=1e-5)
    np.testing.assert_allclose(swept.curves[0], plain.curves[0], rtol=1e-5)


@pytest.mark.slow("test_pruned_sweeps.py prunes")
def test_a_sweep_is_pruned_on_them(swept):
    pruner = sweep.SuccessiveHalving(reduction_factor=2)
    pruned = run(pruner=pruner)
    assert set(pruned.table["status"]) == {"complete", "pruned"}
    for trial, steps in enumerate(pruned.table["steps"]):
        np.testing.assert_array_equal(
            pruned.curves[trial, :steps], swept.curves[trial, :steps]
        )


def evolution():
    return sweep.PopulationBasedTraining({"gamma": sweep.uniform(0, 8)})


@pytest.mark.slow("test_population_sweeps.py evolves numbers")
def test_a_population_evolves_them():
    evolved = run(population=evolution())
    events = evolved.lineage.events
    assert events
    assert all(event.new["gamma"] != event.old["gamma"] for event in events)
    policy = evolved.lineage.policy(events[-1].child)
    replayed = run([policy[0][1]["gamma"]], population=sweep.Replay(policy), block=1)
    child = events[-1].child
    chex.assert_trees_all_close(
        replayed.params(0), evolved.params(child), rtol=1e-5, atol=1e-6
    )


@pytest.mark.slow("test_resume.py resumes configs of any leaves")
@pytest.mark.parametrize("population", [None, evolution()], ids=["plain", "evolved"])
def test_a_resumed_sweep_of_them_is_the_same_bit_for_bit(tmp_path, swept, population):
    whole = swept if population is None else run(population=population)
    stop = [bitwise.interrupt_after(2)]
    run(population=population, directory=tmp_path, callbacks=stop)
    trials = sweep.grid(focal, learning_rate=0.3, gamma=GAMMAS)

    again: Any = sweep.resume(tmp_path, task(pointwise), trials)

    for trial in range(6):
        assert bitwise.row(again, trial) == bitwise.row(whole, trial)
        assert bitwise.model(again, trial) == bitwise.model(whole, trial)


def of_objective(params, batch, key, objective):
    inputs, labels = batch

    def apply(inputs):
        outputs = logits(params, inputs)
        return {"side": outputs, "size": outputs[:, 0]} if tasks else outputs

    tasks = isinstance(objective, losses.Weighted)
    targets = {"side": labels, "size": inputs[:, 0]} if tasks else labels
    return objective(apply, (inputs, targets), key)


def mixup(alpha):
    return losses.Mixup(losses.Focal(1.0), alpha)


def attack(epsilon):
    return losses.Adversarial(losses.CrossEntropy(), epsilon, epsilon / 2, 2)


def two_tasks(weight):
    side = losses.LogitAdjusted([30.0, 60.0])
    parts = {"side": side, "size": losses.Hints()}
    return losses.Weighted(parts, {"side": 1.0, "size": weight})


@pytest.mark.slow("a sweep hands all of them on alike", but=1)
@pytest.mark.parametrize(
    ("make", "values"),
    [(two_tasks, [0.0, 0.5]), (mixup, [0.0, 1.0]), (attack, [0.0, 0.5])],
)
def test_objectives_are_swept_and_show_their_metrics(make, values):
    def factory(number):
        return sweep.Supervised(jopt.sgd(0.3), loss=make(number))

    trials = sweep.grid(factory, number=values)
    result: Any = sweep.run(task(of_objective, has_aux=True), trials, **SIZES)
    assert result.info["groups"] == 1
    assert bitwise.model(result, 0) != bitwise.model(result, 1)
    shown = {"Adversarial": {"start_loss"}, "Weighted": {"side", "size"}}
    names = set(result.train) - {"loss"}
    assert names == shown.get(type(make(0.0)).__name__, set())
