"""Call every public function of jopt with bad arguments and judge the answers.

    python tests/support/bad_values.py PATTERN

prints the wrong answers of the functions whose names match the pattern, "." for all. A
right answer is a result, or a ValueError or TypeError that jopt itself raises, in a
sentence that names the function and the argument.
"""

import contextlib
import functools
import importlib
import inspect
import itertools
import math
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
import types
import typing
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
import recorded_sweeps
import toy
from flax import linen, nnx

import jopt
from jopt import studies, sweep
from jopt.studies import _compare, _transfer
from jopt.sweep import _search

PACKAGE = Path(jopt.__file__).parent
SECONDS = 5.0  # that a call may take, compiling included

BAD: dict[str, Any] = {
    "None": None,
    "a string": "bad",
    "a negative": -1,
    "NaN": math.nan,
    "infinity": math.inf,
    "an empty list": [],
    "10**400": 10**400,
    "10**30": 10**30,
    "10**12": 10**12,
    "an object": object(),
    "a complex number": 1j,
}

PARAMS = {"w": jnp.ones((4, 4)), "b": jnp.ones((4, 4))}
DATA, LABELS = np.ones((8, 4), np.float32), np.zeros(8, np.int32)
TASK = toy.task()
KEY = jax.random.key(0)


class Called(NamedTuple):
    """A public function, by the names that it is called by, and how it is called."""

    names: tuple[str, ...]
    function: Callable[..., Any]
    arguments: tuple[str, ...]
    call: Callable[[str, Any], Any]  # with that argument changed


@functools.cache
def adam() -> Any:
    return jopt.adam(0.1)


@functools.cache
def trained() -> Any:
    return jopt.TrainState.create(PARAMS, adam())


def made_step(state: Any, batch: Any) -> tuple[Any, dict[str, float]]:
    """A step of training that changes nothing."""
    return state, {"loss": 0.0}


def classes(model: Any, batch: Any) -> jax.Array:
    """Scores of two classes for points in the plane."""
    return jax.nn.softmax(batch[0] @ model.params["hidden"] @ model.params["out"])


@functools.cache
def swept() -> sweep.SweepResult:
    trials = sweep.grid(jopt.sgd, learning_rate=[0.1, 0.2])
    score = lambda model, batch: {}  # noqa: E731
    task = toy.task(predict=classes, score=score)
    return sweep.run(task, trials, steps=2, segments=1, block=2)


@functools.cache
def kept() -> str:
    """Where a sweep lies that is done."""
    directory = tempfile.mkdtemp()
    trials = sweep.grid(jopt.sgd, learning_rate=[0.1, 0.2])
    sweep.run(TASK, trials, directory=directory, steps=2, segments=1, block=2)
    return directory


@functools.cache
def pruned() -> str:
    """Where a sweep lies whose second trial was pruned, and kept."""
    directory = tempfile.mkdtemp()
    trials = sweep.grid(jopt.sgd, learning_rate=[0.1, 0.2])
    rule = sweep.SuccessiveHalving(reduction_factor=2)
    options: dict[str, Any] = {"steps": 2, "segments": 2, "block": 2, "pruner": rule}
    found = sweep.run(TASK, trials, directory=directory, keep_pruned=True, **options)
    assert "pruned" in found.table["status"].tolist()
    return directory


@functools.cache
def shared() -> str:
    """The journal of a search that workers have done."""
    path = f"{tempfile.mkdtemp()}/study.journal"
    options: dict[str, Any] = {"steps": 1, "batch": 2, "sampler": sweep.Random()}
    sweep.search(TASK, space(), trials=2, storage=path, **options)
    return path


@functools.cache
def saved() -> str:
    """Where parameters lie in a file."""
    path = f"{tempfile.mkdtemp()}/params"
    jopt.save_compressed(path, PARAMS)
    return path


@functools.cache
def mesh() -> Any:
    auto = (jax.sharding.AxisType.Auto,)
    made = jax.make_mesh((1,), ("data",), axis_types=auto)
    return jax.sharding.NamedSharding(made, jax.sharding.PartitionSpec())


