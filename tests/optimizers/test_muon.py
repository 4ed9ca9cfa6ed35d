"""Muon and NorMuon: closed forms, optax, PyTorch, and the number of products."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from comparison import assert_close, relaxed
from flax import nnx
from reference.transforms import newton_schulz, rows_of
from transformation_runs import updates_of

import jopt
from jopt.transforms import QUINTIC
from jopt.transforms._newton_schulz import POLAR_EXPRESS, TUNED5

SHAPES = [(4, 4), (4, 9), (9, 4)]
RNG = np.random.default_rng(0)
PRESETS = {"quintic": QUINTIC, "tuned5": TUNED5, "polar_express": POLAR_EXPRESS}


def normal(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def orthogonal(rows, columns):
    """A matrix of orthonormal rows."""
    return np.linalg.qr(RNG.normal(size=(columns, columns)))[0][:rows]


def direction(g, tx=None):
    """What a transformation makes of its first gradient."""
    tx = jopt.orthogonalize() if tx is None else tx
    return tx.update(g, tx.init(g), g)[0]


def polynomials(x, rows):
    for a, b, c in np.asarray(rows, np.float64):
        x = a * x + b * x**3 + c * x**5
    return x


def rounding(x, rows):
    """What the rounding of each step's terms comes to, by the slopes of later steps."""
    error, x = np.zeros(np.shape(x)), np.asarray(x, np.float64)
    for a, b, c in np.asarray(rows, np.float64):
        terms = np.abs([a * x, b * x**3, c * x**5])
        slope = np.abs(a + 3 * b * x**2 + 5 * c * x**4)
        error = slope * error + 2**-24 * terms.sum(0)
        x = polynomials(x, [(a, b, c)])
    return np.max(error)


def steps_of(name, steps):
    rows = np.asarray(PRESETS[name])
    if rows.ndim == 1:
        return np.tile(rows, (steps, 1))
    if name == "tuned5":
        return rows[-steps:]
    return np.concatenate([rows[:steps], np.tile(rows[-1], (max(0, steps - 8), 1))])


@pytest.mark.slow("other presets and steps are in the quick run", but=3)
@pytest.mark.parametrize("steps", [3, 5, 11])
@pytest.mark.parametrize("name", PRESETS)
def test_singular_values_follow_the_scalar_polynomials(name, steps):
    values = np.asarray([3.0, 0.2, 1.0, 0.0], np.float32)
    polynomial = polynomials(values / np.linalg.norm(values), steps_of(name, steps))
    given = {}
    for shape in SHAPES:
        given[shape] = np.zeros(shape, np.float32)
        np.fill_diagonal(given[shape], values)

    got = direction(given, jopt.orthogonalize(name, steps))

    slack = 2 * rounding(values / np.linalg.norm(values), steps_of(name, steps))
    for shape in SHAPES:
        wanted = np.zeros(shape)
        np.fill_diagonal(wanted, polynomial)
        np.testing.assert_allclose(got[shape], wanted, atol=slack)


def test_an_orthogonal_matrix_keeps_its_direction():
    q = orthogonal(6, 6)

    got = direction(jnp.asarray(3 * q, jnp.float32))

    size = polynomials(1 / np.sqrt(6), steps_of("quintic", 5))
    np.testing.assert_allclose(got, size * q, atol=1e-5)


def test_polar_express_converges_to_the_polar_factor():
    u, v = orthogonal(8, 8), orthogonal(8, 20)
    g = jnp.asarray((u * np.geomspace(1, 1e-3, 8)) @ v, jnp.float32)

    got = direction(g, jopt.orthogonalize("polar_express", 10))

    np.testing.assert_allclose(got, u @ v, atol=1e-3)


@pytest.mark.slow("the other coefficients differ by numbers", but=1)
@pytest.mark.parametrize("name", PRESETS)
def test_rounding_stays_below_what_the_polynomial_leaves(name):
    product = (orthogonal(20, 20) * np.geomspace(1, 1e-12, 20)) @ orthogonal(20, 20)
    given = {s: jnp.asarray(product[: s[0], : s[1]], jnp.float32) for s in SHAPES}

    got = direction(given, jopt.orthogonalize(name, 8))

    for shape, g in given.items():
        g = np.asarray(g, np.float64)
        wanted = newton_schulz(g, steps_of(name, 8), 1e-8)
        assert np.linalg.norm(got[shape] - wanted, 2) < 2e-2


TOO_MANY = [("tuned5", 8), ("tuned5", 11)]  # it has five rows
FORMS = {"square": (16, 16), "direct": (16, 20), "wide": (16, 40), "tall": (40, 16)}


