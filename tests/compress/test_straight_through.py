"""`straight_through`: hidden weights train, and the model sees their projection."""

# pyright: reportArgumentType=false

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from transformation_runs import trained

import jopt
from jopt import sweep

RNG = np.random.default_rng(0)
PARAMS = {
    "w": RNG.normal(size=(6, 8)).astype(np.float32),
    "v": RNG.normal(size=(8, 4)).astype(np.float32),
    "b": RNG.normal(size=4).astype(np.float32),
}
GRADS = {
    n: RNG.normal(size=(20, *p.shape)).astype(np.float32) for n, p in PARAMS.items()
}
NAMES = ("v", "w")
count = jnp.int32


def project(projection, **weights):
    return jax.tree.map(np.asarray, projection(weights, count(0)))


def off_grid(w, bits):
    """How far weights are from their levels, in steps of the levels."""
    w = np.asarray(w)
    scale = abs(w).max(0) / (2 ** (bits - 1) - 1)
    return abs(w / scale - np.round(w / scale)).max()


# What the model sees.


def test_parameters_are_on_the_grid_from_the_first_update_on():
    tx = jopt.straight_through(jopt.adamw(0.03), jopt.Quantize(3))
    params, state = PARAMS, tx.init(PARAMS)
    update = jax.jit(tx.update)

    for step in range(5):
        grads = {n: g[step] for n, g in GRADS.items()}
        updates, state = update(grads, state, params)
        params = jopt.apply_updates(params, updates)
        exact = tx.eval_params(state, params)
        for name in NAMES:
            assert off_grid(params[name], 3) < 1e-5
            assert off_grid(exact[name], 3) < 1e-6
            np.testing.assert_allclose(params[name], exact[name], rtol=1e-5, atol=1e-7)
            np.testing.assert_array_equal(params[name] == 0, exact[name] == 0)
        chex.assert_trees_all_equal(params["b"], exact["b"])


def test_the_gradient_at_the_projection_moves_the_hidden_weights():
    tx = jopt.straight_through(jopt.sgd(0.5), jopt.Quantize(2))

    _, state = jax.jit(trained)(tx, GRADS, PARAMS)

    for name in NAMES:
        moved = PARAMS[name] - 0.5 * np.sum(GRADS[name], axis=0, dtype=np.float64)
        np.testing.assert_allclose(state.latent[name], moved, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "projection", [jopt.Quantize(None), jopt.Quantize(4, begin=99)]
)
def test_without_quantization_it_is_the_optimizer_inside(projection):
    tx = jopt.straight_through(jopt.adamw(0.1), projection)

    found, wanted = (
        jax.jit(trained)(t, GRADS, PARAMS)[0] for t in (tx, jopt.adamw(0.1))
    )

    chex.assert_trees_all_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_begin_is_the_first_update_that_quantizes():
    tx = jopt.straight_through(jopt.sgd(0.1), jopt.Quantize(2, begin=19))

    for steps, quantized in ((19, False), (20, True)):
        grads = jax.tree.map(lambda g, n=steps: g[:n], GRADS)
        params, _ = jax.jit(trained)(tx, grads, PARAMS)
        assert (off_grid(params["w"], 2) < 1e-5) == quantized


def test_what_prune_holds_at_zero_inside_stays_zero():
    inner = jopt.prune(jopt.adamw(0.03), jopt.cubic_sparsity(0.5, 2, 9), every=2)
    tx = jopt.straight_through(inner, jopt.Quantize(4))

    params, state = jax.jit(trained)(tx, GRADS, PARAMS)

    kept = state.inner_state.kept
    for name in NAMES:
        assert (np.asarray(params[name])[~np.asarray(kept[name])] == 0).all()
        assert (np.asarray(state.latent[name])[~np.asarray(kept[name])] == 0).all()
        assert off_grid(params[name], 4) < 1e-5
    assert sum(int((~kept[n]).sum()) for n in NAMES) == (6 * 8 + 8 * 4) // 2


def test_an_average_inside_is_projected_for_evaluation():
    inner = jopt.chain(jopt.sgd(0.1), jopt.parameter_ema(0.5))
    tx = jopt.straight_through(inner, jopt.Quantize(3))

    params, state = jax.jit(trained)(tx, GRADS, PARAMS)
    seen = tx.eval_params(state, params)

    hidden = {**params, "w": state.latent["w"], "v": state.latent["v"]}
    mean = inner.eval_params(state.inner_state, hidden)
    wanted = project(jopt.Quantize(3), w=mean["w"], v=mean["v"])
    for name in NAMES:
        np.testing.assert_allclose(seen[name], wanted[name], rtol=1e-6)
    np.testing.assert_allclose(seen["b"], mean["b"], rtol=1e-6)
    assert not np.allclose(seen["w"], params["w"])


