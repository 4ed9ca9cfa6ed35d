"""Promises of `memory`: bytes are counted rightly, named, and shown."""

import jax
import jax.numpy as jnp
import pytest

import jopt

PARAMS = {"kernel": jnp.ones((30, 40)), "bias": jnp.ones(40, jnp.bfloat16)}


def test_each_leaf_is_counted_in_its_dtype():
    found = jopt.memory(PARAMS)

    rows = {row.path: row for row in found.rows}
    assert [row.path for row in found.rows] == ["kernel", "bias"]  # the largest first
    assert rows["kernel"][1:] == ("float32", (30, 40), 4800)
    assert rows["bias"][1:] == ("bfloat16", (40,), 80)
    assert found.bytes == 4880
    assert found.dtypes == {"float32": 4800, "bfloat16": 80}
    assert found.parts == {"kernel": 4800, "bias": 80}


def test_bytes_a_parameter_are_of_the_params_that_are_known():
    state = jopt.TrainState.create(PARAMS, jopt.adam(1e-3))

    assert (
        jopt.memory(state).parameters
        == jopt.memory({"params": PARAMS}).parameters
        == 1240
    )
    moments = jopt.memory(state.opt_state, PARAMS)
    assert moments.bytes_per_parameter == (2 * 1240 * 4 + 4) / 1240
    assert jopt.memory(PARAMS).bytes_per_parameter is None


def test_shapes_take_what_their_arrays_would():
    make = lambda: jopt.TrainState.create(PARAMS, jopt.adam(1e-3))  # noqa: E731
    state = make()

    assert jopt.memory(jax.eval_shape(make)) == jopt.memory(state)
    arrays = [x for x in jax.tree.leaves(state) if x is not state.key]
    assert (
        jopt.memory(state).bytes == sum(x.nbytes for x in arrays) + 8
    )  # a key is 2 uint32


def test_joined_leaves_are_shown_by_leaf_and_all_bytes_are_there():
    params = {f"b{i}": jnp.ones(7) for i in range(3)}
    by_leaf = jopt.TrainState.create(params, jopt.sgd(0.1), buckets=False)
    joined = jopt.TrainState.create(params, jopt.sgd(0.1), shards=8)

    found = jopt.memory(joined)

    assert found.parts["packed"] == jopt.memory(by_leaf).parts["packed"] == 84
    assert found.parts["ends of vectors"] == 12  # 21 numbers in 24
    assert found.parameters == 21


def test_keys_and_numbers_are_counted():
    keys = jax.random.split(jax.random.key(0), 3)

    assert jopt.memory({"keys": keys}).bytes == 24
    assert jopt.memory({"key": jax.random.key(0, impl="rbg")}).bytes == 16
    assert jopt.memory({"number": 1.0, "none": None}).bytes == 4
    assert jopt.memory(()).bytes == 0


def test_it_prints_as_a_table():
    pytest.importorskip("pandas")
    params = {f"w{i:02}": jnp.ones((10 + i, 100)) for i in range(30)}
    found = jopt.memory({"params": params, "key": jax.random.key(0)})

    text = str(found)

    assert text.startswith("294 kB in 31 leaves, 4.00 bytes for each of 73,500 param")
    assert "\nparams  294 kB  100.0%         4.00\n" in text
    assert "\nparams/w29      float32  [39, 100]  15.6 kB\n" in text
    assert "w05" not in text  # the smaller ones are summed up
    assert text.endswith("and 11 smaller                        58 kB")
    assert max(map(len, text.splitlines())) < 80
    table = found.table()
    assert list(table.columns) == ["path", "dtype", "shape", "bytes"]
    assert table.bytes.sum() == found.bytes


def test_what_is_no_array_is_named():
    with pytest.raises(TypeError, match=r"memory: a/b is not an array but a str"):
        jopt.memory({"a": {"b": "x"}})
