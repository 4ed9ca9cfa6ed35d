"""What a sweep's numbers depend on, so that it is resumed only as what it was."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jopt.core import PyTree
from jopt.sweep import _equality as equality, _object_names as object_names
from jopt.sweep._shown_values import shown
from jopt.sweep._task import Task
from jopt.sweep._trial import Trial
from jopt.sweep.store._json_line import decode, encode
from jopt.sweep.store._leaves import kind
from jopt.sweep.store._surroundings import surroundings

SPLITS = ("train", "valid", "test")
ROWS = 1 << 12  # examples hashed at a time


def of(
    task: Task, trials: Sequence[Trial], options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what the numbers of a sweep depend on, for JSON, and to be read.

    task, trials: of the sweep, every seed and fold a trial. options: what else was
    asked for, by name.

    The task's functions are noted by what they trace to, the transformations by value,
    their functions by code: another version of JAX or Python may make something else of
    them, so `differences` looks at them only where the versions agree.
    """
    own = {id(t.task): t.task for t in trials if t.task is not None}
    places = {key: place for place, key in enumerate(own)}
    txs = {id(trial.tx): trial.tx for trial in trials}
    digests = {key: equality.digest(tx) for key, tx in txs.items()}
    found = {
        "task": _task(task),
        "own_tasks": [_task(t) for t in own.values()],
        "trials": [
            {
                "setting": {n: _value(v) for n, v in t.hyperparameters.items()},
                "seed": t.seed,
                "fold": t.fold,
                "task": places.get(id(t.task)),
                "batch_size": t.batch_size,
                "transformation": digests[id(t.tx)],
            }
            for t in trials
        ],
        "options": {name: _value(value) for name, value in options.items()},
        "surroundings": surroundings(),
    }
    return decode(encode(found))  # lists for tuples, as it is read back


def _task(task: Task) -> dict[str, Any]:
    key = jax.random.key(0)
    params, model_state = jax.eval_shape(task.init, key)
    batch = jax.tree.map(lambda array: jnp.asarray(array[:2]), task.train)
    # The gradient too: a rule of its own for it may be all that has changed.
    loss = jax.value_and_grad(task.loss, has_aux=True, allow_int=True)
    return {
        "name": task.name,
        "diverged_above": task.diverged_above,
        "data": {split: _data(getattr(task, split)) for split in SPLITS},
        "params": _kinds(params),
        "model_state": _kinds(model_state),
        "code": {
            "init": _code(task.init, key),
            "loss": _code(loss, params, model_state, batch, key),
            "evaluate": _code(task.evaluate, params, model_state, batch),
        },
    }


def _data(data: PyTree) -> dict[str, Any] | None:
    if data is None:
        return None
    digest = hashlib.sha256()
    arrays = jax.tree.map(np.asanyarray, data)
    for array in jax.tree.leaves(arrays):
        for first in range(0, len(array), ROWS):  # a file's rows, not all at once
            digest.update(array[first : first + ROWS].tobytes())
    return {"arrays": _kinds(arrays), "sha256": digest.hexdigest()}


def _kinds(tree: PyTree) -> dict[str, str]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): kind(leaf) for path, leaf in leaves}


def _code(function: Callable[..., Any], *args: Any) -> str:
    """Return a digest of what a function traces to, and of the arrays in it."""
    traced = jax.make_jaxpr(function)(*args)
    return _digest(traced.pretty_print(use_color=False), traced.consts)


def _digest(text: str, numbers: Sequence[Any]) -> str:
    digest = hashlib.sha256(object_names.lasting(text).encode())
    for number in numbers:
        array = np.asarray(number)
        digest.update(kind(array).encode() + array.tobytes())
    return digest.hexdigest()[:16]


def _value(value: Any) -> Any:
    """What a value is, in words and, where they are not all of it, by a digest."""
    dtype = getattr(value, "dtype", None)
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return {"key": str(dtype), "words": jax.random.key_data(value)}
    held = object_names.written(value)
    if not isinstance(held, dict) or "$repr" not in held:
        return held
    return {"$repr": str(shown(value)), "digest": equality.digest(value)}
