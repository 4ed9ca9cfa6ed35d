"""Work on the leaves of trees: a rule for each, a norm of all."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
from jax.tree_util import keystr, tree_leaves_with_path

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
    """Return `function` as one compiled program, which pickles by its name.

    What `jax.jit` returns does not, and neither would a monitor of it.
    """
    program = jax.jit(function)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        return program(*args, **kwargs)

    return call


def full_like(
    params: PyTree, fill: Any = 0, *, dtype: Any = None, real: bool = False
) -> PyTree:
    """Return a state like `params`, filled: in `dtype`, or else at least float32.

    Complex leaves have their own dtype, and a real state with `real`.
    """

    def leaf(p: Any) -> jax.Array:
        kind = _state_dtype(p, dtype)
        kind = jnp.finfo(kind).dtype if real else kind
        return jnp.full_like(p, fill, dtype=kind)

    return jax.tree.map(leaf, params)


def map_leaves(rule: Callable[..., Any], *trees: PyTree) -> Any:
    """Apply `rule` to the corresponding leaves of `trees`, computing wide.

    `rule` gets each leaf in at least float32 and returns the successors of its first
    arguments: one array, or a tuple of k. Each is stored in the dtype of the leaf that
    it succeeds, in a tree like the first one; the answer is one tree, or k.

    Leaves of one shape and dtype are traced once. Raises a ValueError that names the
    first path where a tree differs from the first.
    """
    first, structure = jax.tree.flatten(trees[0])
    columns = [first, *(leaves_like(trees[0], tree) for tree in trees[1:])]

    @compiled
    def successors(*old: Any) -> tuple[jax.Array, ...]:
        with standard_promotion():
            new = rule(*map(wide, old))
        new = new if isinstance(new, tuple) else (new,)
        return tuple(
            jnp.asarray(n, dtype_of(o)) for n, o in zip(new, old, strict=False)
        )

    # A tree without leaves has as many successors as any other.
    width = len(jax.eval_shape(successors, *(c[0] if c else 0.0 for c in columns)))
    rows = [successors(*row) for row in zip(*columns, strict=True)]
    grown = [structure.unflatten(row[k] for row in rows) for k in range(width)]
    return grown[0] if width == 1 else tuple(grown)


def leaves_like(
    reference: PyTree,
    tree: PyTree,
    title: str = "The gradients",
    names: tuple[str, str] = ("gradients", "params"),
) -> list[Any]:
    """Return the leaves of `tree`, which must have the structure of `reference`.

    Raises a ValueError that names the first path where they differ. It begins with the
    title; names: of what `reference` and `tree` are.
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


def sum_leaves(rule: Callable[..., Any], *trees: PyTree) -> jax.Array:
    """Return the sum of `rule` over all coordinates, in at least float32.

    `rule` gets corresponding leaves of `trees`, each in at least float32, and returns a
    real array. The result is a scalar, zero for trees without leaves.
    """
    first = jax.tree.leaves(trees[0])
    columns = [first, *(leaves_like(trees[0], tree) for tree in trees[1:])]
    sums = [jnp.sum(rule(*map(wide, row))) for row in zip(*columns, strict=True)]
    with standard_promotion():
        return sum(sums, start=jnp.zeros((), jnp.float32))


def normal_like(key: jax.Array, tree: PyTree) -> PyTree:
    """Return a tree of Gaussian noise of variance 1 like `tree`, at least float32."""
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(key, len(leaves))
    return structure.unflatten(
        jax.random.normal(k, leaf.shape, wide_dtype(leaf))
        for k, leaf in zip(keys, leaves, strict=True)
    )


@compiled
def all_finite(tree: PyTree) -> jax.Array:
    """Return whether no number of `tree` is NaN or infinite, a bool scalar.

    By a sum of x - x, which is 0 for finite numbers alone. XLA's CPU backend writes the
    mask that `isfinite` makes of a leaf to memory, and its maximum overlooks a NaN.
    """

    def finite(x: Any) -> jax.Array:
        parts = (x.real, x.imag) if jnp.iscomplexobj(x) else (x,)
        return jnp.stack([jnp.sum(part - part) == 0 for part in parts]).all()

    leaves = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    found = [finite(jax.lax.stop_gradient(x)) for x in leaves]
    return jnp.stack(found).all() if found else jnp.array(True)


@checked
@jax.jit
def global_norm(updates: Arrays) -> jax.Array:
    """Return the root of the sum of the squares of all leaves.

    Summed in at least float32, whatever the leaves' dtypes; the result is a scalar.
    """
    return root(sum_leaves(abs_sq, updates))


@compiled
def inner_product(a: PyTree, b: PyTree) -> jax.Array:
    """Return the sum of the products of corresponding coordinates, a real scalar.

    Complex coordinates count as two real ones. Summed in at least float32.
    """
    return sum_leaves(lambda x, y: (x.conj() * y).real, a, b)


def copied(params: PyTree, *, dtype: Any = None) -> PyTree:
    """Return `params` in at least float32, or real ones in `dtype`, in new arrays.

    A state that shared the params' own arrays could not be donated along with them.
    """

    def leaf(p: Any) -> jax.Array:
        return jnp.array(p, _state_dtype(p, dtype), copy=True)

    return jax.tree.map(leaf, params)


@checked
@jax.jit
def apply_updates(params: Arrays, updates: Arrays) -> PyTree:
    """Return `params + updates` in the params' dtypes, added in at least float32.

    Integers are added as integers: a frozen key or counter stays what it is.
    """

    def exact(p: Any, u: Any, total: Any) -> Any:
        whole = all(jnp.issubdtype(dtype_of(x), jnp.integer) for x in (p, u))
        return p + jnp.asarray(u, dtype_of(p)) if whole else total

    leaves_like(updates, params, "apply_updates: updates", ("updates", "params"))
    leaves, structure = jax.tree.flatten(params)
    total = jax.tree.leaves(map_leaves(lambda p, u: p + u, params, updates))
    return structure.unflatten(map(exact, leaves, jax.tree.leaves(updates), total))


def stored(new: PyTree, old: PyTree) -> PyTree:
    """Return the new arrays in the dtypes of the old ones."""
    return jax.tree.map(lambda n, o: jnp.asarray(n, dtype_of(o)), new, old)


def _state_dtype(p: Any, dtype: Any) -> Any:
    # A real dtype is asked for to save memory, not to lose the imaginary part.
    if dtype is None or jnp.issubdtype(dtype_of(p), jnp.complexfloating):
        return wide_dtype(p)
    return jax.dtypes.canonicalize_dtype(dtype)
