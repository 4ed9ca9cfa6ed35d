"""`Task`: the pure functions and the data that a sweep trains."""

import dataclasses
import functools
import math
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_leaves_with_path

from jopt.core import (
    PyTree,
    checked,
    checked_class,
    close_match,
    is_integer,
    noted,
    shown,
)
from jopt.sweep import _supervised as supervised
from jopt.sweep._config import as_arrays, plain
from jopt.sweep._data import Stream, is_stream, whole
from jopt.sweep._equality import same

Mode: TypeAlias = Literal["min", "max"]
Scalars: TypeAlias = dict[str, jax.Array]


@checked_class
@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """A training program over any state, as pure functions and data.

        init(config, key) -> state
        step(config, state, batch, key) -> (state, metrics)
        evaluate(config, state, batch, key) -> values

    The config is the factory's return value for a trial's hyperparameters: a
    transformation, a dict of numbers, any tree. `Task.from_model` makes a task of
    supervised learning, and `Task.from_loss` one from functions of parameters.

    Two tasks are equal if their fields are equal by value. Trials of equal tasks share
    programs.

    Args:
      name: shown in tables, the report and errors.
      init: returns the state, a tree with at least one array, of the same shapes for
        every config and key of a program. All trials of one seed get the same key.
      step: returns the state after the step, of the same structure and shapes, and
        scalars by name. If `loss` is among them and not finite, the trial diverges. The
        key is fold_in(trial's key, step). The batch is None without `train`.
      evaluate: returns a dict of arrays, one value of any shape an example, which are
        averaged over the examples. Without `valid` it is called once with batch None
        and returns scalars.
      summarize: (config, state, means) -> scalars by name, computed from the means: R2,
        F1, perplexity. They are added to the means that are scalars.
      model: (config, state) -> the part of a trial that is kept, saved and used to
        predict; by default the state.
        default the state.
      predict: (model, batch) -> predictions that may be averaged over models, a tree of
        arrays with the examples on the first axis: probabilities, not logits. For
        ensembles; may be left out.
      score: (predictions, batch) -> as `evaluate`. For ensembles; may be left out.
      train: a tree of arrays with the examples on the first axis; or batches from the
        host: `by_step`, `by_epoch`, or an iterable of batches that can be started
          again, such
        as a loader, each pass an epoch; or None. A resume draws the batches up to its
        step again, unless their iterator has `get_state` and `set_state`.
      valid, test: trees of arrays, or iterables of batches, which are read once; or
        None. Only the winner is evaluated on `test`, once.
      metric: the name of the value that ranks trials, unless a sweep says otherwise.
      mode: "min" or "max", which values of the metric are better.
      batch_size: examples a step, unless a sweep says otherwise.
      epochs: passes over `train`, unless a sweep says otherwise.
      diverged_above: loss of a step above which a trial counts as diverged; a loss that
        is not finite always does.
      baseline: values to beat, shown beside the results. For each baseline's name, its
        values on `valid` by the names of metrics, and those on `test` by `test_` and
        the name, as in {"least squares": {"r2": 0.45, "test_r2": 0.48}}.
      source: "module:name" of the task, or of a function without arguments that returns
        it; a resumed sweep imports the task by this name.
    """

    name: str
    init: Callable[[PyTree, Any], PyTree]
    step: Callable[[PyTree, PyTree, PyTree, Any], tuple[PyTree, dict[str, Any]]]
    evaluate: Callable[[PyTree, PyTree, PyTree, Any], dict[str, Any]]
    _: dataclasses.KW_ONLY
    summarize: Callable[[PyTree, PyTree, dict[str, Any]], dict[str, Any]] | None = None
    model: Callable[[PyTree, PyTree], PyTree] | None = None
    predict: Callable[[PyTree, PyTree], PyTree] | None = None
    score: Callable[[PyTree, PyTree], dict[str, Any]] | None = None
    train: PyTree = None
    valid: PyTree = None
    test: PyTree = None
    metric: str = "loss"
    mode: Mode = "min"
    batch_size: int = 64
    epochs: int = 10
    diverged_above: float = math.inf
    baseline: Mapping[str, Mapping[str, float]] | None = None
    source: str | None = None

    @classmethod
    @checked
    def from_loss(
        cls,
        name: str,
        init: Callable[[Any], tuple[PyTree, PyTree]],
        loss: Callable[[PyTree, PyTree, PyTree, Any], tuple[Any, PyTree]],
        evaluate: Callable[[PyTree, PyTree, PyTree], dict[str, Any]],
        train: PyTree,
        valid: PyTree,
        test: PyTree | None = None,
        *,
        predict: Callable[[PyTree, PyTree], PyTree] | None = None,
        **fields: Any,
    ) -> "Task":
        """Return a task of supervised learning, from a loss of parameters.

        The config is a transformation, or a `Supervised` with one.

        Args:
          name: as the field.
          init: key -> (params, model_state).
          loss: (params, model_state, batch, key) -> (scalar loss, model_state).
          evaluate: (params, model_state, batch) -> dict of arrays, one value an
            example.
          train, valid, test: as the fields.
          predict: as the field; the model is a pair with the fields `params` and
            `model_state`.
          **fields: the other fields.
        """
        made = supervised.of_functions(name, init, loss, evaluate, predict)
        data = {"train": train, "valid": valid, "test": test}
        return cls(name, **made.functions(), **data, **fields)

    @classmethod
    @checked
    def from_model(
        cls,
        name: str,
        make: Callable[[Any], Any],
        loss_fn: Callable[..., Any],
        evaluate: Callable[[Any, PyTree], dict[str, Any]],
        *,
        predict: Callable[[Any, PyTree], PyTree] | None = None,
        has_aux: bool = False,
        precision: Any = None,
        loss_scale: Any = None,
        accumulate: int = 1,
        microbatch: int | None = None,
        weight: Callable[[PyTree], Any] | None = None,
        scaling: Callable[[PyTree], Any] | None = None,
        start: Any = None,
        wrt: Any = None,
        **fields: Any,
    ) -> "Task":
        """Return a task that trains a Flax model, or a tree of parameters.

        A trial is trained by the step that `train_step` compiles. The config is a
        transformation, or a `Supervised` with one.

        The functions `evaluate` and `predict` get models in evaluation mode: nnx
        modules, alone or in a tree, in `eval()` mode, and a linen module in
        `nnx.bridge.ToNNX`, whose fields deterministic and use_running_average are True
        where they were False. If linen's mode is an argument of its call, pass it
        there. The parameters are those of the transformation's `eval_params`.

        Args:
          name: as the field.
          make: key -> nnx module, linen's variables, or a tree of parameters.
          loss_fn: (model, batch, key) -> loss, as `train_step` takes it. The loss of a
            `Supervised` is its fourth argument.
          evaluate: (model, batch) -> as the field.
          predict: (model, batch) -> as the field.
          has_aux: as for `train_step`; the metrics are shown as means of a segment.
          precision, loss_scale: as for `TrainState.create`. Without a loss scale, a
            trial whose loss is not finite has diverged. With one, a step that overflows
            is skipped.
          accumulate, microbatch, weight: as for `train_step`.
          scaling: training examples -> callable tree of arrays, batch -> batch, such as
            `data.standardize`. A sweep fits it once for each fold, to the fold's
            training examples. Every batch passes through the fitted scaling before
            augmentation, in evaluation, and in `predict`. The scaling is kept with the
            model.
          start: the start of all trials: parameters, an nnx module, linen's variables,
            a model of `result.model(trial)`, or a path, as in `starting_from`.
            Parameters that it lacks, such as those of adapters, come from `make`.
          wrt: which parameters are trained, as for `TrainState.create`. All trials
            share one copy of the others, if these do not depend on the key, as those of
            `start`.
          **fields: `train`, `valid` and the other fields.
        """
        made = supervised.of_model(
            name,
            make,
            loss_fn,
            evaluate,
            predict,
            start,
            wrt=wrt,
            has_aux=has_aux,
            precision=precision,
            loss_scale=loss_scale,
            accumulate=accumulate,
            microbatch=microbatch,
            weight=weight,
            scaling=scaling,
            train=fields.get("train"),
        )
        return cls(name, **made.functions(), **fields)

    @checked
    def starting_from(self, start: Any) -> "Task":
        """Return this task of supervised learning, but started from a model.

            digits().starting_from("sweeps/digits-1")

        Args:
          start: a model with all of its parameters and its state: a model of
            `result.model(trial)`, an nnx module, linen's variables, or the path of a
            saved
            model: a sweep's directory, which gives its best model, a checkpoint of
            `result.save`, or a file of `save_compressed`.

        Raises:
          ValueError: the task is not supervised learning; the arrays of the model
            differ, and the message names the first; the path is not a saved model.
          OSError: there is nothing at the path.
        """
        begun = supervised.training_of(self).begun(start)
        return dataclasses.replace(self, **begun.functions(), source=None)

    @checked
    def taught_by(self, logits: Mapping[str, Any]) -> "Task":
        """Return this supervised task, with a teacher's logits in each batch.

        The loss of a trial's `Supervised`, such as `losses.Distilled`, gets the logits
        of its batch as `teacher_logits`. Its values have another scale, so
        `diverged_above` is infinite.

        Args:
          logits: arrays with the examples on the first axis, by "train", "valid" and
            "test", as many as the task has.

        Raises:
          TypeError: the task's loss function does not take a trial's loss.
          ValueError: the task is not supervised learning.
        """
        data = {name: (getattr(self, name), each) for name, each in logits.items()}
        return dataclasses.replace(
            self,
            **supervised.training_of(self).taught().functions(),
            **data,
            score=self.score and supervised.OfFirst(self.score),
            diverged_above=math.inf,
            source=None,
        )

    @functools.cached_property
    def stream(self) -> Stream | None:
        """The training data as a stream, if the host produces them in batches."""
        return Stream(self.name, self.train) if is_stream(self.train) else None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Task):
            return NotImplemented
        names = [field.name for field in dataclasses.fields(self)]
        return same(*([getattr(x, name) for name in names] for x in (self, other)))

    def __hash__(self) -> int:
        return hash((self.name, self.metric, self.mode, self.batch_size, self.epochs))


