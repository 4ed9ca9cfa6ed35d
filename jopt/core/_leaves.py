"""Arithmetic on the leaves of trees: a rule for each leaf, a sum over all."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
from jax.tree_util import keystr, tree_leaves_with_path
from jax.typing import ArrayLike, DTypeLike

from jopt.core._arguments import checked
from jopt.core._kinds import Arrays
from jopt.core._numbers import (
    abs_sq,
    dtype_of,
    root,
    standard_promotion,
    wide,
    wide_dtype,
)
from jopt.core._pytree import PyTree

P = ParamSpec("P")
T = TypeVar("T")


def compiled(function: Callable[P, T]) -> Callable[P, T]:
    """Return `function` compiled by `jax.jit`, but picklable by its name.

    The result of `jax.jit` cannot be pickled, nor can a `monitor` that holds it.
    """
    program = jax.jit(function)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        return program(*args, **kwargs)

    return call


def full_like(
    params: PyTree,
    fill: ArrayLike = 0,
    *,
    dtype: DTypeLike | None = None,
    real: bool = False,
) -> PyTree:
    """Return a state like `params`, filled with one number.

    Args:
      params: a tree of arrays or shapes.
      fill: the number.
      dtype: dtype of the real leaves; None for the params' own, but at least float32.
        Complex leaves keep their own dtype.
      real: whether complex leaves have a real state.
    """

    def leaf(p: jax.Array) -> jax.Array:
        kind = _state_dtype(p, dtype)
        kind = jnp.finfo(kind).dtype if real else kind
        return jnp.full_like(p, fill, dtype=kind)

    return jax.tree.map(leaf, params)


def map_leaves(rule: Callable[..., Any], *trees: PyTree) -> PyTree:
    """Apply `rule` to the corresponding leaves of `trees`, in at least float32.

        m, v = map_leaves(lambda m, v, g: (mix(m, g, b1), mix(v, g**2, b2)), m, v, g)

    Leaves of one shape and dtype are traced once.

    Args:
      rule: gets a leaf of each tree, in at least float32, and returns new values for
        its first argument, or a tuple of new values for its first k arguments.
      *trees: trees of one structure.

    Returns:
      A tree like the first one, or k such trees. Each new value has the dtype of the
      leaf that it replaces.

    Raises:
      ValueError: names the first path where a tree differs from the first tree.
    """
    first, structure = jax.tree.flatten(trees[0])
    columns = [first, *(leaves_like(trees[0], tree) for tree in trees[1:])]

    @compiled
    def successors(*old: ArrayLike) -> tuple[jax.Array, ...]:
        # All arguments are wide by now. The promotions that remain, real to complex and
        # float32 to float64, lose nothing.
        with standard_promotion():
            new = rule(*map(wide, old))
        new = new if isinstance(new, tuple) else (new,)
        return tuple(
            jnp.asarray(n, dtype_of(o)) for n, o in zip(new, old, strict=False)
        )

    # An empty tree has k results, too, so the rule is traced with a scalar.
    width = len(jax.eval_shape(successors, *(c[0] if c else 0.0 for c in columns)))
    rows = [successors(*row) for row in zip(*columns, strict=True)]
    grown = [structure.unflatten(row[k] for row in rows) for k in range(width)]
    return grown[0] if width == 1 else tuple(grown)


def leaves_like(
    reference: PyTree,
    tree: PyTree,
    title: str = "The gradients",
    names: tuple[str, str] = ("gradients", "params"),
) -> list[PyTree]:
    """Return the leaves of `tree`, which must have the structure of `reference`.

    Args:
      reference: a tree.
      tree: a tree with the same paths; types of nodes may differ.
      title: the beginning of errors.
      names: what errors call `reference` and `tree`.

    Raises:
      ValueError: names the first path where the trees differ.
    """
    structure = jax.tree.structure(reference)
    if structure == jax.tree.structure(tree):
        return jax.tree.leaves(tree)
    ours, theirs = (
        [keystr(path) for path, _ in tree_leaves_with_path(t)]
        for t in (reference, tree)
    )
    if ours == theirs:  # the nodes' types or metadata differ, as in copies of a module
        return jax.tree.leaves(tree)
    only_ours = next((path for path in ours if path not in theirs), None)
    only_theirs = next((path for path in theirs if path not in ours), None)
    first, second = names
    where = [f"{only_ours} is only in the {first}"] if only_ours is not None else []
    where += [f"{only_theirs} is only in the {second}"] * (only_theirs is not None)
    made_of_them = " (and the state made of them)" if second == "params" else ""
    hint = "differentiate with respect to the params that init was given"
    raise ValueError(
        f"{title} must be a tree like the {second}{made_of_them}, but "
        f"{' and '.join(where)}; {hint if first == 'gradients' else 'give it whole'}."
    )


def sum_leaves(rule: Callable[..., jax.Array], *trees: PyTree) -> jax.Array:
    """Return the sum of `rule` over all coordinates, in at least float32.

    Args:
      rule: gets a leaf of each tree, in at least float32, and returns a real array.
      *trees: trees of one structure.

    Returns:
      A real scalar, zero for trees without leaves.
    """
    first = jax.tree.leaves(trees[0])
    columns = [first, *(leaves_like(trees[0], tree) for tree in trees[1:])]
    sums = [jnp.sum(rule(*map(wide, row))) for row in zip(*columns, strict=True)]
    with standard_promotion():
        return sum(sums, start=jnp.zeros((), jnp.float32))


def normal_like(key: jax.Array, tree: PyTree) -> PyTree:
    """Return Gaussian noise of variance 1 like `tree`, in at least float32.

    Args:
      key: a key of `jax.random`.
      tree: a tree of arrays.
    """
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(key, len(leaves))
    return structure.unflatten(
        jax.random.normal(k, leaf.shape, wide_dtype(leaf))
        for k, leaf in zip(keys, leaves, strict=True)
    )


@compiled
def all_finite(tree: PyTree) -> jax.Array:
    """Return whether all numbers of `tree` are finite, a bool scalar.

    Args:
      tree: a tree of arrays.
    """
    # A sum of x - x is 0 for finite numbers only. XLA's CPU backend writes the mask of
    # `isfinite` to memory, and its maximum overlooks a NaN.

    def finite(x: jax.Array) -> jax.Array:
        parts = (x.real, x.imag) if jnp.iscomplexobj(x) else (x,)
        return jnp.stack([jnp.sum(part - part) == 0 for part in parts]).all()

    leaves = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    found = [finite(jax.lax.stop_gradient(x)) for x in leaves]
    return jnp.stack(found).all() if found else jnp.array(True)


@checked
@jax.jit
def global_norm(updates: Arrays) -> jax.Array:
    """Return the square root of the sum of the squares of all coordinates.

    Args:
      updates: a tree of arrays.

    Returns:
      A real scalar, computed in at least float32. Its gradient at zero is zero.
    """
    return root(sum_leaves(abs_sq, updates))


@compiled
def inner_product(a: PyTree, b: PyTree) -> jax.Array:
    """Return the inner product of two trees, a real scalar in at least float32.

    A complex coordinate counts as two real ones.

    Args:
      a: a tree of arrays.
      b: a tree like `a`.
    """
    return sum_leaves(lambda x, y: (x.conj() * y).real, a, b)


def copied(params: PyTree, *, dtype: DTypeLike | None = None) -> PyTree:
    """Return a copy of `params` in new arrays.

    A state that shared arrays with the params could not be donated along with them.

    Args:
      params: a tree of arrays.
      dtype: dtype of the real leaves; None for their own, but at least float32.
    """

    def leaf(p: jax.Array) -> jax.Array:
        return jnp.array(p, _state_dtype(p, dtype), copy=True)

    return jax.tree.map(leaf, params)


@checked
@jax.jit
def apply_updates(params: Arrays, updates: Arrays) -> PyTree:
    """Return `params + updates`.

    Args:
      params: a tree of arrays.
      updates: a tree of the same structure.

    Returns:
      The sums in the dtypes of `params`, computed in at least float32. Integers are
      added as integers, so that a frozen key or counter keeps its value.

    Raises:
      ValueError: names the first path where the trees differ.
    """

    def exact(p: ArrayLike, u: ArrayLike, total: jax.Array) -> ArrayLike:
        whole = all(jnp.issubdtype(dtype_of(x), jnp.integer) for x in (p, u))
        return p + jnp.asarray(u, dtype_of(p)) if whole else total

    leaves_like(updates, params, "apply_updates: updates", ("updates", "params"))
    leaves, structure = jax.tree.flatten(params)
    total = jax.tree.leaves(map_leaves(lambda p, u: p + u, params, updates))
    return structure.unflatten(map(exact, leaves, jax.tree.leaves(updates), total))


def stored(new: PyTree, old: PyTree) -> PyTree:
    """Return the arrays of `new` in the dtypes of `old`.

    Args:
      new: a tree of arrays.
      old: a tree like `new`, whose dtypes count.
    """
    return jax.tree.map(lambda n, o: jnp.asarray(n, dtype_of(o)), new, old)


def _state_dtype(p: jax.Array, dtype: DTypeLike | None) -> Any:
    # A real dtype is meant to save memory, not to drop imaginary parts.
    if dtype is None or jnp.issubdtype(dtype_of(p), jnp.complexfloating):
        return wide_dtype(p)
    return jax.dtypes.canonicalize_dtype(dtype)
