"""Promises of roles and scaling: roles by shapes alone, and factors of the papers."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

import jopt
from jopt.training import Role

SDS = jax.ShapeDtypeStruct


def shapes(width, heads=2):
    """A tree of every kind of leaf, with the kinds of the layers that Flax has."""
    return {
        "embed": {"kernel": SDS((97, width), float)},
        "query": {
            "kernel": SDS((width, heads, width // heads), float),
            "bias": SDS((heads, width // heads), float),
        },
        "widen": {"kernel": SDS((width, 4 * width), float)},
        "conv": {"kernel": SDS((3, 3, width, width), float)},
        "pool": {"kernel": SDS((3, 3, width, 10), float)},
        "layers": {"kernel": SDS((3, width, width), float)},
        "norm": {"scale": SDS((width,), float)},
        "head": {"kernel": SDS((width, 10), float), "bias": SDS((10,), float)},
    }


def test_roles_are_read_off_the_shapes_of_two_widths():
    found = jopt.roles(shapes(32), shapes(128))
    kinds: dict[str, Any] = {
        "embed/kernel": ("input", 1, 4, 97, 128),
        "query/kernel": ("hidden", 4, 4, 256, 64),
        "query/bias": ("vector", 1, 4, 1, 128),
        "widen/kernel": ("hidden", 4, 4, 128, 512),
        "conv/kernel": ("hidden", 4, 4, 9 * 128, 128),
        "pool/kernel": ("output", 4, 1, 9 * 128, 10),
        "layers/kernel": ("hidden", 4, 4, 3 * 128, 128),
        "norm/scale": ("vector", 1, 4, 1, 128),
        "head/kernel": ("output", 4, 1, 128, 10),
        "head/bias": ("fixed", 1, 1, 1, 10),
    }
    assert found == {path: Role(*role) for path, role in kinds.items()}
    fanned = jopt.roles(shapes(32, heads=2), shapes(64, heads=4))
    assert fanned["query/kernel"] == Role("hidden", 2, 2, 64, 64)


def test_models_of_flax_have_the_paths_of_their_parameters():
    def mlp(width):
        return nnx.Sequential(
            nnx.Linear(8, width, rngs=nnx.Rngs(0)),
            nnx.Linear(width, 2, rngs=nnx.Rngs(0)),
        )

    small, wide = (nnx.eval_shape(lambda w=w: mlp(w)) for w in (4, 8))
    kinds = {path: role.kind for path, role in jopt.roles(small, wide).items()}
    assert kinds["layers/0/kernel"] == "input"
    assert kinds["layers/1/kernel"] == "output"

    def dense(width):
        module = linen.Sequential([linen.Dense(width), linen.Dense(2)])
        return jax.eval_shape(module.init, jax.random.key(0), jnp.ones((1, 8)))

    kinds = {p: role.kind for p, role in jopt.roles(dense(4), dense(8)).items()}
    assert kinds["layers_1/kernel"] == "output"


def other(**changes):
    return {**shapes(64), **changes}


@pytest.mark.parametrize(
    ("wide", "options", "message"),
    [
        (shapes(32), {}, "must have different widths, got twice the same"),
        (other(more=SDS((2,), float)), {}, "and more is in one of them only"),
        (
            other(embed={"kernel": SDS((64,), float)}),
            {},
            "embed/kernel must have the same number of axes",
        ),
        (
            shapes(64),
            {"overrides": {"head/kernal": "output"}},
            r"must name parameters, got 'head/kernal' \(did you mean head/kernel",
        ),
        (shapes(64), {"overrides": {"head/kernel": "last"}}, "among hidden, input"),
    ],
)
def test_what_shapes_cannot_tell_is_refused_in_a_sentence(wide, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        jopt.roles(shapes(32), wide, **options)


@pytest.mark.parametrize("model", [None, [], 3, {"w": "kernel"}])
def test_a_model_without_shapes_is_refused(model):
    with pytest.raises(TypeError, match="roles: base must be a model, or a tree of"):
        jopt.roles(model, shapes(32))


def test_an_ambiguous_leaf_is_named_and_an_override_decides():
    small, wide = ({"q": SDS((16, n, 8), float)} for n in (2, 4))
    with pytest.raises(ValueError, match=r"q of shape .* is ambiguous, as its axis 1"):
        jopt.roles(small, wide)
    found = jopt.roles(small, wide, overrides={"q": "input"})
    assert found["q"] == Role("input", 1, 2, 16, 32)


HIDDEN = Role("hidden", 4, 4, 128, 128)
TALL = Role("hidden", 4, 1.0, 128, 8)  # as the fans of a tensor whose rows grow alone
INPUT, OUTPUT = Role("input", 1, 4, 97, 128), Role("output", 4, 1, 128, 10)
VECTOR, FIXED = Role("vector", 1, 4, 1, 128), Role("fixed", 1, 1, 1, 10)


@pytest.mark.parametrize(
    ("optimizer", "hidden", "inputs", "output", "vector"),
    [
        ("sgd", 1, 4, 1 / 4, 4),
        ("adam", 1 / 4, 1, 1 / 4, 1),
        ("lion", 1 / 4, 1, 1 / 4, 1),
        ("muon", 1, 1, 1 / 4, 1),
        ("soap", 1, 2, 1 / 2, 1),
        ("shampoo", 1, 2, 1 / 2, 1),
    ],
)
def test_factors_are_those_of_the_papers(optimizer, hidden, inputs, output, vector):
    given = {"h": HIDDEN, "i": INPUT, "o": OUTPUT, "v": VECTOR, "f": FIXED}
    for rule in ("mup", "spectral"):
        found = jopt.scaling(given, rule, optimizer)
        expected = {"h": hidden, "i": inputs, "o": output, "v": vector, "f": 1}
        assert found.rate == expected
    assert jopt.scaling(given, "mup", optimizer).init["o"] == 0.5
    assert set(jopt.scaling(given, "sp", optimizer).rate.values()) == {1.0}


def test_muon_makes_up_for_the_shapes_that_its_own_factor_leaves_out():
    # Its factor is sqrt(max(1, out / in)), and sqrt(out / in) is wanted.
    def wanted(ins, outs):
        return np.sqrt(outs / ins) / np.sqrt(max(1, outs / ins))

    found = jopt.scaling({"w": TALL}, "mup", "muon").rate["w"]
    np.testing.assert_allclose(found, wanted(128, 8) / wanted(32, 8))


def test_spectral_init_has_one_spectral_norm_for_all_sizes():
    given = jopt.roles(shapes(64), shapes(512))
    factor = jopt.scaling(given, "spectral").init["head"]["kernel"]

    def norm(width):
        draw = jax.random.normal(jax.random.key(0), (width, 10)) / np.sqrt(width)
        return np.linalg.norm(np.asarray(draw), 2) / np.sqrt(10 / width)

    np.testing.assert_allclose(factor * norm(512) / norm(64), 1, rtol=0.1)


PARAMS = {"a": {"w": jnp.ones((2, 3))}, "b": jnp.ones(3)}


def test_factors_are_numbers_that_are_mapped_and_differentiated_in_one_program():
    traces = []

    @jax.jit
    def stepped(factor):
        traces.append(None)
        tx = jopt.chain(jopt.sgd(0.1), jopt.scale_leaves({"a": factor, "b": 2.0}))
        updates, _ = tx.update(PARAMS, tx.init(PARAMS), PARAMS)
        return updates

    values = jnp.asarray([0.5, 1.0, 3.0])
    mapped = jax.vmap(stepped)(values)
    ones = [stepped(value) for value in values]
    for row, one in enumerate(ones):
        of_row = jax.tree.map(lambda leaf, row=row: leaf[row], mapped)
        jax.tree.map(np.testing.assert_array_equal, of_row, one)
    np.testing.assert_allclose(ones[2]["a"]["w"], -0.3 * np.ones((2, 3)), rtol=1e-6)
    np.testing.assert_allclose(ones[2]["b"], -0.2 * np.ones(3), rtol=1e-6)
    assert len(traces) == 1
    slope = jax.grad(lambda c: stepped(c)["a"]["w"].sum())(0.5)
    np.testing.assert_allclose(slope, -0.6, rtol=1e-6)


def test_buckets_and_nnx_states_take_factors_by_path():
    from jopt.core import pack, unpack

    tx = jopt.scale_leaves({"a": {"w": 0.5}, "b": 2.0})
    packed = pack(PARAMS, tx)
    updates, _ = tx.update(packed, tx.init(packed), packed)
    found = unpack(updates)
    np.testing.assert_array_equal(found["a"]["w"], 0.5)
    np.testing.assert_array_equal(found["b"], 2.0)
    state = nnx.state(nnx.Linear(2, 3, rngs=nnx.Rngs(0)), nnx.Param)
    scaled, _ = jopt.scale_leaves({"kernel": 0.0, "bias": 1.0}).update(state, ())
    assert not scaled["kernel"][...].any()
    with pytest.raises(
        ValueError, match=r"^ScaleLeaves: factors must .* no kernal in the params"
    ):
        jopt.scale_leaves({"kernal": 0.0, "kernel": 1.0, "bias": 1.0}).init(state)
