"""The bridge to optax: `lift` brings a factory in, `to_optax` hands one over."""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import jax

from jopt.core import (
    GradientTransformation,
    as_number,
    checked,
    field,
    init_foreign,
    is_transformation,
    pytree,
    shown,
    static,
    update_foreign,
)
from jopt.wrappers import Factory, Settings, arguments, named_of, signature_of


def _as_numbers(given: dict[str, Any]) -> dict[str, Any]:
    return {name: as_number(value) for name, value in given.items()}


@pytree
class Lifted(GradientTransformation):
    """What an optax factory makes, made anew from traced numbers at each update.

    The state is optax's own, of params in at least float32. Make it by `lift`.
    """

    factory: Callable[..., Any] = static()
    numbers: dict[str, Any] = field(converter=_as_numbers)
    settings: Settings = static()

    def frozen(self, params):
        return [False] * len(jax.tree.leaves(params))  # optax does not say

    def init(self, params):
        return init_foreign(self._made(), params)

    def update(self, updates, state, params=None, **extra):
        return update_foreign(self._made(), updates, state, params, extra)

    def _made(self) -> Any:
        numbers = {
            name: to_optax(value) if _is_transformation(value) else value
            for name, value in self.numbers.items()
        }
        made = self.factory(**numbers, **self.settings)
        if not is_transformation(made):
            raise TypeError(
                "lift: factory must return a gradient transformation (an object with "
                f"init and update), got {shown(made)} from {shown(self.factory)}."
            )
        return made


@checked
def lift(factory: Factory, static: str | Iterable[str] = ()) -> Callable[..., Any]:
    """Return optax's `factory` with its numbers as leaves.

        tx = jopt.lift(optax.adan)(learning_rate=1e-3)

    What the returned factory makes can be swept, differentiated, compared, pickled and
    stepped with new numbers without a recompile, like jopt's own. It works by calling
    `factory` anew inside each compiled update.

    factory: a module's function that returns optax's `(init, update)`. Its floats,
    arrays, jopt's schedules and transformations become leaves, its own defaults too.
    Integers do unless the factory's default or annotation is an integer: those are
    structure (a rank, a number of steps), as are bools, strings, dtypes and functions.
    static: names of numbers that stay constants, for a factory that decides on them in
    Python (as `optax.scale_by_sm3` does on `b2`).

    Calling the result raises a TypeError if the arguments do not fit `factory`.
    """
    signature = signature_of("lift", factory)
    fixed = named_of("lift", "static", static, factory)

    @functools.wraps(factory)
    def lifted(*args: Any, **kwargs: Any) -> Lifted:
        numbers, settings = arguments(factory, signature, args, kwargs, fixed)
        inner = {k: v for k, v in settings.items() if _is_transformation(v)}
        rest = Settings((k, v) for k, v in settings.items() if k not in inner)
        return Lifted(factory, numbers | inner, rest)

    return lifted


def _is_transformation(value: Any) -> bool:
    return isinstance(value, GradientTransformation)


@checked
def to_optax(tx: GradientTransformation) -> Any:
    """Return `tx` as optax's own named tuple, `GradientTransformationExtraArgs`.

        optax.chain(optax.clip(1.0), jopt.to_optax(tx))

    optax takes jopt's objects as they are. Its combinators (`chain`, `partition`,
    `masked`, `MultiSteps` ...) hand extra arguments (`value=`) only to instances of
    this class, and drop them for all others.
    """
    # Here and not above: `import jopt` loads jax and nothing heavier.
    import optax

    return optax.GradientTransformationExtraArgs(tx.init, tx.update)
