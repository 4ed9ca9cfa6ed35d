"""Lookahead: optax's pairs of parameters, and sync periods that can be mapped."""

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

PARAMS = {"w": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "b": jnp.array([0.5])}


def trained(lib: Any, tx: Any, steps: int = 11) -> Any:
    """The pairs after every step on a parabola, and the last state."""

    def step(carry, _):
        pair, state = carry
        grads = jax.tree.map(lambda p: 2 * p, pair.fast)
        updates, state = tx.update(grads, state, pair)
        pair = lib.apply_updates(pair, updates)
        return (pair, state), pair

    pair = lib.LookaheadParams.init_synced(PARAMS)
    (_, state), pairs = jax.lax.scan(step, (pair, tx.init(pair)), length=steps)
    return pairs, state


@pytest.mark.slow("one period is in the quick run", but=2)
@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(("period", "size"), [(1, 0.5), (3, 0.5), (4, 0.0), (5, 1.0)])
def test_pairs_are_those_of_optax(period, size, reset):
    def made(lib):
        return trained(lib, lib.lookahead(lib.sgd(0.05, 0.9), period, size, reset))

    with relaxed():
        theirs, state = made(optax)
    ours, own = made(jopt)

    assert_close((ours.fast, ours.slow), (theirs.fast, theirs.slow), 1e-5, 1e-6)
    assert int(own.steps_since_sync) == int(state.steps_since_sync)
    assert_close(own.fast_state[0].trace, state.fast_state[0].trace, 1e-5, 1e-6)


def test_the_two_meet_every_few_steps():
    pairs, _ = trained(jopt, jopt.lookahead(jopt.sgd(0.1), 4, 0.5))

    apart = np.abs(pairs.fast["w"] - pairs.slow["w"]).max(axis=(1, 2))
    assert (apart > 1e-6).tolist() == [True, True, True, False] * 2 + [True] * 3


def test_periods_and_step_sizes_can_be_mapped_and_optax_cannot_map_periods():
    periods, sizes = jnp.array([1, 2, 5]), jnp.array([0.5, 0.8, 0.2])

    def run(lib):
        return lambda period, size: trained(
            lib, lib.lookahead(lib.sgd(0.1, 0.9), period, size, reset_state=True)
        )[0]

    got = jax.jit(jax.vmap(run(jopt)))(periods, sizes)

    wanted = [run(jopt)(int(p), float(s)) for p, s in zip(periods, sizes, strict=True)]
    assert_close(got, jax.tree.map(lambda *x: jnp.stack(x), *wanted), rtol=1e-5)
    with relaxed(), pytest.raises(jax.errors.TracerBoolConversionError):
        jax.vmap(run(optax))(periods, sizes)


def test_a_reset_does_not_keep_what_is_not_finite():
    pair = jopt.LookaheadParams.init_synced(PARAMS)
    nan = jax.tree.map(lambda p: jnp.full_like(p, jnp.nan), PARAMS)

    def after(lib):
        tx = lib.lookahead(lib.trace(0.9), 1, 0.5, reset_state=True)
        _, state = tx.update(nan, tx.init(PARAMS), pair)
        return state.fast_state.trace["w"]

    np.testing.assert_array_equal(after(jopt), jnp.zeros((2, 2)))
    with relaxed():
        assert np.isnan(after(optax)).all()


def test_a_pair_starts_equal_and_in_arrays_of_its_own():
    pair = jopt.LookaheadParams.init_synced(jax.tree.map(jnp.copy, PARAMS))

    chex.assert_trees_all_equal(pair.fast, pair.slow)
    # Arrays that two leaves share cannot be donated.
    jax.jit(lambda pair: jax.tree.map(jnp.sin, pair), donate_argnums=0)(pair)


def test_low_precision_pairs_keep_their_dtypes():
    pair = jopt.LookaheadParams.init_synced(
        jax.tree.map(lambda p: p.astype(jnp.bfloat16), PARAMS)
    )
    tx = jopt.lookahead(jopt.adam(0.1), 1, 0.5)

    updates, _ = tx.update(pair.fast, tx.init(pair), pair)

    kinds = {u.dtype for u in jax.tree.leaves(updates)}
    assert kinds == {jnp.dtype(jnp.bfloat16)}