def test_small_steps_of_low_precision_parameters_add_up():
    params = jax.tree.map(lambda p: jnp.asarray(p, jnp.bfloat16), PARAMS)
    grads = jax.tree.map(lambda p: jnp.ones((256, *p.shape), jnp.bfloat16), params)
    tx = jopt.straight_through(jopt.sgd(2.0**-12), jopt.Quantize(8))

    params, state = jax.jit(trained)(tx, grads, params)

    assert state.latent["w"].dtype == jnp.float32
    start = np.asarray(jnp.asarray(PARAMS["w"], jnp.bfloat16), np.float32)
    np.testing.assert_allclose(state.latent["w"], start - 2.0**-4, rtol=1e-4, atol=1e-4)
    wanted = project(jopt.Quantize(8), w=state.latent["w"])["w"]
    np.testing.assert_allclose(np.float32(params["w"]), wanted, rtol=2**-7)


@pytest.mark.slow("a step of a sweep is that of a training")
def test_bits_are_swept_in_one_program():
    def tx(learning_rate, bits):
        return jopt.straight_through(jopt.adam(learning_rate), jopt.Quantize(bits))

    trials = sweep.grid(tx, learning_rate=[0.1, 0.01], bits=[2, 3, 8])
    result = sweep.run(toy.task(), trials, steps=12, segments=2, block=6)

    assert result.info["segment_compiles"] == 1
    for number, trial in enumerate(trials):
        for w in result.params(number).values():
            assert off_grid(np.asarray(w), trial.hyperparameters["bits"]) < 1e-5


# The projections.


@pytest.mark.parametrize("bits", [2, 3, 4, 8, 16])
@pytest.mark.parametrize(("axis", "over"), [(-1, 0), (0, 1), (None, None)])
def test_levels_are_those_of_their_definition(bits, axis, over):
    w, half = PARAMS["w"], 2 ** (bits - 1)
    top = abs(w).max(over, keepdims=True)

    symmetric = project(jopt.Quantize(bits, axis), w=w)["w"]
    full = project(jopt.Quantize(bits, axis, "full"), w=w)["w"]

    scale = top / (half - 1)
    np.testing.assert_allclose(symmetric, np.round(w / scale) * scale, rtol=1e-6)
    scale = top / (half - 0.5)
    codes = np.round(full / scale)
    np.testing.assert_allclose(full, codes * scale, rtol=1e-6)
    assert codes.min() >= -half
    assert codes.max() < half
    assert (abs(full - w) <= 0.51 * scale).all()


@pytest.mark.parametrize(
    "projection",
    [
        jopt.Quantize(3),
        jopt.Quantize(3, None, "full"),
        jopt.Ternary(),
        jopt.Codebook(4),
        jopt.Sparse(0.5),
        jopt.LowRank(2),
    ],
    ids=lambda projection: type(projection).__name__,
)
def test_zeros_and_leaves_of_zeros_stay_zero(projection):
    w = np.where(np.arange(8) < 2, 0, PARAMS["w"]).astype(np.float32)

    found = project(projection, w=w, zero=np.zeros((3, 4), np.float32))

    assert (found["w"][:, :2] == 0).all()
    assert (found["zero"] == 0).all()


def test_ternary_keeps_the_sign_of_large_weights():
    w = PARAMS["w"]

    found = project(jopt.Ternary(0.7), w=w)["w"]

    large = abs(w) > 0.7 * abs(w).mean()
    wanted = np.where(large, np.sign(w) * abs(w)[large].mean(), 0)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_sign_keeps_one_bit_and_a_mean_for_each_output():
    w = PARAMS["w"] * (np.arange(8) > 0)

    found = project(jopt.Sign(), w=w.astype(np.float32))["w"]

    np.testing.assert_allclose(
        found, np.where(w < 0, -1, 1) * abs(w).mean(0), rtol=1e-6
    )


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_codebook_is_that_of_k_means(size):
    w = RNG.normal(size=(40, 9)).astype(np.float32)
    centers = np.linspace(w.min(), w.max(), size) if size > 1 else np.array([w.min()])
    for _ in range(8):
        nearest = abs(w[..., None] - centers).argmin(-1)
        centers = np.array([w[nearest == i].mean() for i in range(size)])

    found = project(jopt.Codebook(size, iterations=8), w=w)["w"]

    wanted = centers[abs(w[..., None] - centers).argmin(-1)]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    assert len(np.unique(found)) == size