@pytest.mark.slow("other presets and steps are in the quick run", but=3)
@pytest.mark.parametrize(
    ("name", "steps"),
    [(p, n) for p in PRESETS for n in (5, 8, 11) if (p, n) not in TOO_MANY],
)
def test_rounding_is_what_small_singular_values_are_multiplied_by(name, steps):
    rng, rows = np.random.default_rng(1), rows_of(steps_of(name, steps), steps)
    given, slack = {}, {}
    for condition in (1e1, 1e3, 1e6):
        values = np.geomspace(1, 1 / condition, 16)
        values /= np.linalg.norm(values)
        # A rounding of x, of norm 1, where the iteration multiplies most; that of the
        # terms of each step; and that of the product of a Gram matrix's three factors,
        # at least 1.875 each, which no later step corrects. Errors reach half of it.
        gain = np.max(polynomials(values, rows) / values)
        parts = 2**-24 * (gain + 1.875**6) + rounding(values, rows)
        slack[condition] = 1.5 * parts
        for form, (m, n) in FORMS.items():
            left, right = (np.linalg.qr(rng.normal(size=(4, k, 16)))[0] for k in (m, n))
            product = (left * values) @ right.swapaxes(1, 2)
            given[form, condition] = jnp.asarray(product, jnp.float32)
    stacked = jopt.MuonDimensionNumbers(1, 2)
    tx = jopt.orthogonalize(name, steps, weight_dimension_numbers=stacked)

    got = jax.jit(lambda g: direction(g, tx))(given)

    for (form, condition), stack in given.items():
        for i, x in enumerate(np.asarray(stack, np.float64)):
            u = got[form, condition][i]
            apart = np.linalg.norm(u - newton_schulz(x, rows, 1e-8), 2)
            assert apart < slack[condition], (form, condition)


@pytest.mark.slow("one shape is in the quick run", but=1)
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_what_has_converged_stays_however_long_it_is_iterated(shape, compiled):
    g = jnp.asarray(np.eye(*shape) * [3.0, 0.2, 1.0, 0.5, *[1.0] * 5][: shape[1]])
    g = g.astype(jnp.float32)
    tx = jopt.orthogonalize("polar_express", 30)

    got = jax.jit(lambda g: direction(g, tx))(g) if compiled else direction(g, tx)

    # The last row has slope 0 at 1: nothing is left but the rounding of its own terms.
    np.testing.assert_allclose(got, np.eye(*shape), atol=2 * 4 * 2**-24)


OPTIONS: Any = [
    {},
    {"nesterov": False, "beta": 0.5},
    {"adaptive": True},
    {"ns_coeffs": "dion", "preconditioning": "schatten"},
    {"ns_coeffs": np.array([(2.0, -1.5, 0.5)] * 3), "preconditioning": "aol"},
    {"consistent_rms": 0.2, "weight_decay": 0.1, "preconditioning": "spectral"},
]


@pytest.mark.slow("each option has the reference", but=1)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_steps_are_those_of_optax(options):
    shapes = {"wide": (3, 7), "tall": (7, 3), "other": (7, 3), "square": (4, 4)}
    shapes |= {"bias": (3,), "scalar": ()}
    params = {name: normal(*shape) for name, shape in shapes.items()}
    grads = {name: normal(8, *shape) for name, shape in shapes.items()}

    def run(tx):
        return jax.jit(lambda: updates_of(tx, grads, params)[0])()

    ours = run(jopt.muon(0.1, **options))
    with relaxed():
        theirs = run(optax.contrib.muon(0.1, **options))

    assert_close(ours, theirs, rtol=1e-4, scale=1e-4)


def test_the_state_is_that_of_optax_without_the_coefficients():
    params = {"w": normal(3, 2), "b": normal(2)}

    ours = jopt.muon(0.1).init(params).inner_states
    theirs: Any = optax.contrib.muon(0.1).init(params)
    theirs = theirs.inner_states

    assert ours.keys() == theirs.keys()
    muon, adam = (
        (ours[k].inner_state[0], theirs[k].inner_state[0]) for k in ("muon", "adam")
    )
    assert muon[0]._fields == muon[1]._fields[:2]
    assert adam[0]._fields == adam[1]._fields
    assert isinstance(muon[0].mu["b"], jopt.MaskedNode)
    assert isinstance(adam[0].mu["w"], jopt.MaskedNode)
    assert muon[0].mu["w"].shape == (3, 2)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("adjust", ["original", "match_rms_adamw"])
