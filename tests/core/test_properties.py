"""Properties that hold for any numbers, tested with hypothesis."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import assume, given, settings, strategies as st

import jopt

few = settings(max_examples=30, derandomize=True, deadline=None, database=None)
# XLA rounds subnormal numbers to zero.
coordinates = st.floats(-1e6, 1e6, width=32, allow_subnormal=False)
away_from_zero = st.floats(2**-10, 1e6, width=32) | st.floats(-1e6, -(2**-10), width=32)


def trees(numbers=coordinates):
    return st.lists(numbers, min_size=5, max_size=5).map(
        lambda x: {
            "a": jnp.asarray(x[:3], jnp.float32),
            "b": jnp.float32(x[3]),
            "c": jnp.full((1, 1), x[4], jnp.float32),
        }
    )


decays = st.floats(0, 0.999)
sizes = st.floats(1e-3, 1e3)


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


@few
@given(trees(), sizes)
def test_clipping_by_global_norm_limits_the_norm_and_keeps_the_direction(grads, limit):
    g = flat(grads).astype(np.float64)
    norm = np.linalg.norm(g)
    assume(norm > 1e-15)

    updates, _ = jopt.clip_by_global_norm(limit).update(grads, jopt.EmptyState())

    u = flat(updates).astype(np.float64)
    assert np.linalg.norm(u) <= np.float32(limit) * (1 + 1e-6)
    np.testing.assert_allclose(u, g * min(1, limit / norm), rtol=1e-6, atol=1e-30)


@few
@given(trees(), sizes)
def test_clipping_twice_is_clipping_once(grads, limit):
    tx = jopt.clip(limit)

    once, _ = tx.update(grads, jopt.EmptyState())
    twice, _ = tx.update(once, jopt.EmptyState())

    np.testing.assert_array_equal(flat(once), flat(twice))


@few
@given(trees(), decays, sizes, sizes)
def test_chain_is_associative(grads, decay, limit, size):
    a, b, c = jopt.clip_by_global_norm(limit), jopt.trace(decay), jopt.scale(size)

    def second(tx):
        _, state = tx.update(grads, tx.init(grads))
        return flat(tx.update(grads, state)[0])

    left, right = jopt.chain(jopt.chain(a, b), c), jopt.chain(a, jopt.chain(b, c))
    np.testing.assert_allclose(second(left), second(right), rtol=1e-6)
    np.testing.assert_allclose(second(left), second(jopt.chain(a, b, c)), rtol=1e-6)


@few
@given(trees())
def test_zero_updates_change_nothing(params):
    for kind in ("float32", "bfloat16", "float16"):
        held = jax.tree.map(lambda p: p.astype(kind), params)  # noqa: B023
        moved = jopt.apply_updates(held, jax.tree.map(jnp.zeros_like, held))
        np.testing.assert_array_equal(flat(moved), flat(held))


@few
@given(trees(away_from_zero), sizes, decays, decays)
def test_the_first_step_of_adam_is_the_learning_rate(grads, rate, b1, b2):
    tx = jopt.adam(rate, b1, b2, eps=0.0)

    updates, _ = tx.update(grads, tx.init(grads))

    np.testing.assert_allclose(flat(updates), -rate * np.sign(flat(grads)), rtol=1e-5)


parts = st.deferred(
    lambda: (
        st.builds(jopt.scale, sizes)
        | st.builds(jopt.clip, sizes)
        | st.builds(jopt.sgd, sizes, decays)
        | st.builds(jopt.adamw, sizes, decays)
        | st.lists(parts, max_size=3).map(lambda txs: jopt.chain(*txs))
        | st.lists(parts, max_size=3).map(
            lambda txs: jopt.named_chain(*zip("xyz", txs, strict=False))
        )
    )
)


@few
@given(parts)
def test_hyperparameters_are_all_numbers_and_replacing_them_changes_nothing(tx):
    now = jopt.hyperparameters(tx, jax.eval_shape(tx.init, jnp.ones(2)))

    assert sorted(now.values()) == sorted(jax.tree.leaves(tx))
    assert jopt.replace(tx, **now) == tx


@few
@given(parts, st.data())
def test_every_name_finds_its_own_number(tx, data):
    state = jax.eval_shape(tx.init, jnp.ones(2))
    now = jopt.hyperparameters(tx, state)
    assume(now)
    name = data.draw(st.sampled_from(sorted(now)))

    changed = jopt.replace(tx, **{name: 0.5})

    assert jopt.hyperparameters(changed, state) == {**now, name: 0.5}
