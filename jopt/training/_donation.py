"""A compiled step that gives its state's memory away, and looks whether it did."""

import functools
import warnings
from collections.abc import Callable
from typing import Any

import jax
from jax.tree_util import keystr, tree_leaves_with_path

from jopt._pytree import PyTree
from jopt.training.memory import bytes_of


class Donating:
    """A compiled `function(state, batch) -> (state, metrics)` that donates the state.

    All of it but the numbers of `tx` and the key, which no step changes: they go in and
    do not come out, for a step pays for every array that does.

    After the first call of each program it asks the program's own analysis how many of
    the state's bytes are written in place. Where some are copied it warns and says why:
    such a state takes its memory twice, and a step up to four times its time.
    """

    def __init__(self, function: Callable[[Any, PyTree], tuple[Any, Any]]):
        functools.update_wrapper(self, function)
        self.function = function
        self._programs = 0

        def program(changing: Any, constant: Any, batch: PyTree) -> tuple[Any, Any]:
            new, metrics = function(changing.with_constant(constant), batch)
            return new.apart()[0], metrics

        self._program = jax.jit(program, donate_argnums=0)

    def __call__(self, state: Any, batch: PyTree) -> tuple[Any, Any]:
        changing, constant = state.apart()
        new, metrics = self._program(changing, constant, batch)
        if self._cache_size() != self._programs:
            self._programs = self._cache_size()
            self._check(state, batch, new)
        return new.with_constant(constant), metrics

    def lower(self, state: Any, batch: PyTree) -> jax.stages.Lowered:
        """Return the step lowered for these arguments, arrays or their shapes."""
        return self._program.lower(*state.apart(), batch)

    def _cache_size(self) -> int:
        return self._program._cache_size()  # pyright: ignore[reportAttributeAccessIssue]

    def _check(self, state: Any, batch: PyTree, new: Any) -> None:
        # The program that has just run, from JAX's cache: nothing is compiled again.
        analysis = self.lower(state, batch).compile().memory_analysis()
        before, _ = state.apart()
        held = sum(map(_bytes, jax.tree.leaves(before)))
        if analysis is None or analysis.alias_size_in_bytes >= held:
            return
        changed = [
            f"{keystr(path)} becomes {_kind(after)} from {_kind(old)}"
            for (path, old), after in zip(
                tree_leaves_with_path(before), jax.tree.leaves(new), strict=False
            )
            if _kind(old) != _kind(after)
        ]
        warnings.warn(
            f"train_step: {held - analysis.alias_size_in_bytes:,} of the state's "
            f"{held:,} bytes are copied by the step instead of written in place, since "
            + (
                "; ".join(changed[:3]) + ": a step must keep shapes and dtypes."
                if changed
                else f"XLA for {jax.default_backend()} does not reuse their memory."
            ),
            stacklevel=3,
        )


def _bytes(x: Any) -> int:
    """The bytes of an array on one device."""
    sharding = getattr(x, "sharding", None)  # NumPy's arrays have none
    shape = x.shape if sharding is None else sharding.shard_shape(x.shape)
    return bytes_of(jax.ShapeDtypeStruct(shape, x.dtype))


def _kind(x: Any) -> str:
    return f"{x.dtype}{list(x.shape)}"
