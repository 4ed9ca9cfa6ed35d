"""`chain` and `named_chain`: transformations in turn."""

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
    """Give each transformation the updates that the one before it made.

    The updates stay in at least float32 from the first to the last, so that low
    precision rounds once. The state is a tuple of the parts' states, or a dict by name.
    """

    transforms: tuple[GradientTransformation, ...]
    names: tuple[str, ...] | None = static(default=None)

    any_dtype: ClassVar[bool] = True  # its parts say what they cannot take
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
        # Without a part the gradients are the updates.
        return [*map(any, each)] or super().frozen(params)

    def parts(self, state):
        states = state if self.names is None else [state[name] for name in self.names]
        if len(states) != len(self.transforms):
            with error_about(state):
                raise ValueError(
                    f"Chain: the state must have {len(self.transforms)} parts, one a "
                    f"transformation, got {len(states)}; give the state that this "
                    "chain's own init and update made."
                )
        pairs = zip(self.transforms, states, strict=True)
        return dict(zip(self.labels, pairs, strict=True))

    @property
    def labels(self) -> tuple[str, ...]:
        """The parts' names, or their positions."""
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

    args: jopt's transformations, or optax's (whose numbers stay constants; `lift` makes
    them leaves). The state is a tuple, a part each.

    Raises a TypeError if one is no transformation.
    """
    return Chain(tuple(as_transformation(tx) for tx in args))


@checked
def named_chain(*args: _Named) -> Chain:
    """`chain` of `(name, transformation)` pairs; the state is a dict by name.

        tx = jopt.named_chain(("clip", jopt.clip(1.0)), ("adam", jopt.adam(1e-3)))

    Raises a ValueError if two names are the same.
    """
    names = tuple(name for name, _ in args)
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(
            f"named_chain: the name {twice[0]!r} is given twice; names tell the parts "
            "of the state apart, so give each part its own."
        )
    return Chain(tuple(as_transformation(tx) for _, tx in args), names)
