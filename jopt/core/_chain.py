"""Chains: transformations that are applied in turn."""

from typing import Annotated, Any, ClassVar, TypeAlias

import jax

from jopt.core._arguments import checked
from jopt.core._errors import error_about
from jopt.core._kinds import Kind
from jopt.core._numbers import dtype_of, wide
from jopt.core._pytree import PyTree, pytree, static
from jopt.core._transformation import (
    GradientTransformation,
    Transformation,
    as_transformation,
    is_transformation,
)


@pytree
class Chain(GradientTransformation):
    """Give each transformation the updates of the one before it.

    Between the transformations the updates are in at least float32, so that those of
    low precision are rounded once. The state is a tuple of the parts' states, or a dict
    by name.

    Args:
      transforms: the transformations, the first one first.
      names: their names; None for a chain without names. Static.
    """

    transforms: tuple[GradientTransformation, ...]
    names: tuple[str, ...] | None = static(default=None)

    any_dtype: ClassVar[bool] = True  # its parts check the dtypes
    shapeless = True

    def init(self, params):
        return self._state([tx.init(params) for tx in self.transforms])

    def update(self, updates, state, params=None, **extra):
        dtypes = jax.tree.map(dtype_of, updates)
        updates = jax.tree.map(wide, updates)
        states = []
        for tx, part in self.parts(state).values():
            updates, part = tx.update(updates, part, params, **extra)
            states.append(part)
        updates = jax.tree.map(jax.lax.convert_element_type, updates, dtypes)
        return updates, self._state(states)

    def frozen(self, params):
        each = zip(*(tx.frozen(params) for tx in self.transforms), strict=True)
        # The updates of an empty chain are the gradients.
        return [*map(any, each)] or super().frozen(params)

    def parts(self, state):
        states = state if self.names is None else [state[name] for name in self.names]
        if len(states) != len(self.transforms):
            with error_about(state):
                raise ValueError(
                    f"Chain: the state must have {len(self.transforms)} parts, one for "
                    f"each transformation, got {len(states)}; give the state that this "
                    "chain's own init and update made."
                )
        pairs = zip(self.transforms, states, strict=True)
        return dict(zip(self.labels, pairs, strict=True))

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the parts, or their positions: "0", "1"."""
        return self.names or tuple(str(i) for i in range(len(self.transforms)))

    def _state(self, states: list[PyTree]) -> PyTree:
        if self.names is None:
            return tuple(states)
        return dict(zip(self.names, states, strict=True))


def _is_named(pair: Any) -> bool:
    pair = pair if isinstance(pair, (tuple, list)) else ()
    return len(pair) == 2 and isinstance(pair[0], str) and is_transformation(pair[1])


_Named: TypeAlias = Annotated[
    tuple[str, Any], Kind("pairs of a name and a gradient transformation", _is_named)
]


@checked
def chain(*args: Transformation) -> Chain:
    """Apply gradient transformations in turn, the first to the gradients.

        tx = jopt.chain(jopt.clip_by_global_norm(1.0), jopt.adamw(3e-4))

    Args:
      *args: jopt's transformations, or optax's, whose numbers stay constants of the
        program (`lift` makes them leaves).

    Returns:
      The chain. Its state is a tuple of the parts' states.

    Raises:
      TypeError: if an argument is not a gradient transformation.
    """
    return Chain(tuple(as_transformation(tx) for tx in args))


@checked
def named_chain(*args: _Named) -> Chain:
    """Apply named gradient transformations in turn, the first to the gradients.

        tx = jopt.named_chain(("clip", jopt.clip(1.0)), ("adam", jopt.adam(1e-3)))

    The names are part of the paths that `hyperparameters` and `replace` use.

    Args:
      *args: pairs of a name and a transformation, as in `chain`.

    Returns:
      The chain. Its state is a dict of the parts' states by name.

    Raises:
      ValueError: if two names are equal.
      TypeError: if an argument is not such a pair.
    """
    names = tuple(name for name, _ in args)
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(
            f"named_chain: the name {twice[0]!r} is given twice; names tell the parts "
            "of the state apart, so give each part its own."
        )
    return Chain(tuple(as_transformation(tx) for _, tx in args), names)
