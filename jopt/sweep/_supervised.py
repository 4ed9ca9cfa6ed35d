"""Supervised learning as the functions of a task, built on `train_step`."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jopt.core import (
    EmptyState,
    GradientTransformation,
    PyTree,
    as_transformation,
    noted,
    pytree,
    shown,
)
from jopt.sweep._config import Supervised
from jopt.sweep._data import is_stream
from jopt.sweep._start import Given
from jopt.training import (
    Form,
    LossFn,
    LossScale,
    Pair,
    Precision,
    PureStep,
    TrainState,
    Weight,
    form_of,
    joined,
    pure_loss,
    state_of,
)
from jopt.transforms import scale_leaves


class Model(NamedTuple):
    """The kept part of a supervised trial: parameters for evaluation, and state."""

    params: PyTree
    model_state: PyTree  # batch statistics and counters; `Scaled` if batches are scaled


class Scaled(NamedTuple):
    """A state of training or of a model, beside the scaling of its batches."""

    scaling: Any  # batch -> batch, a pytree of arrays
    own: PyTree


@dataclasses.dataclass(frozen=True)
class Training:
    """Supervised learning of one model, as the functions of a `Task`.

    The state is a `TrainState` without its transformation and key, which belong to the
    trial. The step is that of `train_step`. It returns the frozen parameters unchanged,
    so that all trials of a sweep share them.

    Args:
      name: of the task, for error messages.
      make: key -> model.
      form: how the model is split and joined.
      loss_fn: as for `train_step`; a config's loss is its fourth argument.
      evaluation: (model, batch) -> values by name, one an example.
      prediction: (model, batch) -> predictions; may be None.
      given: arrays that replace those of `make` at the start.
      wrt: which parameters are trained, as for `TrainState.create`.
      has_aux, precision, loss_scale, accumulate, microbatch, weight, scaling: as for
        `Task.from_model`.
      fitted: the scaling fitted to the task's training examples. A sweep replaces it by
        one fitted to the trial's own examples.
    """

    name: str
    make: Callable[[Any], Any]
    form: Form
    loss_fn: LossFn
    evaluation: Callable[[Any, PyTree], dict[str, Any]]
    prediction: Callable[[Any, PyTree], PyTree] | None = None
    given: Given | None = None
    wrt: PyTree = None
    has_aux: bool = False
    precision: Precision | None = None
    loss_scale: LossScale | None = None
    accumulate: int = 1
    microbatch: int | None = None
    weight: Weight | None = None
    scaling: Callable[[PyTree], Any] | None = None
    fitted: Any = None

    def functions(self) -> dict[str, Any]:
        """Return the functions, by the names of the fields of `Task`."""
        predict = None if self.prediction is None else self.predict
        named = {"init": self.init, "step": self.step, "evaluate": self.evaluate}
        return {**named, "model": self.model, "predict": predict}

    def init(self, config: PyTree, key: jax.Array) -> PyTree:
        tx, _, _ = self._parts(config)
        params, model_state = self.start(key)
        scaling, model_state = _parted(model_state)
        if isinstance(config, Supervised) and config.init_scale is not None:
            params, _ = scale_leaves(config.init_scale).update(params, EmptyState())
        model = self.form.join(params, model_state)
        options = {"precision": self.precision, "loss_scale": self.loss_scale}
        options |= {"buckets": False, "wrt": self.wrt}
        return _with(scaling, _of_trial(state_of(self.form, model, tx, **options)))

    def step(
        self, config: PyTree, state: PyTree, batch: PyTree, key: jax.Array
    ) -> tuple[PyTree, dict[str, jax.Array]]:
        tx, loss, augment = self._parts(config)
        scaling, state = _parted(state)
        batch = _scaled(scaling, batch)

        @functools.wraps(getattr(self.loss_fn, "function", self.loss_fn))
        def loss_fn(model: Any, batch: PyTree, key: jax.Array) -> Any:
            if augment is not None:
                key, own = jax.random.split(key)
                batch = augment(batch, own)
            given = (model, batch, key)
            return self.loss_fn(*given) if loss is None else self.loss_fn(*given, loss)

        step = PureStep(
            loss_fn,
            self.accumulate,
            self.microbatch,
            self.weight,
            self.has_aux,
            skips=self.loss_scale is not None,
        )
        tx = state.precision.rounded(tx)
        whole = state.with_constant((tx, None, state.frozen))
        whole, metrics, finite = step(whole, batch, key)
        skips = self.loss_scale is not None
        loss = metrics.loss if skips else jnp.where(finite, metrics.loss, jnp.nan)
        return _with(scaling, _of_trial(whole)), {"loss": loss, **metrics.aux}

    def evaluate(
        self, config: PyTree, state: PyTree, batch: PyTree, key: jax.Array
    ) -> dict[str, Any]:
        if batch is None:
            raise ValueError(
                f"Task {self.name}: valid must have at least one array of examples, "
                "got None."
            )
        params, model_state = self.model(config, state)
        scaling, model_state = _parted(model_state)
        precision = _parted(state)[1].precision
        params = precision.computed(params)
        batch = precision.computed(_scaled(scaling, batch))
        return self.values(params, model_state, batch)

    def model(self, config: PyTree, state: PyTree) -> Model:
        tx, _, _ = self._parts(config)
        scaling, state = _parted(state)
        tx = state.precision.rounded(tx)
        trained = tx.eval_params(state.opt_state, state.packed)
        params = joined(state.wrt, trained, state.frozen)
        return Model(params, _with(scaling, state.model_state))

    def predict(self, model: Model, batch: PyTree) -> PyTree:
        assert self.prediction is not None
        params, model_state = model
        scaling, model_state = _parted(model_state)
        joined = self._joined(Model(params, model_state))
        return self.prediction(joined, _scaled(scaling, batch))

    def start(self, key: jax.Array) -> Model:
        """Return a model before its first step."""
        with noted(f"In the model of the task {self.name}."):
            params, model_state = self.form.split(self.make(key))
        model_state = _with(self.fitted, model_state)
        if self.given is not None:
            params = self.given.params.into(params)
            model_state = self.given.model_state.into(model_state)
        return Model(params, model_state)

    def loss(
        self, params: PyTree, model_state: PyTree, batch: PyTree, key: jax.Array
    ) -> tuple[jax.Array, PyTree]:
        """Return the loss that a step differentiates, and the model's state after."""
        scaling, model_state = _parted(model_state)
        value, (after, _) = pure_loss(self.loss_fn, self.form, self.has_aux)(
            params, model_state, _scaled(scaling, batch), key
        )
        return value, _with(scaling, after)

    def values(
        self, params: PyTree, model_state: PyTree, batch: PyTree
    ) -> dict[str, jax.Array]:
        """Return the values of examples by a model of these parameters."""
        scaling, model_state = _parted(model_state)
        joined = self._joined(Model(params, model_state))
        return self.evaluation(joined, _scaled(scaling, batch))

    def begun(self, start: Any, title: str | None = None) -> "Training":
        """Return the same training from a given model; see `Given.of`."""
        shapes = jax.eval_shape(self.start, jax.random.key(0))
        title = title or f"Task {self.name}: start"
        given = Given.of(start, title, shapes, whole=True)
        return dataclasses.replace(self, given=given)

    def taught(self) -> "Training":
        """Return the same training on batches (batch, teacher's logits).

        Raises TypeError if the loss function does not take a trial's loss.
        """
        try:
            inspect.signature(self.loss_fn).bind("model", "batch", "key", "loss")
        except TypeError:
            raise TypeError(
                f"Task {self.name}: loss_fn must take a trial's loss, to which a "
                "teacher's logits are given: loss_fn(model, batch, key, loss)."
            ) from None
        return dataclasses.replace(
            self,
            loss_fn=_Taught(self.loss_fn),
            evaluation=OfFirst(self.evaluation),
            prediction=self.prediction and OfFirst(self.prediction),
            weight=self.weight and OfFirst(self.weight),
            scaling=self.scaling and _ScalingOfFirst(self.scaling),
            fitted=None if self.scaling is None else _ScaledFirst(self.fitted),
        )

    def fit(self, examples: PyTree) -> Any:
        """Return the scaling fitted to training examples; None without a scaling.

        Raises:
          TypeError: `scaling` does not return a callable tree of arrays.
        """
        if self.scaling is None:
            return None
        with noted(f"In scaling of the task {self.name}."):
            made = self.scaling(jax.tree.map(np.asarray, examples))
        leaves = jax.tree.leaves(made)
        if not callable(made) or not all(hasattr(leaf, "dtype") for leaf in leaves):
            raise TypeError(
                f"Task {self.name}: scaling must return a callable tree of arrays, "
                f"batch -> batch, as data.standardize does, got {shown(made)}."
            )
        return jax.tree.map(jnp.asarray, made)

    def _joined(self, model: Model) -> Any:
        joined = self.form.join(*model)
        if isinstance(self.form, Pair):
            return Model(*joined)
        return self.form.evaluated(joined)

    def _parts(self, config: PyTree) -> tuple[GradientTransformation, Any, Any]:
        """Return a config's transformation, loss and augmentation."""
        if isinstance(config, Supervised):
            return as_transformation(config.tx), config.loss, config.augment
        if not isinstance(config, GradientTransformation):
            raise TypeError(
                f"Task {self.name}: the factory of the trials must return a gradient "
                "transformation, or a Supervised or Setup with one, got "
                f"{shown(config)}; a factory must be called first: jopt.adam(1e-3), "
                "not jopt.adam."
            )
        return config, None, None


