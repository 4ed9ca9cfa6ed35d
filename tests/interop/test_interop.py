"""jopt's objects where optax's are expected, and the other way about."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from comparison import relaxed
from compile_counts import counted
from flax import nnx
from flax.training.train_state import TrainState
from transformation_table import TRANSFORMATIONS, simplest_first

import jopt

PARAMS = {"w": jnp.array([1.0, -2.0]), "b": jnp.array(0.5)}


def two_steps(tx):
    state = tx.init(PARAMS)
    for grads in (PARAMS, jax.tree.map(lambda p: -3 * p, PARAMS)):
        updates, state = tx.update(grads, state, PARAMS)
    return updates


HOLDERS = {
    "chain": lambda tx: optax.chain(optax.clip(1.0), tx),
    "named_chain": lambda tx: optax.named_chain(("clip", optax.clip(1.0)), ("tx", tx)),
    "masked": lambda tx: optax.masked(tx, {"w": True, "b": False}),
    "MultiSteps": lambda tx: optax.MultiSteps(tx, 2),
    "apply_if_finite": lambda tx: optax.apply_if_finite(tx, 3),
    "partition": lambda tx: optax.partition(
        {"a": tx, "z": optax.set_to_zero()}, {"w": "a", "b": "z"}
    ),
    "flatten": optax.flatten,
    "conditionally_transform": lambda tx: optax.conditionally_transform(
        tx, lambda step, **_: jnp.greater(step, 0)
    ),
    "schedule_free": lambda tx: optax.contrib.schedule_free(tx, 0.1),
}


@pytest.mark.slow("each is wrapped by one function", but=2)
@pytest.mark.parametrize("holder", HOLDERS)
def test_jopt_works_inside_of_optax(holder):
    hold = HOLDERS[holder]

    with relaxed():
        got = two_steps(hold(jopt.adamw(0.1)))
        wanted = two_steps(hold(optax.adamw(0.1)))

    chex.assert_trees_all_close(got, wanted, rtol=2e-5)


def test_a_factory_of_jopt_works_in_inject_hyperparams():
    inject: Any = optax.inject_hyperparams
    tx = inject(jopt.adamw)(learning_rate=optax.linear_schedule(0.2, 0.1, 1))

    with relaxed():
        got, wanted = two_steps(tx), two_steps(optax.adamw(0.1))

    assert tx.init(PARAMS).hyperparams["learning_rate"] == np.float32(0.2)
    chex.assert_trees_all_close(got, wanted, rtol=2e-5)


@pytest.mark.slow("each is wrapped by one function", but=2)
@pytest.mark.parametrize(
    "theirs",
    [
        optax.adabelief(0.1),
        optax.apply_if_finite(optax.adam(0.1), 3),
        optax.chain(optax.clip(1.0), optax.adam(0.1)),
        optax.masked(optax.adam(0.1), {"w": True, "b": False}),
        optax.MultiSteps(optax.adam(0.1), 2),
        optax.inject_hyperparams(optax.adam)(learning_rate=0.1),
        optax.partition(
            {"a": optax.adam(0.1), "z": optax.set_to_zero()}, {"w": "a", "b": "z"}
        ),
    ],
    ids=[
        "adabelief",
        "apply_if_finite",
        "chain",
        "masked",
        "MultiSteps",
        "inject",
        "partition",
    ],
)
def test_optax_works_inside_of_jopt(theirs):
    with relaxed():
        wanted = two_steps(theirs)

    got = two_steps(jopt.chain(theirs, jopt.scale(0.5)))

    doubled = jax.tree.map(lambda x: 2 * x, got)
    chex.assert_trees_all_close(doubled, wanted, rtol=2e-5)


def test_optax_finds_and_sets_the_fields_of_a_state():
    tx = jopt.chain(jopt.clip(1.0), jopt.adamw(optax.constant_schedule(0.1)))
    _, state = tx.update(PARAMS, tx.init(PARAMS), PARAMS)

    mu = optax.tree.get(state, "mu")
    reset = optax.tree.set(state, mu=optax.tree.zeros_like(mu))

    np.testing.assert_allclose(mu["w"], [0.1, -0.1], rtol=1e-6)
    assert not any(map(jnp.any, jax.tree.leaves(optax.tree.get(reset, "mu"))))
    chex.assert_trees_all_equal_structs(reset, state)


@pytest.mark.parametrize(
    "tx",
    [
        jopt.adamw(0.1),
        jopt.named_chain(("a", jopt.lion(0.1)), ("b", jopt.trace(0.9))),
        jopt.lift(optax.adabelief)(0.1),
    ],
    ids=["adamw", "named_chain", "lift"],
)
def test_optax_maps_over_what_is_like_params_in_a_state(tx):
    state = tx.init(PARAMS)

    marked = optax.tree.map_params(
        tx, lambda s, p: jnp.full_like(s, p.size), state, PARAMS
    )

    for before, after in zip(
        jax.tree.leaves(state), jax.tree.leaves(marked), strict=True
    ):
        counter = before.dtype == jnp.int32
        np.testing.assert_array_equal(after, before if counter else before.size)


def test_a_train_state_of_flax_trains_and_shares_its_program():
    step, traces = counted(lambda state: state.apply_gradients(grads=state.params))

    def fresh():
        return TrainState.create(apply_fn=None, params=PARAMS, tx=jopt.adam(0.1))

    moved = step(step(fresh()))
    step(fresh())

    np.testing.assert_allclose(moved.params["w"], [0.8, -1.8], rtol=1e-3)
    assert moved.step == 2
    assert len(traces) == 2  # Flax's step is a Python number at first


@pytest.mark.parametrize("tx", [jopt.adam(0.1), jopt.chain(jopt.lift(optax.adam)(0.1))])
def test_an_optimizer_of_nnx_trains(tx):
    model = nnx.Linear(2, 1, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    x, before = jnp.ones((4, 2)), model.kernel[...]

    @nnx.jit
    def step(model, optimizer):
        grads = nnx.grad(lambda model: jnp.sum((model(x) - 3) ** 2))(model)
        optimizer.update(model, grads)

    step(model, optimizer)

    np.testing.assert_allclose(jnp.abs(model.kernel[...] - before), 0.1, rtol=1e-4)
    assert optimizer.step[...] == 1


def test_to_optax_passes_extra_arguments_on():
    tx = jopt.chain(jopt.lift(optax.polyak_sgd)(max_learning_rate=10.0))
    held = optax.chain(optax.clip(10.0), jopt.to_optax(tx))
    grads = {"w": jnp.array([3.0, 4.0])}

    updates, _ = held.update(grads, held.init(grads), grads, value=jnp.float32(5))

    assert isinstance(jopt.to_optax(tx), optax.GradientTransformationExtraArgs)
    np.testing.assert_allclose(jax.tree.leaves(updates)[0], [-0.6, -0.8], rtol=1e-6)


def test_schedules_of_jopt_are_functions_for_optax():
    schedule = jopt.warmup_cosine_decay_schedule(0.0, 0.1, 1, 10)

    with relaxed():
        updates: Any = two_steps(optax.sgd(schedule))

    np.testing.assert_allclose(updates["b"], 0.15, rtol=1e-6)


def test_schedules_of_optax_are_schedules_for_jopt():
    tx = jopt.sgd(optax.warmup_cosine_decay_schedule(0.0, 0.1, 1, 10))

    updates: Any = two_steps(tx)

    np.testing.assert_allclose(updates["b"], 0.15, rtol=1e-6)
    assert jax.tree.leaves(tx) == []


LAYER = {"w": jnp.array([[1.0, -2.0], [0.25, 3.0]]), "b": jnp.array(0.5)}


def directly(tx, extra):
    updates, _ = tx.update(LAYER, tx.init(LAYER), LAYER, **extra)
    return jopt.apply_updates(LAYER, updates)


class Holder(nnx.Module):
    """LAYER as the parameters of a module."""

    def __init__(self):
        self.w, self.b = nnx.Param(LAYER["w"]), nnx.Param(LAYER["b"])


@pytest.mark.slow("one wrapper makes every class what optax and Flax call", but=8)
@pytest.mark.parametrize("name", simplest_first(TRANSFORMATIONS))
def test_whatever_a_user_hands_over_works_in_optax_flax_and_nnx(name):
    tx, extra = TRANSFORMATIONS[name](jopt), dict(TRANSFORMATIONS[name].extra)
    wanted = directly(tx, extra)

    with relaxed():
        given = jopt.to_optax(tx) if extra else tx
        held = optax.chain(optax.identity(), given)
        in_chain = directly(held, extra)

        model = Holder()
        optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
        gradients = nnx.state(model, nnx.Param)
        optimizer.update(model, gradients, **extra)
        in_nnx = {"w": model.w[...], "b": model.b[...]}

        if not extra:  # a TrainState has no place for them
            state = TrainState.create(apply_fn=None, params=LAYER, tx=tx)
            in_flax = state.apply_gradients(grads=LAYER).params
            chex.assert_trees_all_close(in_flax, wanted, rtol=1e-6)

    chex.assert_trees_all_close(in_chain, wanted, rtol=1e-6)
    chex.assert_trees_all_close(in_nnx, wanted, rtol=1e-6)


TAKERS = [name for name, row in TRANSFORMATIONS.items() if row.extra]


@pytest.mark.parametrize("name", TAKERS)
def test_an_extra_argument_that_optax_drops_is_named_with_the_remedy(name):
    tx, extra = TRANSFORMATIONS[name](jopt), dict(TRANSFORMATIONS[name].extra)
    held = optax.chain(optax.identity(), tx)

    with pytest.raises(ValueError, match=r"jopt\.to_optax\(tx\)"):
        directly(held, extra)
