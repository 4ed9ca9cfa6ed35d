"""What a gradient transformation is, ours or another library's."""

import functools
import inspect
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import all_leaves, keystr, tree_leaves_with_path

from jopt.core._errors import error_about, raised_by_jopt, shown
from jopt.core._kinds import Kind, is_array
from jopt.core._leaves import leaves_like
from jopt.core._numbers import dtype_of, wide, wide_dtype, wide_numbers
from jopt.core._pytree import PyTree, pytree, static


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

    any_dtype: ClassVar[bool] = False
    """Whether `init` takes leaves that have no gradients, integers for one."""

    shapeless: ClassVar[bool] = False
    """Whether the update is the same however the coordinates are divided into leaves:
    a rule for each coordinate, sums over all. Then `groups` lets leaves be joined."""

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
        transformation does not know are passed over. optax's combinators hand them to
        instances of optax's own class only: inside them, write `jopt.to_optax(tx)`.
        """
        raise NotImplementedError

    def __iter__(self) -> Iterator[Any]:
        return iter((self.init, self.update))

    def __getitem__(self, index: int) -> Any:
        return (self.init, self.update)[index]

    def parts(self, state: PyTree) -> Mapping[str, tuple[Any, PyTree]]:
        """Return the transformations inside this one, each with its part of `state`.

        Their labels are words of the paths that `hyperparameters` and `replace` use.
        """
        return {}

    def groups(self, params: PyTree) -> list[Hashable | None]:
        """Return for each leaf of `params` with which others it may be joined.

        Leaves of equal groups may lie in one vector; None stays a leaf by itself. A
        transformation that is not `shapeless` joins none; one that holds others joins
        what they all join.
        """
        if not self.shapeless:
            return [None] * len(jax.tree.leaves(params))
        return common_groups(params, *(tx.groups(params) for tx in _inside(self)))

    def frozen(self, params: PyTree) -> list[bool]:
        """Return for each leaf of `params` whether its update ignores its gradient.

        True where the update is the same whatever the leaf's own gradient is, as that
        of `set_to_zero` is. By default a transformation that holds others ignores what
        they all ignore, and one that holds none ignores nothing; one that adds the
        gradients to what is inside says so itself.
        """
        still = [tx.frozen(params) for tx in _inside(self)]
        each = zip(*still, strict=True)
        return [*map(all, each)] if still else [False] * len(jax.tree.leaves(params))


def _inside(self: GradientTransformation) -> list[GradientTransformation]:
    """The transformations that are fields of this one, or in its fields."""
    is_part = lambda x: x is not self and isinstance(x, GradientTransformation)  # noqa: E731
    return [x for x in jax.tree.leaves(self, is_leaf=is_part) if is_part(x)]


def common_groups(params: PyTree, *groups: Sequence[Hashable]) -> list[Hashable | None]:
    """Return the groups of leaves that all these groups let be joined."""
    if not groups:
        return [()] * len(jax.tree.leaves(params))
    return [None if None in row else row for row in zip(*groups, strict=True)]


def _checked(init: Callable[..., PyTree]) -> Callable[..., PyTree]:
    @functools.wraps(init)
    def checked(self: GradientTransformation, params: PyTree) -> PyTree:
        title = type(self).__name__
        check_arrays(title, "params", params, shapes=True)
        for path, leaf in [] if self.any_dtype else tree_leaves_with_path(params):
            if not jnp.issubdtype(dtype_of(leaf), jnp.inexact):
                raise TypeError(
                    f"{title}: params{keystr(path)} is {dtype_of(leaf)}, "
                    "but only float and complex parameters have gradients; keep it "
                    "out of params (in Flax, in another collection), or mask it."
                )
        params = jax.tree.map(_as_array, params)
        try:
            return _own(init(self, params), (self, params))
        except Exception:
            check_arrays(title, "params", params)  # a copy of them needs numbers
            raise

    return checked


def _as_array(leaf: Any) -> Any:
    return jnp.asarray(leaf) if isinstance(leaf, (bool, int, float, complex)) else leaf


def check_arrays(title: str, name: str, tree: PyTree, *, shapes: bool = False) -> None:
    """Raise a TypeError for a leaf that is no array, nor, if `shapes`, a shape."""
    for path, leaf in tree_leaves_with_path(tree):
        if isinstance(leaf, jax.ShapeDtypeStruct):
            if shapes:
                continue
            raise TypeError(
                f"{title}: {name}{keystr(path)} must be an array, got a shape, {leaf}; "
                "for shapes of what an array would make: jax.eval_shape(function, "
                f"{name})."
            )
        if not is_array(leaf):
            raise TypeError(
                f"{title}: {name}{keystr(path)} must be an array, got {shown(leaf)}."
            )


def _own(state: PyTree, others: PyTree) -> PyTree:
    """Return `state` with each array its own, so that all can be donated together.

    Arrays are copied that stand in it twice, or in `others` too.
    """
    seen = {id(leaf) for leaf in jax.tree.leaves(others)}

    def leaf(x: Any) -> Any:
        if id(x) in seen and isinstance(x, jax.Array):
            x = jnp.array(x, copy=True)
        seen.add(id(x))
        return x

    return jax.tree.map(leaf, state)


def _compiled(update: Callable[..., Any]) -> Callable[..., Any]:
    @jax.jit
    def program(self: Any, updates: PyTree, state: PyTree, params: PyTree, extra: Any):
        if params is not None:
            # Lookahead's params are a pair, and gradients are like one of it.
            like = getattr(params, "differentiated", params)
            leaves_like(updates, like, f"{type(self).__name__}: The gradients")
        return update(wide_numbers(self), updates, state, params, **extra)

    @functools.wraps(update)
    def compiled(self, updates, state, params=None, **extra):
        try:
            if all(map(_is_data, jax.tree.leaves(extra))):
                return program(self, updates, state, params, extra)
            # Functions and strings: the caller's own jit, if any, compiles this one.
            return update(wide_numbers(self), updates, state, params, **extra)
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            # Only now: an update that goes well pays for no check.
            _check_update(self, updates, state, params, error)
            raise

    return compiled


def _check_update(
    self: GradientTransformation,
    updates: PyTree,
    state: PyTree,
    params: PyTree,
    error: Exception,
) -> None:
    """Raise TypeError if an argument of `update` is not a tree that it can take.

    What jopt itself says of the state, if there is one, says more.
    """
    title = f"{type(self).__name__}.update"
    check_arrays(title, "updates", updates)
    if params is not None:
        check_arrays(title, "params", params)
    if state is not None:
        check_arrays(title, "state", state)
    if raised_by_jopt(error) and not (state is None or all_leaves([state])):
        return
    made = jax.eval_shape(self.init, updates)
    if jax.tree.structure(made) != jax.tree.structure(state):
        raise TypeError(
            f"{title}: state must be what init returned, a {type(made).__name__}, got "
            f"{shown(state)}; call tx.update(updates, state, params)."
        )


def _is_data(leaf: Any) -> bool:
    kinds = (jax.Array, np.ndarray, np.generic, bool, int, float, complex)
    return isinstance(leaf, kinds)


@pytree
class Foreign(GradientTransformation):
    """Someone else's `(init, update)` pair, optax's for one, given wide arrays.

    Its numbers stay constants of the program; `jopt.lift` makes them leaves.
    """

    tx: Any = static()

    any_dtype: ClassVar[bool] = True

    def init(self, params):
        return init_foreign(self.tx, params)

    def update(self, updates, state, params=None, **extra):
        return update_foreign(self.tx, updates, state, params, extra)


def needed(given: Any, self: object, purpose: str, extra: str | None = None) -> Any:
    """Return an argument of `update`, or raise a ValueError if it was not given.

    Args:
      given: the argument.
      self: the transformation that needs it.
      purpose: what it is, as in "the parameters that decay".
      extra: how it is passed if it is an extra argument, as in "value=loss".
    """
    if given is None:
        call = ", ".join(filter(None, ("tx.update(updates, state, params", extra)))
        hint = extra and (
            " (optax's combinators drop extra arguments of any class but their own: "
            "inside them, write jopt.to_optax(tx))"
        )
        raise ValueError(
            f"{type(self).__name__}: update needs {purpose}, got none; "
            f"call {call}){hint or ''}."
        )
    return given


def needed_loss(value: Any, self: object, purpose: str) -> Any:
    """Return the loss that was given, or raise a ValueError if there is no scalar."""
    value = needed(value, self, purpose, extra="value=loss")
    if jnp.shape(value):
        raise ValueError(
            f"{type(self).__name__}: value must be a scalar, got an array of shape "
            f"{list(jnp.shape(value))}; take its mean."
        )
    return value


def is_transformation(tx: Any) -> bool:
    """Whether it is a gradient transformation, of jopt or of another library."""
    pair = callable(getattr(tx, "init", None)) and callable(getattr(tx, "update", None))
    return pair and not isinstance(tx, type)  # a class is a factory


_WORDS = "a gradient transformation (an object with init and update)"
_HINT = "; a factory must be called first: jopt.adam(1e-3), not jopt.adam."

Transformation: TypeAlias = Annotated[
    Any, Kind(_WORDS, is_transformation, TypeError, _HINT)
]
"""An argument that may be jopt's transformation or another library's."""


def as_transformation(tx: Any) -> GradientTransformation:
    """Return `tx` itself, or another library's `(init, update)` pair wrapped.

    Raises a TypeError if `tx` is neither.
    """
    if isinstance(tx, GradientTransformation):
        return tx
    if is_transformation(tx):
        return Foreign(tx)
    with error_about(tx):
        raise TypeError(f"Expected {_WORDS}, got {shown(tx)}{_HINT}")


def init_foreign(tx: Any, params: PyTree) -> PyTree:
    """Return another library's state, of params or shapes in at least float32."""

    def widened(x: Any) -> Any:
        if isinstance(x, jax.ShapeDtypeStruct):
            return jax.ShapeDtypeStruct(x.shape, wide_dtype(x), sharding=x.sharding)
        return wide(x)

    return tx.init(jax.tree.map(widened, params))


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
