"""Promises of low-bit state: which arrays are coded and how close they stay."""

import pickle

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from comparison import relaxed

import jopt
from jopt.core import Buckets, all_finite, pack, pack_like, unpack
from jopt.wrappers import Coded, Companded, Dynamic, is_coded
from jopt.wrappers._coded_arrays import dynamic_map

each_code = pytest.mark.parametrize("code", [Dynamic(), Companded()], ids=str)
each_width = pytest.mark.parametrize("bits", [8, 4])
DYNAMIC = Dynamic()
PARAMS = {"kernel": jnp.full((80, 60), 0.5), "bias": jnp.full(60, 0.5)}


def spread(size, decades=2.0, seed=0):
    """Numbers of both signs whose sizes differ by powers of ten."""
    rng = np.random.default_rng(seed)
    sizes = 10 ** rng.uniform(-decades, 0, size)
    return (sizes * rng.choice([-1, 1], size)).astype(np.float32)


def there_and_back(x, bits=8, block=256, code=DYNAMIC):
    return np.asarray(Coded.of(jnp.asarray(x), bits, block, code).array())


def coded(tree):
    """The paths of what is coded."""
    found = jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_coded)
    return {jax.tree_util.keystr(path) for path, x in found if is_coded(x)}


def trained(tx, params=PARAMS, steps=60):
    """The params after descending a bowl whose sides are not equally steep."""

    def step(carry, _):
        p, state = carry
        grads = jax.tree.map(
            lambda x: x * jnp.linspace(0.1, 3, x.size).reshape(x.shape), unpack(p)
        )
        updates, state = tx.update(pack_like(p, grads), state, p)
        return (jopt.apply_updates(p, updates), state), None

    return jax.jit(
        lambda: jax.lax.scan(step, (params, tx.init(params)), length=steps)[0]
    )()


@pytest.mark.parametrize("library", [jopt, optax])
def test_large_float_arrays_are_coded_and_all_else_passes_by(library):
    params = {
        "large": jnp.ones((64, 64)),
        "small": jnp.ones((64, 63)),
        "complex": jnp.ones((80, 80), jnp.complex64),
        "half": jnp.ones(5000, jnp.bfloat16),
    }
    tx = jopt.low_bit(jopt.chain(library.scale_by_adam(), library.trace(0.9)))

    state = tx.init(params)

    fields = (".inner_state[0].mu", ".inner_state[0].nu", ".inner_state[1].trace")
    # optax's mean square is complex where the gradient is.
    real = {".inner_state[0].nu['complex']"} if library is jopt else set()
    assert coded(state) - real == {
        f"{field}['{name}']" for field in fields for name in ("large", "half")
    }
    assert state.inner_state[0].count.dtype == jnp.int32
    assert state.inner_state[0].mu["large"].codes.dtype == jnp.uint8


@each_width
def test_adamw_has_at_most_these_bytes_a_parameter(bits):
    params = jax.ShapeDtypeStruct((1000, 1001), jnp.float32)

    found = jopt.memory(
        jax.eval_shape(jopt.low_bit(jopt.adamw(1e-3), bits).init, params), params
    )

    assert found.bytes <= {8: 2.1, 4: 1.1}[bits] * params.size


@pytest.mark.parametrize(
    "make",
    [
        lambda: jopt.master_weights(jopt.adamw(1e-3)),
        lambda: jopt.schedule_free_sgd(1e-3),
        lambda: jopt.madgrad(1e-3),
        lambda: jopt.prodigy(),
        lambda: optax.contrib.schedule_free_sgd(1e-3),
        lambda: optax.contrib.prodigy(),
    ],
)
def test_copies_of_the_params_are_no_moments(make):
    params = jnp.linspace(1, 2, 5000)

    state = jopt.low_bit(make()).init(params)

    copies = [x for x in jax.tree.leaves(state) if jnp.shape(x) == (5000,)]
    assert len(copies) == 1
    np.testing.assert_array_equal(copies[0], params)