@functools.cache
def shardings() -> Any:
    return jopt.state_sharding(jax.eval_shape(trained), mesh())


def loss_fn(model: Any, batch: Any, key: Any) -> Any:
    return jnp.mean((batch @ model["w"] + model["b"][0]) ** 2)


def pure(model: Any, state: Any, batch: Any, key: Any) -> Any:
    return loss_fn(model, batch, key), state


def identity(x: Any, *others: Any) -> Any:
    return x


def true(*_: Any, **__: Any) -> Any:
    return jnp.array(True)


def sweepable(learning_rate: Any) -> Any:
    return jopt.sgd(learning_rate)


def space() -> sweep.Space:
    return sweep.Space(jopt.sgd, learning_rate=sweep.log_uniform(1e-3, 1))


def shapes(width: int) -> Any:
    """The parameters of a model of that width, as shapes."""
    return {"kernel": jax.ShapeDtypeStruct((width, width), jnp.float32)}


def wide(width: int) -> sweep.Task:
    """A task whose model has that width."""
    return jopt.tasks.digits(width=width)


@functools.cache
def curved() -> sweep.SweepResult:
    """A sweep that has curves."""
    trials = sweep.grid(jopt.sgd, learning_rate=[0.1])
    return sweep.run(TASK, trials, steps=6, segments=3, block=1)


@functools.cache
def study() -> sweep.Study:
    return sweep.Study(space(), sampler=sweep.Random())


