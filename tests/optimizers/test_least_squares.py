"""Each optimizer that suits a convex problem comes to the closed form."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jopt
from jopt.tasks import diabetes

STEPS, RATES = 1000, np.geomspace(1e-3, 10, 9)
UNSUITED = {
    "noisy_sgd": "its noise does not fall with the rate",
    "optimistic_adam": "deprecated, for optimistic_adam_v2",
}
UNSCHEDULED = ("rprop", "optimistic_gradient_descent")
SLOWER = {"cocob": 4}  # times the steps of the others


def suited():
    for name in jopt.optimizers.__all__:
        function = getattr(jopt.optimizers, name)
        if inspect.isfunction(function) and name not in UNSUITED:
            given = inspect.signature(function).parameters
            if "learning_rate" in given and not name.startswith("scale_by"):
                yield name


@pytest.fixture(scope="module")
def problem():
    inputs, answers = diabetes(width=0).train
    constant = np.ones((len(inputs), 1), inputs.dtype)
    inputs = np.concatenate([inputs, constant], axis=1)
    weights = np.linalg.lstsq(inputs.astype("f8"), answers.astype("f8"), rcond=None)[0]
    least = np.mean((inputs @ weights - answers) ** 2)
    return jnp.asarray(inputs), jnp.asarray(answers), least


@pytest.mark.slow("the tutorial on linear regression holds ten of them to the same")
@pytest.mark.parametrize("name", [*suited()])
def test_the_closed_form_is_reached_at_the_best_rate(name, problem):
    inputs, answers, least = problem
    make = getattr(jopt.optimizers, name)
    options, steps = {}, STEPS * SLOWER.get(name, 1)
    if "weight_decay" in inspect.signature(make).parameters:
        options["weight_decay"] = 0.0

    def loss(weights):
        return jnp.mean((inputs @ weights - answers) ** 2)

    @jax.jit
    @jax.vmap
    def trained(rate):
        falling = jopt.cosine_decay_schedule(rate, steps)
        tx = make(rate if name in UNSCHEDULED else falling, **options)
        weights = jnp.zeros(inputs.shape[1])

        def step(carry, _):
            weights, state = carry
            value, gradient = jax.value_and_grad(loss)(weights)
            updates, state = tx.update(gradient, state, weights, value=value)
            return (jopt.apply_updates(weights, updates), state), None

        (weights, _), _ = jax.lax.scan(step, (weights, tx.init(weights)), None, steps)
        return loss(weights)

    found = np.asarray(trained(jnp.asarray(RATES, jnp.float32)))
    assert np.nanmin(found) - least < 1e-3
