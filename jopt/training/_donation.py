"""A compiled step that donates its state, and checks that the memory is reused."""

import functools
import warnings
from collections.abc import Callable
from typing import Generic, TypeVar

import jax
from jax.core import Tracer
from jax.tree_util import keystr, tree_leaves_with_path

from jopt.core import PyTree, check_arrays, shown
from jopt.training._memory import bytes_of
from jopt.training._state import Constant, TrainState

M = TypeVar("M")

_GONE = (
    "train_step: the state was donated to an earlier step; continue with the state "
    "that the step returned: state, metrics = step(state, batch)."
)
_KEPT = "train_step: the state that was passed in is unchanged and can be used."
_TAKEN = (
    "train_step: the step had begun, and the state that was passed in is donated; "
    "continue from a checkpoint, or from a copy made before."
)


class CompiledStep(Generic[M]):
    """A compiled `function(state, batch) -> (state, metrics)` that donates the state.

    The whole state is donated except the numbers of `tx`, the key and the frozen
    params. No step changes these, so a step does not return them: each output array
    costs time.

    After the first call of each program, the program's own analysis says how many of
    the state's bytes are written in place. If some are copied, a warning says why: such
    a state takes its memory twice, and a step up to four times its time.

    An exception raised inside, by the user's functions too, propagates unchanged, with
    a note that says whether the state was donated already.

    Args:
      function: pure function of (state, batch) that returns (state, metrics).
    """

    def __init__(self, function: Callable[[TrainState, PyTree], tuple[TrainState, M]]):
        functools.update_wrapper(self, function)
        self.function = function
        self._programs = 0

        def program(
            changing: TrainState, constant: Constant, batch: PyTree
        ) -> tuple[TrainState, M]:
            new, metrics = function(changing.with_constant(constant), batch)
            return new.apart()[0], metrics

        self._program = jax.jit(program, donate_argnums=0)
        # Inside another program nothing is donated: that program decides.
        self._inside = jax.jit(program)

    def __call__(self, state: TrainState, batch: PyTree) -> tuple[TrainState, M]:
        if not hasattr(state, "apart") or isinstance(state, type):
            got = shown(state) if isinstance(state, type) else type(state).__name__
            raise TypeError(
                "train_step: the state must be a TrainState, got "
                f"{got}; call step(state, batch), in this order."
            )
        changing, constant = state.apart()
        given = jax.tree.leaves(changing)
        others = jax.tree.leaves((constant, batch))
        if any(isinstance(x, Tracer) for x in (*given, *others)):
            new, metrics = self._inside(changing, constant, batch)
            return new.with_constant(constant), metrics
        if any(map(_is_deleted, given)):
            raise ValueError(_GONE)
        try:
            new, metrics = self._program(changing, constant, batch)
        except Exception as error:
            if isinstance(error, (TypeError, OverflowError)):
                # Checked only now, so that a successful step costs no check.
                check_arrays("train_step", "batch", () if batch is None else batch)
            error.add_note(_TAKEN if any(map(_is_deleted, given)) else _KEPT)
            raise
        traced = isinstance(new.step, Tracer)  # a trace that the state is not part of
        if not traced and self._cache_size() != self._programs:
            self._programs = self._cache_size()
            self._check_aliasing(state, batch, new)
        return new.with_constant(constant), metrics

    def lower(self, state: TrainState, batch: PyTree) -> jax.stages.Lowered:
        """Return the step lowered for these arguments, arrays or their shapes."""
        return self._program.lower(*state.apart(), batch)

    def _cache_size(self) -> int:
        return self._program._cache_size()  # pyright: ignore[reportAttributeAccessIssue]

    def _check_aliasing(
        self, state: TrainState, batch: PyTree, new: TrainState
    ) -> None:
        # JAX's cache has the program that has just run: nothing is compiled again.
        analysis = self.lower(state, batch).compile().memory_analysis()
        before, _ = state.apart()
        held = sum(map(_bytes, jax.tree.leaves(before)))
        if analysis is None or analysis.alias_size_in_bytes >= held:
            return
        warnings.warn(
            f"train_step: {held - analysis.alias_size_in_bytes:,} of the state's "
            f"{held:,} bytes are copied by the step instead of written in place, since "
            + _reason(before, new.apart()[0]),
            stacklevel=3,
        )


def _reason(before: PyTree, after: PyTree) -> str:
    """Return why the bytes of a state are not reused for the state after it."""
    held = zip(tree_leaves_with_path(before), jax.tree.leaves(after), strict=False)
    arrays = [(keystr(path), old, new) for (path, old), new in held]
    changed = [
        f"{name} becomes {_kind(new)} from {_kind(old)}"
        for name, old, new in arrays
        if _kind(old) != _kind(new)
    ]
    if changed:
        return "; ".join(changed[:3]) + ": a step must keep shapes and dtypes."
    moved = [
        name
        for name, old, new in arrays
        if isinstance(old, jax.Array)
        and not old.sharding.is_equivalent_to(new.sharding, new.ndim)
    ]
    if moved:
        return (
            f"state{moved[0]} is on other devices before the step than after it; "
            "place it first: jax.device_put(state, shardings)."
        )
    return f"XLA for {jax.default_backend()} does not reuse their memory."


def _is_deleted(x: object) -> bool:
    return isinstance(x, jax.Array) and x.is_deleted()


def _bytes(x: jax.Array) -> int:
    """Return the bytes of an array on one device."""
    sharding = getattr(x, "sharding", None)  # NumPy's arrays have none
    shape = x.shape if sharding is None else sharding.shard_shape(x.shape)
    return bytes_of(jax.ShapeDtypeStruct(shape, x.dtype))


def _kind(x: jax.Array) -> str:
    return f"{x.dtype}{list(x.shape)}"
