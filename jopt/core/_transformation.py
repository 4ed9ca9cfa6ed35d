"""The base class of gradient transformations, and a wrapper for other libraries'."""

import functools
import inspect
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, NamedTuple, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import all_leaves, keystr, tree_leaves_with_path

from jopt.core._errors import error_about, raised_by_jopt, shown
from jopt.core._kinds import Kind, is_array
from jopt.core._leaves import leaves_like
from jopt.core._numbers import (
    dtype_of,
    standard_promotion,
    wide,
    wide_dtype,
    wide_numbers,
)
from jopt.core._pytree import PyTree, pytree, static

T = TypeVar("T")


class EmptyState(NamedTuple):
    """The state of a transformation without memory."""


class GradientTransformation:
    """Map gradients to updates and a state to the next; hyperparameters are leaves.

        state = tx.init(params)
        updates, state = tx.update(updates, state, params)

    Subclasses are final `pytree` classes. A hyperparameter is a field; what changes
    the program is a `static` field. The state is a NamedTuple of arrays.

    The `update` of every subclass is compiled. Called eagerly, it is one program for
    any number of leaves, and a new hyperparameter does not recompile it.

    `init, update = tx` works, so optax's combinators, Flax's `TrainState` and
    `nnx.Optimizer` accept these objects in the place of optax's.
    """

    any_dtype: ClassVar[bool] = False
    """Whether `init` accepts leaves that have no gradients, such as integers."""

    shapeless: ClassVar[bool] = False
    """Whether the update is the same for any division of the coordinates into leaves.

    Examples are a rule for each coordinate and a sum over all coordinates. The default
    of `groups` then allows leaves to be joined.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.init = _checked(cls.init)
        cls.update = _compiled(cls.update)
        cls.eval_params = _explained(cls.eval_params)

    def init(self, params: PyTree) -> PyTree:
        """Return the initial state.

        Args:
          params: a tree of arrays or of `jax.ShapeDtypeStruct`, of any type of node.

        Returns:
          The state: a tree of arrays, none of which shares memory with `params`.

        Raises:
          TypeError: if a leaf is not an array, or has no gradient (unless `any_dtype`).
        """
        raise NotImplementedError

    def update(
        self,
        updates: PyTree,
        state: PyTree,
        params: PyTree | None = None,
        **extra: Any,
    ) -> tuple[PyTree, PyTree]:
        """Return the new updates and the new state.

        Args:
          updates: the gradients, or the updates of the transformation before; a tree
            like the params.
          state: what `init` or the last `update` returned.
          params: the current params. Some transformations need them.
          **extra: further inputs, such as `value=loss` or `value_fn=`. Those that a
            transformation does not know are ignored. optax's combinators pass them to
            instances of optax's own class only: inside them, write
            `jopt.to_optax(tx)`.

        Returns:
          The new updates, in the dtypes of `updates`, and the new state.

        Raises:
          ValueError: if an input that this transformation needs is missing, or
            `updates` and `params` are different trees.
          TypeError: if an argument is not a tree of arrays.
        """
        raise NotImplementedError

    def eval_params(self, state: PyTree, params: PyTree) -> PyTree:
        """Return the parameters at which a model is evaluated, saved and used.

        By default they are `params`. Some transformations train at one point and return
        another: an average (Schedule-Free, `parameter_ema`) or the slow weights of
        `lookahead`. A transformation that holds others asks each of them in turn.

        Args:
          state: the state of this transformation.
          params: the current params.

        Returns:
          A tree like `params`, in its dtypes.
        """
        for tx, part in self.parts(state).values():
            if isinstance(tx, GradientTransformation):
                params = tx.eval_params(part, params)
        return params

    def __iter__(self) -> Iterator[Any]:
        return iter((self.init, self.update))

    def __getitem__(self, index: int) -> Any:
        return (self.init, self.update)[index]

    def parts(
        self, state: PyTree
    ) -> Mapping[str, tuple["GradientTransformation", PyTree]]:
        """Return the inner transformations by label, each with its part of `state`.

        The labels are components of the paths that `hyperparameters` and `replace` use.
        By default a transformation in the field `inner` is the only one, and its part
        is the field `inner_state` of `state`.

        Raises:
          AttributeError: there is such a transformation, and no such field.
        """
        inner = getattr(self, "inner", None)
        if not isinstance(inner, GradientTransformation):
            return {}
        if not hasattr(state, "inner_state"):
            raise AttributeError(
                f"{type(self).__name__}: the state must have a field inner_state, got "
                f"{type(state).__name__}; name the state of `inner` so, or write a "
                "method parts."
            )
        return {"inner": (inner, state.inner_state)}

    def groups(self, params: PyTree) -> list[Hashable | None]:
        """Return a group for each leaf of `params`, in the order of the leaves.

        Leaves of equal groups may be joined in one vector (see `pack`). A leaf of group
        None must stay by itself. A transformation that is not `shapeless` joins no
        leaves; one that holds others joins the leaves that all of them join.
        """
        if not self.shapeless:
            return [None] * len(jax.tree.leaves(params))
        return common_groups(params, *(tx.groups(params) for tx in _inside(self)))

    def frozen(self, params: PyTree) -> list[bool]:
        """Return for each leaf of `params` whether its update ignores its own gradient.

        The update of `set_to_zero` does, for example. By default a transformation that
        holds others ignores the gradients that all of them ignore, and one that holds
        none ignores no gradient. A transformation that adds the gradients to the
        updates of an inner one must override this method.
        """
        still = [tx.frozen(params) for tx in _inside(self)]
        each = zip(*still, strict=True)
        return [*map(all, each)] if still else [False] * len(jax.tree.leaves(params))


def _inside(self: GradientTransformation) -> list[GradientTransformation]:
    """Return the transformations in the fields of this one, at any depth."""
    is_part = lambda x: x is not self and isinstance(x, GradientTransformation)  # noqa: E731
    return [x for x in jax.tree.leaves(self, is_leaf=is_part) if is_part(x)]


def common_groups(params: PyTree, *groups: Sequence[Hashable]) -> list[Hashable | None]:
    """Return a group for each leaf, equal for leaves that all `groups` allow to join.

    Args:
      params: the params.
      *groups: lists of groups, as `GradientTransformation.groups` returns them.
    """
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
            # Shapes in the place of arrays are a common cause: a state that copies
            # the params needs their numbers.
            check_arrays(title, "params", params)
            raise

    return checked


def _as_array(leaf: PyTree) -> PyTree:
    return jnp.asarray(leaf) if isinstance(leaf, (bool, int, float, complex)) else leaf


def check_arrays(title: str, name: str, tree: PyTree, *, shapes: bool = False) -> None:
    """Raise TypeError if a leaf is not an array (or, with `shapes`, a shape).

    Args:
      title: the class or function named in errors.
      name: the argument named in errors.
      tree: the argument.
      shapes: whether leaves may be `jax.ShapeDtypeStruct`.
    """
    for path, leaf in tree_leaves_with_path(tree):
        if isinstance(leaf, jax.ShapeDtypeStruct):
            if shapes:
                continue
            raise TypeError(
                f"{title}: {name}{keystr(path)} must be an array, got a shape, {leaf}; "
                f"for the shapes of a result, call jax.eval_shape(function, {name})."
            )
        if not is_array(leaf):
            raise TypeError(
                f"{title}: {name}{keystr(path)} must be an array, got {shown(leaf)}."
            )


def _own(state: PyTree, others: PyTree) -> PyTree:
    """Return `state` without shared arrays, so that all of them can be donated.

    An array that occurs in `state` twice, or in `others` too, is copied.
    """
    seen = {id(leaf) for leaf in jax.tree.leaves(others)}

    def leaf(x: PyTree) -> PyTree:
        if id(x) in seen and isinstance(x, jax.Array):
            x = jnp.array(x, copy=True)
        seen.add(id(x))
        return x

    return jax.tree.map(leaf, state)


def _compiled(update: Callable[..., Any]) -> Callable[..., Any]:
    @jax.jit
    def program(self: Any, updates: PyTree, state: PyTree, params: PyTree, extra: Any):
        if params is not None:
            # Lookahead's params are a pair; gradients have the structure of one.
            like = getattr(params, "differentiated", params)
            leaves_like(updates, like, f"{type(self).__name__}: The gradients")
        return update(wide_numbers(self), updates, state, params, **extra)

    @functools.wraps(update)
    def compiled(self, updates, state, params=None, **extra):
        try:
            if all(map(_is_data, jax.tree.leaves(extra))):
                return program(self, updates, state, params, extra)
            # jit does not accept functions and strings. The caller's own jit, if any,
            # compiles this update.
            return update(wide_numbers(self), updates, state, params, **extra)
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            # Checked only now, so that a successful update costs no check.
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
    """Raise TypeError if an argument of `update` is not a tree that it accepts.

    If the state is a tree and jopt itself raised `error`, keep that error.
    """
    title = f"{type(self).__name__}.update"
    check_arrays(title, "updates", updates)
    if params is not None:
        check_arrays(title, "params", params)
    if state is not None:
        check_arrays(title, "state", state)
    if raised_by_jopt(error) and not (state is None or all_leaves([state])):
        return
    _check_state(self, title, updates, state, "tx.update(updates, state, params)")


def _check_state(
    self: GradientTransformation, title: str, like: PyTree, state: PyTree, call: str
) -> None:
    """Raise TypeError if a state lacks the structure that `init` returns for `like`."""
    made = jax.eval_shape(self.init, like)
    if jax.tree.structure(made) != jax.tree.structure(state):
        raise TypeError(
            f"{title}: state must be what init returned, a {type(made).__name__}, got "
            f"{shown(state)}; call {call}."
        )


def _explained(eval_params: Callable[..., Any]) -> Callable[..., Any]:
    """Check the arguments of `eval_params` after it has raised an error."""

    @functools.wraps(eval_params)
    def called(self: Any, state: PyTree, params: PyTree) -> PyTree:
        try:
            return eval_params(self, state, params)
        except (
            TypeError,
            ValueError,
            AttributeError,
            ArithmeticError,
            LookupError,
        ) as error:
            title = f"{type(self).__name__}.eval_params"
            check_arrays(title, "params", params)
            if state is not None:
                check_arrays(title, "state", state)
            if not raised_by_jopt(error) or state is None or all_leaves([state]):
                call = "tx.eval_params(state, params)"
                _check_state(self, title, params, state, call)
            raise

    return called


def _is_data(leaf: object) -> bool:
    kinds = (jax.Array, np.ndarray, np.generic, bool, int, float, complex)
    return isinstance(leaf, kinds)


@pytree
class Foreign(GradientTransformation):
    """Wrap another library's `(init, update)` pair, such as optax's.

    It gets arrays in at least float32. Its numbers stay constants of the program;
    `jopt.lift` makes them leaves.

    Args:
      tx: an object with `init` and `update`; static.
    """

    tx: Any = static()

    any_dtype: ClassVar[bool] = True

    def init(self, params):
        return init_foreign(self.tx, params)

    def update(self, updates, state, params=None, **extra):
        return update_foreign(self.tx, updates, state, params, extra)


def needed(given: T | None, self: object, purpose: str, extra: str | None = None) -> T:
    """Return an argument that `update` needs, or raise ValueError if it is None.

    Args:
      given: the argument.
      self: the transformation that needs it.
      purpose: what the argument is, such as "the parameters that decay".
      extra: how to pass it if it is an extra argument, such as "value=loss".

    Raises:
      ValueError: if it is None.
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


