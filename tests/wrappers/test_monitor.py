"""Measurements in the state: monitor, snapshot, measure_with_ema; flatten."""

import re
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from comparison import relaxed

import jopt

PARAMS = {"w": jnp.array([1.0, -2.0]), "b": jnp.array(0.5)}


def trained(tx: Any, steps: int = 4) -> Any:
    """The states of a run on a parabola, axis 0 the step."""

    def step(carry, _):
        params, state = carry
        grads = jax.tree.map(lambda p: 2 * p, params)
        updates, state = tx.update(grads, state, params)
        return (jopt.apply_updates(params, updates), state), state

    return jax.lax.scan(step, (PARAMS, tx.init(PARAMS)), length=steps)[1]


def test_a_snapshot_is_what_the_next_transformation_gets():
    states = trained(
        jopt.chain(
            jopt.sgd(0.1),
            jopt.snapshot("norm", jopt.global_norm),
            jopt.clip_by_global_norm(0.1),
        )
    )

    norms = optax.tree.get(states, "norm")
    first = 0.2 * np.sqrt(1 + 4 + 0.25)
    np.testing.assert_allclose(norms, first - 0.02 * np.arange(4), rtol=1e-5)


def test_a_monitor_measures_with_and_without_memory():
    def measured(lib: Any, norm: Any) -> Any:
        monitor = lib.monitor(
            {
                "norm": norm,
                "large": lib.measure_with_ema(lambda u: norm(u) > 3.0, decay=0.9),
                "mean": lib.measure_with_ema(norm, 0.9, debias=False),
                "every": lib.ema(0.5),
            }
        )
        return lib.chain(monitor, lib.sgd(0.1))

    ours = trained(measured(jopt, jopt.global_norm))[0].measurements

    norms = 2 * np.sqrt(5.25) * 0.8 ** np.arange(4)
    weights = 0.1 * 0.9 ** np.arange(4)[::-1]
    np.testing.assert_allclose(ours["norm"], norms, rtol=1e-5)
    np.testing.assert_allclose(ours["mean"][-1], weights @ norms, rtol=1e-5)
    large = weights @ (norms > 3) / weights.sum()
    np.testing.assert_allclose(ours["large"][-1], large, rtol=1e-5)
    with relaxed():
        tx = measured(optax, optax.tree.norm)
        state = tx.init(PARAMS)
        for scale in 0.8 ** np.arange(4):
            grads = jax.tree.map(lambda p, s=scale: 2 * s * p, PARAMS)
            _, state = tx.update(grads, state)
    theirs = state[0].measurements
    for name in ("norm", "large", "mean", "every"):
        last = jax.tree.map(lambda x: x[-1], ours[name])
        chex.assert_trees_all_close(last, theirs[name], rtol=1e-5)


def test_measurements_keep_their_place_before_and_after_the_first():
    monitor = jopt.monitor({"b": jopt.global_norm, "a": lambda u: {"n": len(u)}})

    before = monitor.init(PARAMS)
    _, after = monitor.update(PARAMS, before)

    chex.assert_trees_all_equal_shapes(before, after)
    assert before.measurements == {"a": {"n": 0}, "b": 0.0}
    assert int(after.measurements["a"]["n"]) == 2


@pytest.mark.slow("norms in float32 have tests of their own")
def test_a_norm_of_bfloat16_is_measured_in_float32():
    grads = [jnp.ones(16, jnp.bfloat16)] * 600
    square = lambda u: sum(jnp.sum(x**2) for x in u)  # noqa: E731

    for tx in (jopt.monitor({"square": square}), jopt.snapshot("square", square)):
        _, state = tx.update(grads, tx.init(grads))
        found = optax.tree.get(state, "square")
        assert (float(found), found.dtype) == (9600.0, jnp.float32)


def test_a_measurement_sees_what_a_trial_of_a_block_does():
    @jax.vmap
    def measured(rate):
        tx = jopt.chain(jopt.sgd(rate), jopt.monitor({"norm": jopt.global_norm}))
        return trained(tx, 1)[1].measurements["norm"][0]

    norm = 2 * np.sqrt(5.25)
    np.testing.assert_allclose(
        measured(jnp.array([0.1, 0.2])), [0.1 * norm, 0.2 * norm]
    )


def test_a_decay_of_one_is_refused():
    message = "MeasureWithEma: decay must be below 1, got 1.0."

    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        jopt.measure_with_ema(jopt.global_norm, 1.0)


def test_flat_leaves_make_the_same_updates():
    grads = {
        "a": jnp.array([[1.0, 2.0], [3.0, 4.0]]),
        "b": jnp.array([0.5], jnp.bfloat16),
        "c": jnp.zeros((0, 3)),
        "d": None,
        "e": jnp.array([1 + 1j]),
    }

    for tx in (jopt.adamw(0.1), jopt.chain(jopt.clip_by_global_norm(0.5))):
        flat = jopt.flatten(tx)
        updates, _ = flat.update(grads, flat.init(grads), grads)
        wanted, _ = tx.update(grads, tx.init(grads), grads)
        chex.assert_trees_all_close(updates, wanted, rtol=1e-6)
        chex.assert_trees_all_equal_dtypes(updates, grads)
    moments = jax.tree.leaves(jopt.flatten(jopt.trace(0.9)).init(grads))
    assert {(m.dtype.name, m.shape) for m in moments} == {
        ("float32", (5,)),
        ("complex64", (1,)),
    }