def test_the_size_of_a_codebook_is_swept():
    sizes, w = jnp.array([2.0, 3.0, 16.0]), jnp.linspace(-1, 1, 96).reshape(12, 8)
    shared = jax.vmap(lambda size: jopt.Codebook(size)(w, count(0)))

    found = jax.jit(shared)(sizes)

    assert [len(np.unique(w)) for w in found] == [2, 3, 16]


@pytest.mark.parametrize("shape", [(6, 8), (8, 6), (2, 3, 4, 5)])
def test_low_rank_is_the_best_of_its_rank(shape):
    w = RNG.normal(size=shape).astype(np.float32)
    u, s, v = np.linalg.svd(w.reshape(-1, shape[-1]), full_matrices=False)

    for rank in (1, 3):
        found = project(jopt.LowRank(rank), w=w)["w"]
        wanted = (u[:, :rank] * s[:rank]) @ v[:rank]
        np.testing.assert_allclose(found, wanted.reshape(shape), rtol=1e-4, atol=1e-4)


def test_sparse_lets_hidden_weights_come_back():
    tx = jopt.straight_through(jopt.sgd(0.5), jopt.Sparse(0.5))
    first = jax.jit(trained)(tx, jax.tree.map(lambda g: g[:1], GRADS), PARAMS)[0]

    params, state = jax.jit(trained)(tx, GRADS, PARAMS)

    kept = [np.asarray(params[n]) != 0 for n in NAMES]
    assert sum(map(np.sum, kept)) == (6 * 8 + 8 * 4) // 2
    assert any(
        (k & (np.asarray(first[n]) == 0)).any()
        for k, n in zip(kept, NAMES, strict=True)
    )
    both = np.concatenate([np.ravel(state.latent[n]) for n in NAMES])
    limit = np.sort(abs(both))[len(both) // 2]
    np.testing.assert_array_equal(
        np.concatenate([k.ravel() for k in kept]), abs(both) >= limit
    )


def test_two_projections_are_composed_in_their_order():
    pair = jopt.Composed(jopt.Sparse(0.5, among="leaf"), jopt.Quantize(3))

    found = project(pair, w=PARAMS["w"])["w"]

    sparse = project(jopt.Sparse(0.5), w=PARAMS["w"])["w"]
    np.testing.assert_allclose(
        found, project(jopt.Quantize(3), w=sparse)["w"], rtol=1e-6
    )
    tx = jopt.straight_through(jopt.sgd(0.1), pair)
    assert jopt.hyperparameters(tx, tx.init(PARAMS))["bits"] == 3
    assert jopt.replace(tx, bits=5, sparsity=0.25).projection == jopt.Composed(
        jopt.Sparse(0.25, among="leaf"), jopt.Quantize(5)
    )


# What is refused.

through = partial(jopt.straight_through, jopt.sgd(0.1))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: jopt.Quantize(1), "Quantize: bits must be at least 2, got 1"),
        (lambda: jopt.Quantize(17), "bits must be at most 16, got 17.* give None"),
        (lambda: jopt.Sparse(1.0), "Sparse: sparsity must be below 1, got 1.0"),
        (lambda: jopt.Codebook(17), "Codebook: size must be at most 16, got 17"),
        (lambda: jopt.LowRank(0), "LowRank: rank must be at least 1, got 0"),
        (
            lambda: through(jopt.LowRank(5)).init(PARAMS),
            "LowRank: rank must be at most 4, the smaller side of v, got 5",
        ),
        (
            lambda: through(jopt.Quantize(4, axis=2)).init(PARAMS),
            r"Quantize: axis must be an axis of v of shape \[8, 4\], or None, got 2",
        ),
        (
            lambda: through(jopt.Sparse(0.5, among=jopt.Groups(4))).init(PARAMS),
            r"Sparse: among must divide each leaf .* w with units of shape \[6, 8\]",
        ),
        (
            lambda: through(
                jopt.Quantize(4), where={"b": False, "v": False, "w": False}
            ).init(PARAMS),
            "StraightThrough: where must choose at least one leaf .* none of b, v, w;",
        ),
        (
            lambda: through(jopt.Quantize(4)).init({"w": jnp.ones((2, 2), jnp.int32)}),
            r"StraightThrough: params\['w'\] is int32, but only float",
        ),
        (
            lambda: through(jopt.Quantize(4)).init({"w": jnp.ones((2, 2), complex)}),
            "StraightThrough: where must choose real leaves, but w is complex64;",
        ),
        (
            lambda: through(4),
            r"projection must be a projection, such as jopt\.Quan.* got 4",
        ),
    ],
)
def test_what_cannot_be_projected_is_refused(make, words):
    with pytest.raises((TypeError, ValueError), match=words):
        make()
