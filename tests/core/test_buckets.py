"""Trees whose small leaves are joined to vectors: packing, unpacking, training."""

import collections
import functools
import pickle
import re
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from comparison import compiled_quickly, key_data
from flax import nnx
from flax.core import FrozenDict
from hypothesis import given, settings, strategies as st
from transformation_table import TRANSFORMATIONS

import jopt
from jopt.core import LARGEST_JOINED, Buckets, pack, pack_like, unpack

# What looks at a leaf as one, and so keeps every leaf to itself.
APART = {
    "shapes, norms and means of a leaf": {
        *("scale_by_factored_rms", "scale_by_factored_rms, decay"),
        *("adafactor", "adafactor, momentum"),
        *("fromage", "fromage, schedule", "lamb", "lars"),
        *("novograd", "novograd, decay"),
        *("scale_by_trust_ratio", "centralize", "clip_by_block_rms"),
        *("scale_by_param_block_norm", "scale_by_param_block_rms"),
        *("adaptive_grad_clip", "adaptive_grad_clip, axis"),
        "scale_by_distance_over_gradients",
        *("soap", "scale_by_soap", "shampoo", "shampoo, paper", "scale_by_shampoo"),
        *("kron", "scale_by_kron", "scale_by_sm3", "sm3"),
        *("stable_adamw", "stable_adamw, schedules", "mars", "mars, lion"),
        *("cautious", "cautious, direction"),
    },
    "a bool for a leaf": {"zero_nans"},
    "noise by a leaf's number": {"noisy_sgd"},
    "functions of the user's tree": {
        *("project", "stateless", "stateless_with_tree_map", "monitor", "snapshot"),
    },
    "another library's": {"lift(adan)", "lift(acprop)", "lift(lbfgs)"},
    "vectors of its own": {"flatten"},
    "leaves that compete, or are projected": {
        *("grow", "lottery", "prune", "straight_through"),
    },
}
NEVER_JOINED = set().union(*APART.values())
JOINED = [name for name in TRANSFORMATIONS if name not in NEVER_JOINED]
# The rows of a batch are compiled in one program.
BATCHES = [JOINED[i : i + 13] for i in range(0, len(JOINED), 13)]


def normal(shapes, seed):
    rng = np.random.default_rng(seed)
    return {
        name: jnp.asarray(rng.normal(size=shape), jnp.float32)
        for name, shape in shapes.items()
    }


TWO = {"b": (3,), "w": (2, 2)}
# Enough for masks and labels to leave two leaves of each kind.
SEVEN = TWO | {"c": (2,), "v": (3, 2), "e": (), "f": (), "n": (0, 3)}


def params_for(tx):
    """A few leaves, of which `tx` lets at least two be joined, if there are any."""
    small = normal(TWO, 0)
    return small if isinstance(pack(small, tx), Buckets) else normal(SEVEN, 0)


def exact(tree):
    """The leaves that no rounding changes: counters, codes, the bits of keys."""
    leaves = jax.tree.leaves(key_data(tree))
    return [x for x in leaves if not jnp.issubdtype(x.dtype, jnp.inexact)]


def test_what_looks_at_leaves_keeps_them_and_all_else_joins_them():
    kept = {
        name
        for name, row in TRANSFORMATIONS.items()
        if not isinstance(pack(params_for(row(jopt)), row(jopt)), Buckets)
    }
    assert kept == NEVER_JOINED


@pytest.mark.slow("tests/training/test_train_step.py trains joined leaves")
@pytest.mark.parametrize("names", BATCHES, ids=lambda names: names[0])
def test_joined_leaves_are_trained_as_they_are_alone(names):
    rows = [(n, row, row(jopt)) for n in names for row in [TRANSFORMATIONS[n]]]

    def step(number, alone, joined):
        made = []
        for (_, row, tx), *both in zip(rows, alone, joined, strict=True):
            for params, state in both:
                shapes = {n: x.shape for n, x in unpack(params).items()}
                grads = pack_like(params, normal(shapes, 1))
                # Of every sign and size, and others at each step.
                grads = jax.tree.map(lambda g: g * jnp.cos(number + g), grads)
                updates, state = tx.update(grads, state, params, **dict(row.extra))
                made.append((jopt.apply_updates(params, updates), state))
        return made[::2], made[1::2]

    alone = [(p, tx.init(p)) for _, _, tx in rows for p in [params_for(tx)]]
    joined = [
        (p, tx.init(p))
        for _, _, tx in rows
        for p in [jopt.pack(params_for(tx), tx, shards=4)]
    ]
    assert all(isinstance(params, Buckets) for params, _ in joined)
    run = compiled_quickly(jax.jit(step).lower(0.0, alone, joined))
    for number in range(3):
        alone, joined = run(float(number), alone, joined)
    for (name, _, _), one, other in zip(rows, joined, alone, strict=True):
        say = {"custom_message": name}
        apart, again = unpack(one), unpack(pack_like(one, other))
        chex.assert_trees_all_equal_shapes_and_dtypes(apart, again, other, **say)
        chex.assert_trees_all_close(
            key_data(apart), key_data(other), rtol=1e-5, atol=1e-6, **say
        )
        chex.assert_trees_all_equal(exact(apart), exact(other), **say)
        chex.assert_trees_all_equal(again, other, **say)