def streams_of(tasks: Iterable[Task]) -> list[Stream]:
    """Return the streams of the tasks that have one, without duplicates."""
    different = {id(task): task for task in tasks}.values()
    return [task.stream for task in different if task.stream is not None]


def kept(task: Task, config: PyTree, state: PyTree) -> PyTree:
    """Return the kept part of a trial: the task's `model`, by default the state."""
    return state if task.model is None else task.model(plain(config), state)


def summarized(task: Task, config: PyTree, state: PyTree, means: Scalars) -> Scalars:
    """Return the scalars among the means, and the scalars of `summarize`."""
    scalars = {name: mean for name, mean in means.items() if not mean.shape}
    if task.summarize is None:
        return scalars
    with noted(f"In summarize of the task {task.name}."):
        made = task.summarize(plain(config), state, means)
    return scalars | {name: jnp.asarray(value) for name, value in made.items()}


def check_task(
    task: Task,
    config: PyTree,
    metrics: Mapping[str, str] | None = None,
    batch_size: int | None = None,
) -> None:
    """Raise an error if a task's functions and data do not fit together.

    Args:
      task: the task.
      config: the config of any trial.
      metrics: names of required values; each is mapped to the part that needs it, in
        words. By default the task's metric.
      batch_size: examples a step; by default the task's.
    """
    for name in ("batch_size", "epochs"):
        if not is_integer(value := getattr(task, name)):
            raise ValueError(
                f"Task {task.name}: {name} must be an integer, got {value!r}."
            )
    if task.predict is None and task.score is not None:
        raise ValueError(
            f"Task {task.name}: score must be given with predict: it says how good "
            "predictions are."
        )
    size = task.batch_size if batch_size is None else batch_size
    needed = {task.metric: "the metric"} if metrics is None else metrics
    leaves, structure = jax.tree.flatten(as_arrays(config))
    forms = [(leaf.shape, str(leaf.dtype)) for leaf in leaves]
    given = size, dict(needed), structure, forms
    if any(of() is task and given == passed for of, passed in _passed):
        return
    _Checks(task, config, size).run(needed)
    _passed.append((weakref.ref(task), given))
    del _passed[:-PASSED]