def test_the_numbers_have_hypergradients():
    def loss(tx):
        pairs, _ = trained(jopt, tx)
        return jnp.sum(pairs.slow["w"][-1] ** 2)

    slopes = jax.jit(jax.grad(loss))(jopt.lookahead(jopt.adam(0.1), 3, 0.5))

    assert all(np.isfinite(s) for s in jax.tree.leaves(slopes))
    assert slopes.slow_step_size != 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: jopt.lookahead(jopt.sgd(0.1), 0, 0.5),
            "Lookahead: sync_period must be at least 1, got 0.",
        ),
        (
            lambda: jopt.lookahead(jopt.sgd(0.1), 5, -0.5),
            "Lookahead: slow_step_size must be at least 0, got -0.5.",
        ),
    ],
)
def test_a_number_outside_its_range_is_refused(make, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make()


@pytest.mark.parametrize(
    ("params", "given"), [(None, "none"), (PARAMS, "dict")], ids=["none", "a dict"]
)
def test_params_that_are_not_those_of_init_are_refused(params, given):
    tx = jopt.lookahead(jopt.sgd(0.1), 5, 0.5)
    message = f"Lookahead: update needs params as a LookaheadParams, got {given}; make"

    state = tx.init(jopt.LookaheadParams.init_synced(PARAMS))
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        tx.update(PARAMS, state, params)


SETTINGS = [
    {},
    {"reset_state": True},
    {"precision": jopt.Precision("bfloat16", rounding="master")},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda x: "".join(x))
def test_a_train_state_holds_the_slow_params_and_is_what_pairs_are(settings):
    precision = settings.get("precision")
    tx = jopt.lookahead(jopt.sgd(0.05, 0.9), 3, 0.5, settings.get("reset_state", False))
    pairs, own = trained(jopt, tx, steps=5)
    assert own.slow is None

    def loss_fn(params, batch, key):
        return sum(jnp.sum(p**2) for p in jax.tree.leaves(params))

    state = jopt.TrainState.create(PARAMS, tx, precision=precision)
    step = jopt.train_step(loss_fn)
    close = (1e-5, 1e-6) if precision is None else (1e-2, 1e-2)
    for number in range(5):
        state, _ = step(state, 0.0)
        slow = jopt.lookahead_eval_params(state.opt_state, state.params)
        pair = jax.tree.map(lambda x, i=number: x[i], pairs)
        assert_close((state.params, slow), tuple(pair), *close)
        chex.assert_trees_all_equal_shapes_and_dtypes(slow, state.params)
        assert jopt.lookahead_eval_params(None, pair) is pair.slow


def test_slow_params_are_restored_and_made_anew_with_others():
    tx = jopt.lookahead(jopt.adam(0.1), 3, 0.5)
    state = jopt.TrainState.create(PARAMS, tx)
    twice = jax.tree.map(lambda p: 2 * p, PARAMS)
    other = state.with_params(twice)
    slow = jopt.lookahead_eval_params(other.opt_state, other.params)
    chex.assert_trees_all_equal(slow, twice)
    again = state.filled(other.by_leaf())
    chex.assert_trees_all_equal(again.opt_state.slow, twice)


@pytest.mark.parametrize(
    ("state", "found"),
    [
        ((), "got 0 LookaheadStates, 0 with slow parameters"),
        (
            jopt.LookaheadState((), jnp.int32(0)),
            "got 1 LookaheadStates, 0 with slow parameters",
        ),
        (
            [jopt.LookaheadState((), jnp.int32(0), PARAMS)] * 2,
            "got 2 LookaheadStates, 2 with slow parameters",
        ),
    ],
)
def test_a_state_without_slow_params_is_told(state, found):
    with pytest.raises(ValueError, match=f"^lookahead_eval_params: .*{found}"):
        jopt.lookahead_eval_params(state, PARAMS)
