"""Promises about training a part of the parameters: `TrainState.create(wrt=)`."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

import jopt

X = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)


class Net(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(4, 6, rngs=rngs)
        self.last = nnx.LoRA(
            6, 2, 3, base_module=nnx.Linear(6, 3, rngs=rngs), rngs=rngs
        )

    def __call__(self, x):
        return self.last(jnp.tanh(self.first(x)))


class Dense(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.Dense(3, name="head")(jnp.tanh(linen.Dense(6, name="body")(x)))


def tree():
    return {"body": {"w": jnp.ones((4, 6))}, "head": [jnp.full((6, 3), 0.1), None]}


def by_tree(params, x):
    return jnp.tanh(x @ params["body"]["w"]) @ params["head"][0]


CASES = {
    "nnx filter": (lambda: Net(nnx.Rngs(0)), lambda m, x: m(x), nnx.LoRAParam, "lora"),
    "nnx paths": (
        lambda: Net(nnx.Rngs(0)),
        lambda m, x: m(x),
        lambda path, leaf: path.startswith("first/"),
        "first",
    ),
    "linen": (
        lambda: Dense().init(jax.random.key(0), X),
        lambda m, x: Dense().apply(m, x),
        lambda path, leaf: "head" in path,
        "head",
    ),
    "tree": (tree, by_tree, lambda path, leaf: "head" in path, "head"),
    "tree of bools": (tree, by_tree, {"body": False, "head": True}, "head"),
}


def case(name):
    make, apply, wrt, word = CASES[name]

    def loss_fn(model, batch, key):
        return jnp.mean((apply(model, batch) - 1) ** 2)

    return make, loss_fn, wrt, word


def paths(tree):
    flat = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): leaf for path, leaf in flat}


@pytest.mark.parametrize("name", CASES)
def test_what_is_chosen_is_trained_and_the_rest_stays(name):
    make, loss_fn, wrt, word = case(name)
    state = jopt.TrainState.create(make(), jopt.adamw(0.1), wrt=wrt)
    before = paths(jax.tree.map(np.array, state.params))
    moments = sum(x.size for x in jax.tree.leaves(state.by_leaf().opt_state)) - 1
    chosen = [leaf.size for path, leaf in before.items() if word in path]
    assert moments == 2 * sum(chosen)
    step = jopt.train_step(loss_fn)
    first, losses = state.frozen, []
    for _ in range(3):
        state, metrics = step(state, X)
        losses.append(float(metrics.loss))
    assert losses[2] < losses[0]
    for path, leaf in paths(state.params).items():
        assert (word in path) != np.array_equal(leaf, before[path]), path
    # The arrays themselves go on: no step donates, copies or returns them.
    same = zip(jax.tree.leaves(first), jax.tree.leaves(state.frozen), strict=True)
    assert all(a is b for a, b in same)


def test_a_step_is_that_of_the_trained_parameters_alone():
    body = tree()["body"]

    def alone(head, batch, key):
        return jnp.mean((by_tree({"body": body, "head": head}, batch) - 1) ** 2)

    make, loss_fn, wrt, _ = case("tree")
    part = jopt.TrainState.create(make(), jopt.adamw(0.1), wrt=wrt)
    whole = jopt.TrainState.create(tree()["head"], jopt.adamw(0.1))
    for _ in range(2):
        part, _ = jopt.train_step(loss_fn)(part, X)
        whole, _ = jopt.train_step(alone)(whole, X)
    part, seen = jopt.train_step(loss_fn)(part, X)
    whole, expected = jopt.train_step(alone)(whole, X)
    chex.assert_trees_all_close(part.params["head"], whole.params, rtol=1e-6)
    chex.assert_trees_all_close(seen.grad_norm, expected.grad_norm, rtol=1e-6)


def test_frozen_leaves_may_be_integers_and_of_any_dtype():
    params = {"table": jnp.arange(4), "w": jnp.ones(4), "h": jnp.ones(2, jnp.bfloat16)}

    def loss_fn(params, batch, key):
        return jnp.sum(params["w"] * params["table"].astype(jnp.float32))

    state = jopt.TrainState.create(
        params, jopt.sgd(0.1), wrt=lambda path, leaf: path == "w"
    )
    state, _ = jopt.train_step(loss_fn)(state, None)
    chex.assert_trees_all_equal_shapes_and_dtypes(state.params, params)
    np.testing.assert_allclose(state.params["w"], 1 - 0.1 * np.arange(4), rtol=1e-6)


@pytest.mark.parametrize("name", ["nnx filter", "tree"])
def test_the_state_is_saved_restored_and_given_other_parameters(name):
    make, _, wrt, _ = case(name)
    state = jopt.TrainState.create(make(), jopt.adamw(0.1), wrt=wrt)
    twice = state.with_params(jax.tree.map(lambda x: 2 * x, state.params))
    chex.assert_trees_all_close(
        paths(twice.params), {p: 2 * x for p, x in paths(state.params).items()}
    )
    apart = jopt.TrainState.create(make(), jopt.adamw(0.1), wrt=wrt, buckets=False)
    chex.assert_trees_all_equal_structs(state.by_leaf(), apart)
    chex.assert_trees_all_equal(state.filled(apart).params, apart.params)


def test_an_average_is_of_the_trained_parameters():
    make, loss_fn, wrt, _ = case("tree")
    tx = jopt.chain(jopt.sgd(0.5), jopt.parameter_ema(0.9))
    state = jopt.TrainState.create(make(), tx, wrt=wrt)
    state, _ = jopt.train_step(loss_fn)(state, X)
    state, _ = jopt.train_step(loss_fn)(state, X)
    average = state.eval_params
    chex.assert_trees_all_equal(average["body"], state.params["body"])
    assert not np.allclose(average["head"][0], state.params["head"][0])
    assert jax.tree.structure(average) == jax.tree.structure(state.params)


@pytest.mark.parametrize(
    ("name", "wrt", "words"),
    [
        ("tree", lambda path, leaf: "tail" in path, r"there are body/w, head/0"),
        ("nnx paths", nnx.BatchStat, r"wrt must choose parameters to train"),
        ("tree", nnx.LoRAParam, r"the model is not an nnx module"),
        ("tree", {"body": True}, r"head/0 of the params has no bool"),
        ("tree", 3, r"there must be a bool, got 3"),
    ],
)
def test_a_choice_of_nothing_or_of_the_wrong_kind_is_a_sentence(name, wrt, words):
    with pytest.raises((TypeError, ValueError), match=words):
        jopt.TrainState.create(CASES[name][0](), jopt.sgd(0.1), wrt=wrt)


def test_vmap_over_rates_shares_the_frozen_parameters():
    make, loss_fn, wrt, _ = case("tree")
    state = jopt.TrainState.create(make(), jopt.sgd(0.1), wrt=wrt)

    def trained(rate, state):
        state = dataclasses.replace(state, tx=jopt.sgd(rate))
        new, _ = jopt.train_step(loss_fn)(state, X)
        return new.packed

    rates = jnp.array([0.1, 0.2])
    batched = jax.vmap(trained, in_axes=(0, None))(rates, state)
    for row, rate in enumerate(rates):
        one = jax.tree.map(lambda x, row=row: x[row], batched)
        alone = jax.jit(trained)(rate, state)
        chex.assert_trees_all_close(one, alone, rtol=1e-6)


def test_frozen_parameters_lie_where_their_shardings_say():
    make, loss_fn, wrt, _ = case("tree")
    state, other = (
        jopt.TrainState.create(make(), jopt.adamw(0.1), wrt=wrt, buckets=False)
        for _ in range(2)
    )
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = {"body": jax.P(None, "data"), "head": jax.P()}
    given = {name: jax.NamedSharding(mesh, one) for name, one in spec.items()}
    shardings = jopt.state_sharding(jax.eval_shape(lambda: state), given)
    assert shardings.frozen["body"]["w"].spec == spec["body"]
    placed = jax.device_put(state, shardings)
    after, _ = jopt.train_step(loss_fn, shardings=shardings)(placed, X)
    alone, _ = jopt.train_step(loss_fn)(other, X)
    chex.assert_trees_all_close(after.params, alone.params, rtol=1e-6)
