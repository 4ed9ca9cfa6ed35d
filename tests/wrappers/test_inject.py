"""`inject_hyperparams`: numbers that are stored in the state."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from comparison import assert_close, relaxed
from compile_counts import counted

import jopt

PARAMS = {"w": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "b": jnp.array([0.5])}


def fed(tx: Any, count: int, params: Any = PARAMS) -> Any:
    """The updates of `count` steps, and the last state."""
    state, made = tx.init(params), []
    for i in range(count):
        grads = jax.tree.map(lambda p, i=i: p * (i + 1), params)
        updates, state = tx.update(grads, state, params)
        made.append(updates)
    return made, state


def test_numbers_and_schedules_are_in_the_state():
    tx = jopt.inject_hyperparams(jopt.adamw)(
        jopt.linear_schedule(1.0, 0.0, 4), b1=0.8, weight_decay=lambda t: 0.1 * t
    )

    made, state = fed(tx, 3)

    found = {name: float(value) for name, value in state.hyperparams.items()}
    wanted = {
        "learning_rate": 0.5,
        "b1": 0.8,
        "b2": 0.999,
        "eps": 1e-8,
        "eps_root": 0.0,
        "weight_decay": 0.2,
    }
    assert found == pytest.approx(wanted, rel=1e-6)
    assert int(state.count) == 3
    direct = jopt.adamw(
        jopt.linear_schedule(1.0, 0.0, 4), b1=0.8, weight_decay=lambda t: 0.1 * t
    )
    assert_close(made, fed(direct, 3)[0], rtol=1e-6)


def test_a_number_changed_in_the_state_is_used_without_a_new_program():
    tx = jopt.inject_hyperparams(jopt.sgd)(0.1)
    step, traces = counted(tx.update)
    state = tx.init(PARAMS)

    for rate in (0.1, 0.2, 0.4):
        state.hyperparams["learning_rate"] = jnp.float32(rate)
        updates, state = step(PARAMS, state, PARAMS)
        np.testing.assert_allclose(updates["b"], -rate * PARAMS["b"], rtol=1e-6)

    assert len(traces) == 1
    assert jopt.hyperparameters(tx, state)["learning_rate"] == jnp.float32(0.4)


def test_hyperparameters_are_the_states_and_schedules_those_of_the_next_step():
    tx = jopt.inject_hyperparams(jopt.sgd)(jopt.linear_schedule(1.0, 0.0, 4), 0.9)
    _, state = fed(tx, 2)
    state.hyperparams["momentum"] = jnp.float32(0.5)

    found = jopt.hyperparameters(tx, state)

    assert {name: float(value) for name, value in found.items()} == {
        "momentum": 0.5,
        "learning_rate": 0.5,
    }


@pytest.mark.slow("the contract has low precision of every row")
@pytest.mark.parametrize("name", ["adam", "adamw", "nadam", "lamb", "amsgrad"])
def test_bfloat16_params_are_nan_with_optax_and_finite_here(name):
    params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), PARAMS)

    with relaxed():
        factory = getattr(optax, name)
        theirs, _ = fed(optax.inject_hyperparams(factory)(0.1), 1, params)
    assert any(jnp.isnan(u).any() for u in jax.tree.leaves(theirs))

    ours = [factory] if name == "lamb" else [factory, getattr(jopt, name)]
    for factory in ours:
        made, state = fed(jopt.inject_hyperparams(factory)(0.1), 2, params)
        assert all(jnp.isfinite(u).all() for u in jax.tree.leaves(made))
        assert state.hyperparams["b2"].dtype == jnp.float32
        np.testing.assert_allclose(state.hyperparams["b2"], 0.999, rtol=1e-6)


def test_a_dtype_asked_for_is_kept():
    tx = jopt.inject_hyperparams(jopt.adam, hyperparam_dtype=jnp.bfloat16)(0.1)

    for state in (tx.init(PARAMS), fed(tx, 2)[1]):
        kinds = {value.dtype for value in state.hyperparams.values()}
        assert kinds == {jnp.dtype(jnp.bfloat16)}


def test_numbers_that_init_uses_are_used():
    tx = jopt.inject_hyperparams(jopt.adagrad)(0.1, initial_accumulator_value=7.0)

    sums = optax.tree.get(tx.init(PARAMS), "sum_of_squares")

    assert all((s == 7).all() for s in jax.tree.leaves(sums))


@pytest.mark.parametrize(
    ("theirs", "args", "kwargs"),
    [
        (optax.adamw, (0.1,), {"mask": {"w": True, "b": False}}),
        (optax.sgd, (0.1, 0.9), {"nesterov": True}),
        (optax.adafactor, (0.1,), {"min_dim_size_to_factor": 2}),
        (optax.rmsprop, (0.1,), {"centered": True}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_factories_of_optax_will_do(theirs, args, kwargs):
    made, _ = fed(jopt.inject_hyperparams(theirs)(*args, **kwargs), 3)

    with relaxed():
        wanted, _ = fed(theirs(*args, **kwargs), 3)
    assert_close(
        jax.tree.map(lambda *u: jnp.stack(u), *made),
        jax.tree.map(lambda *u: jnp.stack(u), *wanted),
        rtol=1e-4,
    )


def test_named_arguments_stay_out_of_the_state():
    def masked(params):
        return jax.tree.map(lambda p: p.ndim > 1, params)

    for names in ("mask", ["mask", "b2"]):
        tx = jopt.inject_hyperparams(jopt.adamw, static_args=names)(0.1, mask=masked)
        made, state = fed(tx, 1)
        assert ("b2" in state.hyperparams) == ("b2" not in names)
        assert_close(made, fed(jopt.adamw(0.1, mask=masked), 1)[0], rtol=1e-6)


class Falling:
    """A schedule of optax's kind with a state: it follows what `update` is told."""

    def init(self):
        return {"rate": jnp.float32(1)}

    def update(self, state, *, loss, **_):
        return {"rate": state["rate"] * loss}

    def __call__(self, state, **_):
        return state["rate"]


