"""Promises of how models are trained and evaluated: dropout is on, and off."""

import dataclasses
from typing import Any, NamedTuple

import chex
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

import jopt
from jopt import sweep
from jopt.sweep._supervised import training_of

X = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)


class Named(NamedTuple):
    drop: Any
    line: Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Registered:
    drop: Any
    line: Any


@flax.struct.dataclass
class Struct:
    drop: Any
    line: Any


@chex.dataclass
class Chex:
    drop: Any
    line: Any


@dataclasses.dataclass
class Unknown:
    drop: Any
    line: Any


class Module(nnx.Module):
    def __init__(self, drop, line):
        self.drop, self.line = drop, line


class Holder(nnx.Pytree):
    def __init__(self, drop, line):
        self.drop, self.line = drop, line


CONTAINERS = {
    "module": Module,
    "nnx.Pytree": Holder,
    "dict": lambda drop, line: {"drop": drop, "params": line},
    "list": lambda drop, line: [drop, line],
    "tuple": lambda drop, line: (drop, line),
    "named tuple": Named,
    "dataclass": Registered,
    "flax.struct": Struct,
    "chex": lambda drop, line: Chex(drop=drop, line=line),
    "nnx.Sequential": nnx.Sequential,
    "nnx.List": lambda drop, line: nnx.List([drop, line]),
    "nnx.Dict": lambda drop, line: nnx.Dict(drop=drop, line=line),
    "a module in a dict": lambda drop, line: {"net": [Module(drop, line)]},
    "a list in lists": lambda drop, line: [(drop,), {"b": nnx.List([line])}],
}


def modules(model):
    """The dropout and the linear layer in a container, or a module that has both."""
    end = lambda node: isinstance(node, (nnx.Dropout, nnx.Linear))  # noqa: E731
    found = [leaf for leaf in jax.tree.leaves(model, is_leaf=end) if end(leaf)]
    found.sort(key=lambda module: isinstance(module, nnx.Linear))
    return found


def task(make, answer, answer_in_training=None):
    """A task of `answer(model, batch)`, which is to be 1 everywhere."""
    training = answer_in_training or answer
    loss = lambda model, batch, key: jnp.mean((training(model, batch) - 1) ** 2)  # noqa: E731
    value = lambda model, batch: {"loss": (answer(model, batch) - 1) ** 2}  # noqa: E731
    return sweep.Task.from_model("modes", make, loss, value, train=X, valid=X)


def losses(task):
    """The loss in training twice, and in evaluation."""
    params, state = training_of(task).start(jax.random.key(0))
    first, state = training_of(task).loss(params, state, X, jax.random.key(1))
    second, state = training_of(task).loss(params, state, X, jax.random.key(1))
    return (
        params,
        first,
        second,
        training_of(task).values(params, state, X)["loss"].mean(),
    )


@pytest.mark.parametrize("name", CONTAINERS)
def test_modules_of_a_container_drop_in_training_and_not_in_evaluation(name):
    def make(key):
        rngs = nnx.Rngs(key)
        drop, line = nnx.Dropout(0.9, rngs=rngs), nnx.Linear(4, 1, rngs=rngs)
        return CONTAINERS[name](drop, line)

    def answer(model, batch):
        drop, line = modules(model)
        return line(drop(batch))[:, 0]

    params, first, second, evaluated = losses(task(make, answer))
    bias, kernel = sorted(jax.tree.leaves(params), key=np.ndim)
    assert first != second
    expected = np.mean((X @ np.asarray(kernel)[:, 0] + np.asarray(bias) - 1) ** 2)
    np.testing.assert_allclose(evaluated, expected, rtol=1e-5)


