"""Promises about bytes: what `size` says is what a file takes, and nothing is lost."""

import io
import os
import sys
import zipfile

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jopt

RNG = np.random.default_rng(0)
SHAPE = 64, 48


def sparse(shape, share):
    """Return weights of which a share is not zero."""
    weights = RNG.normal(size=shape).astype(np.float32)
    return jnp.asarray(np.where(RNG.random(shape) < share, weights, 0))


PARAMS = {
    "first": {"kernel": sparse(SHAPE, 0.1), "bias": jnp.ones(48)},
    "convolution": sparse((3, 3, 4, 8), 0.3).astype(jnp.bfloat16),
    "rest": [jnp.float32(3), jnp.arange(3), jnp.array([True, False])],
}
KERNEL = np.asarray(PARAMS["first"]["kernel"])
NONZERO = np.count_nonzero(KERNEL)


def of(found, path):
    return next(leaf for leaf in found.leaves if leaf.path == path)


def test_a_size_counts_parameters_and_all_their_bytes():
    found = jopt.size(PARAMS)
    leaves = jax.tree.leaves(PARAMS)
    assert found.parameters == sum(x.size for x in leaves)
    assert found.nonzero == sum(np.count_nonzero(x) for x in leaves)
    assert found.bytes == sum(x.nbytes for x in leaves)
    kernel = of(found, "first/kernel")
    assert kernel == ("first/kernel", "float32", SHAPE, 3072, NONZERO, 4 * 3072)


