"""Promises that every row of the table of transformations keeps."""

import contextlib
import functools
import pickle
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from comparison import assert_close, call_unoptimized, relaxed, stack
from compile_counts import counted
from flax import nnx
from flax.core import FrozenDict
from jax.tree_util import GetAttrKey, tree_leaves_with_path, tree_map_with_path
from transformation_table import (
    SIMPLEST,
    TRANSFORMATIONS,
    numbers,
    simplest_first,
    values,
    variations,
)

import jopt

every_transformation = pytest.mark.parametrize("name", TRANSFORMATIONS)


def by_turns(names: Iterable[str], every: int, first: int = 0) -> Any:
    return pytest.mark.parametrize("name", simplest_first(names, every, first))


MIXED = {
    "float32": jnp.ones((2, 3), jnp.float32),
    "bfloat16": jnp.ones((3,), jnp.bfloat16),
    "float16": jnp.ones((), jnp.float16),
}


class Pair(NamedTuple):
    first: Any
    second: Any


@jopt.pytree
class Module:
    kernel: Any
    name: str = jopt.static(default="dense")


ONE = jnp.ones((2, 3), jnp.float32)
TREES = {
    "array": ONE,
    "dict": {"b": ONE, "a": {"c": ONE}},
    "list": [ONE, [ONE]],
    "nested tuple": (ONE, (ONE, ())),
    "named tuple": Pair(ONE, ONE),
    "None": {"a": None, "b": ONE},
    "zero size": {"a": jnp.ones((0, 3), jnp.float32), "b": ONE},
    "complex": {"a": jnp.ones((2,), jnp.complex64), "b": ONE},
    "no leaves": {},
    "module": Module([ONE]),
    "FrozenDict": FrozenDict({"a": {"b": ONE}}),
    "nnx.State": nnx.state(nnx.Linear(2, 3, rngs=nnx.Rngs(0)), nnx.Param),
}


def make(name: str) -> Any:
    return TRANSFORMATIONS[name](jopt)


def extra(name: str) -> dict[str, Any]:
    return dict(TRANSFORMATIONS[name].extra)


def types(tree: Any) -> Any:
    def leaf(x: Any) -> Any:
        return x.shape, x.dtype, getattr(x, "weak_type", False)  # a key has none

    return jax.tree.map(leaf, tree)


def first_step(tx: Any, params: Any, extra: Any) -> Any:
    state = tx.init(params)
    return params, state, *tx.update(params, state, params, **extra)


@by_turns(TRANSFORMATIONS, every=6)
def test_updates_and_state_keep_their_types(name):
    for kind in (float, jnp.float32, jnp.bfloat16, jnp.int32):
        tx = jax.tree.map(kind, make(name))

        given, before, updates, after = jax.eval_shape(
            first_step, tx, MIXED, extra(name)
        )

        assert types(updates) == types(given), kind
        assert types(after) == types(before), kind


@by_turns(TRANSFORMATIONS, every=4)
def test_state_is_arrays_and_known_without_computing(name):
    tx = make(name)

    state = tx.init(MIXED)

    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))
    assert types(jax.eval_shape(tx.init, MIXED)) == types(state)


@by_turns(TRANSFORMATIONS, every=4, first=1)
def test_moments_of_low_precision_params_are_float32(name):
    matrix = jnp.ones((2, 4), jnp.bfloat16)
    vectors = {"a": MIXED["bfloat16"], "b": MIXED["float16"]}
    state = make(name).init({**vectors, "c": matrix})
    low = {GetAttrKey(field) for field in TRANSFORMATIONS[name].low}

    leaves = tree_leaves_with_path(state)
    kinds = {leaf.dtype for path, leaf in leaves if low.isdisjoint(path)}
    assert not kinds & {jnp.dtype(jnp.bfloat16), jnp.dtype(jnp.float16)}


@by_turns(TRANSFORMATIONS, every=6, first=5)
def test_all_arrays_of_a_run_can_be_donated_together(name):
    tx = jax.tree.map(jnp.float32, make(name))
    params = {"a": jnp.ones((2, 3), jnp.float32), "b": jnp.ones((3,), jnp.float32)}

    arrays = [x for x in jax.tree.leaves((tx, params, tx.init(params))) if x.size]

    # A buffer that stands at two places cannot be given away twice.
    places = {x.unsafe_buffer_pointer() for x in arrays}
    assert len(places) == len(arrays)


@by_turns(TRANSFORMATIONS, every=8, first=3)
def test_zero_gradients_in_float16_give_finite_updates(name):
    tx, zeros = make(name), {"w": jnp.zeros((2, 2), jnp.float16)}

    updates, state = tx.update(zeros, tx.init(zeros), zeros, **extra(name))

    leaves = jax.tree.leaves((updates, state))
    numbers = [x for x in leaves if not jnp.issubdtype(x.dtype, jax.dtypes.prng_key)]
    assert all(jnp.isfinite(leaf).all() for leaf in numbers)


@by_turns(TRANSFORMATIONS, every=6, first=1)
def test_any_tree_will_do(name):
    for kind, tree in TREES.items():
        if kind == "complex" and TRANSFORMATIONS[name].real:
            continue
        given, before, updates, after = jax.eval_shape(
            first_step, make(name), tree, extra(name)
        )

        assert jax.tree.structure(updates) == jax.tree.structure(given), kind
        assert types(updates) == types(given), kind
        assert types(after) == types(before), kind


@every_transformation
def test_unpacks_as_optax_does(name):
    tx = make(name)

    init, update = tx

    assert (init, update) == (tx.init, tx.update)


