"""Masks and labels choose the leaves that a transformation sees."""

import pickle
import re
from dataclasses import dataclass
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from comparison import relaxed
from compile_counts import counted
from flax import linen, nnx
from flax.core import FrozenDict
from flax.training.train_state import TrainState
from rows import matrices

import jopt
from jopt import MaskedNode, MaskedState, PartitionState


@jax.tree_util.register_dataclass
@dataclass
class Dense:
    """A module as in equinox: a tree that can be called."""

    kernel: Any
    bias: Any

    def __call__(self, x):
        return x @ self.kernel + self.bias[None]


W, B = jnp.ones((2, 2), jnp.float32), jnp.ones(2, jnp.float32)
PARAMS = {"block": {"kernel": W, "bias": B}, "head": [{"kernel": W}]}
KERNELS = {"block": {"kernel": True, "bias": False}, "head": True}


def is_kernel(path, leaf):
    return path.endswith("kernel")


def by_name(path, leaf):
    return path.rpartition("/")[2]


def step(tx, params):
    """The updates and the state after a step with gradients of one."""
    grads = jax.tree.map(jnp.ones_like, params)
    return tx.update(grads, tx.init(params), params)


# Masks


@pytest.mark.parametrize(
    "mask",
    [
        KERNELS,
        FrozenDict(KERNELS),
        {"block": {"kernel": True, "bias": False}, "head": [{"kernel": True}]},
        {"block": {"kernel": np.array(True), "bias": jnp.array(False)}, "head": True},
        matrices,
        is_kernel,
        lambda path, leaf, axes=2: leaf.ndim == axes,
    ],
    ids=["prefix", "FrozenDict", "tree", "arrays", "params", "path", "leaf"],
)
@pytest.mark.parametrize("frozen", [False, True], ids=["dict", "FrozenDict"])
def test_a_mask_is_a_tree_or_a_function(mask, frozen):
    params = FrozenDict(PARAMS) if frozen else PARAMS
    tx = jopt.masked(jopt.trace(0.5), mask)

    updates, state = step(tx, params)
    updates, state = tx.update(updates, state)

    wanted = {"block": {"bias": B, "kernel": 1.5 * W}, "head": [{"kernel": 1.5 * W}]}
    chex.assert_trees_all_equal(updates, FrozenDict(wanted) if frozen else wanted)
    assert state.inner_state.trace["block"]["bias"] == MaskedNode()
    assert len(jax.tree.leaves(state)) == 2


def test_what_a_prefix_hides_is_one_node():
    tx = jopt.masked(jopt.trace(0.5), {"block": False, "head": True})

    wanted = jopt.TraceState({"block": MaskedNode(), "head": [{"kernel": W}]})
    chex.assert_trees_all_equal_structs(tx.init(PARAMS), MaskedState(wanted))


@pytest.mark.parametrize("mask", [{"kernel": True, "bias": False}, is_kernel])
def test_a_decay_takes_the_same_masks(mask):
    tx = jopt.add_decayed_weights(0.5, mask)
    trees = (
        {"kernel": W, "bias": B},
        FrozenDict({"kernel": W, "bias": B}),
        Dense(W, B),
        nnx.state(nnx.Linear(2, 2, rngs=nnx.Rngs(0)), nnx.Param),
    )

    for tree in trees:
        params = jax.tree.map(jnp.ones_like, tree)
        updates, _ = step(tx, params)
        shapes = {leaf.shape: leaf for leaf in jax.tree.leaves(updates)}
        chex.assert_trees_all_equal_structs(updates, params)
        chex.assert_trees_all_equal([shapes[2, 2], shapes[2,]], [1.5 * W, B])


def test_norms_are_of_the_chosen_leaves():
    tx = jopt.masked(jopt.clip_by_global_norm(1.0), {"a": True, "b": False})
    grads = {"a": jnp.array([3.0, 4.0]), "b": jnp.array([30.0])}

    updates, _ = tx.update(grads, tx.init(grads))

    np.testing.assert_allclose(updates["a"], [0.6, 0.8], rtol=1e-6)
    np.testing.assert_array_equal(updates["b"], [30.0])


