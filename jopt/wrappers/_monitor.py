"""Measurements of the updates, stored in the state."""

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp

from jopt.core import (
    DType,
    EmptyState,
    GradientTransformation,
    Kind,
    Number,
    PyTree,
    as_transformation,
    check,
    field,
    is_transformation,
    pytree,
    static,
    wide,
)
from jopt.transforms import ema
from jopt.wrappers._user_functions import as_data, called


class SnapshotState(NamedTuple):
    """The last measurement, by its name."""

    measurement: dict[str, PyTree]  # the latest one, by name


class MonitorState(NamedTuple):
    """The last measurements by name, and the states of the measures."""

    measurements: dict[str, PyTree]  # the latest ones, by name
    measure_states: tuple[PyTree, ...]  # by name, in alphabetical order


def _are_measures(given: object) -> bool:
    each = given.values() if isinstance(given, dict) else [None]
    return all(callable(x) or is_transformation(x) for x in each)


_MEASURES = Kind("a dict of functions, or transformations, by name", _are_measures)


@pytree
class Measure(GradientTransformation):
    """Replace the updates by a function of them.

    The result does not have the structure of the updates. Use it in `monitor`, not in a
    chain with transformations that need updates.

    Args:
      measure: function of the updates, each in at least float32, that returns arrays in
        any tree.
    """

    measure: Callable[[PyTree], PyTree] = field(converter=as_data)

    def init(self, params):
        return EmptyState()

    def update(self, updates, state, params=None, **extra):
        return _measured(self.measure, updates), state


@pytree
class MeasureWithEma(GradientTransformation):
    """Replace the updates by the moving average of a function of them.

        jopt.monitor({"clipped": jopt.measure_with_ema(
            lambda u: jopt.global_norm(u) > 1.0, decay=0.9)})

    Use it in `monitor`.

    Args:
      measure: function of the updates, each in at least float32, that returns numbers
        or bools in any tree.
      decay: as in `ema`, in [0, 1).
      debias: as in `ema`.
      accumulator_dtype: as in `ema`.
    """

    measure: Callable[[PyTree], PyTree] = field(converter=as_data)
    decay: Number
    debias: bool = static(default=True)
    accumulator_dtype: DType = static(default=None)

    def __post_init__(self):
        check(self, "decay", least=0, below=1)

    def init(self, params):
        return self._ema.init(_unmeasured(self._numbers, params))

    def update(self, updates, state, params=None, **extra):
        return self._ema.update(self._numbers(updates), state)

    @property
    def _ema(self) -> GradientTransformation:
        return ema(self.decay, self.debias, self.accumulator_dtype)

    def _numbers(self, updates: PyTree) -> PyTree:
        return jax.tree.map(wide, _measured(self.measure, updates))


@pytree
class Snapshot(GradientTransformation):
    """Store a function of the updates in the state; change no update.

        tx = jopt.chain(jopt.snapshot("norm", jopt.global_norm), jopt.clip(1.0))
        optax.tree.get(state, "norm")

    Before the first update the measurement is zeros (optax's is that of the params).

    Args:
      measure_name: name of the measurement in the state, static.
      measure: function of the updates at this place of the chain, each in at least
        float32, that returns arrays in any tree.
    """

    measure_name: str = static()
    measure: Callable[[PyTree], PyTree] = field(converter=as_data)

    def init(self, params):
        return SnapshotState({self.measure_name: _unmeasured(self.measure, params)})

    def update(self, updates, state, params=None, **extra):
        measured = _measured(self.measure, updates)
        return updates, SnapshotState({self.measure_name: measured})


def _as_measures(given: dict[str, Any]) -> dict[str, Any]:
    # Sorted, because JAX flattens a dict in the order of its keys.
    return {
        name: Measure(measure) if callable(measure) else as_transformation(measure)
        for name, measure in sorted(given.items())
    }


@pytree
class Monitor(GradientTransformation):
    """Store any number of measurements of the updates in the state; change no update.

        tx = jopt.chain(
            jopt.monitor({
                "norm": jopt.global_norm,
                "mean norm": jopt.measure_with_ema(jopt.global_norm, 0.9),
            }),
            jopt.adamw(3e-4),
        )
        optax.tree.get(state, "norm")

    Before the first update the measurements are zeros, so that the state keeps its
    structure (optax's are missing).

    Args:
      measures: a dict by name of functions or transformations. A function gets the
        updates at this place of the chain, each in at least float32, and returns arrays
        in any tree. The updates of a transformation (`measure_with_ema`, `ema`) are its
        measurement.
    """

    measures: Annotated[dict[str, Any], _MEASURES] = field(converter=_as_measures)

    def init(self, params):
        states = [tx.init(params) for tx in self.measures.values()]
        measured = _unmeasured(lambda p: self._measured(p, states, p, {})[0], params)
        return MonitorState(measured, tuple(states))

    def update(self, updates, state, params=None, **extra):
        found = self._measured(updates, state.measure_states, params, extra)
        return updates, MonitorState(*found)

    def _measured(self, updates, states, params, extra):
        found = {
            name: tx.update(jax.tree.map(wide, updates), state, params, **extra)
            for (name, tx), state in zip(self.measures.items(), states, strict=True)
        }
        measurements = {name: measurement for name, (measurement, _) in found.items()}
        return measurements, tuple(state for _, state in found.values())


measure_with_ema = MeasureWithEma
snapshot = Snapshot
monitor = Monitor


def _measured(measure: Callable[[PyTree], PyTree], updates: PyTree) -> PyTree:
    """Return `measure` of the updates in at least float32."""
    return called(measure, jax.tree.map(wide, updates))


def _unmeasured(measure: Callable[[PyTree], PyTree], params: PyTree) -> PyTree:
    """Return zeros like `measure` of updates like `params`."""
    shapes = jax.eval_shape(lambda p: _measured(measure, p), params)
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
