"""SOAP, Shampoo and Kron: what their matrices do and what they cost."""

import functools
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import reference
from comparison import assert_close, stack
from reference_runs import data, steps
from transformation_table import TRANSFORMATIONS

import jopt


@pytest.mark.slow(
    "float32 updates are checked by tests/contract/test_against_reference.py", but=1
)
@pytest.mark.parametrize(
    "name",
    [n for kind in ("soap", "shampoo", "kron") for n in TRANSFORMATIONS if kind in n],
)
def test_fifty_float64_updates_are_those_of_the_paper(name):
    row = TRANSFORMATIONS[name]
    with jax.enable_x64(True):
        # The reference is given the numbers that float32 holds; and bfloat16 leaves are
        # computed in float32, so here all are wide.
        tx = jax.tree.map(lambda x: jnp.float64(np.float32(x)), row(jopt))
        runs = [
            jax.tree.map(
                lambda x: x.astype(complex if jnp.iscomplexobj(x) else float), data(i)
            )
            for i in (0, 1)
        ]
        updates, states = jax.jit(steps)(tx, *runs)
        wanted, remembered = row(reference)(*jax.tree.map(np.asarray, tuple(runs)))

        assert_close(updates, wanted, rtol=1e-7, scale=1e-7)
        for field, leaves in remembered.items():
            held = optax.tree.get(states, field)
            assert_close(held, leaves, rtol=1e-7, scale=1e-7)


def primitives(jaxpr, inside=False):
    """Count the primitives of a program, by whether they are inside a branch."""
    found = Counter()
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        found[name, inside] += 1
        for value in jax.tree.leaves(equation.params, is_leaf=is_jaxpr):
            if is_jaxpr(value):
                inner = getattr(value, "jaxpr", value)
                found += primitives(inner, inside or name == "cond")
    return found


def is_jaxpr(value):
    return hasattr(value, "eqns") or hasattr(value, "jaxpr")


DECOMPOSITIONS = {"eigh", "qr", "triangular_solve"}


@pytest.mark.parametrize(
    ("make", "decompositions"),
    [
        (jopt.soap, {"eigh", "qr"}),
        (jopt.shampoo, {"eigh"}),
        (jopt.kron, {"triangular_solve"}),
    ],
)
def test_a_refresh_is_a_branch_under_vmap_and_one_program_for_leaves_of_a_shape(
    make, decompositions
):
    def programs(count):
        params = [jnp.ones((4, 5), jnp.float32)] * count
        block = stack([make(rate) for rate in (0.1, 0.2)])

        def trained(tx):
            state = tx.init(params)
            return jax.lax.fori_loop(
                0, 3, lambda _, s: tx.update(params, s, params)[1], state
            )

        return primitives(jax.make_jaxpr(jax.vmap(trained))(block).jaxpr)

    one, five = programs(1), programs(5)

    found = {name for name, _ in five}
    assert found & DECOMPOSITIONS == decompositions
    assert not any(five[name, False] for name in decompositions)
    for name in [*decompositions, "dot_general", "cond"]:
        assert five[name, True] == one[name, True]
        assert five[name, False] == one[name, False]


def updates_of(tx, grads):
    first = jax.tree.map(lambda g: g[0], grads)

    def step(state, g):
        u, state = tx.update(g, state, jax.tree.map(jnp.zeros_like, g))
        return state, u

    return jax.jit(lambda: jax.lax.scan(step, tx.init(first), grads)[1])()