def test_codes_inside_codes_stay_as_they_are():
    inner = jopt.low_bit(jopt.adam(0.1), bits=4, block=32, min_size=100)
    groups = {"a": inner, "b": jopt.adam(0.1)}
    tx = jopt.low_bit(jopt.partition(groups, {"a": "a", "b": "b"}), min_size=1000)
    params = {name: jnp.ones((64, 64)) for name in groups}
    state = tx.init(params)
    _, after = jax.jit(tx.update)(params, state, params)
    chex.assert_trees_all_equal_structs(after, state)
    coded = [x for x in jax.tree.leaves(after, is_leaf=is_coded) if is_coded(x)]
    assert sorted(x.bits for x in coded) == [4, 4, 8, 8]


@each_width
@pytest.mark.parametrize("signed", [False, True])
def test_codes_are_the_nearest_entries(bits, signed):
    entries = dynamic_map(signed, bits)
    borders = (entries[1:] + entries[:-1]) / np.float32(2)
    near = [np.nextafter(borders, np.float32(to)) for to in (-2, 2)]
    even = np.linspace(-1 if signed else 0, 1, 5001, dtype=np.float32)
    z = np.concatenate([entries, borders, *near, even, 10 ** (8 * np.abs(even) - 8)])
    z = z.astype(np.float32)

    @jax.jit
    def there_and_back(z, signed):
        codes = Dynamic(False).quantize(z, signed, bits)
        return codes, Dynamic().values(codes, signed, bits)

    got, back = map(np.asarray, there_and_back(z, signed))

    # Exact in float64; argmin takes the first, and lower, of two equals.
    apart = np.abs(z.astype(np.float64)[:, None] - entries)
    halves = np.isin(z, borders)  # rounded, they are not quite in the middle
    np.testing.assert_array_equal(got[~halves], apart.argmin(1)[~halves])
    np.testing.assert_array_equal(got[halves], np.searchsorted(borders, z[halves]))
    np.testing.assert_array_equal(back, entries[got])


@each_width
@pytest.mark.parametrize("code", [Companded(False), Companded()], ids=str)
def test_companded_codes_are_the_formulas(bits, code):
    x = spread(3200)
    steps = {8: (127, 255), 4: (7, 15)}[bits]

    means = there_and_back(x, bits, 32, code)
    squares = there_and_back(x**2, bits, 32, code)

    blocks = x.astype(np.float64).reshape(-1, 32)
    scale = np.abs(blocks).max(1, keepdims=True)
    c = np.round(steps[0] * 2 * blocks / (scale + np.abs(blocks))) / steps[0]
    np.testing.assert_allclose(means, (scale * c / (2 - np.abs(c))).ravel(), rtol=2e-6)
    c = np.round(steps[1] * np.abs(blocks) / scale)
    c = np.maximum(c, code.keep_positive) / steps[1]
    np.testing.assert_allclose(squares, ((scale * c) ** 2).ravel(), rtol=2e-6)


@pytest.mark.parametrize(
    ("code", "bits", "dtype"),
    [
        (Dynamic(), 8, "float32"),
        (Dynamic(), 4, "bfloat16"),
        (Companded(), 8, "bfloat16"),
        (Companded(), 4, "float64"),
    ],
)
def test_every_shape_and_dtype_comes_back_near(code, bits, dtype):
    with jax.enable_x64(dtype == "float64"):
        shapes = ((), (0, 3), (7,), (64,), (5, 13, 3))
        given = [jnp.asarray(spread(shape)).astype(dtype) for shape in shapes]
        back = jax.jit(lambda xs: [Coded.of(x, bits, 16, code).array() for x in xs])(
            given
        )

        for x, y in zip(given, back, strict=True):
            assert (y.shape, y.dtype) == (x.shape, x.dtype)
            apart = np.abs(np.asarray(y, np.float64) - np.asarray(x, np.float64))
            assert apart.max(initial=0) <= {8: 0.02, 4: 0.21}[bits]


