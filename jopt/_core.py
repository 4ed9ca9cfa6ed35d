"""What a gradient transformation is, and the few helpers that all of them share."""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import keystr, tree_leaves_with_path

from jopt._pytree import Number, PyTree, pytree, static


class EmptyState(NamedTuple):
    """The state of a transformation that remembers nothing."""


class GradientTransformation:
    """A pure state transition on gradients, whose hyperparameters are its leaves.

        state = tx.init(params)
        updates, state = tx.update(updates, state, params)

    Subclasses are final `@pytree` classes: numbers are fields, what changes the program
    is a `static` field. `update` of every subclass is compiled: called eagerly it is
    one program whatever the number of leaves, and a new number is not a new program.

    `init, update = tx` works, so optax's combinators, Flax's `TrainState` and
    `nnx.Optimizer` take these objects where they take optax's.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.init = _checked(cls.init)
        cls.update = _compiled(cls.update)

    def init(self, params: PyTree) -> PyTree:
        """Return the state for `params`: arrays only, made of `params`' shapes."""
        raise NotImplementedError

    def update(
        self,
        updates: PyTree,
        state: PyTree,
        params: PyTree | None = None,
        **extra: Any,
    ) -> tuple[PyTree, PyTree]:
        """Return the new updates, in the dtypes `updates` came in, and the new state.

        Extra arguments (`value=`, `value_fn=`) are keywords; those that a
        transformation does not know are passed over.
        """
        raise NotImplementedError

    def __iter__(self) -> Iterator[Any]:
        return iter((self.init, self.update))

    def parts(self, state: PyTree) -> Mapping[str, tuple[Any, PyTree]]:
        """Return the transformations inside this one, each with its part of `state`.

        Their labels are words of the paths that `hyperparameters` and `replace` use.
        """
        return {}


def _checked(init: Callable[..., PyTree]) -> Callable[..., PyTree]:
    @functools.wraps(init)
    def checked(self: GradientTransformation, params: PyTree) -> PyTree:
        for path, leaf in tree_leaves_with_path(params):
            if not jnp.issubdtype(dtype_of(leaf), jnp.inexact):
                raise TypeError(
                    f"{type(self).__name__}: params{keystr(path)} is {dtype_of(leaf)}, "
                    "but only float and complex parameters have gradients; keep it "
                    "out of params (in Flax, in another collection), or mask it."
                )
        return init(self, params)

    return checked


def _compiled(update: Callable[..., Any]) -> Callable[..., Any]:
    @jax.jit
    def program(self: Any, updates: PyTree, state: PyTree, params: PyTree, extra: Any):
        if params is not None:
            leaves_like(updates, params)
        return update(wide_numbers(self), updates, state, params, **extra)

    @functools.wraps(update)
    def compiled(self, updates, state, params=None, **extra):
        if any(callable(value) for value in extra.values()):
            # Functions are no data: the caller's own jit, if any, compiles this one.
            return update(wide_numbers(self), updates, state, params, **extra)
        return program(self, updates, state, params, extra)

    return compiled


@pytree
class Foreign(GradientTransformation):
    """Someone else's `(init, update)` pair, optax's for one, given wide arrays.

    Its numbers stay constants of the program; `jopt.lift` makes them leaves.
    """

    tx: Any = static()

    def init(self, params):
        return init_foreign(self.tx, params)

    def update(self, updates, state, params=None, **extra):
        return update_foreign(self.tx, updates, state, params, extra)


def as_transformation(tx: Any) -> GradientTransformation:
    """Return `tx` itself, or another library's `(init, update)` pair wrapped.

    Raises a TypeError if `tx` is neither.
    """
    if isinstance(tx, GradientTransformation):
        return tx
    if callable(getattr(tx, "init", None)) and callable(getattr(tx, "update", None)):
        return Foreign(tx)
    raise TypeError(
        f"Expected a gradient transformation (an object with init and update), got "
        f"{tx!r}; a factory must be called first: jopt.adam(1e-3), not jopt.adam."
    )


def init_foreign(tx: Any, params: PyTree) -> PyTree:
    """Return another library's state, of params in at least float32."""
    return tx.init(jax.tree.map(wide, params))


def update_foreign(
    tx: Any, updates: PyTree, state: PyTree, params: PyTree, extra: Mapping[str, Any]
) -> tuple[PyTree, PyTree]:
    """Call another library's update, with the extra arguments if it takes any.

    It computes in at least float32, and what it returns keeps the dtypes that updates
    and state came in, so that traced numbers do not promote them.
    """
    parameters = inspect.signature(tx.update).parameters.values()
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    wide_updates, params = jax.tree.map(wide, (updates, params))
    # Others count on JAX's own promotion, whatever the user's is.
    with jax.numpy_dtype_promotion("standard"):
        made = tx.update(wide_updates, state, params, **(extra if takes_any else {}))
    return jax.tree.map(
        lambda new, old: jnp.asarray(new, dtype_of(old)), made, (updates, state)
    )