def normal(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.slow("shampoo has a quick reference")
def test_a_block_is_a_leaf_of_its_own():
    grads = normal((6, 7, 3))
    tx = jopt.scale_by_shampoo(precondition_frequency=2, block_size=4)

    whole = updates_of(tx, grads)
    parts = updates_of(tx, [grads[:, :4], grads[:, 4:]])

    np.testing.assert_allclose(whole, jnp.concatenate(parts, 1), rtol=1e-4, atol=1e-5)


@pytest.mark.slow("soap has a quick reference")
def test_soap_is_adam_where_there_are_no_bases_but_for_its_first_step():
    grads = {"scalar": normal((6,)), "vector": normal((6, 3)), "none": None}
    grads["matrix"] = normal((6, 3, 4))

    soap = updates_of(jopt.scale_by_soap(0.9, 0.95, max_precond_dim=2), grads)
    later = jax.tree.map(lambda g: g[1:], grads)
    adam = updates_of(jopt.scale_by_adam(0.9, 0.95), later)

    assert not any(jnp.any(u[0]) for u in jax.tree.leaves(soap))
    assert_close(jax.tree.map(lambda u: u[1:], soap), adam, rtol=1e-6)


def test_shampoo_has_the_size_of_adams_steps():
    grads = {"a": normal((6, 3, 4)), "b": normal((6, 5)), "c": normal((6, 1, 5))}

    shampoo = updates_of(jopt.scale_by_shampoo(precondition_frequency=3), grads)
    adam = updates_of(jopt.scale_by_adam(), grads)

    early = jax.tree.map(lambda u: u[:2], (shampoo, adam))
    assert_close(*early, rtol=1e-6)
    assert_close(shampoo["b"], adam["b"], rtol=1e-6)
    assert_close(shampoo["c"], adam["c"], rtol=1e-6)
    sizes = [jnp.linalg.norm(u["a"].reshape(6, -1), axis=1) for u in (shampoo, adam)]
    assert_close(*sizes, rtol=1e-5)
    assert float(jnp.max(jnp.abs(shampoo["a"] - adam["a"])[2:])) > 0.1


def covariance(size, condition, seed):
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(size, size)))[0]
    return (turn * np.geomspace(1, 1 / condition, size)) @ turn.T


@pytest.mark.slow("the reference has kron in the quick run")
def test_kron_whitens_the_gradients():
    rows, columns = covariance(4, 1e3, 1), covariance(5, 1e3, 2)
    halves = [jnp.asarray(np.linalg.cholesky(c), jnp.float32) for c in (rows, columns)]
    grads = jnp.einsum("ij,tjk,lk->til", halves[0], normal((3000, 4, 5)), halves[1])
    tx = jopt.scale_by_kron(
        0.0, 1.0, precond_lr=0.03, damping=0.0, max_rms=float("inf")
    )

    @jax.jit
    def fitted():
        update = lambda state, g: (tx.update(g, state)[1], None)  # noqa: E731
        return jax.lax.scan(update, tx.init(grads[0]), grads)[0].factors

    (left, right) = (f[0] for f in fitted()["float32[4, 5] axes 0, 1"])
    assert not np.tril(left, -1).any()
    left, right = (f.T @ f for f in (left, right))
    white = np.kron(left @ rows @ left, right @ columns @ right)
    assert np.linalg.cond(np.kron(rows, columns)) > 9e5
    values = np.linalg.eigvalsh(white)
    assert 0.5 < values.min() <= values.max() < 2


@pytest.mark.slow("the reference of kron fits as often")
def test_kron_fits_as_often_as_it_is_told_to():
    grads = normal((12, 3, 4))

    def fits(chance):
        tx = jopt.scale_by_kron(preconditioner_update_probability=chance)
        state, changed = tx.init(grads[0]), []
        for g in grads:
            before, (_, state) = state, tx.update(g, state)
            pairs = zip(*map(jax.tree.leaves, (before, state)), strict=True)
            changed.append(all(jnp.any(x != y) for x, y in list(pairs)[-2:]))
        return [i for i, yes in enumerate(changed, 1) if yes]

    assert fits(0.25) == [4, 8, 12]
    assert fits(jopt.linear_schedule(1.0, 0.2, 4)) == [1, 3, 8]
    assert fits(lambda count: jnp.where(count < 2, 1.0, 0.0)) == [1, 2]