# A good argument, made when it is asked for: by function and name, or by name alone.
GOOD: dict[str | tuple[str, str], Callable[[], Any]] = {
    "tx": adam,
    "inner": adam,
    "opt": adam,
    "optimizer": adam,
    "fast_optimizer": adam,
    "base_optimizer": adam,
    "adv_optimizer": adam,
    "params": lambda: PARAMS,
    "updates": lambda: PARAMS,
    "tree": lambda: PARAMS,
    "model": lambda: PARAMS,
    "key": lambda: KEY,
    "mask": lambda: True,
    "freeze_mask": lambda: True,
    "param_labels": lambda: "a",
    "transforms": lambda: {"a": adam()},
    "loss_fn": lambda: loss_fn,
    "batch": lambda: jnp.ones((8, 4)),
    "task": lambda: TASK,
    "trials": lambda: sweep.grid(jopt.sgd, learning_rate=[0.1, 0.2]),
    "factory": lambda: sweepable,
    "inner_factory": lambda: jopt.sgd,
    "should_transform_fn": lambda: true,
    "should_skip_update_fn": lambda: jopt.skip_not_finite,
    "init_step": lambda: ("distance", 0.1),
    "update_period": lambda: 2,
    "every": lambda: 2,
    "every_k_schedule": lambda: 2,
    "sync_period": lambda: 2,
    "grads": lambda: PARAMS,
    "new_tensors": lambda: PARAMS,
    "old_tensors": lambda: PARAMS,
    "steps": lambda: 5,
    ("state_sharding", "state"): trained,
    ("state_sharding", "params_sharding"): mesh,
    ("train_step", "shardings"): shardings,
    ("pure_loss", "form"): lambda: trained().form,
    ("TrainState.filled", "by_leaf"): trained,
    "mutations": lambda: {"learning_rate": sweep.uniform(0, 1)},
    "setting": lambda: {"learning_rate": 0.1},
    "make": lambda: lambda key: PARAMS,
    ("Task", "init"): lambda: TASK.init,
    ("Task", "step"): lambda: TASK.step,
    ("Task", "evaluate"): lambda: TASK.evaluate,
    "evaluate": lambda: lambda model, batch: {"loss": jnp.ones(len(batch))},
    "train": lambda: np.ones((8, 4), np.float32),
    "valid": lambda: np.ones((8, 4), np.float32),
    ("nnx_classifier", "train"): lambda: (DATA, LABELS),
    ("nnx_classifier", "make"): lambda: lambda rngs: nnx.Linear(4, 2, rngs=rngs),
    ("linen_classifier", "train"): lambda: (DATA, LABELS),
    ("write_tensorboard", "sweep"): swept,
    ("write_tensorboard", "directory"): lambda: tempfile.mkdtemp(),
    ("fit", "state"): trained,
    ("fit", "step"): lambda: made_step,
    ("fit", "batches"): lambda: [DATA],
    ("fit", "epochs"): lambda: 1,
    ("resume", "directory"): kept,
    ("load", "directory"): kept,
    ("extend", "directory"): lambda: shutil.copytree(
        kept(), f"{tempfile.mkdtemp()}/sweep"
    ),
    ("work", "storage"): shared,
    ("revive", "directory"): lambda: shutil.copytree(
        pruned(), f"{tempfile.mkdtemp()}/sweep"
    ),
    ("revive", "numbers"): lambda: np.flatnonzero(
        sweep.load(pruned()).table["status"] == "pruned"
    ).tolist(),
    "module": lambda: linen.Dense(2),
    ("Chain", "transforms"): lambda: (adam(),),
    ("Chain", "names"): lambda: ("a",),
    ("Partition", "transforms"): lambda: (adam(),),
    ("Partition", "names"): lambda: ("a",),
    ("SgdrSchedule", "cycles"): lambda: (
        jopt.sgdr_schedule(GOOD["cosine_kwargs"]()).cycles
    ),
    ("JoinedSchedules", "schedules"): lambda: [jopt.linear_schedule(1, 0, 9)],
    ("unitwise_norm", "x"): lambda: jnp.ones((4, 4)),
    ("unitwise_clip", "g_norm"): lambda: jnp.ones((4, 4)),
    ("unitwise_clip", "max_norm"): lambda: jnp.ones((4, 4)),
    ("unitwise_clip", "grad"): lambda: jnp.ones((4, 4)),
    ("ema_params", "state"): lambda: jopt.parameter_ema(0.9).init(PARAMS),
    "like": lambda: PARAMS,
    "kind": lambda: "distance",
    "interpolate_type": lambda: "linear",
    "step": lambda: jnp.int32(0),
    "gradient_step": lambda: jnp.int32(0),
    "decay_rate": lambda: 0.5,
    "warmup_steps": lambda: 2,
    "decay_steps": lambda: 10,
    "pct_start": lambda: 0.3,
    "low": lambda: 1.0,
    "high": lambda: 2.0,
    "cosine_kwargs": lambda: [
        {"init_value": 0.0, "peak_value": 1.0, "warmup_steps": 1, "decay_steps": 4}
    ],
    "measures": lambda: {"norm": jopt.global_norm},
    "measure": lambda: jopt.global_norm,
    "measure_name": lambda: "norm",
    "result": swept,
    "record": recorded_sweeps.record,
    "precision": jopt.Precision,
    "loss_scale": jopt.LossScale,
    "momentum": lambda: 0.5,
    "learning_rate": lambda: 0.1,
    "rank": lambda: 2,
    ("load_compressed", "path"): saved,
    ("shrink", "kept"): lambda: np.array([True, True, False, True]),
    ("shrink", "couplings"): lambda: {"w": 0},
    "loss": lambda: optax.l2_loss,
    "losses": lambda: {"a": optax.l2_loss},
    ("Weighted", "weights"): lambda: {"a": 1.0},
    "weights": lambda: [1.0, 2.0],
    "counts": lambda: [1.0, 2.0],
    "projection": jopt.Sign,
    ("Block", "shape"): lambda: (2, 2),
    ("Composed", "first"): jopt.Sign,
    ("Composed", "then"): jopt.Sign,
    ("LowRank", "rank"): lambda: 1,
    ("Quantize", "bits"): lambda: 4,
    "factors": lambda: {"w": 1.0, "b": 1.0},
    ("roles", "base"): lambda: shapes(4),
    ("roles", "other"): lambda: shapes(8),
    ("scaling", "roles"): lambda: jopt.roles(shapes(4), shapes(8)),
    "examples": lambda: DATA,
    "labels": lambda: LABELS,
    ("local_sgd", "clients"): lambda: 2,
    ("Local", "config"): adam,
    "space": space,
    ("Study.ask", "n"): lambda: 1,
    ("Study.observe", "trials"): lambda: study().ask(1),
    ("Study.tell", "trials"): lambda: study().ask(1),
    "values": lambda: [0.5],
    ("Contender", "factory"): lambda: jopt.sgd,
    ("search", "trials"): lambda: 2,
    "contenders": lambda: {"sgd": jopt.sgd, "adam": jopt.adam},
    "make_task": lambda: wide,
    ("transfer", "factory"): lambda: jopt.sgd,
    ("transfer_cost", "factory"): lambda: jopt.sgd,
    "widths": lambda: [4, 8],
    "function": lambda: lambda x: x.sum(axis=1),
    "score": lambda: jnp.sum,
    "inputs": lambda: jnp.ones((4, 3)),
    "background": lambda: jnp.ones((2, 3)),
    ("learning_curves", "result"): curved,
}