class Pair(NamedTuple):
    first: Any
    second: Any


DTYPES = ("float32", "bfloat16", "complex64")
# Few, since XLA compiles anew for every combination.
SHAPES = ((), (2,), (2, 3), (0, 2))
arrays = st.tuples(st.sampled_from(SHAPES), st.sampled_from(DTYPES)).map(
    lambda kind: np.zeros(kind[0], jnp.dtype(kind[1]))
)
trees = st.recursive(
    arrays | st.none(),
    lambda inside: (
        st.lists(inside, max_size=3)
        | st.dictionaries(st.sampled_from("abc"), inside, max_size=3)
        | st.dictionaries(st.sampled_from("abc"), inside).map(FrozenDict)
        | st.tuples(inside, inside)
        | st.builds(Pair, inside, inside)
    ),
    max_leaves=8,
)


def numbered(tree, start=1):
    """The tree with other numbers in every place."""
    leaves, structure = jax.tree.flatten(tree)
    ends = np.cumsum([start, *(leaf.size for leaf in leaves)])
    return structure.unflatten(
        np.arange(end, end + leaf.size).reshape(leaf.shape).astype(leaf.dtype)
        for leaf, end in zip(leaves, ends[:-1], strict=True)
    )


@settings(max_examples=40, derandomize=True, deadline=None, database=None)
@given(trees, st.sampled_from([0, 1, 2, 6]), st.sampled_from([1, 4]))
def test_what_is_packed_is_unpacked_as_it_was(tree, most, shards):
    tree = numbered(tree)
    sizes = [leaf.size for leaf in jax.tree.leaves(tree)]

    packed = pack(tree, most=most, shards=shards)

    other = numbered(tree, start=50)
    made, of_other = unpack(packed), unpack(pack_like(packed, other))
    chex.assert_trees_all_equal_shapes_and_dtypes(made, of_other, tree)
    chex.assert_trees_all_equal(made, tree)
    chex.assert_trees_all_equal(of_other, other)
    if not isinstance(packed, Buckets):
        small = [x.dtype for x in jax.tree.leaves(tree) if x.size <= most]
        assert len(small) == len(set(small))
        return
    layout = packed.layout
    joined = [i for numbers in layout.joined for i in numbers]
    assert sorted([*joined, *layout.alone]) == list(range(len(sizes)))
    assert all(sizes[i] <= most for i in joined)
    assert all(len(numbers) > 1 for numbers in layout.joined)
    assert all(vector.size % shards == 0 for vector in packed.vectors)
    assert len({vector.dtype for vector in packed.vectors}) == len(packed.vectors)
    again = pickle.loads(pickle.dumps(layout))
    assert again == layout == pack(other, most=most, shards=shards).layout
    assert hash(again) == hash(layout)


LARGE, SMALL = {"a": (200, 200)}, {"b": (8,), "c": (2, 2), "d": (64, 128)}


def test_leaves_of_up_to_8192_elements_are_joined_and_larger_ones_are_not():
    params = normal(LARGE | SMALL, 0)

    packed = pack(params)

    assert packed.vectors[0].size == 12 + LARGEST_JOINED == 12 + 64 * 128
    assert packed.leaves == (params["a"],)
    assert repr(packed) == "Buckets(3 leaves in 1 vectors, 1 alone)"


def test_a_tree_with_nothing_to_join_stays_itself():
    params = {"a": jnp.ones(3), "b": jnp.ones(3, jnp.bfloat16), "c": None}

    assert pack(params) is params
    assert pack({}) == {}
    assert pack(normal(SMALL, 0), jopt.scale_by_trust_ratio()).keys() == SMALL.keys()


def test_an_nnx_state_comes_back_with_its_variables():
    state = nnx.state(nnx.Linear(2, 3, rngs=nnx.Rngs(0)), nnx.Param)

    packed = pack(state)

    assert len(packed.vectors) == 1
    chex.assert_trees_all_equal_shapes_and_dtypes(unpack(packed), state)
    chex.assert_trees_all_equal(unpack(packed), state)


