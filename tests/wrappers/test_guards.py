"""apply_if_finite, conditionally_transform and conditionally_mask."""

import functools
import re
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from comparison import assert_close, relaxed

import jopt
from jopt.core import all_finite

PARAMS = {"w": jnp.array([1.0, -2.0]), "b": jnp.array(0.5)}
BAD = {"w": jnp.array([1.0, jnp.nan]), "b": jnp.array(0.5)}


def fed(tx: Any, *grads: Any) -> Any:
    """The updates of each of `grads` in turn, and the last state."""
    state, made = tx.init(PARAMS), []
    for g in grads:
        updates, state = tx.update(g, state, PARAMS)
        made.append(updates)
    return made, state


def is_zero(tree: Any) -> bool:
    return not any(map(jnp.any, jax.tree.leaves(tree)))


def test_what_is_not_finite_never_comes_out_and_optax_lets_it():
    with relaxed():
        theirs, _ = fed(optax.apply_if_finite(optax.sgd(0.1), 2), BAD, BAD, BAD)
    tx = jopt.apply_if_finite(jopt.sgd(0.1), 2)
    ours, state = fed(tx, BAD, BAD, BAD)

    assert np.isnan(theirs[2]["w"]).any()
    assert is_zero(ours)
    assert (int(state.notfinite_count), int(state.total_notfinite)) == (3, 3)
    assert bool(tx.exceeded(state))