@each_code
def test_the_greatest_and_the_least_floats_come_back(code):
    for scale in (3e38, 2e38, 1e30, 1e-30, 1e-36):
        x = np.float32(scale) * np.array([1, -0.5, 0.25, 0], np.float32)

        np.testing.assert_allclose(there_and_back(x, code=code), x, rtol=0.01)


def test_float64_keeps_the_range_of_float64():
    with jax.enable_x64(True):
        x = jnp.array([1e200, -5e199, 1e-300, 0])

        np.testing.assert_allclose(there_and_back(x), [1e200, -5e199, 0, 0], rtol=0.01)


@each_code
@each_width
def test_zeros_stay_zeros(code, bits):
    x = np.zeros(96, np.float32)
    x[40] = 3  # a block without negative numbers
    x[70], x[71] = -1, 1

    np.testing.assert_array_equal(there_and_back(x, bits, 32, code) == 0, x == 0)


@each_code
def test_numbers_without_signs_have_twice_as_fine_codes(code):
    squares = spread(25_600) ** 2
    signed = squares.copy()
    signed[::256] = -1

    def error(x):
        back = there_and_back(x, code=code)
        return np.mean(np.abs(back - x)[np.arange(len(x)) % 256 > 0])

    assert error(squares) < 0.6 * error(signed)
    scales = Coded.of(jnp.asarray(squares), 8, 256, code).scales
    assert (scales > 0).all()


@each_code
@each_width
def test_only_zero_becomes_zero_in_a_mean_square(code, bits):
    x = np.repeat([1, 1e-3, 1e-9, 1e-30, 0, 0], 16).astype(np.float32)

    back = there_and_back(x, bits, 96, code)

    np.testing.assert_array_equal(back > 0, x > 0)


@each_code
@each_width
def test_a_block_with_something_not_finite_is_nan_and_others_are_not(code, bits):
    for bad in (np.nan, np.inf, -np.inf):
        x = spread(96)
        x[40] = bad

        back = there_and_back(x, bits, 32, code)

        assert np.isnan(back[32:64]).all()
        assert np.isfinite(back[:32]).all()
        assert np.isfinite(back[64:]).all()


def test_a_gradient_that_is_not_finite_is_found_in_the_state():
    tx = jopt.low_bit(jopt.adamw(1e-3))
    grads = jax.tree.map(lambda p: p.at[3].set(jnp.inf), PARAMS)

    _, state = tx.update(grads, tx.init(PARAMS), PARAMS)

    assert not all_finite(state.inner_state[0].nu["kernel"])


@pytest.mark.slow("one step is checked bit by bit in the quick run")
@pytest.mark.parametrize(
    ("settings", "apart"),
    [
        ({}, 0.01),
        ({"code": Companded()}, 0.01),
        ({"bits": 4}, 0.1),
        ({"bits": 4, "block": 32, "code": Companded()}, 0.1),
    ],
)
def test_training_ends_where_float32_ends(settings, apart):
    tx = jopt.adamw(1e-2)
    wanted, _ = trained(tx)

    got, state = trained(jopt.low_bit(tx, **settings))

    assert coded(state)
    np.testing.assert_allclose(got["kernel"], wanted["kernel"], atol=apart)
    np.testing.assert_array_equal(got["bias"], wanted["bias"])
    assert (got["kernel"] != wanted["kernel"]).any()


@pytest.mark.slow("codes are checked in the quick run")
def test_a_small_gradient_beside_large_ones_makes_no_long_steps():
    """With bitsandbytes' rule its mean square is 0, and its mean is divided by eps."""
    sizes = jnp.asarray(np.abs(spread(5120, decades=9)))
    rng = np.random.default_rng(0)
    noise = jnp.asarray(rng.normal(size=(40, 5120)).astype(np.float32))

    def longest(code):
        tx = jopt.low_bit(jopt.scale_by_adam(), code=code)

        def step(state, g):
            updates, state = tx.update(sizes * g, state)
            return state, jnp.max(jnp.abs(updates))

        return jax.lax.scan(step, tx.init(sizes), noise)[1].max()

    assert longest(Dynamic()) < 10
    assert longest(Companded()) < 10
    assert longest(Dynamic(False)) > 100


