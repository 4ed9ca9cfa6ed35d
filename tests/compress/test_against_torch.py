"""Masks and fake quantization equal those of PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jopt

torch = pytest.importorskip("torch", reason="it is the oracle")

from torch.nn.utils import prune as torch_prune  # noqa: E402

# PyTorch's layers have their outputs first, Flax's last.
LAYERS = {"first": (30, 40), "second": (40, 50), "third": (50, 7)}
RNG = np.random.default_rng(0)
PARAMS = {n: RNG.normal(size=s).astype(np.float32) for n, s in LAYERS.items()}
AMOUNTS = [0.0, 0.1, 0.25, 0.5, 0.77, 0.9, 0.99]


def modules():
    """A layer of PyTorch for each, with our weights."""
    found = {}
    for name, p in PARAMS.items():
        found[name] = torch.nn.Linear(*p.shape, bias=False)
        found[name].weight.data = torch.tensor(p.T.copy())
    return found


@jax.jit
def kept(tx):
    return tx.update(PARAMS, tx.init(PARAMS), PARAMS)[1].kept


def assert_masks(found, layers):
    for name, layer in layers.items():
        wanted = layer.weight_mask.numpy().T
        np.testing.assert_array_equal(np.asarray(found[name], np.float32), wanted)


@pytest.mark.parametrize("amount", AMOUNTS)
def test_a_global_mask_is_that_of_torch(amount):
    layers = modules()
    torch_prune.global_unstructured(
        [(layer, "weight") for layer in layers.values()],
        pruning_method=torch_prune.L1Unstructured,
        amount=amount,
    )

    assert_masks(kept(jopt.prune(jopt.sgd(0.1), amount)), layers)


@pytest.mark.parametrize("amount", AMOUNTS)
def test_a_mask_of_each_leaf_is_that_of_torch(amount):
    layers = modules()
    for layer in layers.values():
        torch_prune.l1_unstructured(layer, "weight", amount)

    assert_masks(kept(jopt.prune(jopt.sgd(0.1), amount, among="leaf")), layers)


@pytest.mark.parametrize("amount", AMOUNTS)
@pytest.mark.parametrize(("axis", "dim"), [(-1, 0), (-2, 1)])
def test_a_mask_of_channels_is_that_of_torch(amount, axis, dim):
    layers = modules()
    for layer in layers.values():
        torch_prune.ln_structured(layer, "weight", amount, n=2, dim=dim)
    tx = jopt.prune(jopt.sgd(0.1), amount, unit=jopt.Channel(axis), among="leaf")

    assert_masks(kept(tx), layers)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_quantized_weights_are_those_of_torch_and_so_is_the_gradient(bits):
    w, g = PARAMS["first"], RNG.normal(size=LAYERS["first"]).astype(np.float32)
    most = 2 ** (bits - 1) - 1
    theirs = torch.tensor(w, requires_grad=True)
    scale = theirs.detach().abs().amax(0) / most
    zero = torch.zeros(len(scale), dtype=torch.int32)
    seen = torch.fake_quantize_per_channel_affine(theirs, scale, zero, 1, -most, most)
    (seen * torch.tensor(g)).sum().backward()

    tx = jopt.straight_through(jopt.sgd(1.0), jopt.Quantize(bits))
    state = tx.init({"w": jnp.asarray(w)})
    projected = tx.eval_params(state, {"w": jnp.asarray(w)})["w"]
    _, state = tx.update({"w": jnp.asarray(g)}, state, {"w": projected})

    np.testing.assert_allclose(projected, seen.detach().numpy(), rtol=0, atol=2.4e-7)
    assert theirs.grad is not None
    np.testing.assert_array_equal(state.latent["w"], w - theirs.grad.numpy())