def test_what_is_hidden_may_be_of_any_dtype():
    params = {"w": B, "steps": jnp.array(3)}
    inner = jopt.masked(jopt.trace(0.5), {"w": True, "steps": False})

    for tx in (inner, jopt.chain(inner, inner)):
        updates, _ = step(tx, params)
        assert updates["steps"] == 1
        assert updates["steps"].dtype == params["steps"].dtype
    with pytest.raises(TypeError, match=r"^Trace: params\['steps'\] is int32"):
        jopt.chain(inner, jopt.trace(0.5)).init(params)
    with pytest.raises(TypeError, match=r"^Trace: params\['steps'\] is int32"):
        jopt.masked(jopt.trace(0.5), True).init(params)


def test_masks_may_be_nested_and_see_what_others_have_hidden():
    full = {"block": {"kernel": True, "bias": True}, "head": False}
    tx = jopt.masked(jopt.masked(jopt.scale(2.0), full), matrices)
    hidden = jopt.masked(jopt.masked(jopt.scale(2.0), full), {**full, "block": False})

    wanted = {"kernel": 2 * W, "bias": B}
    chex.assert_trees_all_equal(step(tx, PARAMS)[0]["block"], wanted)
    chex.assert_trees_all_equal(step(hidden, PARAMS)[0], PARAMS)


def test_leaves_that_are_None_need_no_bool_and_may_have_one():
    params = {"a": None, "b": B}

    for mask in ({"b": True}, {"a": None, "b": True}, {"a": True, "b": True}):
        updates, _ = step(jopt.masked(jopt.scale(2.0), mask), params)
        assert updates["a"] is None
        chex.assert_trees_all_equal(updates["b"], 2 * B)


def test_extra_arguments_reach_what_is_inside():
    @jopt.pytree
    class Weigh(jopt.GradientTransformation):
        def init(self, params):
            return ()

        def update(self, updates, state, params=None, *, weights, **extra):
            return jax.tree.map(jnp.multiply, updates, weights), state

    weights = jax.tree.map(lambda p: jnp.full_like(p, 3), PARAMS)
    tx = jopt.masked(Weigh(), is_kernel, mask_compatible_extra_args=True)
    groups = jopt.partition(
        {"kernel": Weigh(), "bias": jopt.identity()},
        by_name,
        mask_compatible_extra_args=True,
    )

    for each in (tx, groups):
        updates, _ = each.update(PARAMS, each.init(PARAMS), weights=weights)
        wanted = {"kernel": 3 * W, "bias": B}
        chex.assert_trees_all_equal(updates["block"], wanted)
    with pytest.raises(ValueError, match="pytree structure error"):
        jopt.masked(Weigh(), is_kernel).update(PARAMS, MaskedState(()), weights=weights)


# Labels

LABELS = {
    "tree": {
        "block": {"kernel": "kernel", "bias": "bias"},
        "head": [{"kernel": "kernel"}],
    },
    "prefix": {"block": {"kernel": "kernel", "bias": "bias"}, "head": "kernel"},
    "params": lambda params: jax.tree.map(
        lambda p: "bias" if p.ndim < 2 else "kernel", params
    ),
    "path": by_name,
}


def groups(labels=by_name):
    return jopt.partition(
        {"kernel": jopt.sgd(0.1, momentum=0.9), "bias": jopt.set_to_zero()}, labels
    )


@pytest.mark.parametrize("form", LABELS)
def test_each_leaf_gets_the_transformation_of_its_label(form):
    tx = groups(LABELS[form])

    updates, state = step(tx, PARAMS)
    _, state = tx.update(PARAMS, state, PARAMS)

    kernel = jnp.float32(-0.1) * W
    wanted = {"block": {"kernel": kernel, "bias": 0 * B}, "head": [{"kernel": kernel}]}
    chex.assert_trees_all_equal(updates, wanted)
    momenta = [jnp.float32(1.9) * W] * 2  # of the kernels: no more is kept
    chex.assert_trees_all_equal(jax.tree.leaves(state), momenta)


