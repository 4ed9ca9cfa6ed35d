"""`prune`: what is zero, what the optimizer inside sees, and who competes."""

# pyright: reportArgumentType=false

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy
from comparison import key_data
from transformation_runs import trained
from transformation_table import TRANSFORMATIONS

import jopt
from jopt import sweep


def normal(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


PARAMS = {"w": normal((6, 8)), "v": normal((8, 4), 1), "b": normal(4, 2)}
SIZE = 6 * 8 + 8 * 4
GRADS = jax.tree.map(lambda p: normal((50, *p.shape), 3), PARAMS)


def zeros(tree):
    """How many numbers of a tree's matrices are exactly 0."""
    return sum(int((np.asarray(x) == 0).sum()) for x in (tree["w"], tree["v"]))


def once(tx, params=PARAMS, grads=None):
    """The params after one update, and the state."""
    grads = jax.tree.map(lambda g: g[0], GRADS) if grads is None else grads
    updates, state = tx.update(grads, tx.init(params), params)
    return jopt.apply_updates(params, updates), state


def smallest(scores, sparsity):
    """The kept ones of an array, by NumPy."""
    kept = np.ones(scores.size, bool)
    kept[
        np.argsort(scores, axis=None, kind="stable")[: round(sparsity * scores.size)]
    ] = 0
    return kept.reshape(scores.shape)


# What is zero.


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_after_an_update_exactly_the_asked_share_is_zero(dtype):
    params = jax.tree.map(lambda p: jnp.asarray(p, dtype), PARAMS)
    grads = jax.tree.map(lambda g: jnp.asarray(g[0], dtype), GRADS)
    update = jax.jit(
        lambda sparsity: once(jopt.prune(jopt.sgd(0.1), sparsity), params, grads)
    )

    for sparsity in (0.0, 0.31, 0.5, 0.97, 0.999):
        after, state = update(sparsity)
        assert zeros(after) == zeros(state.kept) == round(sparsity * SIZE)
        assert not (np.asarray(after["b"]) == 0).any()


def test_among_equals_the_first_are_zero():
    params = {"a": jnp.ones((2, 2)), "b": -jnp.ones((2, 3))}

    _, state = once(jopt.prune(jopt.sgd(0.1), 0.6), params, params)

    np.testing.assert_array_equal(state.kept["a"], [[False, False], [False, False]])
    np.testing.assert_array_equal(state.kept["b"], [[False, False, True], [True] * 3])


AVERAGED = jopt.chain(
    jopt.add_decayed_weights(0.1),
    jopt.add_noise(0.1, 0.5, 0),
    jopt.trace(0.9),
    jopt.scale_by_adam(),
    jopt.scale_by_learning_rate(0.01),
    jopt.parameter_ema(0.9),
)


def test_zeros_stay_exactly_zero_in_parameters_and_state():
    tx = jopt.prune(AVERAGED, jopt.cubic_sparsity(0.8, 5, 30), every=4)

    params, state = jax.jit(trained)(tx, GRADS, PARAMS)

    gone = round(0.8 * SIZE)
    assert zeros(params) == zeros(state.kept) == gone
    assert zeros(tx.eval_params(state, params)) == gone
    moments = [state.inner_state[2].trace, state.inner_state[3].mu]
    moments += [state.inner_state[3].nu, state.inner_state[5].ema]
    for tree in (params, *moments):
        chex.assert_trees_all_equal(
            {name: tree[name] == 0 for name in "wv"},
            {name: ~state.kept[name] for name in "wv"},
        )


def test_what_was_pruned_stays_so_until_the_sparsity_falls():
    sparsity = jopt.join_schedules(
        [jopt.constant_schedule(0.5), jopt.constant_schedule(0.25)], [30]
    )
    tx = jopt.prune(jopt.sgd(0.1, momentum=0.9), sparsity, every=1)
    first = once(tx)[1].kept

    for steps, share in ((30, 0.5), (31, 0.25)):
        grads = jax.tree.map(lambda g, n=steps: g[:n], GRADS)
        _, state = jax.jit(trained)(tx, grads, PARAMS)
        assert zeros(state.kept) == round(share * SIZE)
        back = {name: state.kept[name] & ~first[name] for name in "wv"}
        assert sum(map(np.sum, back.values())) == round((0.5 - share) * SIZE)


# What the optimizer inside sees.


class SeenState(NamedTuple):
    grads: Any
    params: Any
    mu: Any


@jopt.pytree
class Watched(jopt.GradientTransformation):
    """Keep what is given, and a moment that is never 0 by itself."""

    def init(self, params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        return SeenState({"g": zeros}, {"p": zeros}, zeros)

    def update(self, updates, state, params=None, **extra):
        mu = jax.tree.map(lambda m, g: m + g + 1, state.mu, updates)
        grads, seen = jax.tree.map(jnp.array, (updates, params))
        return mu, SeenState({"g": grads}, {"p": seen}, mu)


def test_inside_gradients_parameters_and_state_are_zero_where_pruned():
    tx = jopt.prune(Watched(), jopt.cubic_sparsity(0.6, 0, 9), every=3)
    params, state = PARAMS, tx.init(PARAMS)

    for step in range(7):
        grads = jax.tree.map(lambda g, i=step: g[i], GRADS)
        updates, state = tx.update(grads, state, params)
        for tree in (state.inner_state.grads["g"], state.inner_state.mu):
            assert zeros(tree) == zeros(state.kept)
        seen = state.inner_state.params["p"]
        for name in "wv":
            kept = np.asarray(state.kept[name])
            np.testing.assert_array_equal(seen[name], np.where(kept, params[name], 0))
        np.testing.assert_array_equal(seen["b"], params["b"])
        params = jopt.apply_updates(params, updates)
    assert zeros(state.kept) > 0


@pytest.mark.slow("the state of Adam and averages is looked at in the quick run")
def test_a_state_starts_anew_where_pruned_but_for_other_bases():
    tx = jopt.prune(
        jopt.chain(jopt.scale_by_soap(), jopt.muon(0.1), jopt.adagrad(0.1)), 0.5
    )

    _, state = run(tx, {}, PARAMS)

    soap, muon, adagrad = state.inner_state
    gone = ~np.asarray(state.kept["w"])
    momentum = muon.inner_states["muon"].inner_state[0].mu
    sums = adagrad[0].sum_of_squares
    for moment, new in ((soap.mu, 0), (momentum, 0), (sums, np.float32(0.1))):
        np.testing.assert_array_equal(np.asarray(moment["w"])[gone], new)
    assert (np.asarray(soap.nu["w"])[gone] != 0).any()


@jax.jit
def wave(params, step):
    return jax.tree.map(lambda p: jnp.cos(3 * p + step), params)


def run(tx, extra, params):
    state = tx.init(params)
    for step in range(3):
        updates, state = tx.update(wave(params, step), state, params, **extra)
        params = jopt.apply_updates(params, updates)
    return params, state


FIRST = ["adamw", "sgd", "lion", "muon", "schedule_free_adamw"]
NAMES = [*FIRST, *(name for name in TRANSFORMATIONS if name not in FIRST)]


@pytest.mark.slow("five optimizers are quick", but=5)
@pytest.mark.parametrize("name", NAMES)
def test_a_sparsity_of_zero_is_the_optimizer_itself_bit_for_bit(name):
    row = TRANSFORMATIONS[name]
    tx, extra = row(jopt), dict(row.extra)
    pruned = jopt.prune(tx, 0.0, every=2)

    params, state = run(pruned, extra, PARAMS)

    assert all(mask.all() for mask in jax.tree.leaves(state.kept))
    chex.assert_trees_all_equal(
        key_data((params, state.inner_state)), key_data(run(tx, extra, PARAMS))
    )


# When, and how much.


def test_the_choice_stays_a_branch_under_vmap():
    grads = jax.tree.map(lambda g: g[0], GRADS)

    def step(tx, state):
        return tx.update(grads, state, PARAMS)[1]

    tx = jopt.prune(jopt.sgd(0.1), 0.5)
    txs = jax.vmap(lambda s: jopt.prune(jopt.sgd(0.1), s))(jnp.array([0.1, 0.5]))
    states = jax.eval_shape(jax.vmap(lambda tx: tx.init(PARAMS)), txs)
    states = states._replace(count=jax.ShapeDtypeStruct((), jnp.int32))
    axes = jopt.PruneState(None, 0, 0, 0)
    mapped = jax.vmap(step, in_axes=(0, axes), out_axes=axes)

    text = str(jax.make_jaxpr(mapped)(txs, states))
    alone = str(jax.make_jaxpr(step)(tx, jax.eval_shape(tx.init, PARAMS)))

    assert text.count("cond[") == alone.count("cond[") == 2


def test_before_the_schedule_begins_nothing_is_pruned():
    tx = jopt.prune(jopt.sgd(0.1), jopt.cubic_sparsity(0.5, 6, 6), every=2)
    params, state, found = PARAMS, tx.init(PARAMS), []

    for step in range(9):
        grads = jax.tree.map(lambda g, i=step: g[i], GRADS)
        updates, state = tx.update(grads, state, params)
        params = jopt.apply_updates(params, updates)
        found.append(zeros(params))

    assert found == [0] * 6 + [SIZE // 2] * 3


def test_the_cubic_schedule_is_that_of_the_paper():
    def paper(t, final, begin, end, initial):
        if t < begin:
            return initial
        left = 1 - (min((t - begin) / (end - begin), 1) if end > begin else 1)
        return final + (initial - final) * left**3

    for numbers in ((0.9, 10, 80, 0.0), (0.5, 0, 33, 0.2), (0.7, 20, 20, 0.0)):
        schedule = jopt.cubic_sparsity(*numbers)
        wanted = [paper(t, *numbers) for t in range(100)]
        np.testing.assert_allclose(
            schedule(np.arange(100)), wanted, rtol=1e-6, atol=1e-7
        )


# Who competes, and with which score.


def kept_by(params=PARAMS, grads=None, **options):
    _, state = once(jopt.prune(jopt.sgd(0.1), 0.5, **options), params, grads)
    return {name: np.asarray(state.kept[name]) for name in "wv"}


def test_a_leaf_can_compete_by_itself():
    kept = kept_by(among="leaf")

    for name in "wv":
        np.testing.assert_array_equal(kept[name], smallest(np.abs(PARAMS[name]), 0.5))


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (1, 2), (3, 4)])
def test_n_of_m_are_kept_along_the_inputs(n, m):
    wide = {"w": PARAMS["w"].T, "v": PARAMS["v"]}
    tx = jopt.prune(jopt.sgd(0.1), 1 - n / m, among=jopt.Groups(m))

    kept = jax.tree.map(np.asarray, once(tx, wide, wide)[1].kept)

    for name, p in wide.items():
        for column, chosen in zip(p.T, kept[name].T, strict=True):
            for i in range(0, len(column), m):
                alone = smallest(np.abs(column[i : i + m]), 1 - n / m)
                np.testing.assert_array_equal(chosen[i : i + m], alone)
                assert chosen[i : i + m].sum() == n


def test_blocks_are_kept_by_their_norm():
    kept = kept_by(unit=jopt.Block((2, 4)), among="leaf")

    for name in "wv":
        p = PARAMS[name].astype(np.float64)
        rows, columns = p.shape[0] // 2, p.shape[1] // 4
        norms = np.array(
            [
                [
                    np.linalg.norm(p[2 * i : 2 * i + 2, 4 * j : 4 * j + 4])
                    for j in range(columns)
                ]
                for i in range(rows)
            ]
        )
        wanted = np.kron(smallest(norms, 0.5), np.ones((2, 4))) == 1
        np.testing.assert_array_equal(kept[name], wanted)


def test_channels_compete_over_all_leaves():
    kept = kept_by(unit=jopt.Channel(0))

    norms = np.concatenate([np.linalg.norm(PARAMS[n], axis=1) for n in ("v", "w")])
    wanted = smallest(norms, 0.5)
    np.testing.assert_array_equal(kept["v"], np.tile(wanted[:8, None], 4))
    np.testing.assert_array_equal(kept["w"], np.tile(wanted[8:, None], 8))


def test_snip_keeps_where_the_first_gradient_says():
    grads = jax.tree.map(lambda g: g[0], GRADS)

    kept = kept_by(score=jopt.Gradient(), grads=grads)

    both = np.concatenate([np.abs(grads[n] * PARAMS[n]).ravel() for n in ("v", "w")])
    wanted = smallest(both, 0.5)
    np.testing.assert_array_equal(
        np.concatenate([kept["v"].ravel(), kept["w"].ravel()]), wanted
    )


@pytest.mark.parametrize("score", [jopt.Movement(), jopt.Taylor(0.75)])
def test_scores_that_add_up_see_every_gradient(score):
    tx = jopt.prune(jopt.sgd(0.1), jopt.cubic_sparsity(0.5, 3, 3), every=1, score=score)
    grads = jax.tree.map(lambda g: g[:4], GRADS)
    sums = {n: np.zeros(PARAMS[n].shape) for n in "wv"}
    now = jax.tree.map(np.float64, PARAMS)
    for step in range(4):
        for n in "wv":
            product = grads[n][step] * now[n]
            if isinstance(score, jopt.Movement):
                sums[n] -= product
            else:
                sums[n] = 0.75 * sums[n] + 0.25 * abs(product)
            now[n] = now[n] - 0.1 * grads[n][step]

    _, state = jax.jit(trained)(tx, grads, PARAMS)

    both = np.concatenate([sums["v"].ravel(), sums["w"].ravel()])
    found = np.concatenate([np.ravel(state.kept["v"]), np.ravel(state.kept["w"])])
    np.testing.assert_array_equal(found, smallest(both, 0.5))


@pytest.mark.slow("other scores give masks in the quick run")
def test_a_random_mask_is_the_same_at_every_update_and_another_for_another_key():
    few, many = (
        once(jopt.prune(jopt.sgd(0.1), s, score=jopt.Random(3)))[1].kept
        for s in (0.3, 0.6)
    )
    other = once(jopt.prune(jopt.sgd(0.1), 0.3, score=jopt.Random(4)))[1].kept

    assert all((many[n] <= few[n]).all() for n in "wv")
    assert any((other[n] != few[n]).any() for n in "wv")


# In a training.


@pytest.mark.slow("which leaves are joined is asked of every row of the table")
def test_small_leaves_that_are_not_pruned_are_joined_as_ever():
    params = PARAMS | {"c": normal(3, 5)}
    tx = jopt.prune(jopt.adamw(0.1), 0.5)
    loss = lambda p, batch, key: sum(jnp.sum((x - 1) ** 2) for x in p.values())  # noqa: E731
    found = []

    for buckets in (True, False):
        state = jopt.TrainState.create(params, tx, buckets=buckets)
        assert isinstance(state.packed, jopt.Buckets) == buckets
        for _ in range(3):
            state, metrics = jopt.train_step(loss)(state, None)
            assert metrics.hyperparameters["sparsity"] == 0.5
        assert zeros(state.params) == zeros(state.eval_params) == SIZE // 2
        found.append(state.by_leaf())

    chex.assert_trees_all_close(found[0].params, found[1].params, rtol=1e-6)
    chex.assert_trees_all_equal_structs(*found)


@pytest.mark.slow("a step of a sweep is that of a training")
def test_a_sweep_trains_evaluates_and_returns_the_pruned_models():
    def tx(learning_rate, sparsity):
        return jopt.prune(
            jopt.adam(learning_rate), jopt.cubic_sparsity(sparsity, 0, 8), every=4
        )

    trials = sweep.grid(tx, learning_rate=[0.1, 0.01], sparsity=[0.0, 0.5, 0.8])
    result = sweep.run(toy.task(), trials, steps=16, segments=2, block=6)

    assert result.info["segment_compiles"] == 1
    for number, trial in enumerate(trials):
        params = result.params(number)
        gone = sum(int((x == 0).sum()) for x in jax.tree.leaves(params))
        assert gone == round(trial.hyperparameters["sparsity"] * 20)
        losses, _ = toy.scores(params, *toy.points(30, seed=1))
        np.testing.assert_allclose(
            result.table["valid_loss"][number], losses.mean(), rtol=1e-5
        )


def test_numbers_of_a_score_have_names():
    tx = jopt.prune(jopt.sgd(0.1), 0.5, score=jopt.Taylor(0.5))

    assert jopt.hyperparameters(tx, tx.init(PARAMS))["decay"] == 0.5
    assert jopt.replace(tx, decay=0.25).score == jopt.Taylor(0.25)


# What is refused.


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: jopt.prune(jopt.sgd(0.1), 1.0),
            "Prune: sparsity must be below 1, got 1.0",
        ),
        (lambda: jopt.prune(jopt.sgd(0.1), -0.1), "Prune: sparsity must be at least 0"),
        (
            lambda: jopt.cubic_sparsity(1.5, 0, 9),
            "CubicSparsity: final must be below 1",
        ),
        (
            lambda: jopt.prune(jopt.sgd(0.1), 0.5, where=False).init(PARAMS),
            "Prune: where must choose at least one leaf .* none of b, v, w;",
        ),
        (
            lambda: jopt.prune(jopt.sgd(0.1), 0.5, among=jopt.Groups(4)).init(PARAMS),
            r"among must divide .* Groups\(size=4, axis=-2\) .* w with .* \[6, 8\]",
        ),
        (
            lambda: jopt.prune(jopt.sgd(0.1), 0.5, unit=jopt.Block((3, 4))).init(
                PARAMS
            ),
            r"unit must divide .* Block\(shape=\(3, 4\)\) .* v of shape \[8, 4\];",
        ),
        (
            lambda: jopt.prune(jopt.sgd(0.1), 0.5, unit=jopt.Channel(2)).init(PARAMS),
            r"Channel\(axis=2\) does not divide v of shape",
        ),
        (
            lambda: jopt.prune(jopt.sgd(0.1), 0.5, every=0),
            "Prune: every must be an integer of at least 1",
        ),
        (
            lambda: jopt.Block((0, 4)),
            "Block: shape must be a tuple of integers of at least 1",
        ),
        (lambda: jopt.Groups(0), "Groups: size must be an integer of at least 1"),
    ],
)
def test_what_cannot_be_pruned_is_refused(make, words):
    with pytest.raises((TypeError, ValueError), match=words):
        make()


def test_a_score_is_a_score():
    with pytest.raises(
        TypeError, match=r"Prune: score must be a score, such as jopt\.Mag"
    ):
        jopt.prune(jopt.sgd(0.1), 0.5, score="magnitude")


def test_an_update_without_params_says_what_it_needs():
    tx = jopt.prune(jopt.sgd(0.1), 0.5)
    with pytest.raises(
        ValueError, match="Prune: update needs the parameters that are pruned"
    ):
        tx.update(PARAMS, tx.init(PARAMS))


def test_optimizers_of_optax_can_be_inside():
    theirs, ours = (once(jopt.prune(lib.adam(0.1), 0.5))[0] for lib in (optax, jopt))

    chex.assert_trees_all_close(theirs, ours, rtol=1e-5)
