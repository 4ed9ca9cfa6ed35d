"""`sweep.conv_general_dilated` is XLA's convolution, and fast in a sweep."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx
from hypothesis import given, settings, strategies as st

import jopt
from jopt import sweep
from jopt.report import Record, remarks
from jopt.sweep._convolution import in_a_loop

LAYOUTS = {1: ("NWC", "WIO", "NWC"), 2: ("NCHW", "HWIO", "NHWC"), 3: None}
NAME = "sweep_convolution"


@st.composite
def convolutions(draw):
    """Shapes of images and a kernel, and the arguments that say how it passes."""
    n = draw(st.integers(1, 3))
    few = lambda low, high: st.tuples(*[st.integers(low, high)] * n)  # noqa: E731
    groups, inputs, outputs = (draw(st.integers(1, 2)) for _ in range(3))
    size, dilation = draw(few(1, 3)), draw(few(1, 2))
    spans = [(k - 1) * d + 1 for k, d in zip(size, dilation, strict=True)]
    space = [s + draw(st.integers(0, 3)) for s in spans]
    edges = st.tuples(st.integers(-1, 2), st.integers(0, 2))
    padding = draw(st.sampled_from(["SAME", "VALID", "SAME_LOWER", "explicit"]))
    lhs_dilation = (1,) * n
    if padding == "explicit":
        lhs_dilation = draw(few(1, 2))
        padding = tuple(draw(edges) for _ in range(n))
    numbers = jax.lax.conv_dimension_numbers((1,) * (n + 2), (1,) * (n + 2), LAYOUTS[n])

    def laid(spec, batch, features, space):
        sizes = {spec[0]: batch, spec[1]: features}
        sizes |= dict(zip(spec[2:], space, strict=True))
        return tuple(sizes[axis] for axis in range(n + 2))

    shapes = (
        laid(numbers.lhs_spec, draw(st.integers(1, 2)), groups * inputs, space),
        laid(numbers.rhs_spec, groups * outputs, inputs, size),
    )
    return shapes, {
        "window_strides": draw(few(1, 3)),
        "padding": padding,
        "lhs_dilation": lhs_dilation,
        "rhs_dilation": dilation,
        "dimension_numbers": LAYOUTS[n],
        "feature_group_count": groups,
    }


def random(*shape, dtype="float32"):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), dtype)


@pytest.mark.slow("one case is quick, in each of the ways to derive")
@settings(max_examples=20, deadline=None)
@given(convolutions(), st.sampled_from([(0, 0), (1, None), (None, 2)]), st.booleans())
def test_it_is_xlas_convolution_with_its_gradients(drawn, axes, looped):
    check(drawn, axes, looped)


@pytest.mark.parametrize("axes", [(0, 0), (1, None), (None, 2)])
def test_a_stride_of_two_is_xlas_with_its_gradients(axes):
    options = {"window_strides": (2, 1), "padding": "SAME"}
    options |= {"dimension_numbers": LAYOUTS[2], "feature_group_count": 2}
    check((((2, 4, 5, 3), (3, 2, 2, 4)), options), axes, looped=True)


def mapped(shape, axis):
    return (*shape[:axis], 3, *shape[axis:])


def check(drawn, axes, looped):
    """Compare values, both gradients, and forward mode over them, under vmap."""
    shapes, options = drawn
    with jax.enable_x64(True), in_a_loop(looped):
        pairs = zip(shapes, axes, strict=True)
        given = [
            random(*(shape if axis is None else mapped(shape, axis)), dtype="float64")
            for shape, axis in pairs
        ]

        @functools.partial(jax.jit, static_argnums=0)
        def found(function, *given):
            def value(*pair):
                return jnp.sum(jnp.sin(function(*pair, **options)))

            def derived(*pair):
                gradient = jax.grad(value, (0, 1))
                return value(*pair), *jax.jvp(gradient, pair, pair)

            return jax.vmap(derived, axes)(*given)

        ours = found(sweep.conv_general_dilated, *given)
        theirs = found(jax.lax.conv_general_dilated, *given)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9),
        ours,
        theirs,
    )


def primitives(function, *given):
    """The names of all primitives of a function, at any depth."""
    return str(jax.make_jaxpr(function)(*given))


def test_products_are_where_a_kernel_has_an_axis_more():
    images, kernels = random(2, 3, 6), random(4, 5, 3, 2)
    convolve = functools.partial(
        sweep.conv_general_dilated, window_strides=(1,), padding="SAME"
    )

    one = primitives(convolve, images, kernels[0])
    shared = primitives(jax.vmap(convolve, (0, None)), images[None], kernels[0])
    each = primitives(jax.vmap(convolve, (None, 0)), images, kernels)

    assert NAME in one
    assert NAME in shared
    assert "conv" not in each
    assert "dot_general" in each


def test_gradients_are_products_in_a_loop_on_a_cpu():
    images, kernel = random(2, 3, 6), random(5, 3, 2)

    def loss(kernel):
        found = sweep.conv_general_dilated(images, kernel, (1,), "SAME")
        return jnp.sum(found**2)

    def lowered():
        return jax.jit(jax.grad(loss)).lower(kernel).as_text()

    outside = lowered().count("stablehlo.convolution")
    with in_a_loop(True):
        inside = lowered()

    assert outside == 2
    assert inside.count("stablehlo.convolution") == 1
    assert "stablehlo.dot_general" in inside


def test_it_is_transposed_in_scan_and_remat():
    images, kernel = random(2, 3, 6), random(3, 3, 3)

    def through(convolve):
        @jax.checkpoint
        def layer(x, _):
            return jnp.tanh(convolve(x, kernel, (1,), "SAME")), None

        return jax.jit(
            jax.vmap(
                jax.grad(lambda x: jnp.sum(jax.lax.scan(layer, x, length=3)[0] ** 2))
            )
        )(images[None])

    np.testing.assert_allclose(
        through(sweep.conv_general_dilated),
        through(jax.lax.conv_general_dilated),
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        (jnp.bfloat16, {"preferred_element_type": jnp.float32}),
        (jnp.int32, {}),
        (jnp.complex64, {}),
        (jnp.float32, {"batch_group_count": 2}),
    ],
    ids=["wider result", "integers", "complex", "batch groups"],
)
def test_what_it_does_not_support_is_xlas(dtype, options):
    images, kernel = jnp.ones((2, 1, 4), dtype), jnp.ones((2, 1, 3), dtype)
    options = {"window_strides": (1,), "padding": "SAME", **options}

    text = primitives(
        functools.partial(sweep.conv_general_dilated, **options), images, kernel
    )

    assert NAME not in text
    assert "conv_general_dilated" in text


def test_its_errors_are_xlas():
    with pytest.raises(ValueError, match="feature_group_count") as theirs:
        jax.lax.conv_general_dilated(random(1, 2, 3), random(1, 3, 1), (1,), "SAME")
    with pytest.raises(ValueError, match="feature_group_count") as ours:
        sweep.conv_general_dilated(random(1, 2, 3), random(1, 3, 1), (1,), "SAME")
    assert str(ours.value) == str(theirs.value)


class LinenBlock(linen.Module):
    @linen.compact
    def __call__(self, x):
        y = linen.Conv(4, (3, 3), strides=2)(x)
        y = linen.Conv(4, (3, 3))(linen.relu(linen.BatchNorm(False)(y)))
        return y + linen.Conv(4, (1, 1), strides=2)(x)


class LinenNet(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.Dense(2)(LinenBlock()(x).mean((1, 2)))


class NnxNet(nnx.Module):
    def __init__(self, rngs):
        self.layers = nnx.List([nnx.Conv(3, 4, (3, 3), strides=2, rngs=rngs)])
        self.own = nnx.Conv(4, 4, (3, 3), conv_general_dilated=own, rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.dense = nnx.Linear(4, 2, rngs=rngs)

    def __call__(self, x):
        for layer in (*self.layers, self.own):
            x = nnx.relu(layer(x))
        return self.dense(self.norm(x).mean((1, 2)))


def own(*given, **options):
    return jax.lax.conv_general_dilated(*given, **options)


@pytest.mark.slow("nnx's do in the quick run")
def test_all_layers_of_a_linen_model_convolve_fast():
    plain, images = LinenNet(), jnp.ones((2, 6, 6, 3))
    fast = sweep.with_fast_convolutions(plain)

    with jax.numpy_rank_promotion("allow"):
        variables = plain.init(jax.random.key(0), images)
        again = fast.init(jax.random.key(0), images)
        apply = lambda model: functools.partial(  # noqa: E731
            model.apply, variables, mutable=["batch_stats"]
        )
        texts = [primitives(apply(model), images) for model in (plain, fast)]
        values = [apply(model)(images)[0] for model in (plain, fast)]

    jax.tree.map(np.testing.assert_array_equal, variables, again)
    assert [text.count(NAME) for text in texts] == [0, 3]
    np.testing.assert_allclose(*values, rtol=1e-5)
    assert isinstance(fast, LinenNet)
    assert fast == sweep.with_fast_convolutions(plain)
    assert hash(fast)


def test_all_layers_of_an_nnx_model_convolve_fast_but_those_with_their_own():
    model = sweep.with_fast_convolutions(NnxNet(nnx.Rngs(0)))
    assert model.layers[0].conv_general_dilated is sweep.conv_general_dilated
    assert model.own.conv_general_dilated is own


def test_a_model_that_is_none_is_refused():
    message = r"with_fast_convolutions: model must be an nnx or a linen .* got dict"
    with pytest.raises(TypeError, match=message):
        sweep.with_fast_convolutions({"params": {}})


def task(make):
    labels = np.arange(32) % 2
    images = random(32, 6, 6, 3)

    def values(model, batch):
        logits = model(batch[0])
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1])

    return sweep.Task.from_model(
        "convolving",
        make,
        lambda model, batch, key: values(model, batch).mean(),
        lambda model, batch: {"loss": values(model, batch)},
        train=(images, labels),
        valid=(images[:8], labels[:8]),
        batch_size=8,
    )


@pytest.mark.slow("values, gradients and layers are quick, and mnist sweeps with them")
def test_a_sweep_of_them_scans_and_one_of_xlas_is_told_of_them():
    def fast(key):
        return sweep.with_fast_convolutions(NoOwn(nnx.Rngs(key)))

    trials = sweep.grid(jopt.sgd, learning_rate=[0.01, 0.1])
    told = []
    with jax.numpy_rank_promotion("allow"):
        results = [
            sweep.run(
                task(make),
                trials,
                steps=4,
                block=block,
                segments=1,
                progress=lambda now: told.append(now.convolves),
            )
            for make, block in ((fast, 1), (fast, 2), (plain, 2))
        ]
    one, two, theirs = results
    assert [r.info["strategy"] for r in results] == [["scan"], ["scan"], ["step"]]
    assert [r.info["convolves"] for r in results] == [False, False, True]
    for result in (one, two):
        np.testing.assert_allclose(result.curves, theirs.curves, rtol=1e-4)
    said = [
        any("with_fast_convolutions" in s for s in remarks(Record.of(r)))
        for r in (two, theirs)
    ]
    assert said == [False, True]
    assert {*told[:-1]} == {False, True}
    assert told[-1]


class NoOwn(NnxNet):
    def __init__(self, rngs):
        super().__init__(rngs)
        self.own = nnx.Conv(4, 4, (3, 3), rngs=rngs)


def plain(key):
    return NoOwn(nnx.Rngs(key))
