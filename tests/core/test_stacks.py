"""Leaves cut into blocks and stacked by shape; matrices along a block's axes."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import jopt
from jopt.core import (
    Blocking,
    even_blocks,
    gram,
    init_stacks,
    inverse_power,
    map_stacks,
    merge_axes,
    multiply_along,
    refined_basis,
    stacked_identities,
)


@pytest.mark.parametrize(
    ("shape", "limit", "wanted"),
    [
        ((1, 2, 512, 1, 2048, 1, 3, 4), 1024, (1024, 2048, 12)),
        ((1, 2, 768, 1, 2048), 1024, (2, 768, 2048)),
        ((3, 3, 64, 64), 1024, (576, 64)),
        ((2000, 3), 1024, (2000, 3)),
        ((1, 1), 1024, (1,)),
        ((), 1024, (1,)),
    ],
)
def test_neighbouring_axes_are_merged_up_to_a_limit(shape, limit, wanted):
    assert merge_axes(shape, limit) == wanted


@pytest.mark.parametrize(
    ("shape", "limit", "wanted"),
    [((8, 12), 4, (4, 4)), ((7, 3), 4, (4, 3)), ((10,), 4, (4,)), ((0, 2), 4, (0, 2))],
)
def test_blocks_are_equal_and_within_the_limit(shape, limit, wanted):
    assert even_blocks(shape, limit) == wanted


def by_blocks(leaf, limit=3):
    shape = np.shape(leaf)
    return Blocking(shape, even_blocks(shape, limit), tuple(range(len(shape))))


@pytest.mark.slow("references of shampoo and soap cut blocks")
def test_a_rule_sees_each_block_once_and_every_leaf_comes_back():
    shapes = [(), (4,), (3, 3), (7, 5), (3, 2, 4), (0, 4), (7, 5), (1,)]
    tree = [jnp.arange(np.prod(s), dtype=jnp.float32).reshape(s) + 1 for s in shapes]
    tree.append(jnp.ones((2, 2), jnp.bfloat16))
    ones = functools.partial(init_stacks, lambda n, cut, dtype: jnp.ones(n, dtype))

    def rule(axes, x, y, seen):
        assert x.dtype == jnp.float32
        assert axes == tuple(range(x.ndim))
        return 2 * x, x + y, seen + jnp.sum(x)

    twice, thrice, seen = map_stacks(
        rule,
        by_blocks,
        (tree, [2 * leaf for leaf in tree]),
        (ones(by_blocks, tree),),
    )

    for x, two, three in zip(tree, twice, thrice, strict=True):
        assert two.dtype == three.dtype == x.dtype
        np.testing.assert_array_equal(two, 2 * x)
        np.testing.assert_array_equal(three, 3 * x)
    assert seen["float32[3, 3] axes 0, 1"].shape == (13,)
    total = sum(float(jnp.sum(s - 1)) for s in seen.values())
    assert total == sum(float(jnp.sum(x)) for x in tree)


def test_what_is_held_has_a_row_for_each_block():
    params = {"a": jnp.ones((4, 2)), "b": jnp.ones((2, 2)), "c": jnp.ones(2)}

    held = init_stacks(stacked_identities, lambda leaf: by_blocks(leaf, 2), params)

    assert {key: [x.shape for x in value] for key, value in held.items()} == {
        "float32[2, 2] axes 0, 1": [(3, 2, 2), (3, 2, 2)],
        "float32[2] axes 0": [(1, 2, 2)],
    }


def test_a_state_of_other_shapes_is_named():
    tx = jopt.soap(1e-3)
    state = tx.init({"a": jnp.ones((4, 2), jnp.float32)})
    given = {"a": jnp.ones((2, 2), jnp.float32)}
    message = (
        "The state has matrices for float32[4, 2] axes 0, 1, but the gradients are "
        "float32[2, 2] axes 0, 1; give gradients of the shapes of the params that init "
        "was given."
    )

    with pytest.raises(ValueError, match=re.escape(message)):
        tx.update(given, state, given)


def test_products_along_an_axis():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, 3, 4)), jnp.float32)
    a = jnp.asarray(rng.normal(size=(3, 3)), jnp.float32)

    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    close(multiply_along(x, a, 1), np.einsum("ij,ajb->aib", a, x))
    close(multiply_along(x, a, 1, turned=True), np.einsum("ji,ajb->aib", a, x))
    close(gram(x, 1), np.einsum("aib,ajb->ij", x, x))


def test_orthogonal_iteration_finds_the_eigenvectors_in_order():
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    matrix = jnp.asarray((turn * [1.0, 16, 4, 0.25, 64]) @ turn.T, jnp.float32)
    order, basis = jnp.zeros(5), jnp.eye(5, dtype=jnp.float32)

    for _ in range(20):
        order, basis = refined_basis(matrix, basis)

    np.testing.assert_array_equal(order, range(5))
    values = basis.T @ matrix @ basis
    np.testing.assert_allclose(values, np.diag([64, 16, 4, 1, 0.25]), atol=1e-4)


@pytest.mark.slow("the contract differentiates shampoo")
def test_an_inverse_power_has_gradients_where_eigenvalues_are_equal():
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        turn = np.linalg.qr(rng.normal(size=(5, 5)))[0]
        matrix = jnp.asarray((turn * [3.0, 3, 3, 1, 0.1]) @ turn.T)
        weights = jnp.asarray(rng.normal(size=(5, 5)))

        def powered(matrix, power, eps):
            symmetric = (matrix + matrix.T) / 2
            return jnp.sum(weights * inverse_power(symmetric, power, eps))

        # The derivative of the greatest eigenvalue is one-sided where two are.
        given = (matrix + jnp.outer(turn[0], turn[0]), 0.3, 1e-2)
        check_grads(powered, given, order=1, modes=("fwd", "rev"), rtol=1e-5)
        same = functools.partial(powered, power=0.3, eps=1e-30)
        check_grads(same, (matrix,), order=1, modes=("fwd", "rev"), rtol=1e-5)
        exact = turn * np.array([3.0, 3, 3, 1, 0.1]) ** -0.25 @ turn.T
        np.testing.assert_allclose(inverse_power(matrix, 0.25, 1e-30), exact)


@pytest.mark.slow("the contract has zero gradients of shampoo")
def test_the_power_of_zero_is_the_identity():
    zero = jnp.zeros((3, 3), jnp.float32)

    value, slope = jax.value_and_grad(
        lambda eps: jnp.sum(inverse_power(zero, 0.25, eps))
    )(1e-6)

    np.testing.assert_array_equal(inverse_power(zero, 0.25, 1e-6), np.eye(3))
    assert (value, slope) == (3, 0)
