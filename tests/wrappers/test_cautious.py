"""`cautious`: which coordinates it keeps, and by how much it scales them."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jopt


@jopt.pytree
class Fixed(jopt.GradientTransformation):
    """Return the same updates whatever the gradients."""

    updates: Any

    def init(self, params):
        return jopt.EmptyState()

    def update(self, updates, state, params=None, **extra):
        return self.updates, state


def masked(grads, updates, **settings):
    grads, updates = (jnp.asarray(x, jnp.result_type(*x)) for x in (grads, updates))
    tx = jopt.cautious(Fixed(updates), **settings)
    return tx.update(grads, tx.init(grads))[0]


def test_steps_that_climb_are_left_out_and_the_others_scaled_by_the_share_of_them():
    got = masked([1.0, 1.0, -1.0, 0.0], [-1.0, 3.0, 2.0, -5.0])

    # Two of four go downhill: the first and the third.
    np.testing.assert_allclose(got, [-2.0, 0.0, 4.0, 0.0])


def test_directions_agree_where_their_sign_is_the_gradients():
    got = masked([1.0, 1.0, -1.0, 0.0], [-1.0, 3.0, 2.0, -5.0], descending=False)

    np.testing.assert_allclose(got, [0.0, 12.0, 0.0, 0.0])


def test_each_leaf_has_its_own_share():
    grads = {"a": jnp.array([1.0, 1.0]), "b": jnp.array([1.0, -1.0])}
    tx = jopt.cautious(jopt.chain(Fixed(jax.tree.map(lambda g: -abs(g), grads))))

    updates, _ = tx.update(grads, tx.init(grads))

    np.testing.assert_allclose(updates["a"], [-1.0, -1.0])
    np.testing.assert_allclose(updates["b"], [-2.0, 0.0])


def test_a_leaf_where_almost_nothing_agrees_is_not_scaled_up_without_end():
    grads = -np.ones(10_000, np.float32)
    grads[0] = 1

    for settings, wanted in (({}, -1e3), ({"floor": 0.1}, -10.0)):
        got = masked(grads, -np.ones(10_000, np.float32), **settings)
        np.testing.assert_allclose(got[0], wanted, rtol=1e-6)


def test_small_numbers_agree_too():
    """Their product is no float32."""
    np.testing.assert_allclose(masked([1e-30, 1.0], [-1e-30, -1.0]), [-1e-30, -1.0])


def test_what_is_not_finite_stays_so():
    got = masked([1.0, jnp.nan, 1.0], [-1.0, jnp.nan, jnp.inf])

    assert list(np.isfinite(got)) == [True, False, False]


def test_complex_steps_agree_where_they_go_against_the_gradient():
    got = masked([1 + 0j, 1 + 0j, 1j], [-1 + 5j, 1 - 5j, 1 - 1j])

    np.testing.assert_allclose(got, [1.5 * (-1 + 5j), 0, 1.5 * (1 - 1j)])


def test_the_first_step_of_adam_is_adams_and_the_wrong_sign_makes_none():
    grads = jnp.array([1.0, -2.0])

    def first(tx):
        return tx.update(grads, tx.init(grads))[0]

    np.testing.assert_array_equal(
        first(jopt.cautious(jopt.adam(0.1))), first(jopt.adam(0.1))
    )
    np.testing.assert_array_equal(first(jopt.cautious(jopt.scale_by_adam())), 0)


def test_decay_is_masked_inside_and_whole_outside():
    params, grads = jnp.array([1.0, 1.0]), jnp.array([1.0, -1.0])
    direction = jopt.cautious(jopt.scale_by_lion(), descending=False)
    end = (jopt.add_decayed_weights(2.0), jopt.scale_by_learning_rate(0.1))

    def first(tx):
        return tx.update(grads, tx.init(params), params)[0]

    # Lion's step and decay are -0.1 -0.2 and 0.1 - 0.2; the second climbs.
    np.testing.assert_allclose(
        first(jopt.cautious(jopt.lion(0.1, weight_decay=2.0))), [-0.6, 0], rtol=1e-6
    )
    np.testing.assert_allclose(
        first(jopt.chain(direction, *end)), [-0.3, -0.1], rtol=1e-6
    )


def test_the_numbers_inside_are_found_by_name():
    tx = jopt.cautious(jopt.adam(0.1))
    state = tx.init(jnp.ones(2))

    assert jopt.hyperparameters(tx, state)["learning_rate"] == 0.1
    assert jopt.replace(tx, learning_rate=0.2) == jopt.cautious(jopt.adam(0.2))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: jopt.cautious(jopt.adam(0.1), 0.0),
            ValueError,
            "Cautious: floor must be above 0, got 0.0.",
        ),
        (
            lambda: jopt.cautious(jopt.adam),
            TypeError,
            "a factory must be called first",
        ),
    ],
)
def test_bad_input_is_a_sentence(make, error, message):
    with pytest.raises(error, match=re.escape(message)):
        make()