def test_a_schedule_with_a_state_sees_the_extra_arguments():
    tx = jopt.inject_hyperparams(jopt.sgd)(Falling())
    state, rates = tx.init(PARAMS), []

    for loss in (0.5, 0.5, 0.1):
        _, state = tx.update(PARAMS, state, PARAMS, loss=jnp.float32(loss))
        rates.append(float(state.hyperparams["learning_rate"]))

    assert rates == [1.0, 0.5, 0.25]
    assert float(state.hyperparams_states["learning_rate"]["rate"]) == np.float32(0.025)


def test_a_wrapped_schedule_counts():
    schedule = jopt.WrappedSchedule(jopt.linear_schedule(1.0, 0.0, 4))
    state, values = schedule.init(), []

    for _ in range(3):
        values.append(float(schedule(state, loss=1.0)))
        state = schedule.update(state, loss=1.0)

    assert values == [1.0, 0.75, 0.5]


def test_what_is_injected_can_be_swept():
    rates = jnp.array([0.1, 0.2])

    @jax.vmap
    def first(rate):
        tx = jopt.inject_hyperparams(jopt.adam)(rate)
        return tx.update(PARAMS, tx.init(PARAMS), PARAMS)

    updates, state = first(rates)

    np.testing.assert_allclose(updates["b"], -rates[:, None], rtol=1e-5)
    np.testing.assert_array_equal(state.hyperparams["learning_rate"], rates)


def test_an_unknown_name_is_refused():
    message = (
        "inject_hyperparams: static_args must name arguments of sgd, got beta; it has "
        "learning_rate, momentum, nesterov, accumulator_dtype."
    )

    for names in ("beta", ["momentum", "beta"]):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            jopt.inject_hyperparams(jopt.sgd, static_args=names)


def test_arguments_that_do_not_fit_are_refused():
    with pytest.raises(TypeError, match="unexpected keyword argument 'beta'"):
        jopt.inject_hyperparams(jopt.sgd)(0.1, beta=0.9)