@pytest.mark.slow("the sizes in the quick run have both paths of XLA's loops", but=6)
@pytest.mark.parametrize("kind", ["float32", "bfloat16", "float16", "complex64"])
@pytest.mark.parametrize("shape", [(), (7,), (1000,), (64, 64), (100_000,)])
def test_one_number_that_is_not_finite_is_found_in_a_leaf_of_any_size(kind, shape):
    # XLA's maximum over a leaf of some thousands overlooks a NaN on a CPU.
    most = float(jnp.finfo(kind).max)
    leaf = jnp.full(shape, most, kind)
    place = tuple(n // 3 for n in shape)

    assert all_finite({"a": jnp.ones(3), "leaf": leaf, "steps": jnp.int32(1)})
    for bad in (jnp.nan, jnp.inf, -jnp.inf):
        assert not all_finite({"a": jnp.ones(3), "leaf": leaf.at[place].set(bad)})
        if kind == "complex64":
            assert not all_finite(leaf.at[place].set(complex(0, bad)))


def test_a_nan_in_a_large_leaf_is_skipped():
    params = jnp.ones((64, 64))
    bad = params.at[5, 7].set(jnp.nan)
    guard = jopt.apply_if_finite(jopt.adam(0.1), 3)
    window = jopt.accumulate(jopt.sgd(0.1), 2)

    updates, state = guard.update(bad, guard.init(params), params)
    _, gathered = window.update(bad, window.init(params), params)

    assert is_zero(updates)
    assert state.total_notfinite == 1
    assert is_zero(gathered.acc_grads)
    assert gathered.skipped == 1


def test_the_counters_tell_what_was_skipped():
    tx = jopt.apply_if_finite(jopt.adam(0.1), 1)

    seen, state = [], tx.init(PARAMS)
    for grads in (PARAMS, BAD, BAD, PARAMS, BAD):
        _, state = tx.update(grads, state, PARAMS)
        counts = state.notfinite_count, state.total_notfinite
        seen.append((*map(int, counts), bool(state.last_finite)))

    assert seen == [
        (0, 0, True),
        (1, 1, False),
        (2, 2, False),
        (0, 2, True),
        (1, 3, False),
    ]


def test_a_skipped_update_is_as_if_it_never_was():
    guarded = jopt.apply_if_finite(jopt.adamw(0.1), 2)

    made, state = fed(guarded, PARAMS, BAD, PARAMS)
    wanted, inner = fed(jopt.adamw(0.1), PARAMS, PARAMS)

    chex.assert_trees_all_equal([made[0], made[2]], wanted)
    chex.assert_trees_all_equal(state.inner_state, inner)


def test_an_update_that_is_not_finite_is_skipped_though_the_gradient_is():
    # A division by what is zero at w = 1 alone.
    inner = optax.stateless(lambda u, p: jax.tree.map(lambda u, p: u / (1 - p), u, p))

    with relaxed():
        theirs, _ = fed(optax.apply_if_finite(inner, 2), PARAMS)
    ours, state = fed(jopt.apply_if_finite(inner, 2), PARAMS)

    assert not np.isfinite(theirs[0]["w"]).all()
    assert is_zero(ours)
    assert int(state.total_notfinite) == 1


def test_a_state_that_would_not_be_finite_is_not_kept():
    huge = jax.tree.map(lambda p: jnp.full_like(p, 1e25), PARAMS)

    with relaxed():
        _, theirs = fed(optax.apply_if_finite(optax.adam(0.1), 2), huge, PARAMS)
    made, state = fed(jopt.apply_if_finite(jopt.adam(0.1), 2), huge, PARAMS)

    # The square of 1e25 is infinite in float32, and so is its mean from then on.
    assert np.isinf(optax.tree.get(theirs, "nu")["w"]).all()
    assert is_zero(made[0])
    np.testing.assert_allclose(jnp.abs(made[1]["w"]), 0.1, rtol=1e-5)
    assert (int(state.notfinite_count), int(state.total_notfinite)) == (0, 1)


def test_a_state_that_begins_infinite_is_no_error():
    lowest = optax.GradientTransformation(
        lambda params: jax.tree.map(lambda p: jnp.full_like(p, jnp.inf), params),
        lambda updates, state, params=None: (updates, state),
    )

    made, state = fed(jopt.apply_if_finite(lowest, 0), PARAMS)

    assert bool(state.last_finite)
    chex.assert_trees_all_equal(made[0], PARAMS)


def test_a_block_of_trials_skips_each_its_own():
    tx = jopt.apply_if_finite(jopt.adam(0.1), 2)
    runs = [[PARAMS, PARAMS], [BAD, PARAMS], [PARAMS, BAD]]
    block = jax.tree.map(lambda *g: jnp.stack(g), *[tuple(run) for run in runs])

    made, states = jax.jit(jax.vmap(lambda grads: fed(tx, *grads)))(block)

    assert states.total_notfinite.tolist() == [0, 1, 1]
    for i, run in enumerate(runs):
        wanted, state = fed(tx, *run)
        one = jax.tree.map(lambda x, i=i: x[i], (made, states.inner_state))
        assert_close(one, (wanted, state.inner_state), rtol=1e-6)


def test_extra_arguments_reach_what_is_guarded():
    grads = {"w": jnp.array([3.0, 4.0])}
    polyak = optax.polyak_sgd(max_learning_rate=10.0)

    for tx in (
        jopt.apply_if_finite(polyak, 2),
        jopt.conditionally_mask(polyak, lambda step: step == 0),
        jopt.conditionally_transform(polyak, lambda step: step == 0),
        jopt.inject_hyperparams(optax.polyak_sgd)(max_learning_rate=10.0),
        jopt.flatten(polyak),
    ):
        updates, _ = tx.update(grads, tx.init(grads), grads, value=jnp.float32(5))
        np.testing.assert_allclose(updates["w"], [-0.6, -0.8], rtol=1e-6)


def test_a_condition_chooses_between_the_transformation_and_what_came_in():
    chosen = functools.partial(jnp.less, 1)  # from the third step on

    passed, state = fed(
        jopt.conditionally_transform(jopt.ema(0.5), chosen), *[PARAMS] * 4
    )
    masked, other = fed(jopt.conditionally_mask(jopt.ema(0.5), chosen), *[PARAMS] * 4)

    chex.assert_trees_all_equal(passed[:2], [PARAMS] * 2)
    assert is_zero(masked[:2])
    chex.assert_trees_all_equal(passed[2:], masked[2:])
    assert [int(s.inner_state.count) for s in (state, other)] == [2, 2]
    assert [int(s.step) for s in (state, other)] == [4, 4]


def above(step, limit, *, loss, **_):
    del step
    return loss > limit


def test_a_condition_on_the_loss_can_be_mapped():
    @jax.vmap
    def first(limit):
        condition = functools.partial(above, limit=limit)
        tx = jopt.conditionally_mask(jopt.sgd(1.0), condition, forward_extra_args=True)
        return tx.update(PARAMS, tx.init(PARAMS), loss=jnp.float32(2))[0]["b"]

    np.testing.assert_array_equal(first(jnp.array([1.0, 2.0, 3.0])), [-0.5, 0.0, 0.0])


def test_a_condition_that_is_no_bool_scalar_is_refused():
    for kind in (jopt.conditionally_mask, jopt.conditionally_transform):
        tx = kind(jopt.sgd(0.1), lambda step: step % 2)
        message = (
            f"{kind.__name__}: should_transform_fn must decide by a bool scalar, got "
            "int32[]."
        )
        with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
            tx.update(PARAMS, tx.init(PARAMS))


def test_a_negative_number_of_errors_is_refused():
    message = "ApplyIfFinite: max_consecutive_errors must be at least 0, got -1."

    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        jopt.apply_if_finite(jopt.sgd(0.1), -1)
