"""Functions as transformations, sums of updates, averages of parameters."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from transformation_runs import first_update

import jopt

RNG = np.random.default_rng(0)
PARAMS = jnp.asarray(RNG.normal(size=(6, 5)), jnp.float32)
GRADS = jnp.asarray(RNG.normal(size=(6, 5)), jnp.float32)
NEW: Any = {"a": GRADS, "none": None}
OLD: Any = {"a": PARAMS, "none": None}
OPTAX: Any = optax


class TestApplyEvery:
    def run(self, tx, values):
        gradients = jnp.asarray(values, jnp.float32)
        return jax.lax.scan(
            lambda state, g: tx.update(g, state)[::-1], tx.init(gradients[0]), gradients
        )[1]

    def test_a_sum_every_third_step(self):
        got = self.run(jopt.apply_every(3), [1, 2, 3, 4, 5, 6, 7])

        assert got.tolist() == [0, 0, 6, 0, 0, 15, 0]

    def test_nan_is_gone_with_its_sum(self):
        got = self.run(jopt.apply_every(2), [1, jnp.nan, 3, 4])

        assert np.isnan(got[1])
        assert got[2:].tolist() == [0, 7]

    def test_every_trial_its_own(self):
        tx = jopt.apply_every(jnp.asarray([1, 2, 4], jnp.int32))  # pyright: ignore

        got = jax.vmap(lambda tx: self.run(tx, [1, 1, 1, 1]))(tx)

        assert got.tolist() == [[1, 1, 1, 1], [0, 2, 0, 2], [0, 0, 0, 4]]

    def test_part_of_a_step_is_none(self):
        with pytest.raises(ValueError, match=r"k must be a whole number, got 2\.5"):
            jopt.apply_every(2.5)
        with pytest.raises(ValueError, match="k must be at least 1, got 0"):
            jopt.apply_every(0)


class TestFunctions:
    def test_a_function_without_params(self):
        def asked(updates, params):
            assert params is None
            return jax.tree.map(lambda g: g / 2, updates)

        got, _ = first_update(jopt.stateless(asked), {"a": GRADS})
        leafwise, _ = first_update(
            jopt.stateless_with_tree_map(lambda g, p: g if p is None else p), GRADS
        )

        np.testing.assert_array_equal(got["a"], GRADS / 2)
        np.testing.assert_array_equal(leafwise, GRADS)

    def test_it_computes_wide_and_keeps_the_dtype(self):
        kinds = []

        def seen(updates, params):
            kinds.extend([updates.dtype, params.dtype])
            return updates

        got, _ = first_update(jopt.stateless(seen), GRADS.astype(jnp.bfloat16), PARAMS)

        assert kinds == [jnp.float32, jnp.float32]
        assert got.dtype == jnp.bfloat16

    def test_another_tree_is_refused(self):
        tx = jopt.stateless(lambda updates, _: {"b": updates["a"]})

        with pytest.raises(ValueError, match=r"\['a'\] is only"):
            first_update(tx, {"a": GRADS})


class TestAverages:
    def test_incremental_is_that_of_optax(self):
        got = jopt.incremental_update(NEW, OLD, 0.1)

        wanted = OPTAX.incremental_update(NEW, OLD, 0.1)
        np.testing.assert_allclose(got["a"], wanted["a"], rtol=1e-6)

    def test_the_average_keeps_its_dtype(self):
        new = {"a": GRADS.astype(jnp.bfloat16), "none": None}

        got = jopt.incremental_update(new, OLD, jnp.float32(0.001))

        wanted = 0.001 * new["a"].astype(jnp.float32) + 0.999 * PARAMS
        assert got["a"].dtype == jnp.float32
        np.testing.assert_allclose(got["a"], wanted, rtol=1e-6, atol=1e-6)

    def test_periodic_is_that_of_optax(self):
        for steps in range(7):
            ours = jopt.periodic_update(NEW, OLD, steps, 3)
            theirs = OPTAX.periodic_update(NEW, OLD, steps, 3)
            np.testing.assert_array_equal(ours["a"], theirs["a"])
            assert (ours["a"] == GRADS).all() == (steps % 3 == 0)

    def test_counters_and_keys_are_copied_as_they_are(self):
        new = (jnp.asarray(2**30 + 1), jax.random.key(1))
        old = (jnp.asarray(0), jax.random.key(0))

        copied = jopt.periodic_update(new, old, jnp.asarray(6), 3)

        assert copied[0] == 2**30 + 1
        assert (jax.random.key_data(copied[1]) == jax.random.key_data(new[1])).all()