@pytest.mark.slow("to_whole has a quick test of its own")
def test_kron_fits_every_61st_step_though_its_float32_chance_is_less():
    tx, g = jopt.scale_by_kron(preconditioner_update_probability=1 / 61), jnp.eye(2)

    def step(state, _):
        state = tx.update(g, state)[1]
        return state, state.since

    since = jax.lax.scan(step, tx.init(g), length=130)[1]
    assert np.flatnonzero(since == 0).tolist() == [60, 121]


@pytest.mark.slow("kron has a quick reference")
def test_kron_stays_finite_where_gradients_vanish():
    grads = jnp.concatenate(
        [normal((5, 3, 4)), jnp.zeros((3000, 3, 4)), normal((1, 3, 4))]
    )

    updates = updates_of(
        jopt.scale_by_kron(preconditioner_update_probability=1.0), grads
    )

    assert jnp.isfinite(updates).all()
    assert jnp.any(updates[-1])


STEPS = 300


@functools.cache
def best_of_eight(name):
    rows, columns = (jnp.asarray(covariance(8, 1e3, i), jnp.float32) for i in (1, 2))
    makers = {
        "adam": jopt.adam,
        "soap": functools.partial(jopt.soap, weight_decay=0.0),
        "shampoo": functools.partial(jopt.shampoo, b2=0.99),
        "kron": jopt.kron,
    }

    def loss(w):
        return jnp.sum(w * (rows @ w @ columns)) / 2

    def trained(rate):
        tx = makers[name](jopt.cosine_decay_schedule(rate, STEPS))

        def step(carry, _):
            w, state = carry
            updates, state = tx.update(jax.grad(loss)(w), state, w)
            return (jopt.apply_updates(w, updates), state), None

        start = normal((8, 8))
        carry, _ = jax.lax.scan(step, (start, tx.init(start)), None, length=STEPS)
        return loss(carry[0])

    rates = jnp.geomspace(1e-3, 3.0, 8)
    return float(jnp.min(jax.jit(jax.vmap(trained))(rates)))


@pytest.mark.slow("the updates are those of the reference")
@pytest.mark.parametrize("name", ["soap", "shampoo", "kron"])
def test_an_ill_conditioned_quadratic_is_solved_better_than_by_adam(name):
    assert best_of_eight(name) < best_of_eight("adam") / 100


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: jopt.soap(1e-3, precondition_frequency=0),
            "ScaleBySoap: precondition_frequency must be at least 1, got 0.",
        ),
        (
            lambda: jopt.soap(1e-3, shampoo_beta=1.0),
            "ScaleBySoap: shampoo_beta must be below 1, got 1.0.",
        ),
        (
            lambda: jopt.shampoo(1e-3, b2=1.5),
            "ScaleByShampoo: b2 must be at most 1, got 1.5.",
        ),
        (
            lambda: jopt.shampoo(1e-3, matrix_eps=0.0),
            "ScaleByShampoo: matrix_eps must be above 0, got 0.0.",
        ),
        (
            lambda: jopt.shampoo(1e-3, graft="adagrad"),  # pyright: ignore[reportArgumentType]
            "shampoo: graft must be one of adam, rmsprop, sgd, none, got 'adagrad'.",
        ),
        (
            lambda: jopt.kron(1e-3, precond_lr=1.0),
            "ScaleByKron: precond_lr must be below 1, got 1.0.",
        ),
        (
            lambda: jopt.kron(1e-3, preconditioner_update_probability=2.0),
            "ScaleByKron: preconditioner_update_probability must be at most 1, "
            "got 2.0.",
        ),
        (
            lambda: jopt.kron(1e-3, memory_save_mode="all"),  # pyright: ignore[reportArgumentType]
            "kron: memory_save_mode must be one of one_diag, smart_one_diag, "
            "all_diag or None, got 'all'.",
        ),
    ],
)
def test_a_sentence_says_what_is_wrong(make, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        make()

    assert str(error.value) == message