def test_labels_are_matched_by_path_whatever_the_nodes_are():
    labels = {"kernel": "kernel", "bias": "bias"}
    model = nnx.Linear(2, 2, rngs=nnx.Rngs(0))
    trees = [
        {"kernel": W, "bias": B},
        FrozenDict({"kernel": W, "bias": B}),
        Dense(W, B),
        nnx.state(model, nnx.Param),
        model,
    ]

    for given in (labels, FrozenDict(labels), Dense("kernel", "bias"), by_name):
        for params in trees:
            updates, state = step(groups(given), params)
            by_path = dict(jax.tree_util.tree_leaves_with_path(updates))
            chex.assert_trees_all_equal_structs(updates, params)
            assert len(jax.tree.leaves(state)) == 1
            for path, update in by_path.items():
                moved = "kernel" in jax.tree_util.keystr(path)
                chex.assert_trees_all_equal(
                    update, jnp.full_like(update, -0.1 if moved else 0)
                )


def test_a_list_may_be_labelled_by_a_tuple_and_a_prefix_of_it():
    params = [Dense(W, B), Dense(W, B)]
    tx = jopt.partition(
        {0: jopt.scale(2.0), 1: jopt.scale(3.0)}, (0, Dense(kernel=1, bias=0))
    )

    updates, _ = step(tx, params)

    chex.assert_trees_all_equal(updates, [Dense(2 * W, 2 * B), Dense(3 * W, 2 * B)])


def test_an_empty_tree_needs_no_labels():
    tx = groups({"kernel": "kernel"})

    for empty in ({}, [], None, {"a": None}):
        assert step(tx, empty)[0] == empty


def test_the_paths_of_a_function_are_the_same_in_init_and_update():
    seen = []

    def label(path, leaf):
        seen.append((path, leaf.shape))
        return "kernel"

    tx: Any = groups(label)
    model = nnx.Sequential(nnx.Linear(2, 3, rngs=nnx.Rngs(0)))
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    initial = list(dict.fromkeys(seen))
    seen.clear()
    optimizer.update(model, nnx.state(model, nnx.Param))

    assert initial == [("layers/0/bias", (3,)), ("layers/0/kernel", (2, 3))]
    assert list(dict.fromkeys(seen)) == initial


@pytest.mark.parametrize("form", LABELS)
def test_labels_are_static_values(form):
    tx, again = groups(LABELS[form]), groups(LABELS[form])
    program, traces = counted(lambda tx: step(tx, PARAMS))

    program(tx)
    program(jopt.replace(again, learning_rate=0.5))

    assert (tx, hash(tx)) == (again, hash(again))
    assert len(traces) == 1
    assert groups(LABELS[form]) != groups(lambda path, leaf: "bias")


def test_labels_pickle_and_compare_across_the_types_of_nodes():
    tx = groups({"a": Dense("kernel", "bias"), "b": "bias"})

    back = pickle.loads(pickle.dumps(tx))

    assert (back, hash(back)) == (tx, hash(tx))
    assert groups(FrozenDict(LABELS["tree"])) == groups(LABELS["tree"])
    assert groups({"a": "kernel"}) != groups({"a": "bias"})
    assert "'block/bias': 'bias'" in repr(groups(LABELS["prefix"]))


def test_numbers_are_named_by_label():
    tx = jopt.partition(
        {"decay": jopt.adamw(0.1), "rest": jopt.masked(jopt.adam(0.2), True)},
        lambda path, leaf: "decay" if is_kernel(path, leaf) else "rest",
    )
    state = tx.init(PARAMS)

    now = jopt.hyperparameters(tx, state)
    changed = jopt.replace(tx, **{"rest.learning_rate": 0.3, "weight_decay": 0.0})

    assert (now["decay.learning_rate"], now["rest.learning_rate"]) == (0.1, 0.2)
    assert now["weight_decay"] == 1e-4
    assert jopt.hyperparameters(changed, state) == {
        **now,
        "rest.learning_rate": 0.3,
        "weight_decay": 0.0,
    }


def test_a_schedule_is_read_at_the_count_of_its_group():
    tx = jopt.partition(
        {0: jopt.sgd(jopt.linear_schedule(0.4, 0.0, 4)), 1: jopt.sgd(0.1)},
        lambda path, leaf: int(is_kernel(path, leaf)),
    )
    _, state = step(tx, PARAMS)

    now = jopt.hyperparameters(tx, state)

    np.testing.assert_allclose(now["0.learning_rate"], 0.3, rtol=1e-6)