PASSED = 8  # checks that are remembered, so that a task is not traced for each sweep
_passed: list[tuple[weakref.ref[Task], Any]] = []  # newest last


class _Checks:
    """Check a task's functions by their shapes, without running them."""

    def __init__(self, task: Task, config: PyTree, batch_size: int):
        self.task, self.batch_size = task, batch_size
        self.config = as_arrays(config)
        self.title = f"Task {task.name}"

    def run(self, metrics: Mapping[str, str]) -> None:
        state = self._state(0)
        if state != self._state(1):
            raise ValueError(
                f"{self.title}: init must give the same shapes whatever the key, got "
                "others for another key; trials of one program have one shape."
            )
        if not jax.tree.leaves(state):
            raise ValueError(
                f"{self.title}: init made a state with no leaves; it must return a "
                "tree with at least one array."
            )
        self._check_step(state)
        given = {name: getattr(self.task, name) for name in ("train", "valid", "test")}
        splits = [name for name, data in given.items() if data is not None]
        if self.task.stream is not None:
            splits.remove("train")
        for split in splits if "valid" in splits else ["valid"]:
            found = self._check_evaluate(state, split)
            for metric, words in metrics.items():
                if metric in found:
                    continue
                raise ValueError(
                    f"{self.title}: {words} {metric!r} must be among what evaluate "
                    f"and summarize return, got {', '.join(found) or 'none'}"
                    f"{close_match(metric, found)}."
                )

    def _state(self, seed: int) -> PyTree:
        """Return the shapes that init returns; a new function forces a new trace."""
        init = lambda config, key: self.task.init(config, key)  # noqa: E731
        with noted(
            f"In init of the task {self.task.name}; it must not look at the key but by "
            "jax.random: shapes and branches must be the same for every key."
        ):
            return self._shapes(init, jax.random.key(seed))

    def _shapes(self, function: Callable[..., Any], *args: Any) -> Any:
        """Return the shapes of a function's output for the config and arguments."""
        return jax.eval_shape(
            lambda config, *args: function(plain(config), *args), self.config, *args
        )

    def _check_step(self, state: PyTree) -> None:
        batch = None if self.task.train is None else self._batch()
        with noted(
            f"In step of the task {self.task.name}, on a batch of train, "
            f"{_described(batch)}."
        ):
            found = self._shapes(self.task.step, state, batch, jax.random.key(0))
        if not (isinstance(found, tuple) and len(found) == 2):
            raise ValueError(
                f"{self.title}: step must return (state, metrics), got {shown(found)}."
            )
        after, metrics = found
        if place := _first_difference(state, after):
            raise ValueError(
                f"{self.title}: step must return a state of the structure and shapes "
                f"that it was given, and {place}."
            )
        named = metrics if isinstance(metrics, dict) else {}
        if named != metrics or any(x.shape for x in jax.tree.leaves(named)):
            raise ValueError(
                f"{self.title}: step must return its metrics as a dict of scalars by "
                f"name, got {_described(metrics)}; take means over the batch."
            )

    def _batch(self) -> PyTree:
        """Return the shapes of a batch."""
        if self.task.stream is not None:
            batch = self.task.stream.first
            return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch)
        first = self._first_rows("train")
        asked = self.batch_size if is_integer(self.batch_size) else 1  # refused later
        size = max(1, min(asked, examples(self.task.train)))
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype), first
        )

    def _first_rows(self, split: str) -> PyTree:
        """Return the first two examples, or the only one."""
        name = self.task.name
        data = whole(name, split, getattr(self.task, split))
        sizes = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(data)}
        if not sizes:
            raise ValueError(
                f"{self.title}: {split} must have at least one array of examples, got "
                f"{data!r}."
            )
        if len(sizes) > 1 or () in sizes or (0,) in sizes:
            raise ValueError(
                f"{self.title}: the arrays of {split} must have one number of "
                f"examples, at least 1, on their first axis, got {sizes}."
            )
        return jax.tree.map(lambda array: jnp.asarray(array[:2]), data)

    def _check_evaluate(self, state: PyTree, split: str) -> dict[str, Any]:
        """Return the shapes of the metrics of a split; there may be no `valid`."""
        data = getattr(self.task, split)
        batch = None if data is None else self._first_rows(split)
        with noted(
            f"In evaluate of the task {self.task.name}, on the first examples of "
            f"{split}; it must take train, valid and test alike, with arrays of the "
            "same shapes but for their first axis."
        ):
            values = self._shapes(self.task.evaluate, state, batch, jax.random.key(0))
        named = values if isinstance(values, dict) else {}
        first: tuple[int, ...] = ()
        if batch is not None:
            first = np.shape(jax.tree.leaves(batch)[0])[:1]
        axes = len(first)
        fits = [
            hasattr(value, "shape")
            and value.shape[:axes] == first
            and not (batch is None and value.shape)
            for value in named.values()
        ]
        if not named or not all(fits):
            words = (
                "scalars by name, as there are no examples to validate on"
                if batch is None
                else "one value an example by name (a first axis of "
                f"{first} for as many examples of {split})"
            )
            raise ValueError(
                f"{self.title}: evaluate must return a dict of {words}, got "
                f"{_described(values)}."
            )
        means = {
            name: jax.ShapeDtypeStruct(value.shape[axes:], value.dtype)
            for name, value in named.items()
        }
        found = self._shapes(functools.partial(summarized, self.task), state, means)
        wrong = {name: value for name, value in found.items() if value.shape}
        if wrong:
            raise ValueError(
                f"{self.title}: summarize must return scalars by name, got "
                f"{_described(wrong)}."
            )
        return found