@pytest.mark.parametrize("shape", [(6, 4), (4, 6)])
def test_steps_are_those_of_torch(nesterov, adjust, shape):
    torch = pytest.importorskip("torch")
    steps, skipped = 30, 20 if nesterov else 0  # their guess is without bias correction
    grads = np.asarray(normal(steps, *shape))
    first = np.asarray(normal(*shape))
    weight = torch.nn.Parameter(torch.tensor(first.T.copy()))  # theirs is turned
    optimizer = torch.optim.Muon(
        [weight],
        lr=0.1,
        momentum=0.5,
        nesterov=nesterov,
        weight_decay=0.05,
        adjust_lr_fn=adjust,
    )
    places = [first.T]
    for g in grads:
        weight.grad = torch.tensor(g.T.copy())
        optimizer.step()
        places.append(weight.detach().numpy().copy())

    rms = 0.2 if adjust == "match_rms_adamw" else None
    tx = jopt.muon(
        0.1, beta=0.5, weight_decay=0.05, nesterov=nesterov, consistent_rms=rms
    )

    def step(state, given):
        updates, state = tx.update(given[0], state, given[1])
        return state, updates

    befores = jnp.asarray(np.stack(places[:-1]).swapaxes(1, 2))
    got = jax.lax.scan(step, tx.init(befores[0]), (jnp.asarray(grads), befores))[1]

    wanted = np.diff(np.stack(places), axis=0).swapaxes(1, 2)
    # They iterate in bfloat16, of 8 bits; matrices come out 1 to 3 % apart, as torch
    # picks its kernels.
    size = np.linalg.norm(wanted, axis=(1, 2))
    apart = np.linalg.norm(got - wanted, axis=(1, 2))
    apart = (apart / size)[skipped:]
    assert np.max(apart) < 0.08
    assert np.median(apart) < 0.03


def test_updates_have_the_root_mean_square_of_adamw():
    g = {"wide": normal(32, 128), "tall": normal(128, 32)}

    updates = direction(g, jopt.muon(1.0, "polar_express", 10, consistent_rms=0.2))

    for u in updates.values():
        np.testing.assert_allclose(np.sqrt(np.mean(u**2)), 0.2, rtol=1e-3)
    rough = direction(g, jopt.muon(1.0, consistent_rms=0.2))
    for u in rough.values():
        assert 0.2 * 0.68 < np.sqrt(np.mean(u**2)) < 0.2 * 1.2


def transformer(layers, width=8):
    shapes = {"qkv": 3 * width, "out": width, "up": 4 * width}
    layer = {name: (width, columns) for name, columns in shapes.items()}
    layer["down"] = (4 * width, width)
    return {
        i: {name: normal(*shape) for name, shape in layer.items()}
        for i in range(layers)
    }


def dots(tx, params):
    program = jax.jit(lambda g, state: tx.update(g, state, g))
    text = program.lower(params, tx.init(params)).compile().as_text()
    assert text is not None
    return len(re.findall(r" dot\(|custom-call\(.*(?:gemm|cublas|dot|matmul)", text))


@pytest.mark.slow("bench/muon.py counts the products in CI")
@pytest.mark.skipif(jax.default_backend() != "cpu", reason="it counts a CPU's program")
def test_matrices_of_one_shape_are_multiplied_together():
    two, twelve = (dots(jopt.muon(0.1), transformer(n)) for n in (2, 12))

    assert two == twelve <= 150


def test_an_accelerator_iterates_on_the_matrices_themselves():
    tx, params = jopt.muon(0.1), transformer(2)
    program = jax.jit(lambda g, state: tx.update(g, state, g))

    traced = program.trace(params, tx.init(params))
    text = traced.lower(lowering_platforms=("cuda",)).as_text()

    # Five steps of three products, for each of the three shapes.
    assert text.count("dot_general") == 45


@pytest.mark.slow("every comparison with optax has stacks")
def test_stacked_matrices_are_what_each_is_alone():
    params = {"layers": transformer(3), "odd": normal(5, 2), "none": None}

    together = direction(params, jopt.orthogonalize())

    alone = jax.tree.map(direction, params)
    assert_close(together, alone, rtol=1e-4, scale=1e-4)


@pytest.mark.slow("float32 products are in the quick run")
def test_bfloat16_products_round_and_stay_close():
    g = {"wide": normal(8, 24), "square": normal(8, 8)}

    low = direction(g, jopt.orthogonalize(ns_dtype=jnp.bfloat16))

    high = direction(g)
    for name, u in low.items():
        assert u.dtype == jnp.float32
        apart = float(jnp.linalg.norm(u - high[name], ord=2))
        assert 1e-4 < apart < 0.1