def test_rates_of_two_groups_are_mapped_together():
    def trained(slow, fast):
        tx = jopt.partition({"kernel": jopt.sgd(slow), "bias": jopt.sgd(fast)}, by_name)
        return step(tx, PARAMS)[0]

    slow, fast = jnp.array([0.1, 0.2, 0.3]), jnp.array([1.0, 2.0, 3.0])

    got = jax.vmap(trained)(slow, fast)

    kernel = -slow[:, None, None] * W[None]
    wanted = {
        "block": {"kernel": kernel, "bias": -fast[:, None] * B[None]},
        "head": [{"kernel": kernel}],
    }
    chex.assert_trees_all_equal(got, wanted)


def test_one_group_starts_anew():
    tx = jopt.partition({"kernel": jopt.adam(0.1), "bias": jopt.adam(0.2)}, by_name)
    _, state = step(tx, PARAMS)

    fresh = tx.init(PARAMS).inner_states["bias"]
    state = PartitionState({**state.inner_states, "bias": fresh})
    _, state = tx.update(PARAMS, state, PARAMS)

    counts = {k: s.inner_state[0].count for k, s in state.inner_states.items()}
    assert counts == {"kernel": 2, "bias": 1}
    assert isinstance(state, jopt.MultiTransformState)


def test_what_is_frozen_keeps_its_place_and_no_state():
    params = {"w": B, "table": jnp.array([1, 2])}
    tx = jopt.selective_transform(
        jopt.adamw(0.1), freeze_mask=lambda path, leaf: path == "table"
    )

    updates, state = step(tx, params)
    moved = jopt.apply_updates(params, updates)

    chex.assert_trees_all_equal_dtypes(moved, params)
    chex.assert_trees_all_equal(moved["table"], params["table"])
    assert [leaf.shape for leaf in jax.tree.leaves(state)] == [(), (2,), (2,)]
    assert tx == jopt.selective_transform(jopt.adamw(0.1), freeze_mask=tx.param_labels)
    assert set(state.inner_states) == {"train", "freeze"}


@pytest.mark.parametrize("mask", [True, np.array(True), {"block": True, "head": True}])
def test_freeze_stops_what_came_before(mask):
    updates, _ = step(jopt.chain(jopt.sgd(0.1), jopt.freeze(mask)), PARAMS)

    chex.assert_trees_all_equal(updates, jax.tree.map(jnp.zeros_like, PARAMS))


# With others


