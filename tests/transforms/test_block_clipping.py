"""Clipping by leaf, by unit and by example."""

from typing import Any

import chex
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from comparison import relaxed
from transformation_runs import first_update

import jopt

RNG = np.random.default_rng(0)
PARAMS = jnp.asarray(RNG.normal(size=(6, 5)), jnp.float32)
GRADS = jnp.asarray(RNG.normal(size=(6, 5)), jnp.float32)
EXAMPLES: Any = {
    "w": jnp.asarray(RNG.normal(size=(8, 3, 4)), jnp.float32),
    "b": jnp.asarray(RNG.normal(size=(8, 3)), jnp.float32).at[0].set(0),
}
OPTAX: Any = optax


class TestClips:
    @pytest.mark.slow("other shapes are cut alike", but=3)
    @pytest.mark.parametrize(
        ("shape", "axis"),
        [
            ((), None),
            ((4,), None),
            ((1, 4, 1), None),
            ((3, 4), None),
            ((2, 3, 4), None),
            ((2, 3, 4, 5), None),
            ((2, 1, 3, 4, 5), None),
            ((2, 3, 4), (0, 1)),
            ((2, 1, 2, 1, 3, 2), 3),
        ],
    )
    def test_units_are_those_of_optax(self, shape, axis):
        x = jnp.asarray(RNG.normal(size=shape), jnp.float32)

        got = jopt.unitwise_norm(x, axis)

        with relaxed():
            wanted = OPTAX.transforms.unitwise_norm(x, axis)
        assert got.shape == shape
        np.testing.assert_allclose(got, wanted, rtol=1e-6)

    def test_six_axes_need_a_word(self):
        with pytest.raises(ValueError, match="at most 5 axes, got shape"):
            jopt.unitwise_norm(jnp.ones((2,) * 6, jnp.float32))

    def test_shapes_must_agree(self):
        with pytest.raises(ValueError, match=r"max_norm must have the shape of grad"):
            jopt.unitwise_clip(GRADS, GRADS[0], GRADS)

    def test_no_column_is_left_too_long(self):
        got, _ = first_update(jopt.adaptive_grad_clip(0.1), GRADS, PARAMS)

        ratios = jnp.linalg.norm(got, axis=0) / jnp.linalg.norm(PARAMS, axis=0)
        np.testing.assert_allclose(ratios, 0.1, rtol=1e-5)

    def test_no_leaf_is_left_too_large(self):
        updates = {"large": 5 * GRADS, "small": 0.01 * GRADS, "zero": 0 * GRADS}

        got, _ = first_update(jopt.clip_by_block_rms(0.5), updates)
        none, _ = first_update(jopt.clip_by_block_rms(0.0), updates)

        np.testing.assert_allclose(jnp.mean(got["large"] ** 2), 0.25, rtol=1e-5)
        np.testing.assert_array_equal(got["small"], updates["small"])
        np.testing.assert_array_equal(none["large"], 0 * GRADS)
        np.testing.assert_array_equal(none["zero"], 0 * GRADS)

    def test_squares_that_half_precision_has_not(self):
        large = jnp.full((4,), 300, jnp.float16)

        got, _ = first_update(jopt.clip_by_block_rms(1.0), large)

        np.testing.assert_array_equal(got, jnp.ones(4, jnp.float16))


class TestPerExample:
    @pytest.mark.parametrize("limit", [0.0, 2.0, 3.5, np.inf])
    def test_sums_and_counts_are_those_of_optax(self, limit):
        ours = jopt.per_example_global_norm_clip(EXAMPLES, limit)
        with relaxed():
            theirs = OPTAX.per_example_global_norm_clip(EXAMPLES, limit)

        assert ours[1] == theirs[1]
        assert ours[1].dtype == jnp.int32
        chex.assert_trees_all_close(ours[0], theirs[0], rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("uniform", [True, False])
    @pytest.mark.parametrize("limit", [0.0, 2.0, np.inf])
    def test_by_layer_too(self, limit, uniform):
        ours = jopt.per_example_layer_norm_clip(EXAMPLES, limit, uniform)
        with relaxed():
            theirs = OPTAX.per_example_layer_norm_clip(EXAMPLES, limit, uniform)

        chex.assert_trees_all_close(ours[0], theirs[0], rtol=1e-5, atol=1e-6)
        chex.assert_trees_all_equal(ours[1], theirs[1])

    def test_whole_numbers_have_a_float_sum(self):
        grads = [jnp.asarray([[0, 0, 0], [0, 3, 4], [4, 0, 3], [3, 4, 0]])]

        (total,), count = jopt.per_example_global_norm_clip(grads, 1.25)

        np.testing.assert_allclose(total, [1.75, 1.75, 1.75], rtol=1e-6)
        assert count == 3

    def test_half_precision_is_summed_wide(self):
        grads = jnp.full((4096, 1), 1, jnp.bfloat16)

        total, _ = jopt.per_example_global_norm_clip(grads, jnp.inf)

        assert total.dtype == jnp.bfloat16
        assert total == 4096

    @pytest.mark.parametrize(
        "clip", [jopt.per_example_global_norm_clip, jopt.per_example_layer_norm_clip]
    )
    def test_the_example_is_axis_0(self, clip):
        with pytest.raises(ValueError, match=r"grads\['b'\] has shape \(\)"):
            clip({"a": GRADS, "b": jnp.ones((), jnp.float32)}, 1.0)
        with pytest.raises(ValueError, match=r"grads\['b'\] has shape \(5, 6\)"):
            clip({"a": GRADS, "b": GRADS.T}, 1.0)