@pytest.mark.parametrize(
    ("coding", "expected"),
    [
        ("dense", 4 * KERNEL.size),
        ("bitmap", KERNEL.size // 8 + 4 * NONZERO),
        ("csr", 4 * (SHAPE[0] + 1) + 8 * NONZERO),
    ],
)
def test_bitmaps_and_indices_are_counted(coding, expected):
    found = jopt.size(PARAMS, coding)
    assert of(found, "first/kernel").bytes == expected
    assert of(found, "first/bias").bytes == 4 * 48  # no zeros: dense


def test_csr_is_what_scipy_holds():
    held = jopt.to_csr(PARAMS)["first"]["kernel"]
    parts = held.data.nbytes + held.indices.nbytes + held.indptr.nbytes
    assert of(jopt.size(PARAMS, "csr"), "first/kernel").bytes == parts


def test_codes_are_counted_with_their_scales():
    dense, kept = (jopt.size(PARAMS, c, bits=3) for c in ("dense", "bitmap"))
    assert of(dense, "first/kernel").bytes == KERNEL.size * 3 // 8 + 4 * 48
    assert dense == jopt.size(jopt.quantize(PARAMS, 3))
    codes = of(kept, "first/kernel").nonzero
    packed = -(-codes // 8) * 3
    assert of(kept, "first/kernel").bytes == KERNEL.size // 8 + packed + 4 * 48
    assert of(kept, "first/kernel").dtype == "3 bits"


def test_zip_is_what_deflate_makes_of_the_bytes():
    bias = np.asarray(PARAMS["first"]["bias"]).tobytes()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bias", bias)
        expected = archive.getinfo("bias").compress_size
    found = jopt.size(PARAMS, "zip")
    assert of(found, "first/bias").bytes == expected < len(bias)
    assert found.bytes < jopt.size(PARAMS, "bitmap").bytes


def test_a_size_prints_as_a_table():
    lines = str(jopt.size({"kernel": jnp.eye(100)}, "bitmap")).splitlines()
    assert lines[0] == "1.65 kB as bitmap: 10,000 parameters, 100 not zero (1.0%)"
    assert lines[2].split() == [
        *("leaf", "numbers", "shape", "parameters", "nonzero", "bytes")
    ]
    assert lines[3].split()[0] == "kernel"
    assert lines[3].endswith("10,000      100  1.65 kB")


@pytest.mark.parametrize("convert", [jopt.to_bcoo, jopt.to_csr])
def test_sparse_matrices_hold_what_is_not_zero(convert):
    held = convert(PARAMS)
    kernel = held["first"]["kernel"]
    x = RNG.normal(size=(2, 64)).astype(np.float32)
    product = (x if convert is jopt.to_csr else jnp.asarray(x)) @ kernel
    dense = kernel.toarray() if convert is jopt.to_csr else kernel.todense()
    np.testing.assert_array_equal(dense, KERNEL)
    np.testing.assert_allclose(product, x @ KERNEL, rtol=1e-5, atol=1e-5)
    assert getattr(kernel, "nnz", getattr(kernel, "nse", None)) == NONZERO
    assert held["first"]["bias"] is PARAMS["first"]["bias"]
    flat = PARAMS["convolution"].reshape(-1, 8).astype(jnp.float32)
    if convert is jopt.to_csr:
        np.testing.assert_array_equal(held["convolution"].toarray(), flat)


@pytest.mark.parametrize("bits", [None, 2, 3, 8, 12])
def test_what_is_loaded_is_what_was_saved(bits, tmp_path):
    path = tmp_path / "small.safetensors"
    params = PARAMS if bits is None else jopt.quantize(PARAMS, bits)
    jopt.save_compressed(path, params)
    loaded = jopt.load_compressed(path, like=jax.eval_shape(lambda: PARAMS))
    chex.assert_trees_all_equal(loaded, params)
    chex.assert_trees_all_equal_shapes_and_dtypes(loaded, params)
    header = 8 + int.from_bytes(path.read_bytes()[:8], "little")
    size = os.path.getsize(path) - header
    assert size == jopt.size(params, "bitmap").bytes
    assert os.listdir(tmp_path) == [path.name]


def test_without_a_model_the_result_is_a_dict_by_path(tmp_path):
    path = tmp_path / "a.safetensors"
    jopt.save_compressed(path, PARAMS)
    loaded = jopt.load_compressed(path)
    np.testing.assert_array_equal(loaded["first"]["kernel"], KERNEL)
    np.testing.assert_array_equal(loaded["rest"]["1"], [0, 1, 2])
    jopt.save_compressed(path, KERNEL)
    np.testing.assert_array_equal(jopt.load_compressed(path), KERNEL)


def test_any_tool_reads_the_dense_leaves(tmp_path):
    from safetensors.numpy import load_file

    path = tmp_path / "a.safetensors"
    jopt.save_compressed(path, PARAMS)
    loaded = load_file(path)
    np.testing.assert_array_equal(loaded["first/bias"], np.ones(48, np.float32))
    assert {"first/kernel.mask", "first/kernel.values"} <= loaded.keys()


def test_a_module_of_nnx_is_filled(tmp_path):
    path = tmp_path / "a.safetensors"
    model, other = (nnx.Linear(4, 3, rngs=nnx.Rngs(seed)) for seed in (0, 1))
    jopt.save_compressed(path, jopt.quantize(nnx.state(model), 8))
    like = nnx.state(other)
    nnx.update(other, jopt.dequantize(jopt.load_compressed(path, like=like)))
    np.testing.assert_allclose(other.kernel[...], model.kernel[...], atol=0.02)


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    jopt.save_compressed(path, {"old": KERNEL})

    def full(descriptor):
        raise OSError("no space")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        jopt.save_compressed(path, {"new": KERNEL})
    assert list(jopt.load_compressed(path)) == ["old"]
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize(
    ("like", "words"),
    [
        (
            {"a": np.ones((2, 4), np.float32), "b": np.ones(4, np.float32)},
            r"it has float32\[2, 3\] at a, where like has float32\[2, 4\]",
        ),
        (
            {"a": np.ones((2, 3), np.float16), "b": np.ones(4, np.float32)},
            r"it has float32\[2, 3\] at a, where like has float16\[2, 3\]",
        ),
        (
            {"a": np.ones((2, 3), np.float32), "c": np.ones(4, np.float32)},
            r"it has no leaf at c, where like has float32\[4\]",
        ),
        (
            {"a": np.ones((2, 3), np.float32)},
            r"it has float32\[4\] at b, where like has no leaf",
        ),
    ],
)
def test_a_file_of_another_model_names_the_first_leaf_that_differs(
    like, words, tmp_path
):
    params = {"a": np.ones((2, 3), np.float32), "b": np.ones(4, np.float32)}
    path = tmp_path / "a.safetensors"
    jopt.save_compressed(path, jopt.quantize(params, 8))
    with pytest.raises(ValueError, match=f"of another model: {words}"):
        jopt.load_compressed(path, like=like)


def test_what_cannot_be_stored_or_read_is_a_sentence(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    with pytest.raises(TypeError, match="params at w is complex64, which"):
        jopt.save_compressed(path, {"w": np.ones(2, np.complex64)})
    with pytest.raises(ValueError, match=r"two leaves of params have the name a/b"):
        jopt.save_compressed(path, {"a/b": np.ones(2), "a": {"b": np.ones(2)}})
    with pytest.raises(TypeError, match=r"size: params\['w'\] must be an array"):
        jopt.size({"w": "x"})
    with pytest.raises(ValueError, match="size: coding must be one of dense, bitmap"):
        jopt.size(PARAMS, "gzip")  # pyright: ignore[reportArgumentType]
    with pytest.raises(FileNotFoundError):
        jopt.load_compressed(path)
    path.write_bytes(b"no such file" * 9)
    with pytest.raises(ValueError, match="is not a safetensors file"):
        jopt.load_compressed(path)
    from safetensors.numpy import save_file

    save_file({"w": KERNEL}, path)
    with pytest.raises(ValueError, match="save_compressed has not written"):
        jopt.load_compressed(path)
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match=r"pip install 'jopt\[compress\]'"):
        jopt.save_compressed(path, PARAMS)