WRAPPERS = {
    "masked": lambda lib, inner: lib.masked(inner, KERNELS),
    "masked, function": lambda lib, inner: lib.masked(inner, matrices),
    "partition": lambda lib, inner: lib.partition(
        {"kernel": inner, "bias": lib.sgd(0.1, 0.9)}, LABELS["prefix"]
    ),
    "selective_transform": lambda lib, inner: lib.selective_transform(
        inner, freeze_mask={"block": True, "head": False}
    ),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_the_state_is_that_of_optax_leaf_by_leaf(name):
    ours = WRAPPERS[name](jopt, jopt.adam(0.1)).init(PARAMS)
    theirs = WRAPPERS[name](optax, optax.adam(0.1)).init(PARAMS)

    def paths(state):
        leaves = jax.tree_util.tree_leaves_with_path(
            state, is_leaf=lambda node: type(node).__name__ == "MaskedNode"
        )
        return [
            (jax.tree_util.keystr(path), type(leaf).__name__) for path, leaf in leaves
        ]

    assert paths(ours) == paths(theirs)


@pytest.mark.parametrize("name", WRAPPERS)
def test_transformations_of_optax_may_be_inside(name):
    ours, theirs = (
        WRAPPERS[name](jopt, optax.adam(0.1)),
        WRAPPERS[name](optax, optax.adam(0.1)),
    )

    got, _ = step(ours, PARAMS)
    with relaxed():
        wanted, _ = step(theirs, PARAMS)

    chex.assert_trees_all_close(got, wanted, rtol=1e-6)


@pytest.mark.parametrize("name", WRAPPERS)
def test_optax_maps_over_what_is_like_params_in_the_state(name):
    tx = WRAPPERS[name](jopt, jopt.adam(0.1))
    state = jax.eval_shape(tx.init, PARAMS)

    marked: Any = optax.tree.map_params(
        tx,
        lambda s, p: s if isinstance(s, MaskedNode) else p.size,
        state,
        PARAMS,
        transform_non_params=lambda s: None,
        is_leaf=lambda node: isinstance(node, MaskedNode),
    )

    sizes = [x.size for x in jax.tree.leaves(state) if x.shape]
    assert sizes
    assert jax.tree.leaves(marked) == sizes


@pytest.mark.slow("one optimizer is in the quick run", but=1)
@pytest.mark.parametrize(
    "inner",
    [
        lambda lib: lib.adafactor(0.1, min_dim_size_to_factor=2),
        lambda lib: lib.lamb(0.1, weight_decay=0.1),
        lambda lib: lib.chain(lib.clip_by_global_norm(0.1), lib.scale_by_trust_ratio()),
        lambda lib: getattr(lib, "contrib", lib).muon(0.1),
    ],
    ids=["adafactor", "lamb", "trust ratio", "muon"],
)
def test_a_group_may_be_of_any_optimizer(inner):
    def tx(lib):
        parts = {"kernel": inner(lib), "bias": lib.sgd(0.1)}
        return lib.partition(parts, LABELS["prefix"])

    params = jax.tree.map(
        lambda p: p / 2 + jnp.arange(p.size, dtype=p.dtype).reshape(p.shape), PARAMS
    )
    got, _ = step(tx(jopt), params)
    with relaxed():
        wanted, _ = step(tx(optax), params)

    chex.assert_trees_all_close(got, wanted, rtol=1e-4)


LAYERS = {"kernel": "kernel", "bias": "bias"}


@pytest.mark.parametrize("labels", [LAYERS, by_name], ids=["dict", "path"])
def test_an_optimizer_of_nnx_trains_groups(labels):
    model: Any = nnx.Linear(2, 1, rngs=nnx.Rngs(0))
    tx: Any = jopt.partition(
        {"kernel": jopt.adam(0.1), "bias": jopt.set_to_zero()}, labels
    )
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    x, before = jnp.ones((4, 2)), (model.kernel[...], model.bias[...])

    @nnx.jit
    def train(model, optimizer):
        grads = nnx.grad(lambda model: jnp.sum((model(x) - 9) ** 2))(model)
        optimizer.update(model, grads)

    train(model, optimizer)
    train(model, optimizer)

    np.testing.assert_allclose(model.kernel[...] - before[0], 0.2, rtol=1e-2)
    np.testing.assert_array_equal(model.bias[...], before[1])
    assert optimizer.step[...] == 2


def test_a_train_state_of_flax_trains_groups():
    module: Any = linen.Dense(1)
    x = jnp.ones((4, 2))
    params = module.init(jax.random.key(0), x)["params"]
    program, traces = counted(
        lambda state: state.apply_gradients(
            grads=jax.grad(
                lambda p: jnp.sum((module.apply({"params": p}, x) - 9) ** 2)
            )(state.params)
        )
    )

    def fresh():
        tx = jopt.partition(
            {"kernel": jopt.adam(0.1), "bias": jopt.set_to_zero()}, LAYERS
        )
        return TrainState.create(apply_fn=module.apply, params=params, tx=tx)

    moved = program(program(fresh()))
    before = len(traces)
    program(fresh())

    np.testing.assert_allclose(
        moved.params["kernel"] - params["kernel"], 0.2, rtol=1e-2
    )
    np.testing.assert_array_equal(moved.params["bias"], params["bias"])
    assert len(traces) == before


def test_a_train_step_of_jopt_trains_groups():
    def loss(model, batch, key):
        return jnp.sum((model(batch) - 9) ** 2)

    state = jopt.TrainState.create(
        Dense(W, B),
        jopt.partition({"kernel": jopt.adam(0.1), "bias": jopt.set_to_zero()}, LAYERS),
    )

    state, metrics = jopt.train_step(loss)(state, W)

    np.testing.assert_allclose(state.params.kernel, 1.1 * W, rtol=1e-5)
    np.testing.assert_array_equal(state.params.bias, B)
    assert metrics.hyperparameters["learning_rate"] == np.float32(0.1)


# Mistakes


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            {"block": {"kernel": "kernel", "bais": "bias"}, "head": "kernel"},
            "The labels' tree must be the params' tree, or a prefix of it, with a "
            "label at each leaf, but block/bias of the params has no label, and there "
            "is no block/bais in the params, which have block/bias, block/kernel, "
            "head/0/kernel.",
        ),
        (
            {"block": "kernel"},
            "with a label at each leaf, but head/0/kernel of the params has no label.",
        ),
        (
            {**LABELS["prefix"], "tail": "bias"},
            "but there is no tail in the params, which have block/bias, block/kernel, "
            "head/0/kernel.",
        ),
        (
            {"block": {"kernel": {"deep": "kernel"}, "bias": "bias"}, "head": "kernel"},
            "but block/kernel of the params has no label, and there is no "
            "block/kernel/deep in the params, which",
        ),
        (
            {"block": {"kernel": "kernle", "bias": "bias"}, "head": "kernel"},
            "Partition: block/kernel is labelled 'kernle', which has no "
            "transformation (did you mean kernel?); there is 'kernel', 'bias'.",
        ),
        (
            lambda path, leaf: None,
            "Partition: block/bias is labelled None, which has no transformation; "
            "there is 'kernel', 'bias'.",
        ),
    ],
    ids=["renamed", "missing", "surplus", "deeper", "unknown", "None"],
)
def test_labels_that_do_not_fit_are_named_by_path(labels, message):
    tx = groups(labels)

    with pytest.raises(ValueError, match=re.escape(message)):
        tx.init(PARAMS)
    with pytest.raises(ValueError, match=re.escape(message)):
        tx.update(PARAMS, groups().init(PARAMS), PARAMS)