def _first_difference(before: PyTree, after: PyTree) -> str | None:
    """Return where the shapes of two trees differ, in words; None if nowhere."""
    old, new = (
        {keystr(path): leaf for path, leaf in tree_leaves_with_path(tree)}
        for tree in (before, after)
    )
    for path in old | new:
        title = f"state{path}"
        if path not in new or path not in old:
            return f"{title} {'is gone' if path not in new else 'is new'}"
        if old[path].shape != new[path].shape:
            shapes = list(new[path].shape), list(old[path].shape)
            return f"{title} has the shape {shapes[0]}, not {shapes[1]}"
    if jax.tree.structure(before) != jax.tree.structure(after):
        return "its nodes are of other kinds"
    return None


def _described(value: Any) -> str:
    """Return the shapes in a tree, for an error message."""
    dtype, shape = getattr(value, "dtype", None), getattr(value, "shape", None)
    if dtype is not None and shape is not None:
        return f"{dtype}{list(shape)}"
    if isinstance(value, dict) and value:
        return "{" + ", ".join(f"{k}: {_described(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (tuple, list)) and not hasattr(value, "_fields"):
        return f"({', '.join(map(_described, value))})"
    return shown(value)


def examples(data: PyTree) -> int:
    """Return the number of examples in a tree of arrays."""
    return len(jax.tree.leaves(data)[0])