def test_layouts_of_other_trees_shards_and_thresholds_differ():
    params = normal(SMALL, 0)
    trees = [(params, LARGEST_JOINED, 1), (params, LARGEST_JOINED, 4), (params, 100, 1)]
    trees += [
        (normal(SMALL | {"c": (4,)}, 0), LARGEST_JOINED, 1),
        ([*params.values()], LARGEST_JOINED, 1),
    ]

    layouts = {pack(tree, most=most, shards=n).layout for tree, most, n in trees}

    assert len(layouts) == len(trees)


def test_a_tree_packed_anew_is_no_new_program():
    program: Any = jax.jit(lambda packed: jax.tree.map(jnp.negative, packed))

    made = [program(pack(normal(SMALL, seed))) for seed in range(2)]

    assert program._cache_size() == 1
    wanted = jax.tree.map(jnp.negative, normal(SMALL, 1))
    chex.assert_trees_all_equal_shapes_and_dtypes(unpack(made[1]), wanted)
    chex.assert_trees_all_equal(unpack(made[1]), wanted)


def test_leaves_are_found_by_path_in_whatever_order_they_come():
    packed = pack(normal({"b": (2,), "a": (2,)}, 0))
    tree = collections.OrderedDict(b=jnp.full(2, 2.0), a=jnp.full(2, 1.0))
    assert jax.tree.leaves(tree)[0][0] == 2

    made = unpack(pack_like(packed, tree))

    wanted = {"a": jnp.full(2, 1.0), "b": jnp.full(2, 2.0)}
    chex.assert_trees_all_equal_shapes_and_dtypes(made, wanted)
    chex.assert_trees_all_equal(made, wanted)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"c": (4,)}, r"\['c'\] must be float32\[2, 2\], but has the shape \[4\]"),
        ({"c": None, "d": None}, r"\['c'\] must be float32\[2, 2\], but is missing"),
        ({"z": (1,)}, r"tree has \['z'\], which the model that was packed"),
    ],
)
def test_a_tree_of_another_model_is_refused_with_the_first_leaf(changes, message):
    shapes = {name: s for name, s in (SMALL | changes).items() if s is not None}
    with pytest.raises(ValueError, match=message):
        pack_like(pack(normal(SMALL, 0)), normal(shapes, 0))


def test_kernels_of_convolutions_stay_themselves():
    params = normal({"bias": (2,), "dense": (3, 2), "kernel": (3, 3, 1, 2)}, 0)

    packed = pack(params, jopt.adamw(0.1))

    assert packed.vectors[0].shape == (8,)
    assert [leaf.shape for leaf in packed.leaves] == [(3, 3, 1, 2)]
    chex.assert_trees_all_equal_shapes_and_dtypes(unpack(packed), params)
    chex.assert_trees_all_equal(unpack(packed), params)


def test_shards_are_at_least_one():
    with pytest.raises(ValueError, match="pack: shards must be at least 1, got 0"):
        pack(normal(SMALL, 0), shards=0)


def test_only_the_leaves_that_adamw_trains_beside_muon_are_joined():
    params = normal({"w": (3, 2), "v": (2, 2), "b": (3,), "c": (2,), "s": ()}, 0)
    tx = jopt.muon(0.1)

    packed = pack(params, tx)
    state = tx.init(packed)

    assert packed.vectors[0].shape == (6,)
    assert [leaf.shape for leaf in packed.leaves] == [(2, 2), (3, 2)]
    chex.assert_trees_all_equal_shapes_and_dtypes(unpack(state), tx.init(params))
    chex.assert_trees_all_equal(unpack(state), tx.init(params))


def test_leaves_of_different_masks_lie_in_different_vectors():
    params = normal({"a": (2,), "b": (3,), "c": (4,), "d": (5,), "e": (6,)}, 0)
    mask = dict(zip(params, [True, False, True, False, True], strict=True))
    frozen = {name: "freeze" if name in "ab" else "train" for name in params}
    tx = jopt.chain(
        jopt.adamw(0.1, mask=mask),
        jopt.partition(
            {"train": jopt.identity(), "freeze": jopt.set_to_zero()}, frozen
        ),
    )

    packed = pack(params, tx)

    assert [vector.shape for vector in packed.vectors] == [(10,)]
    assert [leaf.shape for leaf in packed.leaves] == [(2,), (3,), (5,)]
    with pytest.raises(ValueError, match="no z in the params"):
        pack(params, jopt.adamw(0.1, mask=mask | {"z": True}))


