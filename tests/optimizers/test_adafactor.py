"""Adafactor's factored means: what is stored, for which leaves, from which step."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jopt


def shapes(tx, *shape):
    state = tx.init(jnp.zeros(shape))
    return state.v_row.shape, state.v_col.shape, state.v.shape


def after(tx: Any, *gradients: Any) -> Any:
    """The updates of the last step, and the state."""
    updates, state = None, tx.init(gradients[0])
    for g in gradients:
        updates, state = tx.update(g, state)
    return updates, state


@pytest.mark.parametrize(
    ("shape", "kept"),
    [
        ((256, 128), ((128,), (256,), (1,))),
        ((128, 256), ((128,), (256,), (1,))),
        ((128, 128), ((128,), (128,), (1,))),
        ((3, 200, 2, 130), ((3, 2, 130), (3, 200, 2), (1,))),
        ((127, 1000), ((1,), (1,), (127, 1000))),
        ((1000,), ((1,), (1,), (1000,))),
        ((), ((1,), (1,), ())),
    ],
)
def test_the_two_longest_axes_are_factored_if_both_are_long(shape, kept):
    assert shapes(jopt.scale_by_factored_rms(), *shape) == kept
    assert shapes(jopt.scale_by_factored_rms(False), *shape)[2] == shape


def test_a_leaf_without_elements_is_never_factored():
    tx = jopt.scale_by_factored_rms(min_dim_size_to_factor=1)

    updates, state = after(tx, jnp.zeros((3, 0)), jnp.zeros((3, 0)))

    assert updates.shape == state.v.shape == (3, 0)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


def test_squares_of_rank_one_lose_nothing_by_factors():
    rng = np.random.default_rng(0)
    squares = np.exp(rng.normal(size=(5, 2, 1))) * np.exp(rng.normal(size=(3,)))
    signs = rng.choice([-1.0, 1.0], squares.shape)
    gradient = jnp.asarray(signs * np.sqrt(squares), jnp.float32)

    whole, _ = after(jopt.scale_by_factored_rms(False), gradient, 2 * gradient)
    factored, _ = after(
        jopt.scale_by_factored_rms(min_dim_size_to_factor=3), gradient, 2 * gradient
    )

    np.testing.assert_allclose(factored, whole, rtol=1e-6)


def test_the_first_update_of_a_vector_is_its_sign():
    gradient = jnp.array([3.0, -1e-6, 0.0, 1e6])

    updates, _ = after(jopt.scale_by_factored_rms(), gradient)

    np.testing.assert_allclose(updates, [1, -1, 0, 1], rtol=1e-6)


def test_a_fine_tuning_starts_its_means_over():
    old, new = jnp.array([1e3, 1e3]), jnp.array([1.0, -2.0])
    state = jopt.scale_by_factored_rms().init(old)._replace(count=jnp.int32(100), v=old)

    updates, _ = jopt.scale_by_factored_rms(step_offset=100).update(new, state)

    np.testing.assert_allclose(updates, jnp.sign(new), rtol=1e-6)


def test_before_the_offset_nothing_is_remembered():
    gradients = jnp.array([[1e3, 1e3], [1.0, -2.0], [4.0, 3.0]])

    updates, state = after(jopt.scale_by_factored_rms(step_offset=50), *gradients)

    np.testing.assert_allclose(updates, [1, 1], rtol=1e-6)
    np.testing.assert_allclose(state.v, gradients[-1] ** 2, rtol=1e-6)


def test_momentum_is_float32_unless_another_dtype_is_asked_for():
    params = {"low": jnp.ones(3, jnp.bfloat16), "complex": jnp.ones(3, jnp.complex64)}

    def kinds(**settings):
        held = jopt.adafactor(0.1, momentum=0.9, **settings).init(params)[4].ema
        return held["low"].dtype, held["complex"].dtype

    assert kinds() == (jnp.float32, jnp.complex64)
    assert kinds(dtype_momentum=jnp.bfloat16) == (jnp.bfloat16, jnp.complex64)


def test_momentum_keeps_the_imaginary_part():
    tx = jopt.adafactor(0.1, momentum=0.9)
    params = jnp.array([3 + 4j, -1j], jnp.complex64)

    updates, _ = tx.update(params, tx.init(params), params)

    # u = g / |g|, by a tenth for the momentum, by a tenth and rms(p) for the rate.
    wanted = -0.01 * np.sqrt(13) * np.array([0.6 + 0.8j, -1j])
    np.testing.assert_allclose(updates, wanted, rtol=1e-6)


def test_parts_are_left_out():
    tx = jopt.adafactor(
        multiply_by_parameter_scale=False, clipping_threshold=None, factored=False
    )
    gradient = jnp.array([3.0, -4.0])

    updates, _ = tx.update(gradient, tx.init(gradient), gradient)

    np.testing.assert_allclose(updates, [-1, 1], rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: jopt.adafactor(decay_rate=0),
            "ScaleByFactoredRms: decay_rate must be above 0, got 0.",
        ),
        (
            lambda: jopt.adafactor(eps=0.0),
            "ScaleByFactoredRms: epsilon must be above 0, got 0.0. A coordinate "
            "without gradients would be 0/0. This is eps of adafactor.",
        ),
        (
            lambda: jopt.scale_by_factored_rms(min_dim_size_to_factor=0),
            "ScaleByFactoredRms: min_dim_size_to_factor must be at least 1, got 0.",
        ),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make()


def test_parameters_are_asked_for():
    tx = jopt.adafactor(0.1)
    gradient = jnp.ones(3)

    with pytest.raises(
        ValueError, match="ScaleByParamBlockRms: update needs the param"
    ):
        tx.update(gradient, tx.init(gradient))
