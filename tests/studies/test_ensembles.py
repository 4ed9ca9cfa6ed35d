"""Promises about the best trials: together, and on the disk."""

import dataclasses
import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy
from flax import linen, nnx

import jopt
from jopt import studies, sweep

RATES = [1e-4, 0.01, 0.03, 0.1, 0.3]
SIZES: dict[str, Any] = {"steps": 30, "segments": 3, "block": 3}


def predict(model, batch):
    params = model.params
    return jax.nn.softmax(jnp.tanh(batch[0] @ params["hidden"]) @ params["out"])


def score(answers, batch):
    chosen = jnp.take_along_axis(answers, batch[1][:, None], axis=1)[:, 0]
    return {"loss": -jnp.log(chosen), "accuracy": answers.argmax(axis=1) == batch[1]}


TASK = toy.task(predict=predict, score=score)


def run(task=TASK, rates=RATES, **options) -> Any:
    trials = sweep.grid(jopt.adamw, learning_rate=rates)
    return sweep.run(task, trials, **{**SIZES, **options})


@pytest.fixture(scope="module")
def swept():
    return run()


def in_numpy(models, split):
    """The scores of the mean answer of some models, in float64."""
    inputs, labels = (np.asarray(array) for array in split)
    answers = []
    for model in models:
        hidden, out = (np.asarray(model[n], np.float64) for n in ("hidden", "out"))
        exponents = np.exp(np.tanh(inputs @ hidden) @ out)
        answers.append(exponents / exponents.sum(axis=1, keepdims=True))
    mean = np.mean(answers, axis=0)
    chosen = mean[np.arange(len(labels)), labels]
    accuracy = np.mean(mean.argmax(axis=1) == labels)
    return {"loss": -np.log(chosen).mean(), "accuracy": accuracy}


def test_the_top_are_the_best_settings_in_order(swept):
    order = np.argsort(swept.table["valid_loss"]).tolist()
    assert swept.top(3) == order[:3]
    assert swept.top(99) == order
    assert swept.top(1) == [swept.best.trial]


@pytest.mark.parametrize("split", ["valid", "test"])
def test_best_ensemble_and_soup_are_numpys(swept, split):
    found: Any = studies.combine(TASK, swept, 3)
    trials = swept.top(3)
    models = [swept.params(trial) for trial in trials]
    average = {n: np.mean([m[n] for m in models], axis=0) for n in models[0]}
    data = getattr(TASK, split)

    assert found.trials == trials
    chex.assert_trees_all_close(
        found.best[split], in_numpy(models[:1], data), rtol=1e-5
    )
    chex.assert_trees_all_close(
        found.ensemble[split], in_numpy(models, data), rtol=1e-5
    )
    chex.assert_trees_all_close(found.soup[split], in_numpy([average], data), rtol=1e-5)
    assert len({way[split]["loss"] for way in found[1:]}) == 3


def test_the_best_is_what_the_sweep_said_of_it(swept):
    found: Any = studies.combine(TASK, swept, 2)
    chex.assert_trees_all_close(found.best["valid"], swept.best.valid, rtol=1e-5)
    chex.assert_trees_all_close(found.best["test"], swept.best.test, rtol=1e-5)


def test_an_ensemble_counts_every_example_of_many_chunks(swept):
    many = toy.points(600, seed=5)
    found: Any = studies.combine(
        dataclasses.replace(TASK, valid=many, test=None), swept, 3
    )
    models = [swept.params(trial) for trial in swept.top(3)]
    chex.assert_trees_all_close(
        found.ensemble["valid"], in_numpy(models, many), rtol=1e-5
    )
    assert found.best.keys() == {"valid"}


def test_a_task_that_predicts_nothing_is_not_combined(swept):
    with pytest.raises(ValueError, match="points must have predict and score"):
        studies.combine(toy.task(), swept, 3)


