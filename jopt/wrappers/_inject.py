"""Hyperparameters in the state, under optax's names."""

import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jopt.core import (
    DType,
    Factory,
    FactorySettings,
    GradientTransformation,
    PyTree,
    ScalarOrSchedule,
    as_number,
    as_schedule,
    as_transformation,
    checked,
    factory_arguments,
    factory_names,
    factory_signature,
    field,
    increment,
    pytree,
    standard_promotion,
    static,
    value_at,
    wide,
    wide_numbers,
)


class InjectHyperparamsState(NamedTuple):
    """The numbers by name, and the state of the transformation made of them."""

    count: jax.Array  # int32[], updates made
    hyperparams: dict[str, jax.Array]  # of the last update, scheduled ones too
    hyperparams_states: dict[str, PyTree]  # of the schedules
    inner_state: PyTree  # of the inner transformation


class WrappedScheduleState(NamedTuple):
    """The step of a schedule."""

    count: jax.Array  # int32[], updates made


@pytree
class WrappedSchedule:
    """Give a schedule of the step a state that counts the steps.

    Args:
      schedule_fn: a schedule, or a function of the int32 step.
    """

    schedule_fn: ScalarOrSchedule = field(converter=as_schedule)

    def init(self) -> WrappedScheduleState:
        """Return the state before the first step."""
        return WrappedScheduleState(jnp.zeros((), jnp.int32))

    def update(
        self, state: WrappedScheduleState, **extra: PyTree
    ) -> WrappedScheduleState:
        """Return the state after a step.

        Args:
          state: the state before it.
          **extra: ignored.
        """
        return WrappedScheduleState(increment(state.count))

    def __call__(self, state: WrappedScheduleState, **extra: PyTree) -> jax.Array:
        """Return the value for the next step.

        Args:
          state: the current state.
          **extra: ignored.
        """
        return value_at(self.schedule_fn, state.count)


@pytree
class InjectHyperparams(GradientTransformation):
    """Rebuild a factory's transformation at each update from numbers in the state.

    Make it with `inject_hyperparams`.

    Args:
      factory: function that makes a transformation.
      numbers: its numeric arguments by name.
      schedules: its scheduled arguments by name, as schedules with a state.
      settings: its other arguments by name, static.
      hyperparam_dtype: as in `inject_hyperparams`.
    """

    factory: Callable[..., Any] = static()
    numbers: dict[str, PyTree]
    schedules: dict[str, Any]
    settings: FactorySettings = static()
    hyperparam_dtype: DType = static(default=None)

    def groups(self, params):
        return self._made(self._first()[0]).groups(params)

    def frozen(self, params):
        return self._made(self._first()[0]).frozen(params)

    def init(self, params):
        hyperparams, states = self._first()
        return InjectHyperparamsState(
            count=jnp.zeros((), jnp.int32),
            hyperparams=hyperparams,
            hyperparams_states=states,
            inner_state=self._made(hyperparams).init(params),
        )

    def update(self, updates, state, params=None, **extra):
        states = state.hyperparams_states
        scheduled = {n: s(states[n], **extra) for n, s in self.schedules.items()}
        hyperparams = self._stored(state.hyperparams | scheduled)
        updates, inner_state = self._made(hyperparams).update(
            updates, state.inner_state, params, **extra
        )
        return updates, InjectHyperparamsState(
            count=increment(state.count),
            hyperparams=hyperparams,
            hyperparams_states={
                n: s.update(states[n], **extra) for n, s in self.schedules.items()
            },
            inner_state=inner_state,
        )

    def eval_params(self, state, params):
        inner = self._made(state.hyperparams)
        return inner.eval_params(state.inner_state, params)

    def parts(self, state):
        states = state.hyperparams_states
        scheduled = {n: s(states[n]) for n, s in self.schedules.items()}
        numbers = {n: state.hyperparams[n] for n in self.numbers}
        return {"numbers": (numbers, state), "schedules": (scheduled, state)}

    def _first(self) -> tuple[dict[str, jax.Array], dict[str, PyTree]]:
        """Return the numbers of the first update, and the states of the schedules."""
        states = {name: schedule.init() for name, schedule in self.schedules.items()}
        scheduled = {n: s(states[n]) for n, s in self.schedules.items()}
        return self._stored(self.numbers | scheduled), states

    def _stored(self, hyperparams: dict[str, PyTree]) -> dict[str, jax.Array]:
        """Return the numbers in the dtype that is stored; a key stays as it is."""

        def leaf(value: PyTree) -> jax.Array:
            value = jnp.asarray(value)
            if jnp.issubdtype(value.dtype, jnp.signedinteger):
                value = wide(value)
            if not jnp.issubdtype(value.dtype, jnp.floating):
                return value
            return value.astype(self.hyperparam_dtype or value.dtype)

        return {name: leaf(value) for name, value in hyperparams.items()}

    def _made(self, hyperparams: dict[str, jax.Array]) -> GradientTransformation:
        with standard_promotion():
            made = self.factory(**wide_numbers(hyperparams), **self.settings)
        return as_transformation(made)