MORE: dict[str, dict[str, Any]] = {
    "grid": {"learning_rate": [0.1]},
    "sample": {"learning_rate": sweep.log_uniform(1e-3, 1)},
    "Space": {"learning_rate": [0.1]},
    "resume": {"task": TASK},
    "extend": {"task": TASK, "steps": 4},
    "revive": {"task": TASK},
    "work": {"task": TASK, "space": space()},
    "nnx_classifier": {"valid": (DATA, LABELS)},
    "linen_classifier": {"valid": (DATA, LABELS)},
    "differentially_private_aggregate": {"key": 0},
    "run": {"steps": 1, "segments": 1, "block": 1},
    "lr_range": {"steps": 5, "rates": 5, "block": 15},
    "compress": {
        "steps": 1,
        "sparsity": 0.5,
        "bits": 2,
        "learning_rate": 0.1,
        "seeds": 1,
    },
    "ThresholdPruner": {"lower": 0.0},
    "replace": {"learning_rate": 0.1},
    "Study": {"sampler": sweep.Random()},
    "Study.tell": {"values": [0.5]},
    "search": {"batch": 2, "steps": 1, "sampler": sweep.Random()},
}

# Objects that are not made by calling their class.
OBJECTS: dict[str, Callable[[], Any]] = {
    "TrainState": trained,
    "LimitRank": lambda: jopt.limit_rank(adam(), 2, axis=lambda path, leaf: 0),
    "SweepResult": swept,
    "LearningRateRange": lambda: studies.lr_range(
        toy.task(), jopt.sgd, rates=5, seeds=1, steps=5, block=5
    ),
    "Lifted": lambda: jopt.lift(optax.sgd)(0.1),
    "InjectHyperparams": lambda: jopt.inject_hyperparams(jopt.sgd)(0.1),
    "Chain": lambda: jopt.chain(adam()),
    "Partition": lambda: jopt.partition({"a": adam()}, "a"),
    "Study": study,
    "Task": toy.task,
    "Trial": lambda: sweep.grid(jopt.sgd, learning_rate=[0.1])[0],
}

# Whose methods users call. Those of pruners, samplers and codes jopt calls itself, on
# what it has made and checked.
OBJECTS_OF_USERS = (
    jopt.GradientTransformation,
    jopt.TrainState,
    sweep.Study,
    sweep.SweepResult,
    studies.LearningRateRange,
    sweep.Task,
    sweep.Trial,
)
PROTOCOL = ("parts", "groups", "labels")  # of transformations: jopt's own, too