def dtype_of(x: Any) -> Any:
    """The dtype of an array, a Python number or a `jax.ShapeDtypeStruct`."""
    return x.dtype if hasattr(x, "dtype") else jnp.result_type(x)


def wide_dtype(x: Any) -> Any:
    """The dtype to compute in: the array's own, but at least float32."""
    dtype = dtype_of(x)
    if not jnp.issubdtype(dtype, jnp.inexact):
        return jnp.result_type(float)
    return dtype if dtype.itemsize >= 4 else jnp.dtype(jnp.float32)


def wide(x: Any) -> jax.Array:
    """Return `x` in at least float32; integers become floats."""
    x = jnp.asarray(x)
    return x if x.dtype == wide_dtype(x) else x.astype(wide_dtype(x))


def wide_numbers(tree: PyTree) -> PyTree:
    """Return `tree` with its numbers, signed integers too, in at least float32.

    Keys and masks (unsigned, bool) are left as they are.
    """
    kinds = (jnp.inexact, jnp.signedinteger)

    def leaf(x: Any) -> Any:
        return wide(x) if any(jnp.issubdtype(dtype_of(x), k) for k in kinds) else x

    return jax.tree.map(leaf, tree)


def full_like(
    params: PyTree, fill: Any = 0, *, dtype: Any = None, real: bool = False
) -> PyTree:
    """Return a state like `params`, filled: in `dtype`, or else at least float32.

    `real` gives complex leaves a real state.
    """

    def leaf(p: Any) -> jax.Array:
        kind = wide_dtype(p) if dtype is None else jax.dtypes.canonicalize_dtype(dtype)
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

    @jax.jit
    def successors(*old: Any) -> tuple[jax.Array, ...]:
        # All is wide by now; what is left to promote is a real number to a complex
        # leaf, or float32 to float64, and neither loses anything.
        with jax.numpy_dtype_promotion("standard"):
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


def leaves_like(reference: PyTree, tree: PyTree) -> list[Any]:
    """Return the leaves of `tree`, which must have the structure of `reference`.

    Raises a ValueError that names the first path where they differ.
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
    where = [f"{only_ours} is only in the gradients"] if only_ours is not None else []
    where += [f"{only_theirs} is only in the params"] if only_theirs is not None else []
    raise ValueError(
        "The gradients must be a tree like the params (and the state made of them), "
        f"but {' and '.join(where)}; differentiate with respect to the params that "
        "init was given."
    )


def increment(count: jax.Array) -> jax.Array:
    """Return `count + 1`, staying at the greatest integer rather than wrapping."""
    return jnp.where(count < jnp.iinfo(count.dtype).max, count + 1, count)


def mix(old: jax.Array, new: jax.Array, decay: Number) -> jax.Array:
    """Return the running mean `decay old + (1 - decay) new`."""
    return decay * old + (1 - decay) * new


def bias(decay: Number, count: jax.Array) -> jax.Array:
    """Return `1 - decay ** count`, the weight that `count` steps give a running mean.

    Near `decay = 1` the difference cancels, so it is formed by logarithms there.
    """
    decay = wide(decay)
    count = count.astype(decay.dtype)
    near = decay > 0.5
    by_logs = -jnp.expm1(count * jnp.log1p(jnp.where(near, decay, 0.75) - 1))
    return jnp.where(near, by_logs, 1 - jnp.where(near, 0.25, decay) ** count)


def root(x: jax.Array) -> jax.Array:
    """Return the square root, whose gradient at zero is zero rather than infinite."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1)), 0)


def abs_sq(x: jax.Array) -> jax.Array:
    """Return the square of the modulus: real, whatever `x` is."""
    return jnp.square(x) if jnp.isrealobj(x) else x.real**2 + x.imag**2


@jax.jit
def global_norm(updates: PyTree) -> jax.Array:
    """Return the root of the sum of the squares of all leaves, summed in float32.

    The result is a scalar of at least float32, whatever the leaves' dtypes.
    """
    squares = [jnp.sum(abs_sq(wide(leaf))) for leaf in jax.tree.leaves(updates)]
    return root(sum(squares, start=jnp.zeros((), jnp.float32)))


@jax.jit
def apply_updates(params: PyTree, updates: PyTree) -> PyTree:
    """Return `params + updates` in the params' dtypes, added in at least float32."""
    return map_leaves(lambda p, u: p + u, params, updates)
