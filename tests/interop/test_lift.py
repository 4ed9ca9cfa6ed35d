"""`lift`: any factory of optax, its numbers as leaves."""

import inspect
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from comparison import relaxed
from transformation_table import numbers

import jopt

PARAMS = {"w": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "b": jnp.array([0.5])}


def factory(rate, decay=0.5, power=2, on=True, kind="a", steps: int = 3, **rest):
    del rate, decay, power, on, kind, steps, rest
    return optax.identity()


def test_floats_arrays_and_schedules_are_leaves_and_structure_is_not():
    array, schedule = jnp.ones(3), jopt.constant_schedule(0.3)

    tx = jopt.lift(factory)(1, array, on=False, more=schedule, less=2)

    assert numbers(tx) == {
        ".numbers['decay']": array,
        ".numbers['less']": 2.0,
        ".numbers['more'].value": 0.3,
        ".numbers['rate']": 1.0,
    }
    assert tx.settings == {"power": 2, "on": False, "kind": "a", "steps": 3}


def test_named_numbers_stay_constants():
    tx = jopt.lift(factory, static=("rate", "less"))(1.5, less=2.5)

    assert list(numbers(tx)) == [".numbers['decay']"]
    assert (tx.settings["rate"], tx.settings["less"]) == (1.5, 2.5)


def test_a_lifted_factory_keeps_its_signature_and_name():
    lifted = jopt.lift(optax.adan)

    assert inspect.signature(lifted) == inspect.signature(optax.adan)
    assert lifted.__name__ == "adan"
    with pytest.raises(TypeError, match="unexpected keyword argument 'beta'"):
        lifted(0.1, beta=0.9)
    with pytest.raises(TypeError, match="missing a required argument: 'learning_rate'"):
        lifted()


@pytest.mark.slow("all are lifted by one function", but=2)
@pytest.mark.parametrize(
    "make",
    [
        lambda kind: kind(optax.adabelief)(0.1, b1=0.8),
        lambda kind: kind(optax.adafactor)(0.1),
        lambda kind: kind(optax.adamw)(0.1, mask={"w": True, "b": False}),
        lambda kind: kind(optax.contrib.muon)(0.1),
        lambda kind: kind(optax.lamb)(0.1),
        lambda kind: kind(optax.novograd)(0.1),
        lambda kind: kind(optax.yogi)(0.1),
        lambda kind: kind(optax.scale_by_sm3, static=("b2",))(),
    ],
    ids=["adabelief", "adafactor", "adamw", "muon", "lamb", "novograd", "yogi", "sm3"],
)
def test_a_lifted_factory_updates_as_optax_does(make):
    ours, theirs = make(jopt.lift), make(lambda factory, **_: factory)

    def three(tx):
        state = tx.init(PARAMS)
        for grads in (PARAMS, jax.tree.map(lambda p: -2 * p, PARAMS), PARAMS):
            updates, state = tx.update(grads, state, PARAMS)
        return updates

    with relaxed():
        wanted = jax.jit(lambda: three(theirs))()
        got = jax.jit(three)(ours)

    chex.assert_trees_all_close(got, wanted, rtol=2e-5)


def test_a_lifted_schedule_moves_with_the_state_of_optax():
    tx = jopt.lift(optax.sgd)(jopt.linear_schedule(1.0, 0.0, 4))
    state, sizes = tx.init(PARAMS), []

    for _ in range(5):
        updates, state = tx.update(PARAMS, state, PARAMS)
        sizes.append(float(updates["b"][0] / PARAMS["b"][0]))

    np.testing.assert_allclose(sizes, [-1, -0.75, -0.5, -0.25, 0], atol=1e-7)


def test_a_block_of_lifted_schedules_trains_at_once():
    @jax.vmap
    def first_step(peak):
        tx = jopt.lift(optax.sgd)(jopt.warmup_cosine_decay_schedule(peak, peak, 2, 10))
        return tx.update(PARAMS, tx.init(PARAMS), PARAMS)[0]["b"]

    np.testing.assert_allclose(first_step(jnp.array([0.1, 0.2])), [[-0.05], [-0.1]])


@pytest.mark.parametrize("wrap", [lambda tx: tx, jopt.chain])
def test_extra_arguments_reach_a_lifted_factory(wrap):
    tx = wrap(jopt.lift(optax.polyak_sgd)(max_learning_rate=10.0))
    grads = {"w": jnp.array([3.0, 4.0])}

    updates, _ = tx.update(grads, tx.init(grads), grads, value=jnp.float32(5))

    # Polyak's step is value / |g|^2, here 5 / 25.
    np.testing.assert_allclose(updates["w"], [-0.6, -0.8], rtol=1e-6)
    message = re.escape("missing 1 required keyword-only argument: 'value'")
    with pytest.raises(TypeError, match=message):
        tx.update(grads, tx.init(grads), grads)


def test_a_factory_that_decides_on_a_number_needs_it_static():
    tx = jopt.lift(optax.scale_by_sm3)()

    with pytest.raises(jax.errors.TracerBoolConversionError):
        tx.update(PARAMS, tx.init(PARAMS), PARAMS)
