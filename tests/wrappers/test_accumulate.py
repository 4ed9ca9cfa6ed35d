"""Gradient accumulation: its cost, skipped mini-steps, and extra arguments."""

import functools
import re
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy
from comparison import assert_close, relaxed
from transformation_runs import updates_of

import jopt
from jopt import sweep

PARAMS = {"w": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "b": jnp.array([0.5])}
NAN = jax.tree.map(lambda p: jnp.full_like(p, jnp.nan), PARAMS)


def gradients(count: int, seed: int = 0) -> Any:
    """A run of gradients, axis 0 the mini-step."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda p: jnp.asarray(rng.normal(size=(count, *p.shape)), jnp.float32), PARAMS
    )


def run(tx: Any, grads: Any) -> Any:
    """The updates of every mini-step, and the last state."""
    return updates_of(tx, grads, PARAMS)


def with_nan(grads: Any, at: int) -> Any:
    """`grads` with a NaN at one place of one mini-step."""
    return {**grads, "b": grads["b"].at[at, 0].set(jnp.nan)}


def marked() -> Any:
    """An optimizer whose program shows where it runs: nothing else has a cosh."""
    return jopt.chain(
        jopt.adam(0.1),
        optax.GradientTransformation(
            lambda params: optax.EmptyState(),
            lambda updates, state, params=None: (
                jax.tree.map(jnp.cosh, updates),
                state,
            ),
        ),
    )


def places(jaxpr: Any, primitive: str, within: tuple[str, ...] = ()) -> Any:
    """The names of the primitives around each use of one."""
    found = []
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == primitive:
            found.append(within)
        for inner in jax.tree.leaves(
            list(eqn.params.values()), is_leaf=lambda x: hasattr(x, "eqns")
        ):
            if hasattr(inner, "eqns"):
                inner = getattr(inner, "jaxpr", inner)
                found += places(inner, primitive, (*within, eqn.primitive.name))
    return found


def runs_in_a_branch(function, *args):
    found = places(jax.make_jaxpr(function)(*args).jaxpr, "cosh")
    return {"cond" in within for within in found}


def test_the_optimizer_is_in_a_branch():
    tx = jopt.accumulate(marked(), 4)

    assert runs_in_a_branch(tx.update, PARAMS, tx.init(PARAMS), PARAMS) == {True}


@pytest.mark.parametrize("axes", [(0, None), (0, 0)], ids=["numbers", "gradients too"])
def test_it_stays_a_branch_for_a_block_of_trials(axes):
    tx = jopt.accumulate(marked(), 4)
    block = jax.tree.map(lambda x: jnp.stack([x] * 3), (tx, PARAMS))

    def first(tx, grads):
        return tx.update(grads, tx.init(PARAMS), PARAMS)

    grads = block[1] if axes[1] == 0 else PARAMS
    assert runs_in_a_branch(jax.vmap(first, in_axes=axes), block[0], grads) == {True}


def times_run(accumulated: Any, optimizer: Any) -> int:
    """How often the optimizer runs in eight mini-steps."""
    calls = []

    def update(updates, state, params=None):
        jax.debug.callback(lambda: calls.append(1))
        return optimizer.update(updates, state, params)

    tx = accumulated(optax.GradientTransformation(optimizer.init, update))
    jax.block_until_ready(jax.jit(functools.partial(run, tx))(gradients(8)))
    jax.effects_barrier()
    return len(calls)


def test_the_optimizer_runs_when_a_window_is_full_and_optax_runs_it_every_time():
    with relaxed():
        theirs = times_run(lambda tx: optax.MultiSteps(tx, 4), optax.adam(0.1))

    assert times_run(lambda tx: jopt.accumulate(tx, 4), optax.adam(0.1)) == 2
    assert theirs == 8


def test_a_mini_step_copies_nothing_as_large_as_the_params():
    params = {f"w{i}": jnp.ones((256, 256)) for i in range(4)}
    size = sum(p.nbytes for p in params.values())

    def step(tx, params, state, grads):
        updates, state = tx.update(grads, state, params)
        return jax.tree.map(jnp.add, params, updates), state

    def temporary(tx):
        program = jax.jit(functools.partial(step, tx), donate_argnums=(0, 1))
        compiled: Any = program.lower(params, tx.init(params), params).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    with relaxed():
        theirs = temporary(optax.MultiSteps(optax.adamw(0.1), 8))

    assert temporary(jopt.accumulate(jopt.adamw(0.1), 8, True, None)) < 0.1 * size
    assert theirs > 2 * size


@pytest.mark.parametrize("mean", [True, False])
def test_a_window_is_a_step_with_its_mean_or_sum(mean):
    grads = gradients(12)
    whole = jax.tree.map(
        lambda g: (g.mean if mean else g.sum)(axis=1),
        jax.tree.map(lambda g: g.reshape(3, 4, *g.shape[1:]), grads),
    )

    updates, state = run(jopt.accumulate(jopt.adamw(0.1), 4, mean), grads)
    wanted, inner = run(jopt.adamw(0.1), whole)

    assert_close(jax.tree.map(lambda u: u[3::4], updates), wanted, rtol=1e-5)
    assert_close(state.inner_opt_state, inner, rtol=1e-5)
    waiting = jax.tree.map(lambda u: u.reshape(3, 4, *u.shape[1:])[:, :3], updates)
    assert not any(map(jnp.any, jax.tree.leaves((waiting, state.acc_grads))))
    assert (int(state.mini_step), int(state.gradient_step)) == (0, 3)


@pytest.mark.slow("another number that is not finite counts alike", but=1)
@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf, -jnp.inf])
def test_a_mini_step_that_is_not_finite_counts_for_nothing(bad):
    grads = gradients(8)
    spoiled = jax.tree.map(lambda g: jnp.insert(g, 2, g[2], axis=0), grads)
    spoiled["w"] = spoiled["w"].at[2, 1, 0].set(bad)
    tx = jopt.accumulate(jopt.adam(0.1), 4)

    updates, state = run(tx, spoiled)
    wanted, without = run(tx, grads)

    assert not any(jnp.any(u[2]) for u in jax.tree.leaves(updates))
    rest = jax.tree.map(lambda u: jnp.delete(u, 2, axis=0), updates)
    chex.assert_trees_all_equal(rest, wanted)
    assert (int(state.skipped), int(without.skipped)) == (1, 0)
    chex.assert_trees_all_equal(state._replace(skipped=without.skipped), without)


def test_what_was_skipped_is_told():
    tx = jopt.accumulate(jopt.sgd(0.1), 2)
    grads = {"w": jnp.array([[1.0, jnp.nan], [jnp.inf, -jnp.inf]]), "b": jnp.ones(1)}

    _, state = tx.update(grads, tx.init(PARAMS), PARAMS)
    assert bool(state.skip_state["should_skip"])
    assert int(state.skip_state["num_not_finite"]) == 3

    _, state = tx.update(PARAMS, state, PARAMS)
    assert not bool(state.skip_state["should_skip"])
    assert (int(state.skip_state["num_not_finite"]), int(state.skipped)) == (0, 1)


def test_one_nan_poisons_optax_for_ever_and_jopt_never():
    grads = with_nan(gradients(9), at=1)

    with relaxed():
        theirs, state = run(optax.MultiSteps(optax.sgd(0.1), 2), grads)
    ours, _ = run(jopt.MultiSteps(jopt.sgd(0.1), 2), grads)

    assert np.isnan(theirs["b"][1:]).all()
    assert np.isnan(state.acc_grads["b"]).all()
    assert all(np.isfinite(u).all() for u in jax.tree.leaves(ours))


def test_without_a_guard_a_nan_ends_with_its_window():
    updates, _ = run(
        jopt.accumulate(jopt.sgd(0.1), 2, should_skip_update_fn=None),
        with_nan(gradients(6), at=1),
    )

    assert np.isnan(updates["b"][:, 0]).tolist() == [False, True] + [False] * 4


def test_extra_arguments_pass_through_a_chain_and_optax_drops_them():
    grads = {"w": jnp.array([3.0, 4.0])}

    def second(lib):
        multi = lib.MultiSteps(optax.polyak_sgd(max_learning_rate=10.0), 2)
        tx = lib.chain(lib.scale(1.0), multi.gradient_transformation())
        _, state = tx.update(grads, tx.init(grads), grads, value=jnp.float32(5))
        return tx.update(grads, state, grads, value=jnp.float32(5))[0]

    # Polyak's step is value / |g|^2, here 5 / 25.
    np.testing.assert_allclose(second(jopt)["w"], [-0.6, -0.8], rtol=1e-6)
    with relaxed(), pytest.raises(TypeError, match=r"required keyword-only .* 'value'"):
        second(optax)


def test_the_lengths_of_windows_can_be_mapped():
    grads = gradients(12)
    lengths = jnp.array([1, 2, 3, 5])

    def trained(every):
        return run(jopt.accumulate(jopt.adam(0.1), every), grads)[0]

    got = jax.jit(jax.vmap(trained))(lengths)

    wanted = [trained(int(every)) for every in lengths]
    assert_close(got, jax.tree.map(lambda *x: jnp.stack(x), *wanted), rtol=2e-6)


@pytest.mark.parametrize(
    ("every", "windows"),
    [
        (lambda step: jnp.where(step < 2, 1, 3), [1, 1, 3, 3, 3]),
        (jopt.piecewise_constant_schedule(1, {2: 4}), [1, 1, 4, 4]),
        (jopt.linear_schedule(1, 4, 3), [1, 2, 3, 4]),
        (2.0, [2] * 5),
        (np.int64(3), [3] * 3),
        (jnp.int32(3), [3] * 3),
    ],
    ids=["function", "piecewise", "linear", "float", "numpy", "array"],
)
def test_windows_are_as_long_as_they_should_be(every, windows):
    tx = jopt.accumulate(jopt.sgd(1.0), every)

    updates, state = run(tx, jax.tree.map(lambda p: jnp.ones((10, *p.shape)), PARAMS))

    moved = np.flatnonzero(updates["b"][:, 0]) + 1
    wanted = np.cumsum(windows)
    assert moved.tolist() == wanted[wanted <= 10].tolist()
    assert int(state.gradient_step) == len(moved)


def test_a_window_made_shorter_than_what_it_holds_is_full():
    tx = jopt.accumulate(jopt.sgd(1.0), jnp.float32(8))
    _, state = run(tx, jax.tree.map(lambda p: jnp.ones((5, *p.shape)), PARAMS))

    shorter = jopt.accumulate(jopt.sgd(1.0), jnp.float32(4))
    updates, state = shorter.update(NAN, state, PARAMS)
    assert int(state.mini_step) == 5
    updates, state = shorter.update(PARAMS, state, PARAMS)

    np.testing.assert_allclose(updates["b"], [-(5 + 0.5) / 6], rtol=1e-6)
    assert int(state.mini_step) == 0


def test_the_length_of_a_window_is_structure_as_an_integer_and_data_elsewhere():
    fixed, data = (jopt.accumulate(jopt.sgd(0.1), k) for k in (4, 4.0))

    assert len(jax.tree.leaves(data)) == len(jax.tree.leaves(fixed)) + 1
    assert (
        fixed
        == jopt.accumulate(jopt.sgd(0.1), 4)
        != jopt.replace(fixed, every_k_schedule=8)
    )
    assert "every_k_schedule=4," in repr(fixed)


def test_hyperparameters_are_those_of_the_optimizer_and_of_the_window():
    tx = jopt.accumulate(
        jopt.sgd(jopt.linear_schedule(1.0, 0.0, 4)), jopt.linear_schedule(1, 5, 4)
    )
    _, state = run(tx, gradients(3))

    found = jopt.hyperparameters(tx, state)

    assert {name: float(value) for name, value in found.items()} == {
        "learning_rate": 0.5,
        "every_k_schedule": 3.0,
    }


def test_a_trial_that_skips_is_late_and_its_neighbours_are_not():
    grads = [gradients(10), with_nan(gradients(10, 1), at=4), gradients(10, 2)]
    rates = jnp.array([0.1, 0.2, 0.3])

    def trained(rate, grads):
        return run(jopt.accumulate(jopt.adam(rate), 3), grads)

    updates, states = jax.jit(jax.vmap(trained))(
        rates, jax.tree.map(lambda *g: jnp.stack(g), *grads)
    )

    assert states.skipped.tolist() == [0, 1, 0]
    for i, own in enumerate(grads):
        wanted, state = jax.jit(trained)(rates[i], own)
        one = jax.tree.map(lambda x, i=i: x[i], (updates, states))
        assert_close(one[0], wanted, rtol=2e-6)
        assert int(one[1].gradient_step) == int(state.gradient_step)


@pytest.mark.slow("tests/sweep/test_independence.py has it for any trial")
def test_a_trial_of_a_sweep_is_bitwise_the_same_whatever_is_beside_it():
    def factory(learning_rate):
        return jopt.accumulate(jopt.adamw(learning_rate), 3)

    def trained(*rates):
        trials = sweep.grid(factory, learning_rate=rates)
        result = sweep.run(toy.task(), trials, steps=12, block=3, segments=2)
        return [jax.tree.leaves(result.params(n)) for n in range(len(rates))]

    first, *_, last = trained(0.1, 1e38, 0.03, 0.2)
    alone, changed = trained(0.1, 0.2)

    for ours, theirs in ((alone, first), (changed, last)):
        assert [bytes(p) for p in ours] == [bytes(p) for p in theirs]


def test_a_skip_of_large_gradients_can_be_mapped():
    grads = gradients(12)
    limits = jnp.array([1.0, 5.0, 1e9])

    def trained(limit):
        skip = functools.partial(jopt.skip_large_updates, max_squared_norm=limit)
        return run(jopt.accumulate(jopt.sgd(0.1), 2, should_skip_update_fn=skip), grads)

    updates, states = jax.jit(jax.vmap(trained))(limits)

    squares = sum(jnp.sum(g**2, axis=range(1, g.ndim)) for g in grads.values())
    assert states.skipped.tolist() == [(squares >= m).sum() for m in limits]
    wanted = [trained(limit)[0] for limit in limits]
    assert_close(updates, jax.tree.map(lambda *x: jnp.stack(x), *wanted), rtol=1e-6)


def test_the_number_of_a_skip_is_a_leaf():
    skip = functools.partial(jopt.skip_large_updates, max_squared_norm=9)
    tx = jopt.accumulate(jopt.sgd(0.1), 2, should_skip_update_fn=skip)

    assert 9.0 in jax.tree.leaves(tx)
    assert tx == jopt.accumulate(jopt.sgd(0.1), 2, should_skip_update_fn=skip)
    large = jax.tree.map(lambda p: 9 * p, PARAMS)
    _, state = tx.update(large, tx.init(PARAMS), PARAMS)
    assert int(state.skipped) == 1


def test_low_precision_gradients_are_summed_in_float32():
    params = {"w": jnp.zeros(3, jnp.bfloat16)}
    grads = {"w": jnp.concatenate([jnp.full((1, 3), 256), jnp.ones((255, 3))])}
    grads = jax.tree.map(lambda g: g.astype(jnp.bfloat16), grads)
    tx = jopt.accumulate(jopt.identity(), 256, use_grad_mean=False)

    updates, state = updates_of(tx, grads, params)

    assert state.acc_grads["w"].dtype == jnp.float32
    assert updates["w"].dtype == jnp.bfloat16
    # In bfloat16 256 + 1 is 256.
    np.testing.assert_array_equal(updates["w"][-1], np.full(3, jnp.bfloat16(511)))


def test_an_accumulator_dtype_is_kept():
    tx = jopt.accumulate(jopt.adam(0.1), 2, accumulator_dtype="bfloat16")

    _, state = tx.update(PARAMS, tx.init(PARAMS), PARAMS)
    updates, state = tx.update(PARAMS, state, PARAMS)

    kinds = {leaf.dtype for leaf in jax.tree.leaves(state.acc_grads)}
    assert kinds == {jnp.dtype(jnp.bfloat16)}
    np.testing.assert_allclose(jnp.abs(updates["w"]), 0.1, rtol=1e-5)


def test_complex_gradients_keep_their_imaginary_part():
    params = jnp.array([1 + 2j])

    def second(multi):
        _, state = multi.update(params, multi.init(params), params)
        return multi.update(3 * params, state, params)[0]

    np.testing.assert_allclose(
        second(jopt.MultiSteps(jopt.sgd(1.0), 2)), -2 * params, rtol=1e-6
    )


def test_has_updated_is_true_after_a_step_until_the_next_window_begins():
    tx = jopt.MultiSteps(jopt.sgd(0.1), 2)
    state = tx.init(PARAMS)
    assert not tx.has_updated(state)

    seen = []
    for grads in (PARAMS, PARAMS, PARAMS, NAN, PARAMS):
        _, state = tx.update(grads, state, PARAMS)
        seen.append(bool(tx.has_updated(state)))

    assert seen == [False, True, False, False, True]


def test_a_multi_steps_is_the_transformation_itself():
    inner = jopt.sgd(0.1)
    tx = jopt.MultiSteps(inner, 2)

    assert tx == jopt.accumulate(inner, 2)
    assert (tx.gradient_transformation(), tx.inner_opt) == (tx, inner)


def test_a_hypergradient_goes_through_a_window():
    grads = gradients(4)

    def moved(rate):
        updates, _ = run(jopt.accumulate(jopt.sgd(rate), 2), grads)
        return sum(jnp.sum(u) for u in jax.tree.leaves(updates))

    wanted = -sum(np.sum(g) for g in jax.tree.leaves(grads)) / 2
    np.testing.assert_allclose(jax.jit(jax.grad(moved))(0.1), wanted, rtol=1e-5)
    each = jax.vmap(jax.grad(moved))(jnp.array([0.1, 0.2]))
    np.testing.assert_allclose(each, [wanted] * 2, rtol=1e-5)


@pytest.mark.parametrize("every", [0, -1, 0.5, float("nan")])
def test_a_window_of_less_than_a_mini_step_is_refused(every):
    message = f"MultiSteps: every_k_schedule must be at least 1, got {every}. It is"

    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        jopt.accumulate(jopt.sgd(0.1), every)


@pytest.mark.parametrize("skip", [jnp.array([True, False]), jnp.array(1)])
def test_a_skip_that_is_no_bool_scalar_is_refused(skip):
    tx = jopt.accumulate(jopt.sgd(0.1), 2, should_skip_update_fn=lambda *_: (skip, ()))
    message = (
        "MultiSteps: should_skip_update_fn must decide by a bool scalar, got "
        f"{skip.dtype}{list(skip.shape)}."
    )

    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        tx.init(PARAMS)


def test_something_that_is_no_optimizer_is_refused():
    with pytest.raises(TypeError, match=r"a factory must be called first"):
        jopt.accumulate(jopt.adam, 2)
