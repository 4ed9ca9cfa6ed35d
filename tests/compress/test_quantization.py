"""Promises about weights in few bits: levels, storage, and what is refused."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jopt
from jopt.compress._packing import pack, unpack

WEIGHTS = np.random.default_rng(0).normal(size=(24, 10)).astype(np.float32)
WEIGHTS[:, 3] = 0


@pytest.mark.slow("one loop packs any number of bits", but=15)
@pytest.mark.parametrize("bits", range(2, 17))
@pytest.mark.parametrize("size", [0, 8, 21])
def test_codes_are_packed_in_as_many_bits_as_they_have(bits, size):
    rng = np.random.default_rng(bits)
    codes = rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), size).astype(np.int32)
    packed = pack(codes, bits)
    stream = [code >> bit & 1 for code in codes.tolist() for bit in range(bits)]
    expected = np.packbits(np.array(stream, np.uint8), bitorder="little")
    np.testing.assert_array_equal(packed.ravel()[: expected.size], expected)
    assert packed.size == -(-size // 8) * bits
    assert not packed.ravel()[expected.size :].any()
    on_device = pack(jnp.asarray(codes), bits)
    np.testing.assert_array_equal(on_device, packed)
    for held in (packed, on_device):
        np.testing.assert_array_equal(unpack(held, bits, size), codes)


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 8])
def test_full_levels_are_qwix_s_bit_for_bit(bits):
    qwix = pytest.importorskip("qwix", reason="the oracle")
    for axis, axes in ((-1, [1]), (0, [0]), (None, [])):
        ours = jopt.quantize(WEIGHTS, bits, axis, levels="full")
        theirs = qwix.quantize(
            jnp.asarray(WEIGHTS), f"int{bits}", channelwise_axes=axes
        )
        codes = np.asarray(theirs.qvalue).astype(np.int8)
        np.testing.assert_array_equal(ours.codes, codes)
        np.testing.assert_array_equal(ours.array(), qwix.dequantize(theirs))


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_symmetric_levels_are_torch_s(bits):
    torch = pytest.importorskip("torch", reason="the oracle")
    ours = jopt.quantize(WEIGHTS, bits)
    most = 2 ** (bits - 1) - 1
    scale = np.abs(WEIGHTS).max(axis=0) / most
    scale[3] = 1  # torch divides by the scale of a channel of zeros
    theirs = torch.fake_quantize_per_channel_affine(
        torch.tensor(WEIGHTS),
        torch.tensor(scale),
        torch.zeros(10, dtype=torch.int32),
        1,
        -most,
        most,
    )
    np.testing.assert_allclose(ours.array(), theirs.numpy(), rtol=0, atol=2.4e-7)


@pytest.mark.parametrize("levels", ["symmetric", "full"])
def test_an_error_is_at_most_half_a_step_but_for_the_largest_weights(levels):
    small = jopt.quantize(WEIGHTS, 4, levels=levels)
    steps = np.abs(small.array() - WEIGHTS) / np.where(small.scale, small.scale, 1)
    assert steps.max() <= 0.5 + 1e-5
    assert small.codes.min() == (-7 if levels == "symmetric" else -8)
    assert small.codes.max() == 7
    if levels == "symmetric":
        kept = np.abs(np.asarray(small.array())).max(axis=0)
        np.testing.assert_allclose(kept, np.abs(WEIGHTS).max(axis=0), rtol=1e-6)


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 8, 12])
def test_weights_on_symmetric_levels_stay_bit_for_bit(bits):
    small = jopt.quantize(WEIGHTS, bits)
    most = np.float32(2 ** (bits - 1) - 1)
    np.testing.assert_array_equal(small.scale[0], np.abs(WEIGHTS).max(axis=0) / most)
    again = jopt.quantize(small.array(), bits)
    chex.assert_trees_all_equal(again, small)
    trained = jopt.Quantize(bits)(jnp.asarray(WEIGHTS), jnp.int32(0))
    np.testing.assert_array_equal(trained, small.array())


def test_kernels_become_codes_and_biases_stay():
    params = {"kernel": jnp.asarray(WEIGHTS), "bias": jnp.ones(10)}
    small = jopt.quantize(params, 3)
    assert small["kernel"].packed.nbytes == 24 * 10 * 3 // 8
    assert small["kernel"].scale.shape == (1, 10)
    assert small["bias"] is params["bias"]
    back = jopt.dequantize(small)
    chex.assert_trees_all_equal_shapes_and_dtypes(back, params)
    again = jopt.dequantize(jopt.quantize(back, 3))
    chex.assert_trees_all_close(again, back, rtol=3e-7)


def test_a_second_call_gives_other_leaves_other_bits():
    params = {"first": WEIGHTS, "last": WEIGHTS}
    small = jopt.quantize(params, 8, where=lambda path, leaf: path == "last")
    small = jopt.quantize(small, 2)
    assert (small["first"].bits, small["last"].bits) == (2, 8)


def test_the_dtype_and_a_state_of_nnx_are_kept():
    model = nnx.Linear(6, 5, param_dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    params = nnx.state(model, nnx.Param)
    small = jopt.quantize(params, 8)
    assert small["kernel"].get_value().scale.dtype == jnp.float32
    back = jopt.dequantize(small)
    chex.assert_trees_all_equal_shapes_and_dtypes(back, params)
    nnx.update(model, back)
    assert model(jnp.ones((1, 6), jnp.bfloat16)).dtype == jnp.bfloat16


def test_it_maps_and_compiles():
    stacked = jnp.stack([WEIGHTS, 2 * WEIGHTS])
    both = jax.jit(jax.vmap(lambda w: jopt.dequantize(jopt.quantize(w, 3))))(stacked)
    one = jopt.dequantize(jopt.quantize(WEIGHTS, 3))
    np.testing.assert_allclose(both, np.stack([one, 2 * one]), rtol=1e-6)


def test_what_cannot_be_scaled_is_zero_or_nan_as_a_channel():
    weights = jnp.array([[jnp.nan, jnp.inf, 1e-38, 1.0], [1.0, 1.0, 0.0, -1.0]])
    back = np.asarray(jopt.dequantize(jopt.quantize(weights, 4)))
    assert np.isnan(back[:, :2]).all()
    np.testing.assert_array_equal(back[:, 2:], [[0.0, 1.0], [0.0, -1.0]])
    assert jopt.dequantize(jopt.quantize(jnp.ones((0, 3)), 4)).shape == (0, 3)


@pytest.mark.parametrize(
    ("given", "options", "words"),
    [
        (WEIGHTS, {"bits": 1}, "bits must be an integer from 2 to 16, got 1"),
        (WEIGHTS, {"bits": 17}, "With 8 bits the codes are int8"),
        (WEIGHTS, {"bits": 4.0}, "bits must be an integer from 2 to 16, got 4.0"),
        (WEIGHTS, {"bits": 4, "levels": "half"}, "one of symmetric, full"),
        (WEIGHTS, {"bits": 4, "axis": 2}, r"got 2 for the root of shape \[24, 10\]"),
        (
            {"a": np.ones(3), "b": np.ones(2)},
            {"bits": 4},
            "none of a, b; by default it chooses the leaves with two axes",
        ),
        (
            {"table": np.ones((2, 2), np.int32)},
            {"bits": 4},
            "leaves of real floats, but table is int32; leave it out by where",
        ),
    ],
)
def test_what_cannot_be_quantized_is_a_sentence(given, options, words):
    with pytest.raises((ValueError, TypeError), match=words):
        jopt.quantize(given, **options)