def _with(scaling: Any, own: PyTree) -> PyTree:
    """Return a state with its scaling, if there is one."""
    return own if scaling is None else Scaled(scaling, own)


def _parted(state: PyTree) -> tuple[Any, Any]:
    """Return the scaling, None without one, and the state itself."""
    if isinstance(state, Scaled):
        return state.scaling, state.own
    return None, state


def _scaled(scaling: Any, batch: PyTree) -> PyTree:
    return batch if scaling is None else scaling(batch)


def _of_trial(state: TrainState) -> TrainState:
    """Return a state without the trial's parts: its transformation and its key."""
    return state.with_constant((None, None, state.frozen))


def is_supervised(task: Any) -> bool:
    """Return whether a task is supervised learning."""
    return isinstance(getattr(task.step, "__self__", None), Training)


def training_of(task: Any) -> Training:
    """Return the training of a supervised task.

    Raises ValueError if the task is not supervised learning.
    """
    if not is_supervised(task):
        raise ValueError(
            f"Task {task.name}: the task must be one of supervised learning, made by "
            "Task.from_model or Task.from_loss, got one with a step of its own."
        )
    return task.step.__self__


def of_functions(
    name: str,
    init: Callable[[Any], tuple[PyTree, PyTree]],
    loss: Callable[[PyTree, PyTree, PyTree, Any], tuple[Any, PyTree]],
    evaluate: Callable[[PyTree, PyTree, PyTree], dict[str, Any]],
    predict: Callable[[Model, PyTree], PyTree] | None,
) -> Training:
    """Return the training of a model that is functions of params and model state."""
    spread = _Spread(loss), _Spread(evaluate)
    return Training(name, _Pairs(name, init), Pair(), *spread, predict)


