"""The k smallest scores, found without a sort, are those that a sort finds."""

import os
import re
import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scripts import SUPPORT

import jopt
from jopt.compress._masks import smallest

SHAPES = ((3, 4), (), (5,), (0, 2))
SIZE = 18  # elements of all
# Equal numbers, both zeros, infinities, a denormal, and what is no number.
VALUES = (
    -np.inf,
    -1.5,
    -0.0,
    0.0,
    1e-42,
    1.0,
    1.0 + 2**-23,
    3e38,
    np.inf,
    np.nan,
    -np.nan,
)

together = jax.jit(lambda scores, k: smallest(scores, k))
by_axis = jax.jit(lambda scores, k: smallest([scores], [k], [1])[0])


def arrays(values):
    """The values in arrays of SHAPES."""
    cuts = np.cumsum([int(np.prod(shape)) for shape in SHAPES])[:-1]
    parts = np.split(np.asarray(values), cuts)
    return [part.reshape(shape) for part, shape in zip(parts, SHAPES, strict=True)]


def sorted_first(scores, k):
    """A mask by a stable sort, which puts what is no number last."""
    mask = np.zeros(len(scores), bool)
    mask[np.argsort(scores, kind="stable")[:k]] = True
    return mask


drawn = st.lists(st.sampled_from(VALUES), min_size=SIZE, max_size=SIZE)


@given(drawn, st.integers(0, SIZE))
@settings(max_examples=200, deadline=None)
def test_they_are_those_that_a_stable_sort_puts_first(values, k):
    masks = together(arrays(np.float32(values)), jnp.int32(k))

    chex.assert_trees_all_equal(masks, arrays(sorted_first(values, k)))
    assert sum(int(mask.sum()) for mask in masks) == k


@given(st.lists(st.sampled_from(VALUES), min_size=24, max_size=24), st.integers(0, 4))
@settings(max_examples=100, deadline=None)
def test_along_an_axis_each_line_is_searched_by_itself(values, k):
    scores = np.asarray(values, np.float32).reshape(2, 4, 3)

    mask = by_axis(scores, jnp.int32(k))

    wanted = np.apply_along_axis(sorted_first, 1, scores, k)
    np.testing.assert_array_equal(mask, wanted)


def test_k_may_differ_by_trial_and_so_may_the_scores():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(3, SIZE)).astype(np.float32)
    ks = jnp.array([0, 7, 18], jnp.int32)

    masks = jax.jit(jax.vmap(lambda row, k: smallest([row], k)[0]))(scores, ks)
    shared = jax.jit(jax.vmap(lambda k: smallest([scores[0]], k)[0]))(ks)

    wanted = [sorted_first(*row) for row in zip(scores, ks, strict=True)]
    np.testing.assert_array_equal(masks, wanted)
    np.testing.assert_array_equal(shared, [sorted_first(scores[0], k) for k in ks])


def test_bfloat16_ranks_by_its_own_numbers():
    scores = jnp.asarray(np.random.default_rng(0).normal(size=SIZE), jnp.bfloat16)

    mask = smallest([scores], jnp.int32(9))[0]

    np.testing.assert_array_equal(mask, sorted_first(np.asarray(scores, np.float32), 9))


def test_more_coordinates_than_32_bits_count_are_refused():
    params = {"w": jax.ShapeDtypeStruct((2**16, 2**15), jnp.float32)}

    with pytest.raises(ValueError, match=r"where must choose fewer than 2\*\*31 coord"):
        jax.eval_shape(jopt.prune(jopt.sgd(0.1), 0.5).init, params)


@pytest.mark.slow("it starts a process with two devices")
def test_between_devices_only_counts_are_summed():
    script = SUPPORT / "sharded_masks.py"
    run = [sys.executable, str(script)]
    path = os.pathsep.join([str(SUPPORT), str(SUPPORT.parents[1])])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        run, capture_output=True, text=True, check=True, env=environment
    )

    *sent, same = done.stdout.splitlines()
    assert same == "True"
    assert sent
    assert {shape for line in sent for shape in re.findall(r"\w+\[.*?\]", line)} == {
        "s32[]"
    }