def test_axes_are_rows_and_columns_or_count_matrices():
    g = normal(2, 3, 4, 5)
    numbers = jopt.MuonDimensionNumbers(reduction_axis=2, output_axis=(0, -1))

    got = direction(g, jopt.orthogonalize(weight_dimension_numbers=numbers))

    for i in range(3):
        matrix = g[:, i].transpose(1, 0, 2).reshape(4, 10)
        wanted = direction(matrix).reshape(4, 2, 5).transpose(1, 0, 2)
        np.testing.assert_allclose(got[:, i], wanted, atol=1e-5)
    with relaxed():
        theirs = optax.contrib.MuonDimensionNumbers(2, (0, -1))
        same = jopt.orthogonalize(weight_dimension_numbers=theirs)
    np.testing.assert_array_equal(direction(g, same), got)


MATRIX = jopt.MuonDimensionNumbers()


@pytest.mark.parametrize(
    "numbers",
    [
        {"body": MATRIX, "head": None},
        {"body": {"w": MATRIX, "v": MATRIX}, "head": {"w": None}},
        lambda params: {"body": MATRIX, "head": None},
        lambda path, leaf: MATRIX if path.startswith("body") else None,
    ],
    ids=["prefix", "tree", "of params", "of a leaf"],
)
def test_a_leaf_without_dimension_numbers_goes_to_adam(numbers):
    params = {"body": {"w": normal(3, 2), "v": normal(2, 3)}, "head": {"w": ONES}}

    tx = jopt.muon(0.1, nesterov=False, muon_weight_dimension_numbers=numbers)
    updates, state = tx.update(params, tx.init(params), params)

    np.testing.assert_allclose(updates["head"]["w"], -0.1 * ONES, rtol=1e-5)
    assert updates["body"]["w"].shape == (3, 2)
    assert len(jax.tree.leaves(state.inner_states["muon"])) == 3


ONES = jnp.ones((2, 2), jnp.float32)


def test_the_mask_of_the_decay_is_of_all_params():
    params = {"w": ONES, "v": ONES, "b": ONES[0]}
    zeros = jax.tree.map(jnp.zeros_like, params)
    mask = {"w": True, "v": False, "b": True}

    tx = jopt.muon(0.1, weight_decay=0.5, weight_decay_mask=mask)
    updates, _ = tx.update(zeros, tx.init(params), params)

    np.testing.assert_allclose(updates["w"], -0.05 * ONES, rtol=1e-6)
    np.testing.assert_array_equal(updates["v"], zeros["v"])
    np.testing.assert_array_equal(updates["b"], zeros["b"])


@pytest.mark.slow("tests/interop/test_interop.py has nnx")
def test_works_in_nnx():
    model = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    numbers = {"kernel": MATRIX, "bias": None}
    tx: Any
    for tx in (jopt.muon(0.1), jopt.muon(0.1, muon_weight_dimension_numbers=numbers)):
        optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
        before = jnp.array(model.kernel[...])
        with relaxed():
            grads = nnx.grad(lambda m: jnp.sum(m(jnp.ones((4, 3))) ** 2))(model)
        optimizer.update(model, grads)

        assert not np.array_equal(before, model.kernel[...])


@pytest.mark.slow("the contract has zero gradients of every row")
@pytest.mark.parametrize("kind", ["frobenius", "spectral", "aol", "schatten"])
@pytest.mark.parametrize("shape", [(3, 3), (2, 6)])
def test_matrices_of_zeros_stay_so_with_finite_gradients(kind, shape):
    zeros = jnp.zeros(shape, jnp.float32)

    @jax.jit
    def with_slopes(tx):
        slopes = jax.grad(lambda tx, g: direction(g, tx).sum(), (0, 1))(tx, zeros)
        return direction(zeros, tx), slopes

    for eps in (1e-8, 0.0):
        got, slopes = with_slopes(jopt.orthogonalize(eps=eps, preconditioning=kind))
        np.testing.assert_array_equal(got, zeros)
        assert all(np.isfinite(s).all() for s in jax.tree.leaves(slopes))


@pytest.mark.slow("real matrices are in the quick run")
def test_complex_matrices_become_unitary():
    g = jax.lax.complex(normal(3, 5), normal(3, 5))

    u = direction(g, jopt.orthogonalize((2.0, -1.5, 0.5), 20))

    np.testing.assert_allclose(u @ u.conj().T, np.eye(3), atol=1e-5)
    with relaxed():
        theirs = optax.contrib.muon(1.0, adaptive=True)
        wanted: Any = theirs.update(g, theirs.init(g), g)[0]
    np.testing.assert_allclose(
        direction(g, jopt.muon(1.0, adaptive=True)), wanted, rtol=1e-4, atol=1e-4
    )