def of_model(
    name: str,
    make: Callable[[Any], Any],
    loss_fn: LossFn,
    evaluate: Callable[[Any, PyTree], dict[str, Any]],
    predict: Callable[[Any, PyTree], PyTree] | None,
    start: Any = None,
    train: PyTree = None,
    **options: Any,
) -> Training:
    """Return the training of a Flax model, or of a tree of parameters."""
    forms: list[Form] = []

    def trace(key: Any) -> Any:
        forms.append(form_of(model := make(key)))
        return forms[0].split(model)

    with noted(f"In make of the task {name}."):
        shapes = jax.eval_shape(trace, jax.random.key(0))
    given = None if start is None else Given.of(start, f"Task {name}: start", shapes)
    functions = (make, forms[0], loss_fn, evaluate, predict)
    made = Training(name, *functions, given, **options)
    if made.scaling is None:
        return made
    if train is None or is_stream(train):
        raise ValueError(
            f"Task {name}: train must be a tree of arrays, of which scaling takes its "
            f"statistics, got {shown(train)}; scale what comes in batches where it "
            "is made."
        )
    return dataclasses.replace(made, fitted=made.fit(train))


class OfFirst(NamedTuple):
    """Apply a function of a batch, its last argument, to the first of a pair."""

    function: Callable[..., Any]

    def __call__(self, *given: Any) -> Any:
        *others, (batch, _) = given
        return self.function(*others, batch)


@pytree
class _ScaledFirst:
    """Scale the first part of a pair."""

    scaling: Any

    def __call__(self, batch: PyTree) -> PyTree:
        own, rest = batch
        return self.scaling(own), rest


class _ScalingOfFirst(NamedTuple):
    """Fit a scaling to the first part of a pair of examples."""

    function: Callable[[PyTree], Any]

    def __call__(self, examples: PyTree) -> Any:
        return _ScaledFirst(self.function(examples[0]))


class _Taught(NamedTuple):
    """Pass the teacher's logits, the second part of a batch, to the trial's loss."""

    function: Callable[..., Any]

    def __call__(self, model: Any, batch: PyTree, key: Any, loss: Any) -> Any:
        own, logits = batch
        bound = functools.partial(loss, teacher_logits=logits)
        return self.function(model, own, key, bound)


class _Pairs(NamedTuple):
    """An init that checks that its results are pairs."""

    name: str
    init: Callable[[Any], tuple[PyTree, PyTree]]

    def __call__(self, key: jax.Array) -> tuple[PyTree, PyTree]:
        made = self.init(key)
        if not isinstance(made, tuple) or len(made) != 2:
            raise ValueError(
                f"Task {self.name}: init must return (params, model_state), {{}} for a "
                f"model without a state, got {shown(made)}."
            )
        return made


class _Spread(NamedTuple):
    """Call a function of params and model state with a pair of them."""

    function: Callable[..., Any]

    def __call__(self, model: Model, *rest: Any) -> Any:
        return self.function(*model, *rest)
