"""`chain` and `named_chain`: transformations applied one after the other."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

import jopt

GRADS = {"w": jnp.array([3.0, 4.0])}


def test_parts_work_in_turn_and_keep_a_state_each():
    tx = jopt.chain(jopt.clip_by_global_norm(1.0), jopt.trace(0.5), jopt.scale(-10.0))

    state = tx.init(GRADS)
    updates, state = tx.update(GRADS, state)
    updates, state = tx.update(GRADS, state)

    np.testing.assert_allclose(updates["w"], [-9.0, -12.0], rtol=1e-6)
    np.testing.assert_allclose(state[1].trace["w"], [0.9, 1.2], rtol=1e-6)
    assert (len(state), state[0], state[2]) == (3, jopt.EmptyState(), jopt.EmptyState())


def test_a_named_chain_keeps_its_state_by_name():
    tx = jopt.named_chain(("clip", jopt.clip(1.0)), ("sum", jopt.trace(0.5)))

    updates, state = tx.update(GRADS, tx.init(GRADS))

    assert list(state) == ["clip", "sum"]
    np.testing.assert_array_equal(updates["w"], [1.0, 1.0])
    np.testing.assert_array_equal(state["sum"].trace["w"], [1.0, 1.0])


def test_an_empty_chain_is_the_identity():
    updates, state = jopt.chain().update(GRADS, jopt.chain().init(GRADS))

    assert state == ()
    np.testing.assert_array_equal(updates["w"], GRADS["w"])


def test_low_precision_rounds_once_at_the_end():
    tx = jopt.chain(jopt.scale(1 + 2**-10), jopt.scale(256.0), jopt.scale(2**-8))
    grads = jnp.array([1.0, 1 + 2**-7], jnp.bfloat16)

    updates, _ = jax.jit(tx.update)(grads, tx.init(grads))
    through = jopt.chain(jopt.scale(2.0**-20), jopt.scale(2.0**20))
    small = jnp.array([2.0**-10], jnp.float16)

    assert updates.dtype == jnp.bfloat16
    np.testing.assert_array_equal(np.float32(updates), [1.0, 1 + 2**-7])
    # 2^-30 is no float16, nor is 2^20: only the ends are.
    np.testing.assert_array_equal(through.update(small, ((), ()))[0], small)


def test_parts_are_seen_through_with_their_states():
    tx = jopt.named_chain(("clip", jopt.clip(1.0)), ("sum", jopt.trace(0.5)))
    state = tx.init(GRADS)

    parts = tx.parts(state)

    assert {label: part for label, (part, _) in parts.items()} == {
        "clip": jopt.clip(1.0),
        "sum": jopt.trace(0.5),
    }
    assert parts["sum"][1] is state["sum"]


def test_transformations_of_optax_are_parts_too():
    tx = jopt.chain(optax.clip(1.0), jopt.chain(optax.trace(0.5)), jopt.scale(-1.0))

    state = tx.init(GRADS)
    _, state = tx.update(GRADS, state)
    updates, state = jax.jit(tx.update)(GRADS, state)

    np.testing.assert_array_equal(updates["w"], [-1.5, -1.5])


def test_a_low_precision_state_of_optax_keeps_its_types():
    params = {"w": jnp.ones(2, jnp.bfloat16)}
    tx = jopt.chain(optax.adam(1e-3, mu_dtype=jnp.bfloat16), jopt.scale(1.0))

    before = tx.init(params)
    updates, after = tx.update(params, before)

    assert updates["w"].dtype == jnp.bfloat16
    assert optax.tree.get(after, "mu")["w"].dtype == jnp.bfloat16
    assert optax.tree.get(after, "nu")["w"].dtype == jnp.float32
    chex.assert_trees_all_equal_dtypes(before, after)