FOR_AUTHORS = "for those who write transformations: Python's own words are theirs"
MADE_BY_JOPT = "a factory makes it, which checks what it is given"
OF_A_MODEL = "a part of the built-in models, inside them"
# What is not asked, and why.
EXCEPTIONS: dict[str, str] = {
    "check": FOR_AUTHORS,
    "pytree": FOR_AUTHORS,
    "field": FOR_AUTHORS,
    "static": FOR_AUTHORS,
    "as_schedule": FOR_AUTHORS,
    "value_at": FOR_AUTHORS,
    "GradientTransformation": "abstract",
    "GradientTransformation.init": "abstract",
    "GradientTransformation.update": "abstract",
    "TrainState": MADE_BY_JOPT,
    "SweepResult.model": "a KeyError, as of any look-up, in a sentence",
    "SweepResult.params": "a KeyError, as of any look-up, in a sentence",
    "SweepResult.model_state": "a KeyError, as of any look-up, in a sentence",
    "TrainState.with_constant": "a compiled step calls it on what `apart` returned",
    "Buckets": MADE_BY_JOPT,
    "InjectHyperparams": MADE_BY_JOPT,
    "Lifted": MADE_BY_JOPT,
    "Lineage": MADE_BY_JOPT,
    "conv_general_dilated": "jax.lax.conv_general_dilated checks its arguments",
    "max_pool": OF_A_MODEL,
}


ROOMS = ("schedules", "transforms", "wrappers", "optimizers", "training", "interop")
ROOMS += ("compress", "data", "sweep", "report", "studies", "tasks")