def test_many_paths_are_listed_in_part():
    params = {f"layer {i:02}": B for i in range(30)}

    with pytest.raises(ValueError, match=r"layer 00, .*, layer 19 and 10 more\.$"):
        groups({**dict.fromkeys(params, "bias"), "z": "bias"}).init(params)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (
            {"block": {"kernel": 1, "bias": False}, "head": True},
            "at block/kernel there must be a bool, got 1;",
        ),
        ("kernel", "at the root there must be a bool, got 'kernel';"),
        (
            np.array([True, False]),
            "at the root there must be a bool, got array([ True, False]);",
        ),
        (
            lambda path, leaf: leaf.sum() > 0,
            "at block/bias there must be a bool, got JitTracer",
        ),
    ],
    ids=["number", "string", "array", "traced"],
)
def test_a_mask_of_other_than_bools_is_refused(mask, message):
    with pytest.raises(TypeError, match=f"^Mask: {re.escape(message)}"):
        jax.jit(lambda params: jopt.masked(jopt.scale(2.0), mask).init(params))(PARAMS)


def test_labels_of_values_and_arrays_are_refused():
    message = "Labels: the label of block/bias must be a static, hashable value, got "

    with pytest.raises(TypeError, match=f"^{message}JitTracer"):
        jax.jit(groups(lambda path, leaf: leaf.sum()).init)(PARAMS)
    with pytest.raises(TypeError, match=message):
        groups({"block": {"bias": B, "kernel": "kernel"}, "head": "kernel"})


def test_a_state_of_other_groups_is_refused():
    state = jopt.partition({"kernel": jopt.sgd(0.1)}, "kernel").init(PARAMS)
    message = (
        "Partition: the state must have the groups 'kernel', 'bias', got 'kernel';"
    )

    with pytest.raises(ValueError, match=f"^{message}"):
        groups().update(PARAMS, state)
    with pytest.raises(ValueError, match=f"^{message}"):
        jopt.hyperparameters(groups(), state)


def test_transformations_without_labels_are_refused():
    with pytest.raises(TypeError, match=r"^partition: transforms must be a dict, a tr"):
        jopt.partition([jopt.adam(0.1)], by_name)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="a factory must be called first"):
        jopt.partition({"kernel": jopt.adam}, by_name)
    with pytest.raises(TypeError, match="a factory must be called first"):
        jopt.masked(jopt.adam, True)
