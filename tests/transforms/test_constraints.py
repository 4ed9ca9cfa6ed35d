"""Sparse and bounded parameters: exact zeros and bounds are exact."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from comparison import relaxed
from compile_counts import counted
from transformation_runs import first_update, params_after

import jopt

RNG = np.random.default_rng(0)
PARAMS = jnp.asarray(RNG.normal(size=(6, 5)), jnp.float32)
GRADS = jnp.asarray(RNG.normal(size=(6, 5)), jnp.float32)
TREE: Any = {"a": PARAMS, "b": {"c": jnp.ones((), jnp.float32)}, "none": None}
LOWER = jax.tree.map(lambda p: jnp.full_like(p, -0.5), TREE)
UPPER = jax.tree.map(lambda p: 0.25 + jnp.abs(p), TREE)


def descended(tx, loss, params, steps):
    def step(carry, _):
        params, state = carry
        updates, state = tx.update(jax.grad(loss)(params), state, params)
        return (jopt.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (params, tx.init(params)), None, steps)[0][0]


class TestL1:
    @pytest.mark.parametrize("kind", [jnp.float32, jnp.bfloat16, jnp.float16])
    def test_small_parameters_become_exactly_zero(self, kind):
        params, grads = PARAMS.astype(kind), GRADS.astype(kind)
        tx = jopt.chain(jopt.sgd(0.1), jopt.proximal_l1(3.0, 0.1))

        got = np.asarray(params_after(tx, grads, params), np.float64)

        stepped = np.asarray(params, np.float64) - 0.1 * np.asarray(grads, np.float64)
        drawn = np.sign(stepped) * np.maximum(np.abs(stepped) - 0.3, 0)
        assert ((got == 0) == (drawn == 0)).all()
        assert 3 < (got == 0).sum() < 20
        precision = float(jnp.finfo(kind).eps)
        np.testing.assert_allclose(got, drawn, rtol=2 * precision, atol=3 * precision)

    def test_the_lasso(self):
        linear_model = pytest.importorskip("sklearn.linear_model", reason="the oracle")
        x = RNG.normal(size=(100, 20))
        true = np.where(np.arange(20) < 5, RNG.normal(size=20), 0)
        y = x @ true + 0.1 * RNG.normal(size=100)
        lasso = linear_model.Lasso(alpha=0.1, fit_intercept=False, tol=1e-10)
        wanted = lasso.fit(x, y).coef_
        x32, y32 = jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)

        def loss(w):
            return jnp.mean((x32 @ w - y32) ** 2) / 2

        tx = jopt.chain(jopt.sgd(0.3), jopt.proximal_l1(0.1, 0.3))
        got = descended(tx, loss, jnp.ones(20, jnp.float32), 500)

        np.testing.assert_array_equal(got == 0, wanted == 0)
        assert 0 < (wanted == 0).sum() < 20
        np.testing.assert_allclose(got, wanted, atol=1e-5)

    def test_strengths_are_swept_in_one_program(self):
        def zeros(strength):
            tx = jopt.chain(jopt.sgd(0.1), jopt.proximal_l1(strength, 0.1))
            return jnp.sum(params_after(tx, GRADS, PARAMS) == 0)

        counts = jax.vmap(zeros)(jnp.asarray([0.0, 1.0, 3.0, 100.0], jnp.float32))

        assert (jnp.diff(counts) > 0).all()
        assert (counts[0], counts[-1]) == (0, PARAMS.size)

    def test_the_schedule_is_that_of_the_rate(self):
        rate = jopt.linear_schedule(0.1, 0.0, 4)
        tx = jopt.chain(jopt.sgd(rate), jopt.proximal_l1(1.0, rate))

        got = descended(tx, lambda p: 0 * p, jnp.ones((), jnp.float32), 6)

        np.testing.assert_allclose(got, 1 - 0.1 - 0.075 - 0.05 - 0.025, rtol=1e-6)

    def test_the_subgradient_is_that_of_the_norm(self):
        term = jax.grad(lambda p: 0.3 * jnp.sum(jnp.abs(p)))(PARAMS)

        got, _ = first_update(jopt.add_l1_subgradient(0.3), GRADS, PARAMS)

        np.testing.assert_allclose(got, GRADS + term, rtol=1e-6)


class TestProject:
    @pytest.mark.slow("one projection is in the quick run; all are optax's own", but=2)
    @pytest.mark.parametrize(
        ("name", "arguments"),
        [
            ("simplex", {"scale": 2.0}),
            ("simplex", {}),
            ("l1_ball", {"scale": 3.0}),
            ("l2_ball", {"scale": 0.5}),
            ("l2_sphere", {"scale": 9.0}),
            ("linf_ball", {"scale": 0.25}),
            ("non_negative", {}),
            ("box", {"lower": LOWER, "upper": UPPER}),
            ("halfspace", {"a": TREE, "b": 0.5}),
            ("hyperplane", {"a": TREE, "b": 0.5}),
        ],
    )
    def test_the_parameters_are_where_optax_puts_them(self, name, arguments):
        function = getattr(optax.projections, f"projection_{name}")
        tx = jopt.project(function, **arguments)
        grads = jax.tree.map(lambda p: -2 * p, TREE)

        got = params_after(tx, grads, TREE)

        with relaxed():
            wanted = function(jopt.apply_updates(TREE, grads), **arguments)
        chex.assert_trees_all_equal_structs(got, TREE)
        chex.assert_trees_all_close(got, wanted, rtol=1e-5, atol=1e-6)

    def test_one_array_takes_numbers_as_bounds(self):
        box = optax.projections.projection_box

        got = params_after(jopt.project(box, lower=-0.5, upper=0.25), GRADS, PARAMS)

        wanted = jnp.clip(PARAMS + GRADS, -0.5, 0.25)
        np.testing.assert_allclose(got, wanted, atol=1e-6)

    def test_bounds_are_data(self):
        ball = optax.projections.projection_l2_ball
        program, traces = counted(lambda tx: params_after(tx, GRADS, PARAMS))

        one, two = (
            program(jopt.project(ball, scale=1)),
            program(jopt.project(ball, scale=2.0)),
        )
        slope = jax.grad(
            lambda s: params_after(jopt.project(ball, scale=s), GRADS, PARAMS).sum()
        )
        block = jax.vmap(
            lambda s: params_after(jopt.project(ball, scale=s), GRADS, PARAMS)
        )

        np.testing.assert_allclose(jopt.global_norm(one), 1, rtol=1e-6)
        np.testing.assert_allclose(jopt.global_norm(two), 2, rtol=1e-6)
        assert len(traces) == 1
        np.testing.assert_allclose(slope(1.0), one.sum(), rtol=1e-4)
        np.testing.assert_allclose(block(jnp.asarray([1, 2.0]))[1], two, rtol=1e-6)

    def test_descent_on_the_simplex_finds_the_nearest_point(self):
        simplex = optax.projections.projection_simplex
        target = jnp.asarray([0.9, 0.5, -0.2, 0.1], jnp.float32)
        tx = jopt.chain(jopt.sgd(0.3), jopt.project(simplex))

        got = descended(
            tx, lambda p: jnp.sum((p - target) ** 2), jnp.zeros(4, jnp.float32), 100
        )

        np.testing.assert_allclose(got, [0.7, 0.3, 0, 0], atol=1e-6)

    def test_it_compares_by_value(self):
        ball = optax.projections.projection_l2_ball

        assert jopt.project(ball, scale=1) == jopt.project(ball, scale=1.0)
        assert jopt.project(ball, scale=1) != jopt.project(ball, scale=2)


class TestZeros:
    @pytest.mark.parametrize("kind", [jnp.float32, jnp.bfloat16])
    def test_nonnegative_is_exact(self, kind):
        params, grads = jnp.abs(PARAMS).astype(kind), 2 * GRADS.astype(kind)

        got = params_after(jopt.keep_params_nonnegative(), grads, params)

        moved = params + grads
        np.testing.assert_array_equal(got == 0, moved <= 0)
        np.testing.assert_array_equal(got, jnp.where(moved > 0, moved, 0))

    def test_nan_becomes_zero_and_is_told(self):
        nan, inf = jnp.nan, jnp.inf
        updates = {
            "a": jnp.asarray([1, nan, inf], jnp.bfloat16),
            "b": jnp.asarray([1, -inf], jnp.float32),
        }

        got, state = first_update(jopt.zero_nans(), updates)

        assert jax.tree.map(lambda x: x.tolist(), got) == {
            "a": [1, 0, inf],
            "b": [1, -inf],
        }
        assert jax.tree.map(bool, state.found_nan) == {"a": True, "b": False}

    def test_the_next_updates_are_new(self):
        tx = jopt.zero_nans()
        _, state = first_update(tx, jnp.asarray(jnp.nan, jnp.float32))

        _, state = tx.update(jnp.ones((), jnp.float32), state)

        assert not state.found_nan


@pytest.mark.parametrize(
    "tx",
    [
        jopt.adaptive_grad_clip(0.1),
        jopt.keep_params_nonnegative(),
        jopt.proximal_l1(0.1, 0.1),
        jopt.add_l1_subgradient(0.1),
        jopt.project(optax.projections.projection_non_negative),
    ],
    ids=lambda tx: type(tx).__name__,
)
def test_params_are_asked_for(tx):
    with pytest.raises(ValueError, match=f"{type(tx).__name__}: update needs the par"):
        tx.update(GRADS, tx.init(PARAMS))
