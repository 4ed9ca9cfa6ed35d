"""Low-precision parameters: master weights, stochastic rounding, Kahan sums."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits
from transformation_runs import trained

import jopt
from jopt.core import pack, pack_like
from jopt.wrappers import kahan, stochastic_rounding

WRAPPERS = {
    "master": jopt.master_weights,
    "stochastic": stochastic_rounding,
    "kahan": kahan,
}
every_wrapper = pytest.mark.parametrize("name", WRAPPERS)
every_dtype = pytest.mark.parametrize("dtype", ["bfloat16", "float16"])


def float64(tree):
    return jax.tree.map(lambda x: np.asarray(x).astype(np.float64), tree)


run = jax.jit(trained)
SGD = jopt.sgd(0.75)  # of few bits, so that the length of a step is exact


@jax.jit
def stepped(tx, params, grads):
    """Where the params are after one step of SGD."""
    return run(tx, grads[None], params)[0]


def exact(params, grads):
    """The same in float32."""
    return params.astype(jnp.float32) - 0.75 * grads.astype(jnp.float32)


def numbers(dtype, size=4096, seed=0):
    """Parameters of many magnitudes, and gradients of up to half of each."""
    rng = np.random.default_rng(seed)
    p = rng.normal(size=size) * 10.0 ** rng.uniform(-3, 2, size)
    grads = p * rng.uniform(-0.5, 0.5, size)
    grads[::8] = 0
    return jnp.asarray(p, dtype), jnp.asarray(grads, dtype)


def neighbours(w, dtype):
    """The numbers of `dtype` below and above, or twice the same."""
    near = np.asarray(w).astype(jnp.dtype(dtype))
    to = np.where(near.astype(np.float64) > w, -np.inf, np.inf).astype(near.dtype)
    other = np.where(near.astype(np.float64) == w, near, np.nextafter(near, to))
    both = np.stack([near, other]).astype(np.float64)
    return both.min(axis=0), both.max(axis=0)


@every_wrapper
def test_a_thousand_steps_of_a_thousandth_are_one(name):
    grads = -jnp.ones((1000, 256), jnp.bfloat16)
    start = jnp.ones(256, jnp.bfloat16)

    alone = float64(run(jopt.sgd(1e-3), grads, start)[0])
    moved = float64(run(WRAPPERS[name](jopt.sgd(1e-3)), grads, start)[0])

    np.testing.assert_array_equal(alone, 1)
    if name == "stochastic":
        # A step is 1/128 with the probability p = 0.128, else 0.
        spread = np.sqrt(1000 * 0.128 * 0.872) / 128
        assert abs(moved.mean() - 2) < 4 * spread / np.sqrt(256)
        assert 0.8 * spread < moved.std() < 1.2 * spread
    else:
        np.testing.assert_array_equal(moved, 2)


@every_dtype
def test_stochastic_rounding_is_a_neighbour_and_on_average_the_step(dtype):
    p, grads = numbers(dtype)
    keys = jax.random.split(jax.random.key(0), 200)

    moved = float64(
        jax.vmap(lambda key: stepped(stochastic_rounding(SGD, key), p, grads))(keys)
    )

    w = float64(exact(p, grads))
    low, high = neighbours(w, dtype)
    assert ((moved == low) | (moved == high)).all()
    apart = low < high
    share = (w - low)[apart] / (high - low)[apart]
    ups = (moved == high).sum(axis=0)[apart]
    off = (ups - 200 * share) / np.sqrt(200 * share * (1 - share))
    assert abs(off.mean()) < 4 / np.sqrt(off.size)
    assert 0.9 < off.std() < 1.1  # as independent draws are


@every_dtype
@pytest.mark.parametrize("name", ["master", "kahan"])
def test_a_step_of_up_to_half_ends_at_the_rounding(name, dtype):
    p, grads = numbers(dtype)

    moved = stepped(WRAPPERS[name](SGD), p, grads)

    wanted = exact(p, grads).astype(dtype)
    np.testing.assert_array_equal(float64(moved), float64(wanted))


@every_dtype
@every_wrapper
def test_a_step_from_zero_ends_at_a_neighbour(name, dtype):
    _, grads = numbers(dtype)
    zeros = jnp.zeros_like(grads)

    moved = float64(stepped(WRAPPERS[name](SGD), zeros, grads))

    low, high = neighbours(float64(exact(zeros, grads)), dtype)
    assert ((moved == low) | (moved == high)).all()


@every_dtype
def test_a_longer_step_is_itself_rounded(dtype):
    p, _ = numbers(dtype)
    grads = p - p[::-1]

    moved = float64(stepped(stochastic_rounding(SGD), p, grads))

    def reached(number):
        way = jnp.asarray(number - float64(p), jnp.float32).astype(dtype)
        return float64(jopt.apply_updates(p, way))

    low, high = neighbours(float64(exact(p, grads)), dtype)
    assert ((moved == reached(low)) | (moved == reached(high))).all()
    assert ((moved < low) | (moved > high)).any()


@every_dtype
def test_who_makes_no_step_does_not_move(dtype):
    p, grads = numbers(dtype)
    tiny = jnp.asarray(5.0 ** -np.arange(12), dtype)  # in float16, without exponent
    p = p.at[:12].set(tiny)

    for tx in WRAPPERS.values():
        same = stepped(tx(SGD), p, jnp.zeros_like(grads))
        np.testing.assert_array_equal(float64(same), float64(p))


@every_dtype
@pytest.mark.parametrize("name", ["master", "stochastic"])
def test_infinities_and_nan_stay_what_they_are(name, dtype):
    values = np.resize([np.inf, -np.inf, np.nan], 4096)
    odd, tx = jnp.asarray(values, dtype), WRAPPERS[name](SGD)

    for start, grads in [
        (odd, jnp.zeros_like(odd)),
        (odd, jnp.ones_like(odd)),
        (jnp.ones_like(odd), -odd),
    ]:
        np.testing.assert_array_equal(float64(stepped(tx, start, grads)), values)


def test_random_bits_differ_by_leaf_step_and_key_and_are_those_of_the_key():
    start = {"a": jnp.ones((8, 64), jnp.bfloat16), "b": jnp.ones((8, 64), jnp.bfloat16)}
    step = jax.tree.map(lambda p: jnp.full((2, *p.shape), -1 / 256, p.dtype), start)
    keys = jax.random.split(jax.random.key(5), 3)

    @jax.jit
    def after(key):
        tx = stochastic_rounding(jopt.sgd(1.0), key)
        first, state = run(tx, jax.tree.map(lambda s: s[:1], step), start)
        updates, _ = tx.update(jax.tree.map(lambda s: s[1], step), state, start)
        return [*jax.tree.leaves(first), *jax.tree.leaves(updates)]

    together = float64(jax.vmap(after)(keys))
    for i, key in enumerate(keys):
        for one, every in zip(float64(after(key)), together, strict=True):
            np.testing.assert_array_equal(every[i], one)

    ups = [x > x.mean() for x in together]
    draws = np.stack([x[i].ravel() for x in ups for i in range(3)])
    assert abs(np.corrcoef(draws) - np.eye(12)).max() < 5 / np.sqrt(draws.shape[1])
    # Nor are the bits of neighbours in a leaf the same.
    both = np.stack([draws[:, :-1].ravel(), draws[:, 1:].ravel()])
    assert abs(np.corrcoef(both)[0, 1]) < 5 / np.sqrt(both.shape[1])


def test_a_seed_is_the_key_it_makes():
    p = jnp.ones(2, jnp.bfloat16)
    seeds = [7, np.int32(7), jax.random.key(7), jax.random.PRNGKey(7)]

    keys = [stochastic_rounding(jopt.sgd(1.0), s).init(p).rng_key for s in seeds]

    assert all((key == jax.random.key_data(jax.random.key(7))).all() for key in keys)
    with pytest.raises(ValueError, match="only one of key and seed must be given"):
        stochastic_rounding(jopt.sgd(1.0), 3, seed=4)


@every_dtype
def test_kahan_keeps_what_the_parameters_round_away(dtype):
    rng = np.random.default_rng(1)
    p, _ = numbers(dtype, size=512)
    # Through zero and back now and then: long ways, which the dtype cannot show.
    grads = jnp.asarray(rng.normal(size=(300, 512)) * np.abs(float64(p)) / 12, dtype)

    moved, state = run(kahan(SGD), grads, p)

    path = float64(p) - 0.75 * np.cumsum(float64(grads), axis=0)
    assert state.compensation.dtype == moved.dtype
    both = float64(moved) + float64(state.compensation)
    # 300 roundings of the compensation, which is half a unit of the params at most.
    eps = float(jnp.finfo(dtype).eps)
    slack = np.sqrt(300) * (eps**2 * np.abs(path).max(axis=0) + 1e-7)
    assert (np.abs(both - path[-1]) < slack).all()
    assert (np.abs(float64(moved) - path[-1]) > slack).mean() > 0.2


@pytest.mark.slow("low parameters are in the quick run")
@every_wrapper
def test_wide_parameters_beside_low_ones_move_as_without_the_wrapper(name):
    rng = np.random.default_rng(2)
    params = {
        "low": jnp.ones(3, jnp.bfloat16),
        "wide": jnp.asarray(rng.normal(size=5), jnp.float32),
        "complex": jnp.asarray(rng.normal(size=2) + 1j, jnp.complex64),
    }
    grads = jax.tree.map(lambda p: jnp.stack([p, -p / 2, p / 3]), params)
    inner = jopt.adamw(1e-2, weight_decay=0.1)

    alone, _ = run(inner, grads, params)
    got, state = run(WRAPPERS[name](inner), grads, params)

    for leaf in ("wide", "complex"):
        if name == "master":
            np.testing.assert_allclose(got[leaf], alone[leaf], rtol=3e-7)
        else:
            np.testing.assert_array_equal(got[leaf], alone[leaf])
    if name == "kahan":
        assert [k.dtype for k in jax.tree.leaves(state.compensation)] == [jnp.bfloat16]


@pytest.mark.slow("tests/core/test_buckets.py joins leaves")
@every_wrapper
def test_joined_leaves_move_as_they_do_alone(name):
    rng = np.random.default_rng(3)
    shapes = {"a": (3, 4), "b": (5,), "c": (), "d": (2, 2), "e": (7,)}
    params = {
        k: jnp.asarray(rng.normal(size=s), "float32" if k in "de" else "bfloat16")
        for k, s in shapes.items()
    }
    tx = WRAPPERS[name](jopt.adamw(1e-3))
    packed = pack(params, tx)
    assert len(packed.vectors) == 2  # a dtype each

    @jax.jit
    def step(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return jopt.apply_updates(params, updates), state

    state, other = tx.init(params), tx.init(packed)
    for size in (1, -0.5, 0.25):
        grads = jax.tree.map(lambda p, size=size: np.full_like(p, size), params)
        params, state = step(params, state, grads)
        packed, other = step(packed, other, pack_like(packed, grads))

    for x, y in zip(*map(jax.tree.leaves, (params, packed.tree())), strict=True):
        # By chance one is up and the other down, three times.
        rtol = 3 * 2.0**-7 if name == "stochastic" and x.dtype == jnp.bfloat16 else 0
        np.testing.assert_allclose(float64(x), float64(y), rtol=rtol)


@every_wrapper
def test_a_hypergradient_goes_through_the_rounding(name):
    start, grads = jnp.ones(4, jnp.bfloat16), -jnp.ones((5, 4), jnp.bfloat16)

    def end(rate):
        tx = WRAPPERS[name](jopt.sgd(rate))
        return run(tx, grads, start)[0].astype(jnp.float32).sum()

    assert float(jax.grad(end)(1e-3)) == 20  # 5 steps of 4 coordinates


@every_wrapper
def test_the_parameters_are_asked_for(name):
    tx, p = WRAPPERS[name](jopt.sgd(0.1)), jnp.ones(2, jnp.bfloat16)

    with pytest.raises(ValueError, match="update needs the parameters that are round"):
        tx.update(p, tx.init(p))


def test_parameters_cast_after_init_are_refused_by_kahan():
    tx, p = kahan(jopt.sgd(0.1)), jnp.ones(2)

    with pytest.raises(ValueError, match="cast them first, then call init"):
        tx.update(p, tx.init(p), p.astype(jnp.bfloat16))


INPUTS, LABELS = load_digits(return_X_y=True)
BATCHES = np.random.default_rng(0).integers(0, len(LABELS), (400, 128))


def digits_loss(params, rows):
    inputs = jnp.asarray(INPUTS / 16, jnp.float32)[rows]
    labels = jnp.asarray(LABELS, jnp.int32)[rows]
    hidden, out = (params[k].astype(jnp.float32) for k in ("hidden", "out"))
    scores = jax.nn.log_softmax(jnp.tanh(inputs @ hidden) @ out)
    return -jnp.take_along_axis(scores, labels[:, None], axis=1).mean()


@functools.cache
def trained_on_digits(name):
    """Start, end and last loss of 400 steps of Adam at 1e-4, in float32 or bfloat16."""
    rng = np.random.default_rng(1)
    shapes = {"hidden": (64, 32), "out": (32, 10)}
    start = {
        k: jnp.asarray(rng.normal(size=s) / 4, "bfloat16") for k, s in shapes.items()
    }
    if name == "float32":
        start = jax.tree.map(lambda p: p.astype(jnp.float32), start)
    tx = WRAPPERS.get(name, lambda inner: inner)(jopt.adam(1e-4))

    def step(carry, rows):
        params, state = carry
        grads = jax.grad(digits_loss)(params, rows)
        updates, state = tx.update(grads, state, params)
        return (jopt.apply_updates(params, updates), state), None

    @jax.jit
    def train(start, batches):
        end = jax.lax.scan(step, (start, tx.init(start)), batches)[0][0]
        return end, digits_loss(end, jnp.arange(len(LABELS)))

    end, loss = train(start, jnp.asarray(BATCHES))
    flat = [
        np.concatenate([x.ravel() for x in jax.tree.leaves(float64(tree))])
        for tree in (start, end)
    ]
    return *flat, float(loss)


def test_bfloat16_alone_stands_still_at_a_learning_rate_of_1e_4():
    _, wanted, loss = trained_on_digits("float32")
    start, end, still = trained_on_digits("bfloat16")

    large = np.abs(start) > 1 / 8  # a step is less than half a unit
    np.testing.assert_array_equal(end[large], start[large])
    moved = np.abs(wanted - start)[large]
    assert (moved > 0.01).mean() > 0.5  # nor does float32 move what has no gradient
    assert still > loss + 0.4


@pytest.mark.slow("one step is checked in the quick run")
@pytest.mark.parametrize(
    # What is left of the way that float32 goes: the last rounding, or all of them.
    ("name", "off"),
    [("master", 0.02), ("kahan", 0.02), ("stochastic", 0.25)],
)
def test_bfloat16_parameters_train_as_float32_ones_at_1e_4(name, off):
    start, wanted, loss = trained_on_digits("float32")
    _, end, low = trained_on_digits(name)

    way = np.linalg.norm(wanted - start)
    assert np.linalg.norm(end - wanted) < off * way
    assert abs((end - wanted) @ (wanted - start)) < 0.02 * way**2  # no drift
    assert low == pytest.approx(loss, rel=0.01)
