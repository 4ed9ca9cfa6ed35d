"""`lottery`: rounds of training, pruning and rewinding."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

import jopt
from jopt import sweep

RNG = np.random.default_rng(0)
PARAMS = {
    "w": RNG.normal(size=(5, 6)).astype(np.float32),
    "v": RNG.normal(size=(6, 3)).astype(np.float32),
    "b": RNG.normal(size=3).astype(np.float32),
}
SIZE = 5 * 6 + 6 * 3
LENGTH, ROUNDS = 4, 3
RATE = jopt.linear_schedule(0.2, 0.05, LENGTH)
INNER = jopt.chain(
    jopt.add_decayed_weights(0.1),
    jopt.sgd(RATE, momentum=0.9),
    jopt.parameter_ema(0.5),
)


def gradient(params, step):
    return jax.tree.map(lambda p: np.sin(5 * p + step), params)


@pytest.fixture(scope="module", params=[0, 2], ids=["from the start", "from update 2"])
def run(request):
    """The rewind, and params and state before each update and after the last."""
    tx = jopt.lottery(INNER, 0.4, LENGTH, rewind=request.param)
    update = jax.jit(tx.update)
    params, state = PARAMS, tx.init(PARAMS)
    seen = [(params, state)]
    for step in range(ROUNDS * LENGTH):
        updates, state = update(gradient(params, step), state, params)
        params = jopt.apply_updates(params, updates)
        seen.append((params, state))
    return request.param, seen


def matrices(tree):
    return np.concatenate([np.ravel(tree["v"]), np.ravel(tree["w"])])


@pytest.mark.slow("the other case differs by one number", but=1)
def test_each_round_prunes_a_share_of_what_is_left(run):
    _, seen = run

    for number in range(ROUNDS):
        gone = round((1 - 0.6**number) * SIZE)
        for params, state in seen[number * LENGTH + 1 : (number + 1) * LENGTH + 1]:
            assert (matrices(state.kept) == 0).sum() == gone
            assert (matrices(params) == 0).sum() == gone


def test_the_smallest_of_the_trained_weights_are_pruned(run):
    _, seen = run

    for number in range(1, ROUNDS):
        trained = matrices(seen[number * LENGTH][0])
        kept = matrices(seen[number * LENGTH + 1][1].kept)
        assert abs(trained[kept]).min() >= abs(trained[~kept]).max()


def test_a_round_goes_back_to_the_start_where_kept_and_to_zero_elsewhere(run):
    rewind, seen = run
    start = seen[rewind][0]

    for number in range(1, ROUNDS):
        params, state = seen[number * LENGTH + 1]
        np.testing.assert_allclose(params["b"], start["b"], rtol=1e-5)
        for name in "wv":
            kept = np.asarray(state.kept[name])
            wanted = np.where(kept, start[name], 0)
            np.testing.assert_allclose(params[name], wanted, rtol=1e-5)
            assert (np.asarray(params[name])[~kept] == 0).all()


def test_the_optimizer_starts_anew_and_its_schedule_too(run):
    _, seen = run

    for number in range(1, ROUNDS):
        params, state = seen[number * LENGTH + 1]
        fresh = INNER.init(params)
        chex.assert_trees_all_close(state.inner_state, fresh, rtol=1e-5)
        rate = jopt.hyperparameters(INNER, seen[number * LENGTH + 2][1].inner_state)
        np.testing.assert_allclose(rate["learning_rate"], RATE(1), rtol=1e-6)


def test_zeros_stay_zero_in_momentum_and_average(run):
    _, seen = run

    for params, state in seen[1:]:
        _, momentum, average = state.inner_state
        for name in "wv":
            gone = ~np.asarray(state.kept[name])
            for tree in (params, momentum[0].trace, average.ema):
                assert (np.asarray(tree[name])[gone] == 0).all()


@pytest.mark.slow("a round's share is compared in the quick run")
def test_fractions_are_swept_and_a_ticket_is_judged_at_the_end_of_its_round():
    def tx(fraction):
        return jopt.lottery(jopt.adam(0.05), fraction, 8)

    trials = sweep.grid(tx, fraction=[0.2, 0.5])
    result = sweep.run(toy.task(), trials, steps=24, segments=3, block=2)

    assert result.info["segment_compiles"] == 1
    for number, trial in enumerate(trials):
        left = (1 - trial.hyperparameters["fraction"]) ** 2
        params = result.params(number)
        gone = sum(int((x == 0).sum()) for x in jax.tree.leaves(params))
        assert gone == round((1 - left) * 20)
        losses, _ = toy.scores(params, *toy.points(30, seed=1))
        np.testing.assert_allclose(
            result.table["valid_loss"][number], losses.mean(), rtol=1e-5
        )


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: jopt.lottery(INNER, 1.0, 9), "Lottery: fraction must be below 1"),
        (lambda: jopt.lottery(INNER, 0.2, 1), "Lottery: length must be at least 2"),
        (
            lambda: jopt.lottery(INNER, 0.2, 9, rewind=9),
            "rewind must be below 9",
        ),
        (
            lambda: jopt.lottery(INNER, 0.2, 9).init({"b": jnp.ones(2)}),
            "Lottery: where must choose at least one leaf",
        ),
    ],
)
def test_what_makes_no_lottery_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