def test_coefficients_as_an_array_can_be_mapped():
    g, rows = normal(3, 4), np.array([TUNED5, [(1.5, -0.5, 0.0)] * 5])
    tx = jopt.orthogonalize(jnp.asarray(rows[0], jnp.float32))

    got = jax.vmap(lambda r: direction(g, jopt.orthogonalize(r)))(
        jnp.asarray(rows, jnp.float32)
    )

    wanted = [newton_schulz(np.asarray(g, np.float64), r, 1e-8) for r in rows]
    np.testing.assert_allclose(got, wanted, atol=1e-5)
    np.testing.assert_allclose(direction(g, tx), wanted[0], atol=1e-5)


def test_new_coefficients_need_no_new_state():
    g = normal(3, 4)
    old = jopt.scale_by_muon()
    state = old.init(g)

    got, _ = jopt.scale_by_muon("tuned5").update(g, state)

    wanted = newton_schulz(np.asarray(g, np.float64), rows_of(TUNED5, 5), 1e-8)
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_neurons_move_alike_at_the_first_step():
    g = {"w": normal(6, 4), "x": normal(4, 6)}

    updates = direction(g, jopt.normuon(1.0))

    # A neuron is an output, a column.
    for u in updates.values():
        np.testing.assert_allclose(np.sqrt(np.mean(u**2, axis=0)), 0.2, rtol=1e-5)


def test_the_root_mean_square_of_normuon_is_given():
    tx, g = jopt.normuon(1.0, b2=0.8), normal(5, 6, 4)
    state = tx.init(g[0])

    for now in g:
        u, state = tx.update(now, state, g[0])
        np.testing.assert_allclose(np.sqrt(np.mean(u**2)), 0.2, rtol=1e-5)


def test_normuon_without_it_keeps_the_norm_of_muon():
    g = {"wide": normal(4, 9), "tall": normal(9, 4)}

    ours = direction(g, jopt.normuon(1.0, consistent_rms=None))

    theirs = direction(g, jopt.muon(1.0))
    for name in g:
        norms = [np.linalg.norm(u[name]) for u in (ours, theirs)]
        np.testing.assert_allclose(*norms, rtol=1e-5)


NUCLEAR: Any = "nuclear"


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: jopt.muon(0.1, "cubic"),
            r"ScaleByMuon: ns_coeffs must be one of .*qu",
        ),
        (
            lambda: jopt.muon(0.1, (1.0, 2.0)),
            r"ns_coeffs must have shape .* got \(2,\)",
        ),
        (lambda: jopt.muon(0.1, ((1, 2, 3), (1, 2))), r"ns_coeffs must have shape"),
        (lambda: jopt.muon(0.1, ns_steps=0), r"ns_steps must be at least 1, got 0"),
        (
            lambda: jopt.muon(0.1, beta=1.0),
            r"ScaleByMuon: beta must be below 1, got 1.0",
        ),
        (lambda: jopt.muon(0.1, eps=-1.0), r"eps must be at least 0"),
        (lambda: jopt.normuon(0.1, b2=1.0), r"NormalizeNeurons: b2 must be"),
        (lambda: jopt.muon(0.1, consistent_rms=-1.0), r"ScaleByShape: consistent_rms"),
        (
            lambda: jopt.muon(0.1, preconditioning=NUCLEAR),
            r"preconditioning must be one of frobenius, .* got 'nuclear'",
        ),
        (
            lambda: direction({"b": ONES[0]}, jopt.scale_by_muon()),
            r"ScaleByMuon: updates\['b'\] of shape \(2,\) is not a matrix; give it",
        ),
        (
            lambda: direction(
                ONES,
                jopt.muon(
                    0.1,
                    muon_weight_dimension_numbers=jopt.MuonDimensionNumbers(0, (1, 2)),
                ),
            ),
            r"must be axes of the shape \(2, 2\), .* got 0 and \(1, 2\)",
        ),
        (
            lambda: direction(
                ONES,
                jopt.orthogonalize(
                    weight_dimension_numbers=jopt.MuonDimensionNumbers(0, -2)
                ),
            ),
            r"none twice, got 0 and -2",
        ),
    ],
)
def test_bad_input_is_a_sentence(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_what_is_no_dimension_number_is_a_sentence():
    with pytest.raises(TypeError, match=r"at w there must be MuonDimensionNumbers, or"):
        jopt.muon(0.1, muon_weight_dimension_numbers={"w": True})
