"""LoRA and DoRA give the outputs and the gradients of peft, merged and not."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jopt

torch = pytest.importorskip("torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what peft imports
    peft = pytest.importorskip("peft", reason="it is the oracle's")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 4)).astype(np.float32)
CLOSE: dict[str, Any] = {"rtol": 2e-5, "atol": 2e-6}
RANK, ALPHA = 2, 3.0
LAYERS = ("first", "last")
BOTH = pytest.mark.parametrize("adapt", [jopt.lora, jopt.dora])


class Net(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.first = nnx.Linear(4, 6, rngs=rngs)
        self.last = nnx.Linear(6, 3, rngs=rngs)

    def __call__(self, x):
        return self.last(jnp.tanh(self.first(x)))


class Twin(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        for name in LAYERS:
            ours = getattr(model, name)
            layer = torch.nn.Linear(*ours.kernel.shape)
            layer.weight.data = torch.tensor(np.asarray(ours.kernel[...]).T)
            layer.bias.data = torch.tensor(np.asarray(ours.bias[...]))
            setattr(self, name, layer)

    def forward(self, x):
        return self.last(torch.tanh(self.first(x)))


def pair(adapt):
    """Return a model with random adapters, and peft's with the same numbers."""
    model = adapt(Net(), RANK, alpha=ALPHA)
    config = peft.LoraConfig(
        r=RANK,
        lora_alpha=ALPHA,
        lora_dropout=0.0,
        target_modules=list(LAYERS),
        use_dora=adapt is jopt.dora,
    )
    twin = peft.get_peft_model(Twin(model), config)
    for name in LAYERS:
        product = getattr(model, name).dot_general
        theirs = getattr(twin.base_model.model, name)
        for ours, matrices in (
            (product.lora_a, theirs.lora_A),
            (product.lora_b, theirs.lora_B),
        ):
            drawn = RNG.normal(size=ours.shape).astype(np.float32)
            ours[...] = jnp.asarray(drawn)
            matrices["default"].weight.data = torch.tensor(drawn.T.copy())
    return model, twin


@BOTH
def test_outputs_and_gradients_are_those_of_peft(adapt):
    model, twin = pair(adapt)
    theirs = twin(torch.tensor(X))
    np.testing.assert_allclose(model(X), theirs.detach().numpy(), **CLOSE)
    (theirs**2).sum().backward()
    adapters = nnx.DiffState(0, nnx.LoRAParam)
    ours = nnx.grad(lambda m: jnp.sum(m(X) ** 2), argnums=adapters)(model)
    for name in LAYERS:
        found, layer = ours[name]["dot_general"], getattr(twin.base_model.model, name)
        for leaf, matrices in (("lora_a", layer.lora_A), ("lora_b", layer.lora_B)):
            expected = matrices["default"].weight.grad.numpy().T
            np.testing.assert_allclose(found[leaf][...], expected, **CLOSE)
        if adapt is jopt.dora:
            vector = layer.lora_magnitude_vector["default"].weight.grad.numpy()
            np.testing.assert_allclose(found["lora_magnitude"][...], vector, **CLOSE)


@BOTH
def test_merged_kernels_are_those_of_peft(adapt):
    model, twin = pair(adapt)
    merged, theirs = jopt.merge(model), twin.merge_and_unload()
    for name in LAYERS:
        expected = getattr(theirs, name).weight.detach().numpy().T
        np.testing.assert_allclose(getattr(merged, name).kernel[...], expected, **CLOSE)
    outputs = jax.jit(lambda x: merged(x))(X)
    np.testing.assert_allclose(outputs, theirs(torch.tensor(X)).detach(), **CLOSE)