def test_a_step_of_a_dict_of_modules_is_made_in_training_mode():
    rngs = nnx.Rngs(0)
    model = {"drop": nnx.Dropout(0.9, rngs=rngs), "norm": nnx.BatchNorm(4, rngs=rngs)}
    loss = lambda m, x, key: jnp.mean(m["norm"](m["drop"](x)) ** 2)  # noqa: E731
    state = jopt.TrainState.create(model, jopt.sgd(0.0))
    step = jopt.train_step(loss)
    mean = np.asarray(state.model["norm"].mean[...])
    state, first = step(state, X)
    state, second = step(state, X)
    assert first.loss != second.loss
    assert (np.asarray(state.model["norm"].mean[...]) != mean).all()


class Net(linen.Module):
    deterministic: bool = False

    @linen.compact
    def __call__(self, x):
        x = linen.Dropout(0.9, deterministic=self.deterministic)(x)
        return linen.Dense(1)(x)


LINEN = {
    "a field": Net(),
    "a layer in a list": linen.Sequential(
        [linen.Dropout(0.9, deterministic=False), linen.Dense(1)]
    ),
}


@pytest.mark.parametrize("name", LINEN)
def test_linen_inside_nnx_is_evaluated_without_dropout(name):
    def make(key):
        inner = nnx.bridge.ToNNX(LINEN[name], rngs=nnx.Rngs(key))
        return {"net": nnx.Sequential(inner.lazy_init(X[:1]))}

    def answer(model, batch):
        return model["net"](batch)[:, 0]

    params, first, second, evaluated = losses(task(make, answer))
    bias, kernel = sorted(jax.tree.leaves(params), key=np.ndim)
    assert first != second
    expected = np.mean((X @ np.asarray(kernel)[:, 0] + np.asarray(bias) - 1) ** 2)
    np.testing.assert_allclose(evaluated, expected, rtol=1e-5)


def test_what_the_call_of_a_linen_module_says_holds():
    module = linen.Dropout(0.9)  # neither on nor off: the call says

    def make(key):
        inner = nnx.bridge.ToNNX(module, rngs=nnx.Rngs(key)).lazy_init(
            X, deterministic=True
        )
        return [inner, nnx.Linear(4, 1, rngs=nnx.Rngs(key))]

    def answer(deterministic):
        return lambda m, x: m[1](m[0](x, deterministic=deterministic))[:, 0]

    _, first, second, evaluated = losses(task(make, answer(True), answer(False)))
    assert first != second
    assert evaluated != second


class Both(nnx.Module):
    def __init__(self, rngs):
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.line = nnx.Linear(4, 1, rngs=rngs)

    def __call__(self, x, train):
        return self.line(self.norm(x, use_running_average=not train))


def test_nnx_inside_linen_keeps_its_statistics_in_training():
    module = nnx.bridge.ToLinen(Both)

    def loss(variables, batch, key):
        made, changed = module.apply(variables, batch, True, mutable=["batch_stats"])
        return jnp.mean((made - 1) ** 2), changed

    variables = module.init(jax.random.key(0), X, True)
    state = jopt.TrainState.create(variables, jopt.sgd(0.1))
    state, _ = jopt.train_step(loss)(state, X)
    mean = state.model["batch_stats"]["norm"]["mean"]
    np.testing.assert_allclose(mean, 0.01 * X.mean(axis=0), rtol=1e-4, atol=1e-6)
    chex.assert_shape(module.apply(state.model, X, False), (16, 1))


@pytest.mark.parametrize("nested", [False, True])
def test_a_dataclass_that_jax_does_not_know_is_refused(nested):
    rngs = nnx.Rngs(0)
    model = Unknown(drop=nnx.Dropout(0.9, rngs=rngs), line=nnx.Linear(4, 1, rngs=rngs))
    sentence = "is Unknown, a dataclass .*register_dataclass"
    with pytest.raises(TypeError, match=sentence):
        jopt.TrainState.create([model] if nested else model, jopt.sgd(0.1))
    with pytest.raises(TypeError, match=sentence):
        task(lambda key: model, lambda model, batch: batch)