def public() -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every public function and class of jopt, with its names."""
    found: dict[int, tuple[list[str], Any]] = {}
    names = {module: dir(module) for module in (jopt, jopt.contrib, jopt.losses)}
    rooms = [importlib.import_module(f"jopt.{room}") for room in ROOMS]
    names |= {room: room.__all__ for room in rooms}
    names[jopt.interop] = [*jopt.interop.__all__, "write_tensorboard"]
    for module, listed in names.items():
        for name in listed:
            value = getattr(module, name)
            if not name.startswith("_") and is_asked(value):
                found.setdefault(id(value), ([], value))[0].append(name)
    for called, value in found.values():
        yield tuple(dict.fromkeys(called)), value


def is_asked(value: Any) -> bool:
    """Whether it is a function or a class of jopt that takes what a user gives.

    Not so: optax's own objects, which jopt passes on under its name; named tuples,
    which are records of any values; Flax's modules, whose layers check.
    """
    if not isinstance(value, (type, types.FunctionType)) and not hasattr(
        value, "__wrapped__"
    ):
        return False
    record = isinstance(value, type) and issubclass(value, (tuple, nnx.Module))
    flax = isinstance(value, type) and issubclass(value, linen.Module)
    return value.__module__.split(".")[0] == "jopt" and not record and not flax


def good(names: tuple[str, ...], parameter: inspect.Parameter) -> Any:
    """A good argument of the function of these names."""
    keys = [*((name, parameter.name) for name in names), parameter.name]
    for key in keys:
        if key in GOOD:
            return GOOD[key]()
    return of(parameter.annotation)


def of(annotation: Any) -> Any:
    """A value that an annotation names."""
    arguments = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return of(arguments[0])
    if origin is typing.Literal:
        return arguments[0]
    if origin is Callable:
        return identity
    if origin in (typing.Union, types.UnionType):
        return of(float if float in arguments else arguments[0])
    values = {float: 0.5, int: 2, bool: True, str: "x", dict: {}, tuple: ()}
    values |= {list: [], Sequence: [], jax.Array: jnp.ones(2)}
    return values.get(origin or annotation)


def parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    listed = inspect.signature(function).parameters.values()
    return [p for p in listed if p.name != "self"]


def calls() -> Iterator[Called]:
    """Every public function, and every public method of an object."""
    for names, value in public():
        abstract = inspect.isabstract(value) or getattr(value, "_is_protocol", False)
        if names[0] not in EXCEPTIONS and not abstract:
            yield called(names, value)
        if isinstance(value, type) and issubclass(value, OBJECTS_OF_USERS):
            yield from methods(names, value)


def called(names: tuple[str, ...], function: Callable[..., Any]) -> Called:
    listed = parameters(function)
    needed = [p for p in listed if p.default is p.empty and p.kind not in SPREAD]

    def call(argument: str, value: Any) -> Any:
        with untrained(names[0]):
            return answer(argument, value)

    def answer(argument: str, value: Any) -> Any:
        given = {p.name: good(names, p) for p in needed if p.name != argument}
        if any(p.name == argument and p.kind is p.VAR_POSITIONAL for p in listed):
            return function(*given.values(), value)
        extra = MORE.get(names[0], {})
        positional = [p for p in needed if p.kind is inspect.Parameter.POSITIONAL_ONLY]
        order = {**extra, **given, argument: value}
        first = [order.pop(p.name) for p in positional]
        return function(*first, **order)

    arguments = [p.name for p in listed if p.kind is not p.VAR_KEYWORD]
    arguments += MORE.get(names[0], {})  # of **settings, too
    return Called(names, function, tuple(dict.fromkeys(arguments)), call)


# What trains once the arguments are checked, which would take minutes: its cost, or
# nothing, stands in.
TRAINS: dict[str, tuple[type, Callable[..., Any]]] = {
    "compare": (_compare._Study, lambda study, progress: study.cost),
    "transfer": (_transfer._Study, lambda study, progress: study.cost),
    "search": (_search._Search, lambda *_: None),
}


def untrained(name: str) -> Any:
    """Leave out the training of what has checked its arguments."""
    if name not in TRAINS:
        return contextlib.nullcontext()
    trains, instead = TRAINS[name]
    return mock.patch.object(trains, "run", instead)


SPREAD = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def methods(names: tuple[str, ...], cls: type) -> Iterator[Called]:
    made = functools.cache(lambda: instance(names, cls))
    for name, value in inspect.getmembers(cls):
        of_jopt = getattr(value, "__module__", "") or ""
        if name.startswith("_") or not of_jopt.startswith("jopt") or name in PROTOCOL:
            continue
        if name in getattr(cls, "__dataclass_fields__", ()):  # a default
            continue
        if (
            not (inspect.isroutine(value) and callable(value))
            or f"{names[0]}.{name}" in EXCEPTIONS
        ):
            continue
        titles = tuple(f"{n}.{name}" for n in names)
        if inspect.ismethod(value):  # of the class
            yield called(titles, value)
        elif issubclass(cls, jopt.GradientTransformation) and name in (
            "init",
            "update",
        ):
            yield transforming(names, name, made)
        else:
            yield called_on(titles, name, value, made)


def called_on(
    titles: tuple[str, ...], name: str, method: Any, made: Callable[[], Any]
) -> Called:
    found = called(titles, method)

    def call(argument: str, value: Any) -> Any:
        return called(titles, getattr(made(), name)).call(argument, value)

    return found._replace(call=call)


def transforming(names: tuple[str, ...], name: str, made: Callable[[], Any]) -> Called:
    """`init` or `update` of a transformation, traced and not compiled."""
    traced = functools.cache(lambda: jax.eval_shape(made().init, PARAMS))
    arguments = ("params",) if name == "init" else ("updates", "state", "params")

    def call(argument: str, value: Any) -> Any:
        tx = made()
        if name == "init":
            return jax.eval_shape(lambda: tx.init(value))
        given = {"updates": PARAMS, "state": traced(), "params": PARAMS}
        del given[argument]
        return jax.eval_shape(lambda g: tx.update(**g, **{argument: value}), given)

    title = tuple(f"{n}.{name}" for n in names)
    return Called(title, made, arguments, call)


def instance(names: tuple[str, ...], cls: type) -> Any:
    if names[0] in OBJECTS:
        return OBJECTS[names[0]]()
    needed = [p for p in parameters(cls) if p.default is p.empty]
    return cls(**{p.name: good(names, p) for p in needed})


PATHS = ("file", "directory", "path", "start", "teacher")


class Verdict(NamedTuple):
    """What is wrong with how a call ended, and the call."""

    name: str
    argument: str
    value: str
    wrong: str


def judged(function: Called, argument: str, title: str) -> Verdict | None:
    """What is wrong with how a bad argument is met, or None."""
    wrong = made = None
    try:
        with limited(SECONDS), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = function.call(argument, BAD[title])
            used(made)
    except (ValueError, TypeError) as error:
        wrong = unsaid(function, argument, error, late=made is not None)
    except OSError as error:  # of a path: the system's word, and the path
        if argument not in PATHS:
            wrong = f"{type(error).__name__}: {error}"
    except Exception as error:  # whatever it is, it is wrong
        wrong = f"{type(error).__name__}: {str(error)[:150]}"
    return None if wrong is None else Verdict(function.names[0], argument, title, wrong)


def unsaid(
    function: Called, argument: str, error: Exception, *, late: bool
) -> str | None:
    """What a refusal does not say, or None."""
    said = " ".join(str(error).split())
    frames = traceback.extract_tb(error.__traceback__)
    last = Path(frames[-1].filename)
    words = set(re.findall(r"\w+", said))
    # A method is named by its class: of an object that has several, by one of them.
    titles = {plain(part) for name in function.names for part in name.split(".")}
    titles |= set(MAKERS.get(function.names[0], ()))
    ours = [Path(frame.filename) == Path(__file__) for frame in frames]
    if any(now and not before for before, now in itertools.pairwise(ours)):
        return None  # a function of the user's failed, and its error arrives
    if PACKAGE not in last.parents and last != Path(__file__):
        return f"raised in {last.name}: {said[:150]}"
    if late:  # what fits no params is known with the params
        return None
    # What a factory makes may say it: a public class, by its name.
    part = re.match(r"([A-Z]\w+)(\.\w+)?: ", said)
    known = part is not None and hasattr(jopt, part[1])
    if not titles & set(map(plain, words)) and not known:
        return f"does not name {function.names[0]}: {said[:150]}"
    if not {argument, *ALIKE.get(argument, ())} & words:
        return f"does not name {argument}: {said[:150]}"
    return None


def plain(name: str) -> str:
    """A name as a class and as its factory have it."""
    return name.replace("_", "").lower()


# What the sentence may name instead: the factory of trials, the sweep.
MAKERS = {
    "grid": ("sgd", "factory"),
    "sample": ("sgd", "factory"),
    "run": ("sweep",),
    "resume": ("sweep",),
    "extend": ("sweep",),
    "revive": ("sweep",),
    "work": ("sweep",),
    "compress": ("sweep", "points"),
    "lr_range": ("sweep", "sgd", "sweepable"),
    "changed": ("sgd",),
    "search": ("sweep",),
    "compare_cost": ("compare",),
    "transfer_cost": ("transfer",),
}
ALIKE = {
    "updates": ("gradients", "params"),
    "params": ("updates", "gradients"),
    "model": ("params",),
    "trials": ("trial", "space"),
    "teacher": ("start",),
    "learning_rate": ("trial",),
    "opt_state": ("state",),
    "batch_size": ("batch",),
    "upper": ("lower",),
}


def used(made: Any) -> None:
    """What was accepted must be of use: no error comes late."""
    if isinstance(made, jopt.GradientTransformation):
        jax.eval_shape(made.init, PARAMS)
    elif isinstance(made, jopt.Schedule):
        jax.eval_shape(made, 3)
    elif isinstance(made, sweep.Study):
        made.close()


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    def late(*_: Any) -> None:
        raise TimeoutError(f"took more than {seconds:g} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def wrong(functions: Any, titles: Any = tuple(BAD)) -> Iterator[Verdict]:
    for function in functions:
        for argument, title in itertools.product(function.arguments, titles):
            verdict = judged(function, argument, title)
            if verdict is not None:
                yield verdict


if __name__ == "__main__":
    os.chdir(tempfile.mkdtemp())
    asked = [c for c in calls() if any(re.search(sys.argv[1], n) for n in c.names)]
    number, started = 0, time.monotonic()
    for verdict in wrong(asked):
        number += 1
        print("{}({}={}) {}".format(*verdict), flush=True)
    total = len(BAD) * sum(len(c.arguments) for c in asked)
    print(number, "of", total, f"in {time.monotonic() - started:.0f} s")
