"""Whatever the buckets: labels, masks and checkpoints are of the user's tree."""

import pickle
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint
import pytest
from comparison import key_data
from flax import nnx
from transformation_table import TRANSFORMATIONS

import jopt
from jopt.core import Buckets
from jopt.training import TrainState, train_step

W, B = jnp.ones((2, 2)), jnp.ones(2)
PARAMS = {
    "block": {"kernel": W, "bias": B},
    "head": [{"kernel": W}],
    "tail": {"kernel": W, "bias": B},
}


class Net(nnx.Module):
    def __init__(self, rngs):
        self.a, self.b = nnx.Linear(3, 3, rngs=rngs), nnx.Linear(3, 3, rngs=rngs)


def by_name(path, leaf):
    return "kernels" if path.endswith("kernel") else "rest"


def is_kernel(path, leaf):
    return path.endswith("kernel")


PARTS = {"kernels": jopt.adamw(0.01), "rest": jopt.sgd(0.01, momentum=0.9)}
PREFIX = {"block": False, "head": True, "tail": True}
LABELS = {"block": "kernels", "head": "rest", "tail": "kernels"}
TREES: dict[str, Any] = {
    "a prefix": (PARAMS, jopt.masked(jopt.trace(0.5), PREFIX)),
    "labels of a prefix": (PARAMS, jopt.partition(PARTS, LABELS)),
    "labels below a mask": (PARAMS, jopt.masked(jopt.partition(PARTS, LABELS), PREFIX)),
    "a mask below labels": (
        PARAMS,
        jopt.partition(
            PARTS | {"kernels": jopt.masked(jopt.adam(0.01), is_kernel)}, LABELS
        ),
    ),
    "all hidden": (PARAMS, jopt.masked(jopt.adam(0.1), False)),
    "labels of a module": (Net(nnx.Rngs(0)), jopt.partition(PARTS, by_name)),
    "frozen layers": (
        Net(nnx.Rngs(0)),
        jopt.selective_transform(jopt.adamw(0.01), freeze_mask={"a": True, "b": False}),
    ),
    "averages of some": (
        Net(nnx.Rngs(0)),
        jopt.chain(jopt.sgd(0.1), jopt.masked(jopt.parameter_ema(0.5), is_kernel)),
    ),
    "muon": (Net(nnx.Rngs(0)), jopt.muon(0.01)),
    "low bit": (PARAMS, jopt.low_bit(jopt.partition(PARTS, LABELS), min_size=3)),
}


def shapes(model, tx, buckets):
    return jax.eval_shape(lambda: TrainState.create(model, tx, buckets=buckets))


@pytest.mark.parametrize(("model", "tx"), TREES.values(), ids=TREES)
def test_taken_apart_a_state_is_that_of_the_tree_without_buckets(model, tx):
    joined, apart = (shapes(model, tx, buckets) for buckets in (True, False))
    assert not isinstance(apart.packed, Buckets)
    chex.assert_trees_all_equal_structs(joined.by_leaf(), apart)
    chex.assert_trees_all_equal_shapes_and_dtypes(joined.by_leaf(), apart)
    again = pickle.loads(pickle.dumps(joined.packed))
    assert jax.tree.structure(again) == jax.tree.structure(joined.packed)


def test_it_is_so_for_every_transformation_of_the_table():
    for name, row in TRANSFORMATIONS.items():
        joined, apart = (shapes(PARAMS, row(jopt), b) for b in (True, False))
        same = jax.tree.structure(joined.by_leaf()) == jax.tree.structure(apart)
        assert same, name


def test_by_hand_too():
    tx = jopt.partition(PARTS, LABELS)
    packed = jopt.pack(PARAMS, tx)
    assert isinstance(packed, Buckets)
    grads = jopt.pack_like(packed, jax.tree.map(jnp.ones_like, PARAMS))
    _, state = tx.update(grads, tx.init(packed), packed)
    _, plain = tx.update(jopt.unpack(grads), tx.init(PARAMS), PARAMS)
    chex.assert_trees_all_close(jopt.unpack(state), plain)


@pytest.mark.parametrize("saved", [True, False])
def test_a_checkpoint_of_a_module_with_labels_fits_any_buckets(tmp_path, saved):
    def loss_fn(model, batch, key):
        return jnp.mean(model.b(model.a(batch)) ** 2)

    def create(seed, buckets):
        tx = jopt.partition(PARTS, by_name)
        return TrainState.create(Net(nnx.Rngs(seed)), tx, buckets=buckets)

    state, _ = train_step(loss_fn)(create(0, saved), jnp.ones((2, 3)))
    other = create(1, not saved)
    with orbax.checkpoint.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "1", state.by_leaf())
        checkpointer.wait_until_finished()
        other = other.filled(checkpointer.restore(tmp_path / "1", other.by_leaf()))
    ours, theirs = (key_data(s.by_leaf()) for s in (other, state))
    chex.assert_trees_all_equal(jax.tree.leaves(ours), jax.tree.leaves(theirs))