def test_seeds_give_their_best_alone():
    result = run(seeds=2)
    trials = result.top(3)
    assert len({trial // 2 for trial in trials}) == 3
    losses = result.table["valid_loss"].reshape(-1, 2)
    assert all(losses[t // 2, t % 2] == losses[t // 2].min() for t in trials)
    means = losses.mean(axis=1)
    assert [trial // 2 for trial in trials] == np.argsort(means)[:3].tolist()


@pytest.mark.slow("seeds that are not the best are left out by the same ranking")
def test_pruned_and_diverged_trials_are_not_among_the_top():
    bad = [*RATES, float("inf")]
    pruner = sweep.SuccessiveHalving(reduction_factor=2)
    result = run(rates=bad, pruner=pruner)
    complete = result.table["status"] == "complete"
    assert set(result.top(9)) == set(np.flatnonzero(complete))
    assert 0 < complete.sum() < 4


@pytest.mark.parametrize("k", [-1, 0, 1])
def test_fewer_than_two_are_not_combined(swept, k):
    with pytest.raises(ValueError, match="combine: trials must be at least 2"):
        studies.combine(TASK, swept, k)


@pytest.mark.slow("one structure is in the quick run")
def test_those_of_another_structure_are_left_out():
    @functools.cache
    def network(width):
        def init(key):
            params, state = toy.init(key)
            return jax.tree.map(jnp.copy, cut(params, width)), state

        return toy.task(init=init, predict=predict, score=score)

    def cut(params, width):
        return {"hidden": params["hidden"][:, :width], "out": params["out"][:width]}

    def factory(learning_rate, width):
        return sweep.Setup(jopt.adamw(learning_rate), network(width))

    trials = sweep.grid(factory, learning_rate=RATES[1:4], width=[5, 3])
    result: Any = sweep.run(TASK, trials, **SIZES)
    found: Any = studies.combine(TASK, result, 6)
    widths = result.table["width"][found.trials]
    assert set(widths.tolist()) == {result.best.hyperparameters["width"]}
    assert len(found.trials) == 3


def test_an_ensemble_needs_predictions_and_their_score():
    with pytest.raises(ValueError, match="score must be given with predict"):
        run(toy.task(score=score))
    only_predicts = toy.task(predict=predict)
    result = run(only_predicts)
    assert result.predict(toy.points(3)).shape == (3, 2)
    with pytest.raises(ValueError, match=r"combine: .* must have predict and score"):
        studies.combine(only_predicts, result, 2)


@pytest.mark.slow("folds have tests of their own")
def test_folds_are_not_combined_on_what_they_were_trained_on():
    result = run(folds=2, rates=RATES[1:4])
    found: Any = studies.combine(TASK, result, 2)
    for way in (found.best, found.ensemble, found.soup):
        assert way.keys() == {"test"}
    with pytest.raises(ValueError, match=r"combine: .*folds.*no test set"):
        studies.combine(dataclasses.replace(TASK, test=None), result, 2)


class Network(nnx.Module):
    """Layers in a list, batch statistics and dropout: all that makes a state."""

    def __init__(self, rngs):
        self.layers = nnx.List([nnx.Linear(2, 8, rngs=rngs) for _ in range(2)])
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.dropout = nnx.Dropout(0.1, rngs=rngs)
        self.out = nnx.Linear(8, 2, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.layers[0](x)) + self.layers[1](x)
        return self.out(self.dropout(self.norm(x)))


class Module(linen.Module):
    @linen.compact
    def __call__(self, x, train=False):
        x = linen.BatchNorm(use_running_average=not train)(linen.Dense(8)(x))
        return linen.Dense(2)(linen.relu(x))


def losses(logits, labels):
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


DATA: dict[str, Any] = {
    "train": toy.points(96),
    "valid": toy.points(30, seed=1),
    "batch_size": 16,
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The three best models of each framework, and the sweeps that they are of."""

    def nnx_loss(model, batch, key):
        return losses(model(batch[0]), batch[1]).mean()

    def linen_loss(variables, batch, key):
        logits, changed = Module().apply(
            variables, batch[0], True, mutable=["batch_stats"]
        )
        return losses(logits, batch[1]).mean(), changed

    tasks = {
        "nnx": sweep.Task.from_model(
            "nnx",
            lambda key: Network(nnx.Rngs(key)),
            nnx_loss,
            lambda model, batch: {"loss": losses(model(batch[0]), batch[1])},
            **DATA,
        ),
        "linen": sweep.Task.from_model(
            "linen",
            lambda key: Module().init(key, jnp.zeros((1, 2))),
            linen_loss,
            lambda variables, batch: {
                "loss": losses(Module().apply(variables, batch[0]), batch[1])
            },
            **DATA,
        ),
    }
    results = {}
    for name, task in tasks.items():
        result = run(task)
        directory = tmp_path_factory.mktemp(name)
        result.save(directory, keep=3)
        results[name] = result, directory
    return results


@pytest.mark.slow("the same files are read without nnx in the quick run")
@pytest.mark.parametrize("rank", [1, 3])
def test_a_kept_model_is_restored_into_nnx_in_three_lines(saved, rank):
    result, directory = saved["nnx"]
    import orbax.checkpoint as ocp

    model = Network(nnx.Rngs(9))
    kept = ocp.StandardCheckpointer().restore(directory / "best" / str(rank))
    kept = nnx.restore_int_paths(kept)  # of a list's places orbax makes names
    nnx.update(model, kept["params"], kept["model_state"])

    model.eval()
    inputs, labels = map(jnp.asarray, DATA["valid"])
    expected = result.table["valid_loss"][result.top(3)[rank - 1]]
    np.testing.assert_allclose(
        losses(model(inputs), labels).mean(), expected, rtol=1e-5
    )


@pytest.mark.slow("an orbax checkpoint is read without a model in the quick run")
@pytest.mark.parametrize("rank", [1, 3])
def test_a_kept_model_is_restored_into_linen_in_three_lines(saved, rank):
    result, directory = saved["linen"]
    import orbax.checkpoint as ocp

    inputs, labels = map(jnp.asarray, DATA["valid"])
    kept = ocp.StandardCheckpointer().restore(directory / "best" / str(rank))
    variables = {"params": kept["params"], **kept["model_state"]}
    logits = Module().apply(variables, inputs)

    expected = result.table["valid_loss"][result.top(3)[rank - 1]]
    np.testing.assert_allclose(losses(logits, labels).mean(), expected, rtol=1e-5)


@pytest.mark.slow("files of the best are read in the quick run")
def test_just_the_best_k_are_kept(saved):
    for _, directory in saved.values():
        names = {path.name for path in (directory / "best").iterdir()}
        assert names == {"1", "2", "3"}


@pytest.mark.slow("ensembles and soups have a quick reference")
def test_fewer_models_replace_more(saved):
    result, directory = saved["linen"]
    result.save(directory, keep=1)
    assert {path.name for path in (directory / "best").iterdir()} == {"1"}
    result.save(directory, keep=3)