def test_functions_of_paths_and_leaves_see_the_users_tree():
    seen = set()

    def mask(path, leaf):
        seen.add((path, leaf.shape))
        return path.endswith("b")

    params = {"x": normal({"b": (2,), "w": (2, 2)}, 0), "y": normal({"b": (3,)}, 1)}
    tx = jopt.masked(jopt.sgd(1.0), mask)
    packed = pack(params, tx)

    updates, _ = tx.update(packed, tx.init(packed), packed)

    assert seen == {("x/b", (2,)), ("x/w", (2, 2)), ("y/b", (3,))}
    expected = {
        "x": {"b": -params["x"]["b"], "w": params["x"]["w"]},
        "y": {"b": -params["y"]["b"]},
    }
    chex.assert_trees_all_equal_shapes_and_dtypes(unpack(updates), expected)
    chex.assert_trees_all_equal(unpack(updates), expected)


def never(updates, gradient_step, params):
    return jnp.array(False), ()


@pytest.mark.parametrize(
    ("tx", "joins"),
    [
        (jopt.accumulate(jopt.sgd(0.1), 2), True),
        (jopt.accumulate(jopt.sgd(0.1), 2, should_skip_update_fn=None), True),
        (
            jopt.accumulate(
                jopt.sgd(0.1),
                2,
                should_skip_update_fn=functools.partial(
                    jopt.skip_large_updates, max_squared_norm=1.0
                ),
            ),
            True,
        ),
        (jopt.accumulate(jopt.sgd(0.1), 2, should_skip_update_fn=never), False),
        (jopt.accumulate(jopt.lamb(0.1), 2), False),
        (jopt.sam(jopt.sgd(0.1), jopt.sgd(0.1)), True),
        (jopt.sam(jopt.sgd(0.1), jopt.sgd(0.1), opaque_mode=True), False),
        (jopt.sam(jopt.sgd(0.1), jopt.lamb(0.1)), False),
        (jopt.lookahead(jopt.sgd(0.1), 2, 0.5), False),
        (jopt.inject_hyperparams(jopt.lamb)(0.1), False),
        (jopt.chain(jopt.adam(0.1), jopt.centralize()), False),
    ],
    ids=lambda x: type(x).__name__,
)
def test_what_calls_a_users_function_or_holds_what_looks_at_leaves_joins_none(
    tx, joins
):
    assert isinstance(pack(normal(SMALL, 0), tx), Buckets) == joins


@jopt.pytree
class CountsLeaves(jopt.GradientTransformation):
    shapeless = True

    def init(self, params):
        return jax.tree.map(lambda _: jnp.zeros(()), params)

    def update(self, updates, state, params=None, **extra):
        return updates, state


def test_a_state_of_one_number_for_a_leaf_is_refused():
    tx = CountsLeaves()
    state = tx.init(pack(normal(SMALL, 0), tx))
    with pytest.raises(ValueError, match="must not be shapeless"):
        unpack(state)


def test_trees_that_are_stacked_are_unpacked_stacked():
    stacked = jax.vmap(lambda x: jax.tree.map(lambda p: p * x, pack(normal(SMALL, 0))))

    made = unpack(stacked(jnp.arange(3.0)))

    expected = {
        name: jnp.stack([p * x for x in range(3)])
        for name, p in normal(SMALL, 0).items()
    }
    chex.assert_trees_all_equal_shapes_and_dtypes(made, expected)
    chex.assert_trees_all_close(made, expected, rtol=1e-6)


def bodies(text):
    """The different computations of a program, whatever their names."""
    found = re.findall(r"^%.*?\{$(.*?)^\}", text, re.MULTILINE | re.DOTALL)
    return {re.sub(r"metadata=\{[^}]*\}|%\S+", "", body) for body in found}


def test_a_compiled_step_has_one_kernel_for_all_cuts_of_a_shape():
    shapes = {f"{k}{i}": (8,) if k == "b" else (4, 4) for k in "bw" for i in range(30)}
    packed = pack(normal(shapes, 0))

    def sines(packed, true=None):
        return jax.tree.map(jnp.sin, unpack(packed, true=true))

    program = jax.jit(sines).lower(packed, jnp.array(True)).compile()

    # Beside the two cuts there is the branch that the compiler cannot see through.
    assert len(bodies(program.as_text())) < 8
    made, expected = program(packed, jnp.array(True)), sines(packed)
    chex.assert_trees_all_equal_shapes_and_dtypes(made, expected)
    chex.assert_trees_all_close(made, expected, rtol=1e-6)