def test_functions_of_paths_see_those_of_the_tree_in_every_update():
    seen: dict[bool, list[Any]] = {}

    def label(path, leaf):
        seen[buckets].append((path, leaf.shape))
        return by_name(path, leaf)

    def of_tree(params):
        seen[buckets].append(jax.tree.structure(params))
        return jax.tree.map(lambda p: p.ndim > 1, params)

    for buckets in (True, False):
        seen[buckets] = []
        tx = jopt.chain(
            jopt.partition(PARTS, label), jopt.masked(jopt.ema(0.5), of_tree)
        )
        state = TrainState.create(PARAMS, tx, buckets=buckets)
        train_step(lambda p, batch, key: p["block"]["bias"].sum())(state, B)
    assert {*map(str, seen[True])} == {*map(str, seen[False])}


def leaves(wide):
    """Parameters of every kind, and what a model may hold beside them."""
    params = {
        "empty": jnp.zeros(0),
        "no rows": jnp.zeros((0, 3), jnp.bfloat16),
        "scalar": jnp.ones(()),
        "other scalar": jnp.ones((), jnp.bfloat16),
        "half": jnp.ones(3, jnp.bfloat16),
        "float16": jnp.ones(3, jnp.float16),
        "matrix": jnp.ones((2, 3)),
        "complex": jnp.ones(3, jnp.complex64),
    }
    held = {
        "mean": jnp.zeros(2, jnp.bfloat16),
        "none": jnp.zeros((0, 2)),
        "count": jnp.int8(0),
        "bits": jnp.uint32(1),
        "flag": jnp.array(False),
        "key": jax.random.key(0),
    }
    if wide:
        params |= {"wide": jnp.ones(3, jnp.float64), "w": jnp.ones((), jnp.float64)}
        held |= {"var": jnp.zeros((), jnp.float64)}
    return {"params": params, "held": held}


def sum_of_squares(variables, batch, key):
    squares = [jnp.abs(p).astype(float) ** 2 for p in variables["params"].values()]
    held = variables["held"]
    after = {"mean": jnp.ones(2) / 3, "count": held["count"] + jnp.int8(1)}
    if "var" in held:
        after["var"] = held["var"] + jnp.asarray(1 / 3, float)
    return sum(s.sum() for s in squares) + batch.sum(), {"held": {**held, **after}}


@pytest.mark.slow("another way to cut the batch keeps dtypes alike", but=3)
@pytest.mark.parametrize("buckets", [True, False])
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize(
    "settings", [{}, {"accumulate": 3}, {"microbatch": 2}], ids=lambda x: str([*x])
)
def test_leaves_of_every_kind_keep_their_shapes_and_dtypes(wide, buckets, settings):
    kinds = lambda state: [(x.shape, x.dtype) for x in jax.tree.leaves(state)]  # noqa: E731
    # Strict dtypes know no sum of float64 and float32.
    strictness = "standard" if wide else "strict"
    with jax.enable_x64(wide), jax.numpy_dtype_promotion(strictness):
        clipped = jopt.chain(jopt.clip_by_global_norm(99.0), jopt.adam(0.1))
        scale = jopt.LossScale(3.0)
        state = TrainState.create(
            leaves(wide), clipped, buckets=buckets, loss_scale=scale
        )
        before = kinds(state)
        state, metrics = train_step(sum_of_squares, **settings)(state, jnp.zeros(3))
        assert kinds(state) == before
        assert kinds(state.params) == kinds(leaves(wide)["params"])
        assert metrics.nonfinite == 0
        assert int(state.model_state["held"]["count"]) == max(
            1, settings.get("accumulate", 0), settings.get("microbatch", 0)
        )


@pytest.mark.parametrize("settings", [{}, {"accumulate": 3}, {"microbatch": 2}])
def test_float64_is_computed_in_float64(settings):
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        params = {"a": jnp.ones(3, jnp.float64), "b": jnp.ones((), jnp.float64)}
        tx = jopt.chain(jopt.clip_by_global_norm(99.0), jopt.sgd(0.1))
        state = TrainState.create(params, tx, loss_scale=jopt.LossScale(3.0))

        def loss_fn(params, batch, key):
            return jnp.mean(batch) * sum(p.sum() / 3 for p in params.values())

        state, _ = train_step(loss_fn, **settings)(state, jnp.arange(3.0) + 1)
        wanted = jax.tree.map(lambda p: np.asarray(p) - 0.1 * 2 / 3, params)
        chex.assert_trees_all_close(state.params, wanted, rtol=1e-15)