def test_joined_leaves_pass_by_and_large_ones_are_not_joined():
    small = {f"b{i}": jnp.ones(3000) for i in range(3)}
    tx = jopt.low_bit(jopt.adamw(1e-2))

    packed = pack({"kernel": jnp.ones((80, 60)), **small}, tx)
    state = tx.init(packed)

    assert [vector.shape for vector in packed.vectors] == [(9000,)]
    assert {path.rpartition(".")[2] for path in coded(state)} == {"leaves[0]"}
    assert not isinstance(pack({"a": jnp.ones(4096), "b": jnp.ones(4096)}, tx), Buckets)


def test_joined_leaves_change_nothing():
    tx = jopt.low_bit(jopt.adamw(1e-2))
    params = {**PARAMS, "other": jnp.full(60, 0.5)}

    joined, _ = trained(tx, pack(params, tx))

    alone, _ = trained(tx, params)
    chex.assert_trees_all_close(unpack(joined), alone, rtol=1e-6)


def test_a_checkpoint_by_leaf_fills_a_state_with_buckets():
    params = {**PARAMS, "other": jnp.full(60, 0.5)}
    state = jopt.TrainState.create(params, jopt.low_bit(jopt.adamw(1e-2)))
    assert isinstance(state.packed, Buckets)

    again = state.filled(state.by_leaf())

    chex.assert_trees_all_equal_structs(again, state)
    chex.assert_trees_all_equal(again.opt_state, state.opt_state)


def test_the_state_is_written_in_place():
    tx = jopt.low_bit(jopt.adamw(1e-2))
    state = tx.init(PARAMS)

    def step(state, params, grads):
        updates, state = tx.update(grads, state, params)
        return state, jopt.apply_updates(params, updates)

    program = jax.jit(step, donate_argnums=(0, 1)).lower(state, PARAMS, PARAMS)
    analysis = program.compile().memory_analysis()

    assert analysis is not None
    assert (
        analysis.alias_size_in_bytes
        >= jopt.memory(state).bytes + jopt.memory(PARAMS).bytes
    )


def test_a_state_is_pickled_mapped_and_compared():
    state = jopt.low_bit(jopt.adamw(1e-2)).init(PARAMS)

    back = pickle.loads(pickle.dumps(state))

    chex.assert_trees_all_equal_structs(back, state)
    doubled = jax.tree.map(lambda x: jnp.stack([x, x]), state)  # as vmap has it
    array = doubled.inner_state[0].mu["kernel"].array()
    assert array.shape == (2, 80, 60)
    assert "8 bits" in repr(state)


def test_scales_keep_the_dtype_that_they_have():
    tx = jopt.low_bit(jopt.adamw(1e-2))
    state = jax.tree.map(
        lambda x: x.astype(jnp.bfloat16) if x.dtype == jnp.float32 else x,
        tx.init(PARAMS),
    )

    _, new = tx.update(PARAMS, state, PARAMS)

    before, after = (jax.tree.map(lambda x: x.dtype, s) for s in (state, new))
    assert jax.tree.leaves(before) == jax.tree.leaves(after)


def test_optax_is_coded_as_jopt_is():
    with relaxed():
        theirs, _ = trained(jopt.low_bit(optax.adamw(1e-2, weight_decay=0.1)))
    ours, _ = trained(jopt.low_bit(jopt.adamw(1e-2, weight_decay=0.1)))

    np.testing.assert_allclose(theirs["kernel"], ours["kernel"], atol=2e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bits": 2}, "LowBit: bits must be 8 or 4, got 2."),
        ({"block": 1}, "LowBit: block must be even and at least 2, got 1"),
        ({"block": 33}, "even"),
        ({"min_size": 0}, "LowBit: min_size must be at least 1, got 0."),
    ],
)
def test_bad_settings_say_what_would_do(settings, message):
    with pytest.raises(ValueError, match=message):
        jopt.low_bit(jopt.sgd(0.1), **settings)
