"""Weight decay with and without the learning rate as a factor."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

import jopt

PARAMS = jnp.array([2.0, -1.0], jnp.float32)
ZEROS = jnp.zeros(2, jnp.float32)

OPTIMIZERS = pytest.mark.parametrize(
    "make", [jopt.adamw, jopt.nadamw, jopt.lion, jopt.mars]
)


def decays(tx, steps):
    """By which part the params decay at each step, without gradients."""
    state, parts = tx.init(PARAMS), []
    for _ in range(steps):
        updates, state = tx.update(ZEROS, state, PARAMS)
        parts.append(-updates / PARAMS)
    return np.array(parts)[:, 0]


@OPTIMIZERS
def test_decay_is_multiplied_by_the_learning_rate_or_not(make):
    rate, decay = jopt.linear_schedule(0.1, 0.0, 2), 0.25

    tied = decays(make(rate, weight_decay=decay), 3)
    free = decays(make(rate, weight_decay=decay, decay="independent"), 3)

    np.testing.assert_allclose(tied, [0.025, 0.0125, 0.0], rtol=1e-6)
    np.testing.assert_allclose(free, [0.25, 0.25, 0.25], rtol=1e-6)


@OPTIMIZERS
def test_independent_decay_has_a_schedule_of_its_own(make):
    tx = make(0.1, weight_decay=jopt.linear_schedule(0.4, 0.0, 2), decay="independent")

    np.testing.assert_allclose(decays(tx, 3), [0.4, 0.2, 0.0], rtol=1e-6)


@OPTIMIZERS
def test_independent_decay_keeps_to_its_mask(make):
    params = {"kernel": PARAMS, "bias": PARAMS}
    zeros = {"kernel": ZEROS, "bias": ZEROS}
    mask = {"kernel": True, "bias": False}
    tx = make(0.1, weight_decay=0.5, mask=mask, decay="independent")

    updates, _ = tx.update(zeros, tx.init(params), params)

    np.testing.assert_allclose(updates["kernel"], -0.5 * PARAMS)
    np.testing.assert_allclose(updates["bias"], 0)


@OPTIMIZERS
def test_the_step_itself_is_the_same(make):
    grads = jnp.array([0.3, -4.0], jnp.float32)

    def first(**settings):
        tx = make(0.1, **settings)
        return tx.update(grads, tx.init(PARAMS), PARAMS)[0]

    plain = first(weight_decay=0.0)
    np.testing.assert_allclose(
        first(weight_decay=0.5, decay="independent"), plain - 0.5 * PARAMS, rtol=1e-6
    )


@OPTIMIZERS
def test_the_number_is_found_by_name(make):
    tx = make(0.1, weight_decay=0.5, decay="independent")

    found = jopt.hyperparameters(tx, tx.init(PARAMS))

    assert (found["learning_rate"], found["weight_decay"]) == (0.1, 0.5)


@OPTIMIZERS
def test_another_word_is_refused(make):
    message = (
        ': decay must be "rate" (weight_decay is multiplied by the '
        "learning rate) or \"independent\" (it is not), got 'coupled'."
    )
    with pytest.raises(ValueError, match=re.escape(message) + "$"):
        make(0.1, decay="coupled")
