"""`grow` against ten lines of NumPy: RigL, SET and the densities of ERK."""

# pyright: reportArgumentType=false

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from transformation_runs import trained

import jopt
from jopt.compress._sparsity import erk

RNG = np.random.default_rng(0)
SHAPES = {"w": (20, 30), "v": (30, 4), "b": (4,)}
PARAMS = {n: RNG.normal(size=s).astype(np.float32) for n, s in SHAPES.items()}
GRADS = {n: RNG.normal(size=(9, *s)).astype(np.float32) for n, s in SHAPES.items()}
NAMES = ("v", "w")
SIZE = 20 * 30 + 30 * 4


def rigl(p, g, kept, fraction):
    """The connections after a move, by sorting."""
    p, g, kept = np.ravel(p), np.ravel(g), np.ravel(kept)
    moves = round(fraction * kept.sum())
    there, missing = np.flatnonzero(kept), np.flatnonzero(~kept)
    new = kept.copy()
    new[there[np.argsort(abs(p[there]), kind="stable")[:moves]]] = False
    new[missing[np.argsort(-abs(g[missing]), kind="stable")[:moves]]] = True
    return new


def erk_of_the_paper(shapes, sparsity):
    """Densities: the layer that would be fullest is filled until none overflows."""
    wanted = (1 - sparsity) * sum(map(np.prod, shapes))
    full = set()
    while True:
        rest = wanted - sum(np.prod(shapes[i]) for i in full)
        scale = rest / sum(sum(s) for i, s in enumerate(shapes) if i not in full)
        densities = [
            1.0 if i in full else scale * sum(s) / np.prod(s)
            for i, s in enumerate(shapes)
        ]
        if max(densities) <= 1:
            return np.array(densities)
        full.add(int(np.argmax(densities)))


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.9, 0.99])
def test_erk_is_that_of_the_paper(sparsity):
    shapes = [(3, 3, 3, 16), (3, 3, 16, 32), (512, 100), (100, 10), (7, 7)]

    found = np.array(erk(shapes, jnp.float32(sparsity)))

    np.testing.assert_allclose(
        1 - found, erk_of_the_paper(shapes, sparsity), rtol=1e-5, atol=1e-6
    )
    sizes = [np.prod(s) for s in shapes]
    missing = np.sum(found * sizes)
    np.testing.assert_allclose(missing, sparsity * sum(sizes), rtol=1e-4, atol=0.1)


def seen(tx, steps=9):
    """The params and states after each update, the state of init first."""
    update = jax.jit(tx.update)
    params, state = PARAMS, tx.init(PARAMS)
    found = [(params, state)]
    for step in range(steps):
        grads = {n: g[step] for n, g in GRADS.items()}
        updates, state = update(grads, state, params)
        params = jopt.apply_updates(params, updates)
        found.append((params, state))
    return found


INNER = jopt.chain(jopt.add_decayed_weights(0.1), jopt.sgd(0.1, momentum=0.9))


def test_connections_move_as_in_rigl():
    fraction = jopt.cosine_decay_schedule(0.3, 7)
    tx = jopt.grow(INNER, 0.75, fraction=fraction, every=3)

    found = seen(tx)

    for step in range(9):
        before, params = found[step][1].kept, found[step][0]
        for name in NAMES:
            wanted = np.ravel(before[name])
            if step in (3, 6):
                g, f = GRADS[name][step], float(fraction(step))
                wanted = rigl(params[name], g, before[name], f)
            got = np.ravel(found[step + 1][1].kept[name])
            np.testing.assert_array_equal(got, wanted)


def test_as_many_grow_as_drop_and_start_at_zero_with_a_new_state():
    found = seen(jopt.grow(INNER, 0.75, every=3))

    for step in (3, 6):
        (_, before), (params, after) = found[step], found[step + 1]
        for name in NAMES:
            old, new = (np.asarray(s.kept[name]) for s in (before, after))
            moves = round(0.3 * int(old.sum()))
            assert (old & ~new).sum() == (new & ~old).sum() == moves > 0
            # The update that grows them is their first.
            grown = new & ~old
            g = GRADS[name][step]
            np.testing.assert_array_equal(
                np.asarray(after.inner_state[1][0].trace[name])[grown], g[grown]
            )
            np.testing.assert_allclose(
                np.asarray(params[name])[grown], -np.float32(0.1) * g[grown], rtol=1e-6
            )


@pytest.mark.parametrize("layers", ["even", "erk"])
def test_what_is_missing_is_zero_in_parameters_and_state(layers):
    found = seen(jopt.grow(INNER, 0.75, layers=layers, every=2))

    missing = np.array([0.75, 0.75])
    if layers == "erk":
        missing = 1 - erk_of_the_paper([SHAPES[n] for n in NAMES], 0.75)
    for params, state in found[1:]:
        for name, share in zip(NAMES, missing, strict=True):
            gone = ~np.asarray(state.kept[name])
            assert gone.sum() == round(share * gone.size)
            for tree in (params, state.inner_state[1][0].trace):
                np.testing.assert_array_equal(np.asarray(tree[name]) == 0, gone)


@pytest.mark.slow("RigL's quick test moves connections by the same lines")
def test_set_grows_at_random_by_its_key():
    same, again, other = (
        seen(jopt.grow(INNER, 0.75, by="random", every=2, key=jax.random.key(seed)), 4)
        for seed in (1, 1, 2)
    )

    chex.assert_trees_all_equal(same, again)
    assert (same[0][1].kept["w"] != other[0][1].kept["w"]).any()
    old, new = (np.asarray(same[step][1].kept["w"]) for step in (2, 3))
    assert (old & ~new).sum() == (new & ~old).sum() == round(0.3 * int(old.sum()))
    by_gradient = rigl(same[2][0]["w"], GRADS["w"][2], old, 0.3)
    assert (np.ravel(new) != by_gradient).any()


@pytest.mark.slow("RigL's quick test moves connections by the same lines")
def test_a_sparsity_that_rises_drops_more_than_grow():
    rising = jopt.linear_schedule(0.5, 0.9, 6)

    found = seen(jopt.grow(INNER, rising, layers="even", every=3))

    for step in (3, 6):
        kept = found[step + 1][1].kept["w"]
        assert (~np.asarray(kept)).sum() == round(float(rising(step)) * kept.size)


@pytest.mark.slow("RigL's quick test moves connections by the same lines")
@pytest.mark.parametrize("sparsity", [0.0, 0.1])
def test_no_more_move_than_there_is_room_for(sparsity):
    tx = jopt.grow(INNER, sparsity, fraction=1.0, layers="even", every=1)

    params, state = jax.jit(trained)(tx, GRADS, PARAMS)

    for name in NAMES:
        gone = round(sparsity * params[name].size)
        assert (~np.asarray(state.kept[name])).sum() == gone


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: jopt.grow(INNER, 1.0), "Grow: sparsity must be below 1, got 1.0"),
        (lambda: jopt.grow(INNER, 0.5, fraction=2), "Grow: fraction must be at most 1"),
        (
            lambda: jopt.grow(INNER, 0.5, by="size"),
            "by must be one of gradient",
        ),
        (lambda: jopt.grow(INNER, 0.5, layers="x"), "layers must be one of even, erk"),
        (lambda: jopt.grow(INNER, 0.5, key=1, seed=2), "only one of key and seed"),
    ],
)
def test_what_cannot_grow_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
