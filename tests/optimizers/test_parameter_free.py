"""Corner cases of DoG, COCOB and MoMo."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from comparison import assert_close, relaxed
from reference_runs import data, steps

import jopt


def descend(tx, loss, params, count):
    """The losses of a run."""
    state, losses = tx.init(params), []
    for _ in range(count):
        value, grads = jax.value_and_grad(loss)(params)
        updates, state = tx.update(grads, state, params, value=value)
        params = jopt.apply_updates(params, updates)
        losses.append(float(value))
    return losses


@pytest.mark.parametrize(
    "tx",
    [jopt.dog(init_step=("heuristic", 1e-3)), jopt.dowg(), jopt.cocob()],
    ids=["dog", "dowg", "cocob"],
)
def test_without_a_learning_rate_the_loss_falls(tx):
    losses = descend(tx, lambda x: jnp.sum(jnp.abs(x)), jnp.array([3.0, -2.0]), 200)

    assert min(losses) < 0.05 * losses[0]


def test_layerwise_dog_steps_as_optax_does_where_leaves_are_real_arrays():
    grads, params = (data(seed, real=True)["float32"] for seed in (0, 1))
    for run in (grads, params):
        del run["scalar"]
    settings = {"reps_rel": 1e-3, "eps": 0.1, "global_scale": -1.0}

    got, _ = jax.jit(steps)(
        jopt.scale_by_distance_over_gradients(**settings), grads, params
    )
    with relaxed():
        theirs = optax.scale_by_distance_over_gradients(**settings)
        wanted, _ = jax.jit(lambda g, p: steps(theirs, g, p))(grads, params)

    assert_close(got, wanted, rtol=2e-6)


def test_the_copy_of_the_params_is_in_the_dtype_that_was_asked_for():
    tx = jopt.scale_by_distance_over_gradients(param_dtype=jnp.bfloat16)
    params = {"real": jnp.ones(2), "complex": jnp.ones(2, jnp.complex64)}

    kept = tx.init(params).init_params

    assert kept["real"].dtype == jnp.bfloat16
    assert kept["complex"].dtype == jnp.complex64


def test_cocob_does_not_depend_on_the_size_of_the_gradients():
    target = jnp.array([1.0, -2.0])
    runs = []
    for size in (1.0, 1e-3, 1e4):
        losses = descend(
            jopt.cocob(eps=1e-12),
            lambda x, size=size: size * jnp.sum(jnp.abs(x - target)),
            jnp.zeros(2),
            30,
        )
        runs.append(np.array(losses) / size)

    np.testing.assert_allclose(runs[1], runs[0], rtol=1e-4)
    np.testing.assert_allclose(runs[2], runs[0], rtol=1e-4)


def test_momo_finds_polyaks_step():
    """On |x|^2 with bound 0 the step (1/4) 2x halves x: the loss falls by four."""
    losses = descend(
        jopt.momo(beta=0.0), lambda x: jnp.sum(x**2), jnp.arange(1.0, 4.0), 4
    )

    np.testing.assert_allclose(losses, [14, 14 / 4, 14 / 16, 14 / 64], rtol=1e-6)


@pytest.mark.parametrize("make", [jopt.momo, jopt.momo_adam])
def test_a_loss_at_its_lower_bound_is_left_alone(make):
    params = jnp.array([2.0, 1.0])
    tx = make(lower_bound=3.0)

    updates, _ = tx.update(jnp.ones(2), tx.init(params), params, value=3.0)

    np.testing.assert_allclose(updates, 0, atol=1e-6)


@pytest.mark.parametrize("proximal", [True, False])
def test_a_proximal_step_brings_the_model_to_its_bound(proximal):
    params, grads, bound = jnp.array([2.0, 1.0]), jnp.array([1.0, -3.0]), 0.5
    tx = jopt.momo(1.0, 0.0, bound, 0.25, proximal=proximal)

    updates, _ = tx.update(grads, tx.init(params), params, value=2.0)

    reached = 2.0 + jnp.vdot(grads, updates)
    assert bool(jnp.isclose(reached, bound, atol=1e-5)) == proximal
    assert proximal or reached < bound


@pytest.mark.parametrize("tx", [jopt.momo(0.1, 0.5), jopt.dog(), jopt.dowg()], ids=repr)
def test_a_complex_parameter_steps_as_its_two_parts(tx):
    rng = np.random.default_rng(0)
    g, p = (rng.normal(size=(5, 3, 2)).astype(np.float32) for _ in range(2))

    def run(grads, params):
        state, updates = tx.init(params[0]), []
        for gradient, at in zip(grads, params, strict=True):
            update, state = tx.update(gradient, state, at, value=1.0)
            updates.append(update)
        return np.stack(updates)

    pairs = run(jnp.asarray(g), jnp.asarray(p))
    single = run(*(jnp.asarray(x[..., 0] + 1j * x[..., 1]) for x in (g, p)))

    np.testing.assert_allclose(single, pairs[..., 0] + 1j * pairs[..., 1], rtol=2e-5)


dog: Any = jopt.dog  # its types forbid what follows


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: dog(init_step=("guess", 1.0)),
            "ScaleByDog: kind must be one of distance, learning_rate, heuristic, got "
            "'guess'.",
        ),
        (
            lambda: dog(init_step=1e-6),
            "dog: init_step must be a pair of one of distance, learning_rate, "
            "heuristic and a number, as in ('heuristic', 1e-6), got 1e-06.",
        ),
        (
            lambda: jopt.dog(init_step=("distance", -1.0)),
            "ScaleByDog: init_step must be at least 0, got -1.0.",
        ),
        (lambda: jopt.momo(beta=1.0), "Momo: beta must be below 1, got 1.0."),
        (
            lambda: jopt.madgrad(0.1, momentum=1.0),
            "ScaleByMadgrad: momentum must be below 1, got 1.0.",
        ),
    ],
)
def test_bad_input_is_a_sentence(make, message):
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        make()


@pytest.mark.parametrize("name", ["momo", "momo_adam"])
def test_momo_asks_for_the_loss(name):
    tx, x = getattr(jopt, name)(), jnp.ones(2)
    message = (
        "update needs the loss, got none; call "
        "tx.update(updates, state, params, value=loss) (optax's combinators drop "
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        tx.update(x, tx.init(x), x)