@every_transformation
def test_pickles_and_compares_by_value(name):
    tx, again, back = make(name), make(name), pickle.loads(pickle.dumps(make(name)))

    assert tx == again == back
    assert hash(tx) == hash(again) == hash(back)
    assert jax.tree.structure(tx) == jax.tree.structure(back)


@every_transformation
def test_another_number_makes_another_object(name):
    tx, others = make(name), variations(make(name))

    for number, (same, half, third) in zip(
        numbers(tx).values(), zip(*[iter(others)] * 3, strict=True), strict=True
    ):
        assert (same == tx, half == tx) == (True, number == 0)
        assert third != tx


@every_transformation
def test_repr_shows_every_number(name):
    tx = make(name)

    for path, number in numbers(tx).items():
        field = path.rpartition(".")[2].partition("[")[0]
        assert field in repr(tx)
        assert repr(number) in repr(tx)


# Training with noise, so that signs change, and a coordinate without gradients.
PARAMS = jnp.full((4, 4), 0.5, jnp.float32)
LIVE = jnp.ones((4, 4), jnp.float32).at[0, 0].set(0)
NOISE = jnp.asarray(np.random.default_rng(0).normal(0, 8, (4, 4, 4)), jnp.float32)


def trained(tx: Any, extra: Any) -> Any:
    def loss(params: Any, noise: Any) -> Any:
        return jnp.sum(LIVE * (params**2 + params * noise))

    def step(carry: Any, noise: Any) -> Any:
        params, state = carry
        updates, state = tx.update(
            jax.grad(loss)(params, noise), state, params, **extra
        )
        return (jopt.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (PARAMS, tx.init(PARAMS)), NOISE)[0][0]


@functools.cache
def trained_one_by_one(name: str) -> tuple[Any, int]:
    """The params for each variation, by a loop, and how many programs that took."""
    program, traces = counted(trained)
    runs = [program(tx, extra(name)) for tx in variations(make(name))]
    return np.stack(runs), len(traces)


WITH_NUMBERS = [name for name in TRANSFORMATIONS if numbers(make(name))]
with_numbers = by_turns(WITH_NUMBERS, every=4, first=2)  # tests that share two programs


@with_numbers
def test_a_new_number_is_not_a_new_program(name):
    _, programs = trained_one_by_one(name)

    assert programs == 1


@with_numbers
def test_every_number_matters(name):
    params, _ = trained_one_by_one(name)
    paths = numbers(make(name))

    idle = {
        path
        for i, path in enumerate(paths)
        if (params[3 * i : 3 * i + 3] == params[3 * i]).all()
    }

    assert idle == TRANSFORMATIONS[name].idle


@with_numbers
def test_vmap_over_every_number_equals_a_loop(name):
    wanted, _ = trained_one_by_one(name)

    got = jax.jit(jax.vmap(trained, in_axes=(0, None)))(
        stack(variations(make(name))), extra(name)
    )

    assert_close(got, wanted, rtol=2e-6, scale=TRANSFORMATIONS[name].mapped)


@by_turns(WITH_NUMBERS, every=6, first=4)
def test_some_numbers_can_be_mapped_and_others_not(name):
    leaves, structure = jax.tree.flatten(make(name))
    mapped = [
        jnp.asarray(values(number), jnp.float32) if i % 2 == 0 else number
        for i, number in enumerate(leaves)
    ]
    axes = structure.unflatten([0 if i % 2 == 0 else None for i in range(len(leaves))])

    params = jax.eval_shape(
        jax.vmap(trained, in_axes=(axes, None)),
        structure.unflatten(mapped),
        extra(name),
    )

    assert params.shape == (3, *PARAMS.shape)


def finite_gradients(name: str, function: Any) -> bool:
    # JAX differentiates optax's code outside of jopt's call of it.
    with relaxed() if name.startswith("lift") else contextlib.nullcontext():
        gradients = call_unoptimized(
            jax.grad(lambda tx: function(tx, extra(name)).sum()), make(name)
        )

    return all(np.isfinite(g) for g in numbers(gradients).values())


def trained_twice(tx: Any, extra: Any) -> Any:
    """Two steps without a loop: half of what its gradient takes XLA to compile."""
    params, state = PARAMS, tx.init(PARAMS)
    for noise in NOISE[:2]:
        updates, state = tx.update(LIVE * (2 * params + noise), state, params, **extra)
        params = jopt.apply_updates(params, updates)
    return params


# The rest are in the slow test below, over more steps.
@pytest.mark.parametrize("name", sorted(SIMPLEST.intersection(WITH_NUMBERS))[1::6])
def test_gradients_of_the_first_steps_are_finite(name):
    assert finite_gradients(name, trained_twice)


@pytest.mark.slow("the first two steps are in the quick run")
@pytest.mark.parametrize("name", WITH_NUMBERS)
def test_gradients_through_every_number_are_finite(name):
    assert finite_gradients(name, trained)


@by_turns(TRANSFORMATIONS, every=6, first=2)
def test_counters_are_shared_by_a_block_of_trials(name):
    block = stack([make(name)] * 3)
    counters = [GetAttrKey(field) for field in TRANSFORMATIONS[name].counters]
    axes = tree_map_with_path(
        lambda path, _: None if path[-1] in counters else 0,
        make(name).init(PARAMS),
    )

    # vmap refuses to give back as shared (None) what the mapped numbers have touched.
    init = jax.vmap(lambda tx: tx.init(PARAMS), out_axes=axes, axis_size=3)
    update = jax.vmap(
        lambda tx, state: tx.update(PARAMS, state, PARAMS, **extra(name))[1],
        in_axes=(0, axes),
        out_axes=axes,
        axis_size=3,
    )
    before, after = jax.eval_shape(
        lambda block: (init(block), update(block, init(block))), block
    )

    assert types(after) == types(before)