@checked
def inject_hyperparams(
    inner_factory: Factory,
    static_args: str | Iterable[str] = (),
    hyperparam_dtype: DType = None,
) -> Callable[..., InjectHyperparams]:
    """Return a factory like `inner_factory` whose numbers are stored in the state.

        tx = jopt.inject_hyperparams(jopt.adamw)(learning_rate=schedule, b1=0.8)
        state.hyperparams["b1"] = 0.9  # the next update uses it
        state.hyperparams["learning_rate"]  # what the last update used

    jopt's transformations are pytrees of numbers by themselves, which `jopt.replace`
    changes; this is for programs that look for the numbers in the state. `init` uses
    the numbers that the factory was called with, `update` those of the state.

    Args:
      inner_factory: factory of jopt or optax. Its floats and arrays, its defaults too,
        become `hyperparams`; integers do unless the factory's default or annotation is
        an integer. Any argument may be a schedule instead: one of jopt's, a function of
        the int32 step, or an object with optax's `init`, `update` and call, whose
        update sees the extra arguments.
      static_args: names of arguments that are neither numbers nor schedules: a mask
        that is a function, a number that the factory branches on in Python.
      hyperparam_dtype: dtype of the numbers in the state; by default an array keeps its
        own and all others are float32. (optax's default is the params' dtype: in
        bfloat16 a decay of 0.999 is 1, and Adam's first update is NaN.)

    Returns:
      A function with the signature of `inner_factory` that returns an
      `InjectHyperparams`, and raises TypeError if its arguments do not fit that
      signature.

    Raises:
      ValueError: if a name of `static_args` is not an argument of the factory.
    """
    title = "inject_hyperparams"
    signature = factory_signature(title, inner_factory)
    fixed = factory_names(title, "static_args", static_args, inner_factory)

    @functools.wraps(inner_factory)
    def injected(*args: Any, **kwargs: Any) -> InjectHyperparams:
        numbers, settings = factory_arguments(
            inner_factory, signature, args, kwargs, fixed
        )
        schedules = {
            name: _stateful(value)
            for name, value in (numbers | settings).items()
            if name not in fixed and _is_schedule(value)
        }
        return InjectHyperparams(
            inner_factory,
            {n: as_number(v) for n, v in numbers.items() if n not in schedules},
            schedules,
            FactorySettings({n: v for n, v in settings.items() if n not in schedules}),
            hyperparam_dtype,
        )

    return injected


InjectStatefulHyperparamsState = InjectHyperparamsState
inject_stateful_hyperparams = inject_hyperparams


def _is_schedule(value: object) -> bool:
    # A dtype is a class, which is callable too.
    return callable(value) and not isinstance(value, type)


def _stateful(schedule: Any) -> Any:
    has_state = hasattr(schedule, "init") and hasattr(schedule, "update")
    return _Stateful(schedule) if has_state else WrappedSchedule(schedule)


@pytree
class _Stateful:
    """Another library's schedule with a state; its numbers are constants."""

    schedule: Any = static()

    def init(self) -> PyTree:
        return self.schedule.init()

    def update(self, state: PyTree, **extra: PyTree) -> PyTree:
        with standard_promotion():
            return self.schedule.update(state, **extra)

    def __call__(self, state: PyTree, **extra: PyTree) -> PyTree:
        with standard_promotion():
            return self.schedule(state, **extra)
