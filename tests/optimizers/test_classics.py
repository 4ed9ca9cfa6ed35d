"""What the classic optimizers promise beyond their recurrence."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from comparison import relaxed
from compile_counts import counted
from transformation_table import numbers

import jopt

ONE = jnp.ones((), jnp.float32)
GRADIENTS = {
    "vector": jnp.asarray(np.random.default_rng(0).normal(size=(20, 3)), jnp.float32),
    "cube": jnp.asarray(np.random.default_rng(1).normal(size=(20, 2, 3, 4)), "float32"),
}
OPTAX: Any = optax


def run(tx, gradients, **extra):
    """The updates of a sequence of gradients."""
    first = jax.tree.map(lambda g: g[0], gradients)

    def step(state, gradient):
        return tx.update(gradient, state, first, **extra)[::-1]

    return jax.lax.scan(step, tx.init(first), gradients)[1]


class TestRprop:
    def test_a_step_of_optax_is_the_one_before(self):
        steady = jnp.asarray([1, 2, 3, 1, 2], jnp.float32)

        ours = run(jopt.rprop(0.1), steady)

        with relaxed():
            late = run(OPTAX.rprop(0.1), steady)
        np.testing.assert_allclose(ours, [-0.1 * 1.2**t for t in range(5)], rtol=1e-6)
        np.testing.assert_allclose(late, [0, *ours[:-1]], rtol=1e-6)

    def test_a_complex_coordinate_is_two_real_ones(self):
        real, imaginary = np.random.default_rng(0).normal(size=(2, 20, 3))
        pair = jnp.asarray(np.stack([real, imaginary], 1), jnp.float32)
        one = jnp.asarray(real + 1j * imaginary, jnp.complex64)

        of_pair, of_one = (run(jopt.rprop(0.1), g) for g in (pair, one))

        np.testing.assert_array_equal(of_one.real, of_pair[:, 0])
        np.testing.assert_array_equal(of_one.imag, of_pair[:, 1])

    def test_steps_grow_where_gradients_are_tiny(self):
        tiny = jnp.full((3,), 1e-37, jnp.float32)

        sizes = -run(jopt.rprop(1e-6, min_step_size=1e-9), tiny)

        np.testing.assert_allclose(sizes, [1e-6, 1.2e-6, 1.44e-6], rtol=1e-6)


class TestRadam:
    @pytest.mark.parametrize("b2", [0.0, 0.5, 0.9, 0.999, 0.9999])
    def test_constant_gradients_show_how_far_it_is_held_back(self, b2):
        b2 = float(np.float32(b2))
        t = np.arange(1, 1001)
        most = 2 / (1 - b2) - 1
        s = most - 2 * t * b2**t / (1 - b2**t)
        with np.errstate(invalid="ignore", divide="ignore"):
            r = (s - 4) * (s - 2) * most / ((most - 4) * (most - 2) * s)
            wanted = np.where(s >= 5, np.sqrt(r), 1)

        updates = run(jopt.scale_by_radam(b2=b2), jnp.ones(1000, jnp.float32))

        np.testing.assert_allclose(updates, wanted, rtol=3e-6)

    @pytest.mark.slow("the contract differentiates its row")
    def test_gradients_through_its_numbers_once_it_scales(self):
        noise = np.random.default_rng(0).normal(size=(12, 4))
        gradients = jnp.asarray(noise, jnp.float32)
        tx = jopt.scale_by_radam(0.8, 0.95, 1e-3, 1e-3)

        slopes = jax.grad(lambda tx: run(tx, gradients)[-1].sum())(tx)

        found = {path: float(slope) for path, slope in numbers(slopes).items()}
        assert np.isfinite(list(found.values())).all()
        assert {path for path, slope in found.items() if slope == 0} == {".threshold"}


class TestSm3:
    @pytest.mark.slow("the reference has both", but=1)
    @pytest.mark.parametrize("b2", [1.0, 0.9])
    def test_as_optax_where_that_works(self, b2):
        ours = run(jopt.scale_by_sm3(0.8, b2, 1e-3), GRADIENTS)

        with relaxed():
            theirs = run(OPTAX.scale_by_sm3(0.8, b2, 1e-3), GRADIENTS)
        chex.assert_trees_all_close(ours, theirs, rtol=2e-5, atol=1e-6)

    def test_a_sum_and_means_in_one_block(self):
        decays = jnp.asarray([0.5, 0.9, 1.0], jnp.float32)

        block = jax.vmap(lambda b2: run(jopt.scale_by_sm3(b2=b2), GRADIENTS)["cube"])(
            decays
        )

        for b2, of_block in zip([0.5, 0.9, 1.0], block, strict=True):
            alone = run(jopt.scale_by_sm3(b2=b2), GRADIENTS)["cube"]
            np.testing.assert_allclose(of_block, alone, rtol=1e-6, atol=1e-8)

    def test_of_a_vector_it_is_adagrad(self):
        vector = GRADIENTS["vector"]

        updates = run(jopt.scale_by_sm3(0.0, eps=1e-3), vector)

        wanted = run(jopt.scale_by_rss(0.0, 1e-3), vector)
        np.testing.assert_allclose(updates, wanted, rtol=1e-6)

    def test_it_remembers_rows_and_columns(self):
        params = {"w": jnp.zeros((5, 7), jnp.bfloat16), "b": ONE}

        state = jopt.scale_by_sm3().init(params)

        shapes = jax.tree.map(lambda x: (x.shape, str(x.dtype)), state.mu)
        assert shapes == {
            "w": [((5,), "float32"), ((7,), "float32")],
            "b": [((), "float32")],
        }


class TestOptimism:
    def test_players_meet_at_the_saddle(self):
        def played(tx):
            def step(carry, _):
                (x, y), state = carry
                updates, state = tx.update((y, -x), state, (x, y))  # of x y
                return (jopt.apply_updates((x, y), updates), state), None

            start = (ONE, 2 * ONE)
            end = jax.lax.scan(step, (start, tx.init(start)), None, 500)[0][0]
            return float(jopt.global_norm(end))

        assert played(jopt.optimistic_gradient_descent(0.1)) < 0.2
        assert played(jopt.sgd(0.1)) > 10

    def test_the_old_interface_warns_and_is_the_new_one(self):
        noise = np.random.default_rng(0).normal(size=(20, 4))
        gradients = jnp.asarray(noise, jnp.float32)
        with pytest.deprecated_call(match="use `optimistic_adam_v2`"):
            old, same = jopt.optimistic_adam(0.1, 0.5), jopt.optimistic_adam(0.1)

        new = jopt.optimistic_adam_v2(1.0, alpha=0.1, beta=0.5)
        np.testing.assert_array_equal(run(old, gradients), run(new, gradients))
        new = jopt.optimistic_adam_v2(1.0, alpha=0.1, beta=0.1)
        np.testing.assert_array_equal(run(same, gradients), run(new, gradients))

    def test_the_old_interface_takes_no_schedule(self):
        with (
            pytest.deprecated_call(),
            pytest.raises(ValueError, match="learning_rate must be a number, got Lin"),
        ):
            jopt.optimistic_adam(jopt.linear_schedule(0.1, 0.0, 10))  # pyright: ignore


class TestPolyak:
    PARAMS = jnp.asarray([1.0, 2.0, 3.0], jnp.float32)

    def stepped(self, lib, value=14.0, **settings):
        tx = lib.polyak_sgd(**settings)
        gradient = 2 * self.PARAMS
        state = tx.init(self.PARAMS)
        return tx.update(gradient, state, self.PARAMS, value=value)[0]

    def test_a_sum_of_squares_is_halved_each_step(self):
        np.testing.assert_allclose(self.stepped(jopt), -self.PARAMS / 2, rtol=1e-6)

    def test_scaling_scales_where_optax_divides(self):
        half = self.stepped(jopt, scaling=0.5)

        with relaxed():
            double = self.stepped(OPTAX, scaling=0.5)
        np.testing.assert_allclose(half, -self.PARAMS / 4, rtol=1e-6)
        np.testing.assert_allclose(double, -self.PARAMS, rtol=1e-6)

    def test_below_the_least_loss(self):
        away = self.stepped(jopt, f_min=28.0)
        still = self.stepped(jopt, f_min=28.0, variant="sps+")

        np.testing.assert_allclose(away, self.PARAMS / 2, rtol=1e-6)
        np.testing.assert_array_equal(still, 0 * self.PARAMS)

    def test_without_gradient_there_is_no_step(self):
        tx, flat = jopt.polyak_sgd(), 0 * self.PARAMS

        updates, _ = tx.update(flat, tx.init(flat), flat, value=ONE)

        np.testing.assert_array_equal(updates, flat)

    def test_it_asks_for_the_loss(self):
        tx = jopt.polyak_sgd()

        with pytest.raises(ValueError, match=r"needs the loss.*value=loss\)"):
            tx.update(self.PARAMS, tx.init(self.PARAMS), self.PARAMS)

    def test_it_has_two_variants(self):
        with pytest.raises(ValueError, match=r"one of sps, sps\+, got 'best'"):
            jopt.polyak_sgd(variant="best")  # pyright: ignore[reportArgumentType]


class TestNoise:
    def noise(self, tx, steps=4, kind=jnp.float32):
        return np.asarray(run(tx, jnp.zeros((steps, 100, 200), kind)))

    def test_the_variance_falls_as_written(self):
        noise = self.noise(jopt.add_noise(0.5, 0.7, key=1))

        wanted = 0.5 / np.arange(1, 5) ** 0.7
        np.testing.assert_allclose(noise.var((1, 2)), wanted, rtol=0.03)
        np.testing.assert_allclose(noise.mean((1, 2)), 0, atol=0.02)

    def test_every_step_and_leaf_has_its_own(self):
        zeros = {"a": jnp.zeros((3, 5), jnp.float32), "b": jnp.zeros((3, 5), "float32")}

        noise = run(jopt.add_noise(1.0, 0.0), zeros)

        drawn = np.concatenate([noise["a"].ravel(), noise["b"].ravel()])
        assert len(set(drawn.tolist())) == 30

    def test_of_complex_leaves_both_parts_together(self):
        noise = self.noise(jopt.add_noise(0.5, 0.0), kind=jnp.complex64)

        np.testing.assert_allclose(np.mean(np.abs(noise) ** 2), 0.5, rtol=0.03)
        np.testing.assert_allclose(np.real(noise).var(), 0.25, rtol=0.03)

    def test_a_key_is_data(self):
        zeros = jnp.zeros((1, 5), jnp.float32)
        program, traces = counted(lambda key: run(jopt.add_noise(1.0, 0.0, key), zeros))

        one, other = program(jax.random.key(0)), program(jax.random.key(1))
        block = jax.vmap(program)(jax.random.split(jax.random.key(0), 3))

        assert len(traces) == 1
        assert (one != other).all()
        assert len(set(block.ravel().tolist())) == 15

    def test_a_seed_is_its_key(self):
        zeros = jnp.zeros((2, 5), jnp.float32)
        by_default = run(jopt.noisy_sgd(0.1), zeros)

        for key in (0, jax.random.key(0), jax.random.PRNGKey(0)):
            same = run(jopt.noisy_sgd(0.1, key=key), zeros)
            np.testing.assert_array_equal(same, by_default)
        np.testing.assert_array_equal(run(jopt.noisy_sgd(0.1, seed=0), zeros), same)
        assert jopt.add_noise(1.0, 0.0, 3) == jopt.add_noise(1.0, 0.0, seed=3)
        assert jopt.add_noise(1.0, 0.0, 3) != jopt.add_noise(1.0, 0.0, 4)

    def test_a_key_and_a_seed_are_too_much(self):
        with pytest.raises(ValueError, match="only one of key and seed"):
            jopt.noisy_sgd(0.1, key=1, seed=2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jopt.radam(0.1, threshold=3), "threshold must be at least 4, got 3."),
        (lambda: jopt.rprop(0.0), "learning_rate must be above 0, got 0.0."),
        (lambda: jopt.rprop(0.1, eta_plus=0.5), "eta_plus must be at least 1, got 0.5"),
        (lambda: jopt.rprop(0.1, 1.0), "eta_minus must be below 1, got 1"),
        (lambda: jopt.scale_by_sm3(b2=0), "b2 must be above 0, got 0."),
        (lambda: jopt.noisy_sgd(0.1, -1.0), "eta must be at least 0, got -1.0."),
        (lambda: jopt.polyak_sgd(-1.0), "max_learning_rate must be at least 0, got -1"),
    ],
)
def test_numbers_that_cannot_be(make, message):
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        make()
