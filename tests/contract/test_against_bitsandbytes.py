"""Few bits as others have them: bitsandbytes, for 4 bits torchao, FlashOptim.

bitsandbytes rounds on a CPU first, to a grid of 65,536 numbers, which none of its other
kernels do: below 1.5e-5 of the greatest it knows one number, and that is not zero. What
is compared is the kernel that it has for any device, and that one after the grid.
"""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from transformation_runs import trained

import jopt
from jopt.wrappers import Coded, Companded, Dynamic
from jopt.wrappers._coded_arrays import dynamic_map

torch = pytest.importorskip("torch", reason="it is the oracle's")
NEAREST = Dynamic(keep_positive=False)
either_sign = pytest.mark.parametrize("signed", [True, False])


@pytest.fixture(scope="module")
def theirs():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("bitsandbytes", reason="an oracle, if installed")


def numbers(signed, size=100_003, seed=0):
    """Of many sizes; the last block is short, and there are blocks of extremes."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=size) * np.exp(4 * rng.normal(size=size))
    x[:256] = 0
    x[256:512] = np.linspace(-1, 1, 256)
    x[512:768] = np.tile([-1, 1], 128) * 3e38
    x[768:1024] *= 1e-30
    return (x if signed else np.abs(x)).astype(np.float32)


def nearest(given, code, block=256):
    """Codes and scales of the package's kernel for any device."""
    quantize = torch.ops.bitsandbytes.quantize_blockwise.default
    keys = torch._C.DispatchKeySet(torch._C.DispatchKey.CompositeExplicitAutograd)
    return quantize.redispatch(keys, given, code, block)


@either_sign
def test_the_map_is_the_same_to_the_last_bit(theirs, signed):
    wanted = theirs.functional.create_dynamic_map(signed).numpy()

    np.testing.assert_array_equal(dynamic_map(signed, 8), wanted)


@either_sign
def test_codes_and_scales_and_what_they_stand_for_are_the_same(theirs, signed):
    x = numbers(signed)
    entries = theirs.functional.create_dynamic_map(signed)
    codes, scales = nearest(torch.tensor(x), entries)

    ours = Coded.of(jnp.asarray(x), 8, 256, NEAREST)

    got = np.asarray(ours.codes).ravel()[: len(x)]
    signs = np.repeat(np.asarray(ours.scales) < 0, 256)[: len(x)]
    same = signs == signed  # a block of zeros has no sign here
    assert same.mean() > 0.99
    np.testing.assert_array_equal(got[same], codes.numpy()[same])
    np.testing.assert_array_equal(np.abs(ours.scales).ravel(), scales.numpy())
    back = torch.ops.bitsandbytes.dequantize_blockwise.default(
        codes, scales, entries, 256, torch.float32
    )
    np.testing.assert_array_equal(ours.array(), back.numpy())


@either_sign
def test_its_cpu_kernel_is_the_same_on_its_grid(theirs, signed):
    x = numbers(signed)[256:]
    entries = theirs.functional.create_dynamic_map(signed)
    codes, state = theirs.functional.quantize_blockwise(
        torch.tensor(x), entries, blocksize=256
    )
    scales = state.absmax.numpy()

    most = np.float32(65535)
    z = np.clip(x * (1 / np.repeat(scales, 256)[: len(x)]), -1, 1).astype(np.float32)
    place = np.floor((z + 1) * np.float32(0.5) * most + np.float32(0.5))
    z = jnp.asarray(place / most * 2 - 1)
    got = NEAREST.quantize(z, jnp.array(signed), 8)

    np.testing.assert_array_equal(got, codes.numpy())


@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_a_training_with_adamw_is_the_same(theirs, monkeypatch, spread):
    """Codes differ where rounding in float32 put a number beyond a border."""
    from bitsandbytes.backends.cpu import ops

    def quantized(x, code, scales, codes, block):
        for into, made in zip((codes, scales), nearest(x, code, block), strict=True):
            into.copy_(made)

    monkeypatch.setattr(ops, "_quant_blockwise_fp32_direct", quantized)
    steps, size = 60, 5003
    # Numbers that float32 has, so that 1 - b1 is the same in float64.
    rate, b1, b2, eps, decay = 2**-7, 0.875, 0.984375, 2**-20, 0.125
    rng = np.random.default_rng(1)
    start = rng.normal(size=size).astype(np.float32)
    sizes = np.exp(spread * rng.normal(size=size))
    grads = (sizes * rng.normal(size=(steps, size))).astype(np.float32)

    weights = torch.tensor(start, requires_grad=True)
    optimizer = theirs.optim.AdamW8bit([weights], rate, (b1, b2), eps, decay)
    for g in grads:
        weights.grad = torch.tensor(g)
        optimizer.step()
    tx = jopt.low_bit(jopt.adamw(rate, b1, b2, eps, weight_decay=decay), code=NEAREST)

    params, state = jax.jit(trained)(tx, jnp.asarray(grads), jnp.asarray(start))

    kept = optimizer.state[weights]
    adam = state.inner_state[0]
    for ours, codes, scales in (
        (adam.mu, kept["state1"], kept["absmax1"]),
        (adam.nu, kept["state2"], kept["absmax2"]),
    ):
        got = np.asarray(ours.codes).ravel()[:size]
        assert np.mean(got != codes.numpy()) < 1e-3
        np.testing.assert_allclose(np.abs(ours.scales).ravel(), scales, rtol=1e-5)
    apart = np.abs(np.asarray(params) - weights.detach().numpy())
    assert (
        apart.max() < 0.05 * rate * steps
    )  # a code that differs, until it is forgotten
    assert apart.mean() < 1e-5


def test_4_bits_with_a_sign_are_torchaos():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ao = pytest.importorskip("torchao.optim.quant_utils", reason="an oracle")
    entries = ao.create_dynamic_map(True, 3, 4)
    x = numbers(True, 256 * 390)[1024:]
    scaled, scales = ao.scale_tensor(torch.tensor(x), 128)
    codes = ao.quantize_4bit_with_qmap(scaled, torch.tensor(entries)).numpy()

    ours = Coded.of(jnp.asarray(x), 4, 128, Dynamic())

    np.testing.assert_array_equal(dynamic_map(True, 4), np.float32(entries))
    packed = np.asarray(ours.codes)
    got = np.concatenate([packed & 15, packed >> 4], axis=1).ravel()
    assert (np.asarray(ours.scales) < 0).all()
    # Of two equally near entries they take the upper one, and they divide.
    assert np.mean(got != codes) < 1e-5
    np.testing.assert_array_equal(np.abs(ours.scales).ravel(), scales.numpy())


def test_companded_codes_are_flashoptims():
    flash = pytest.importorskip("flashoptim_jax.quantization", reason="an oracle")
    x = jnp.asarray(numbers(True, 3210)[1024:])

    for given, values in (
        (x, flash.quantize_momentum(x).values + 127),
        (x * x, flash.quantize_variance(x * x).values),
    ):
        codes = Coded.of(given, 8, 32, Companded(False)).codes.ravel()[: x.size]
        np.testing.assert_array_equal(codes, values.astype(jnp.int32) % 256)
