"""What a user's function raises inside a step arrives as it was raised."""

import functools
import re
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.experimental import checkify, io_callback

import jopt
from jopt.training import TrainState, train_step, train_steps

BATCH = np.ones((2, 3), np.float32)
KEPT = "the state that was passed in is unchanged and can be used"
TAKEN = "the state that was passed in is donated"
ERRORS = [
    KeyError("x"),
    RuntimeError("Array has been deleted"),
    ValueError("no such column"),
    ZeroDivisionError("one"),
    FileNotFoundError(2, "No such file", "a.npz"),
    AssertionError(),
    StopIteration(3),
]


def create():
    return TrainState.create({"w": jnp.ones(3)}, jopt.sgd(0.1))


def loss_fn(params, batch, key):
    return jnp.mean((batch * params["w"][None]) ** 2)


def notes(error):
    return "\n".join(getattr(error, "__notes__", []))


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("make", [train_step, train_steps])
def test_an_error_of_the_loss_function_is_the_users_own(make, error):
    errors = [error]

    def failing(params, batch, key):
        for found in errors:
            raise found
        return loss_fn(params, batch, key)

    step, state = make(failing), create()
    batch = BATCH if make is train_step else BATCH[None]
    with pytest.raises(type(error)) as caught:
        step(state, batch)

    assert caught.value is error
    where = "Raised by the loss function, test_an_error_of_the_loss_function_is"
    assert where in notes(error)
    assert KEPT in notes(error)
    error.__notes__.clear()
    errors.clear()
    step(state, batch)  # the same state, and the same step


def test_so_is_one_of_a_model_a_weight_and_a_partial():
    class Net(nnx.Module):
        def __init__(self):
            self.w = nnx.Param(jnp.ones(3))

        def __call__(self, x):
            raise OverflowError("in the model")

    state = TrainState.create(Net(), jopt.sgd(0.1))
    with pytest.raises(OverflowError, match="in the model"):
        train_step(lambda model, batch, key: model(batch))(state, BATCH)

    def weight(batch):
        raise LookupError("in the weight")

    with pytest.raises(LookupError, match="in the weight") as caught:
        train_step(loss_fn, accumulate=2, weight=weight)(create(), BATCH)
    assert "train_step: raised by weight, test_so_is_one_of_a_model" in notes(
        caught.value
    )

    def missing(params, batch, key, scale):
        return loss_fn(params, batch, key)

    with pytest.raises(TypeError, match="missing 1 required positional") as caught:
        train_step(functools.partial(missing))(create(), BATCH)
    assert "Raised by the loss function, functools.partial" in notes(caught.value)


def by_pure(check, x):
    return jax.pure_callback(check, jax.ShapeDtypeStruct((), jnp.float32), x)


def by_io(check, x):
    return io_callback(check, jax.ShapeDtypeStruct((), jnp.float32), x)


@pytest.mark.parametrize("call", [by_pure, by_io])
@pytest.mark.parametrize("make", [train_step, train_steps])
def test_an_error_while_the_step_runs_says_what_became_of_the_state(call, make):
    broken = set()

    def check(x):
        if broken:
            raise RuntimeError(f"row {max(broken)} is broken")
        return np.float32(1)

    def loss(params, batch, key):
        return loss_fn(params, batch, key) * jax.lax.stop_gradient(
            call(check, batch[0, 0])
        )

    batch = BATCH if make is train_step else BATCH[None]
    step = make(loss)
    state, _ = step(create(), batch)
    broken.add(17)
    with pytest.raises(Exception, match="row 17 is broken") as caught:
        # Where the device runs behind, it is said where a result is first waited for.
        jax.block_until_ready(step(state, batch))
    assert "was donated to an earlier step" not in str(caught.value)
    if notes(caught.value):
        assert TAKEN in notes(caught.value)

    broken.clear()
    with pytest.raises(ValueError, match="was donated to an earlier step"):
        step(state, batch)
    step(create(), batch)


def test_an_error_of_a_debug_callback_arrives():
    def tell(x):
        raise RuntimeError("no terminal")

    def loss(params, batch, key):
        jax.debug.callback(tell, batch[0, 0])
        return loss_fn(params, batch, key)

    def run():
        jax.block_until_ready(train_step(loss)(create(), BATCH))
        jax.effects_barrier()

    with pytest.raises(Exception, match="no terminal"):
        run()


def test_what_a_step_refuses_leaves_the_state_too():
    state = create()
    with pytest.raises(ValueError, match="accumulate must divide"):
        train_step(loss_fn, accumulate=3)(state, BATCH)
    train_step(loss_fn)(state, BATCH)


def test_a_state_given_twice_is_told_before_anything_is_run():
    calls = []

    def loss(params, batch, key):
        calls.append(1)
        return loss_fn(params, batch, key)

    state, step = create(), train_step(loss)
    step(state, BATCH)
    traced = len(calls)
    for batch in (BATCH, BATCH[:1]):  # the second would be another program
        with pytest.raises(ValueError, match="was donated to an earlier step"):
            step(state, batch)
    assert len(calls) == traced


def positive(params, batch, key):
    checkify.check(jnp.all(batch > 0), "b must be positive, got {b}", b=batch.min())
    return loss_fn(params, batch, key)


@pytest.mark.parametrize(
    ("make", "settings"),
    [(train_step, {}), (train_step, {"accumulate": 2}), (train_steps, {})],
)
def test_checks_in_the_loss_function_are_found_by_checkify(make, settings):
    step: Any = checkify.checkify(make(positive, **settings))
    batch = BATCH if make is train_step else BATCH[None]
    found, (state, _) = step(create(), batch)
    assert found.get() is None
    expected, _ = make(loss_fn, **settings)(create(), batch)
    chex.assert_trees_all_close(state.params, expected.params, rtol=1e-6)

    found, _ = jax.jit(step)(state, -batch)
    with pytest.raises(checkify.JaxRuntimeError, match=re.escape("got -1.0")):
        found.throw()


def test_a_step_closed_over_its_state_is_part_of_the_program():
    state, step = create(), train_step(loss_fn)
    new, _ = jax.jit(lambda: step(state, BATCH))()
    again, _ = jax.jit(lambda: step(state, BATCH))()
    assert not state.packed["w"].is_deleted()
    chex.assert_trees_all_equal(new.params, again.params)