def needed_loss(value: jax.Array | None, self: object, purpose: str) -> jax.Array:
    """Return the loss that `update` needs; raise ValueError if it is not a scalar.

    Args:
      value: the extra argument `value` of `update`.
      self: the transformation that needs it.
      purpose: what the loss is, such as "the loss that decides".

    Raises:
      ValueError: if it is missing, or is not a scalar.
    """
    value = needed(value, self, purpose, extra="value=loss")
    if jnp.shape(value):
        raise ValueError(
            f"{type(self).__name__}: value must be a scalar, got an array of shape "
            f"{list(jnp.shape(value))}; take its mean."
        )
    return value


def is_transformation(tx: Any) -> bool:
    """Return whether `tx` is a gradient transformation, jopt's or another library's."""
    pair = callable(getattr(tx, "init", None)) and callable(getattr(tx, "update", None))
    return pair and not isinstance(tx, type)  # a class is a factory


_WORDS = "a gradient transformation (an object with init and update)"
_HINT = "; a factory must be called first: jopt.adam(1e-3), not jopt.adam."

Transformation: TypeAlias = Annotated[
    Any, Kind(_WORDS, is_transformation, TypeError, _HINT)
]
"""An argument that is jopt's transformation or another library's."""


def as_transformation(tx: Any) -> GradientTransformation:
    """Return `tx` itself, or another library's `(init, update)` pair wrapped.

    Args:
      tx: a transformation, or a pair of functions.

    Raises:
      TypeError: if `tx` is neither.
    """
    if isinstance(tx, GradientTransformation):
        return tx
    if is_transformation(tx):
        return Foreign(tx)
    with error_about(tx):
        raise TypeError(f"Expected {_WORDS}, got {shown(tx)}{_HINT}")


def init_foreign(tx: Any, params: PyTree) -> PyTree:
    """Return another library's state for params, or shapes, in at least float32."""

    def widened(x: PyTree) -> PyTree:
        if isinstance(x, jax.ShapeDtypeStruct):
            return jax.ShapeDtypeStruct(x.shape, wide_dtype(x), sharding=x.sharding)
        return wide(x)

    return tx.init(jax.tree.map(widened, params))


def update_foreign(
    tx: Any, updates: PyTree, state: PyTree, params: PyTree, extra: Mapping[str, Any]
) -> tuple[PyTree, PyTree]:
    """Call another library's update, with the extra arguments if it takes any.

    It gets updates and params in at least float32. The results keep the dtypes of
    `updates` and `state`, so that traced numbers do not promote them.
    """
    parameters = inspect.signature(tx.update).parameters.values()
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    wide_updates, params = jax.tree.map(wide, (updates, params))
    with standard_promotion():
        made = tx.update(wide_updates, state, params, **(extra if takes_any else {}))
    return jax.tree.map(
        lambda new, old: jnp.asarray(new, dtype_of(old)), made, (updates, state)
    )
