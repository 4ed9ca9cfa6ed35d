"""Eager calls, traces, and helpers that transformations share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compile_counts import counted

import jopt
from jopt.core import bias, map_leaves, root

COMPILED = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, *_, **__: (
        COMPILED.append(event)
        if event == "/jax/core/compile/backend_compile_duration"
        else None
    )
)

PARAMS = {f"layer {i}": jnp.full((2, 3), 0.5, jnp.float32) for i in range(20)}


def test_sixty_four_learning_rates_are_one_program():
    def step(tx, params):
        updates, _ = tx.update(params, tx.init(params), params)
        return jopt.apply_updates(params, updates)

    program, traces = counted(step)
    rates = np.geomspace(1e-5, 1, 64)
    ends = [program(jopt.adamw(float(r)), PARAMS)["layer 0"][0, 0] for r in rates]

    assert len(traces) == 1
    assert len(np.unique(ends)) == 64


def test_an_eager_update_is_one_program_for_all_leaves_and_numbers():
    tx = jopt.chain(jopt.clip_by_global_norm(1.0), jopt.adamw(0.125))
    state = tx.init(PARAMS)
    COMPILED.clear()

    tx.update(PARAMS, state, PARAMS)
    first = len(COMPILED)
    tx = jopt.chain(jopt.clip_by_global_norm(2.0), jopt.adamw(0.25, weight_decay=0.5))
    tx.update(PARAMS, state, PARAMS)

    assert (first, len(COMPILED)) == (1, 1)


def test_a_rule_is_traced_once_for_leaves_of_one_shape():
    traced = []

    def rule(x):
        traced.append(x.shape)
        return 2 * x

    map_leaves(rule, {**PARAMS, "odd": jnp.ones(3)})

    assert sorted(traced) == [(2, 3), (3,)]


def test_functions_may_be_extra_arguments():
    @jopt.pytree
    class Probe(jopt.GradientTransformation):
        def init(self, params):
            return ()

        def update(self, updates, state, params=None, *, value_fn, **extra):
            return jax.tree.map(value_fn, updates), state

    updates, _ = jopt.chain(Probe()).update(
        {"a": jnp.float32(2)}, ((),), value_fn=lambda x: x + 1
    )

    assert updates == {"a": 3.0}


def test_unknown_extra_arguments_are_passed_over():
    tx = jopt.adamw(0.1)

    with_extra, _ = tx.update(PARAMS, tx.init(PARAMS), PARAMS, value=jnp.float32(3))
    without, _ = tx.update(PARAMS, tx.init(PARAMS), PARAMS)

    np.testing.assert_array_equal(with_extra["layer 0"], without["layer 0"])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "complex64"])
def test_apply_updates_adds_wide_and_keeps_the_params_dtype(dtype):
    params = jnp.full(3, 1, dtype)

    moved = jopt.apply_updates({"p": params, "n": None}, {"p": params / 4, "n": None})

    assert moved["p"].dtype == params.dtype
    np.testing.assert_array_equal(np.asarray(moved["p"], np.complex64), 1.25)


def test_wide_updates_of_low_precision_params_round_once():
    params = jnp.bfloat16(1)

    # 1 + 2^-8 + 2^-20 is above the middle of two bfloat16s, 1 + 2^-8 is at it.
    moved = jopt.apply_updates(params, jnp.float32(2**-8 + 2**-20))

    assert (moved.dtype, float(moved)) == (jnp.bfloat16, 1 + 2**-7)


def test_global_norm_takes_all_leaves_and_no_leaves():
    tree = {"a": jnp.array([3.0]), "b": [jnp.array(4.0), None], "c": jnp.ones((0, 2))}

    assert jopt.global_norm(tree) == 5.0
    assert jopt.global_norm({}) == 0.0
    assert jopt.global_norm({"z": jnp.array([3.0 + 4.0j])}) == 5.0
    assert jopt.global_norm(tree).dtype == jnp.float32


@pytest.mark.parametrize("decay", [0.0, 0.1, 0.5, 0.9, 0.999, 0.9999999])
@pytest.mark.parametrize("count", [1, 2, 100, 10**6])
def test_bias_has_no_cancellation(decay, count):
    exact = 1 - np.float64(np.float32(decay)) ** count

    got = jax.jit(bias)(decay, jnp.int32(count))

    np.testing.assert_allclose(got, exact, rtol=3e-7)


def test_root_has_a_gradient_everywhere():
    assert jax.grad(root)(0.0) == 0.0
    assert jax.grad(root)(4.0) == 0.25
    assert root(jnp.float32(9)) == 3.0


def test_counters_stay_at_the_greatest_integer():
    tx = jopt.sgd(jopt.constant_schedule(0.1))
    state = jax.tree.map(lambda c: jnp.full_like(c, 2**31 - 1), tx.init(PARAMS))

    _, state = tx.update(PARAMS, state)

    assert jax.tree.leaves(state) == [2**31 - 1]


@jopt.pytree
class Wrapper(jopt.GradientTransformation):
    inner: jopt.GradientTransformation

    def init(self, params):
        return {"inside": self.inner.init(params)}

    def update(self, updates, state, params=None, **extra):
        return updates, state


def test_a_wrapper_with_another_name_for_the_inner_state_must_say_where_it_is():
    tx = Wrapper(jopt.sgd(0.1))
    with pytest.raises(
        AttributeError, match=r"Wrapper: .* field inner_state, got dict"
    ):
        jopt.hyperparameters(tx, tx.init({"w": jnp.ones(2)}))
