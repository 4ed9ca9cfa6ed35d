"""Promises about `shrink`: a small model with the outputs of the pruned one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jopt

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(4, 8, 8, 3)).astype(np.float32)


class Dense(nnx.Module):
    def __init__(self, units, rngs):
        self.first = nnx.Linear(192, units, rngs=rngs)
        self.norm = nnx.LayerNorm(192, rngs=rngs)
        self.second = nnx.Linear(units, 5, rngs=rngs)

    def __call__(self, x):
        x = self.norm(x.reshape(len(x), -1))
        return self.second(nnx.relu(self.first(x)))


class Convolution(nnx.Module):
    def __init__(self, units, rngs):
        self.first = nnx.Conv(3, units, (3, 3), rngs=rngs)
        self.second = nnx.Linear(16 * units, 5, rngs=rngs)

    def __call__(self, x):
        x = nnx.max_pool(nnx.relu(self.first(x)), (2, 2), (2, 2))
        return self.second(x.reshape(len(x), -1))


@pytest.mark.slow("the other model has the same couplings", but=1)
@pytest.mark.parametrize("module", [Dense, Convolution])
def test_the_small_model_has_the_outputs_of_the_masked_one(module):
    kept = np.arange(6) % 3 != 1
    model = module(6, nnx.Rngs(0))
    model.first.bias[...] = jnp.linspace(0.5, 1.0, 6)
    for variable in (model.first.kernel, model.first.bias):
        units = kept.reshape((1,) * (variable.ndim - 1) + (6,))
        variable[...] = jnp.where(units, variable[...], 0)
    couplings = {"first/kernel": -1, "first/bias": 0, "second/kernel": 0}
    small = module(4, nnx.Rngs(1))
    params = jopt.shrink(nnx.state(model, nnx.Param), kept, couplings)
    nnx.update(small, params)
    assert small.first.kernel.shape[-1] == 4
    np.testing.assert_allclose(small(IMAGES), model(IMAGES), atol=1e-6, rtol=1e-6)
    assert jopt.size(params).bytes < jopt.size(nnx.state(model, nnx.Param)).bytes


def test_leaves_that_are_not_coupled_stay_as_they_are():
    params = {"w": jnp.ones((2, 3)), "other": jnp.ones(3)}
    small = jopt.shrink(params, np.array([True, False, True]), {"w": 1})
    assert small["w"].shape == (2, 2)
    assert small["other"] is params["other"]


PARAMS = {"first": {"kernel": np.ones((4, 6)), "bias": np.ones(6)}}
KEPT = np.arange(6) > 1


@pytest.mark.parametrize(
    ("kept", "couplings", "words"),
    [
        (KEPT, {"first/kernl": 1}, r"first/kernl \(did you mean first/kernel\?\)"),
        (KEPT, {"frist": 1}, "there are first/bias, first/kernel"),
        (KEPT, {"first/bias": 1}, r"got 1 for first/bias of shape \[6\]"),
        (KEPT, {"first/kernel": 0}, "a multiple of the 6 units"),
        (KEPT.astype(int), {"first/bias": 0}, r"bools with one axis, got int64\[6\]"),
        (np.zeros(6, bool), {"first/bias": 0}, "at least one unit, got none of 6"),
    ],
)
def test_what_does_not_fit_is_a_sentence(kept, couplings, words):
    with pytest.raises((ValueError, TypeError), match=words):
        jopt.shrink(PARAMS, kept, couplings)


def test_a_traced_choice_is_a_sentence():
    with pytest.raises(TypeError, match="call shrink outside jit"):
        jax.jit(lambda kept: jopt.shrink(PARAMS, kept, {"first/bias": 0}))(KEPT)
