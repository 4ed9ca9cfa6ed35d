"""Fingerprints: what a sweep's numbers depend on, and how two of them differ."""

import hashlib
import importlib.metadata
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jopt._version import __version__
from jopt.core import PyTree
from jopt.sweep import _equality as equality, _object_names as object_names
from jopt.sweep._config import as_arrays, plain
from jopt.sweep._data import ByEpoch, ByStep, is_stream, whole
from jopt.sweep._json import decode, encode
from jopt.sweep._shown_values import shown
from jopt.sweep._task import Task
from jopt.sweep._trial import Trial
from jopt.sweep.store._checkpoints import kind

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")
SPLITS = ("train", "valid", "test")
ROWS = 1 << 12  # examples hashed at a time

# If these agree, a different trace means a different function.
TRACING = ("python", "jopt", "jax", "jaxlib", "flax", "optax")


def surroundings() -> dict[str, Any]:
    """Return the versions, the device and the settings that results depend on."""
    device = jax.devices()[0]
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {
        "versions": {
            "python": platform.python_version(),
            "jopt": __version__,
            **versions,
        },
        "device": {
            "platform": device.platform,
            "kind": device.device_kind,
            "count": jax.device_count(),
        },
        "matmul_precision": jax.config.jax_default_matmul_precision,  # pyright: ignore[reportAttributeAccessIssue]
    }


def fingerprint(
    task: Task, trials: Sequence[Trial], options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what the numbers of a sweep depend on, for JSON and for `differences`.

    The task's functions are recorded by digests of their traces; the configs by value,
    with their functions by code. Another version of JAX or Python may trace or compile
    them differently, so `differences` compares them only if the versions agree.

    Args:
      task: the task of the sweep.
      trials: the trials of all seeds and folds.
      options: the sweep's other arguments, by name.
    """
    own = {id(t.task): t for t in reversed(trials) if t.task is not None}
    own = {id(t.task): own[id(t.task)] for t in trials if t.task is not None}
    places = {key: place for place, key in enumerate(own)}
    configs = {id(trial.config): trial.config for trial in trials}
    digests = {key: equality.digest(config) for key, config in configs.items()}
    # The first trial with the sweep's task, if there is one.
    first = next((t for t in trials if t.task is None), None)
    found = {
        "task": _task(task, None if first is None else first.config),
        "own_tasks": [_task(t.task, t.config) for t in own.values() if t.task],
        "trials": [
            {
                "setting": {n: _value(v) for n, v in t.hyperparameters.items()},
                "seed": t.seed,
                "fold": t.fold,
                "task": places.get(id(t.task)),
                "batch_size": t.batch_size,
                "config": digests[id(t.config)],
            }
            for t in trials
        ],
        "options": {name: _value(value) for name, value in options.items()},
        "surroundings": surroundings(),
    }
    return decode(encode(found))  # tuples become lists, as after a read


def _task(task: Task, config: PyTree | None) -> dict[str, Any]:
    """Return the record of a task; its functions are traced with a trial's config."""
    held = {
        "name": task.name,
        "diverged_above": task.diverged_above,
        "data": {split: _data(getattr(task, split)) for split in SPLITS},
        "state": {},
        "code": {},
    }
    if config is None:
        return held
    config = as_arrays(config)
    key = jax.random.key(0)

    def of(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda config, *args: function(plain(config), *args)

    def rows(split: str) -> PyTree:
        data = whole(task.name, split, getattr(task, split))
        return jax.tree.map(lambda array: jnp.asarray(array[:2]), data)

    state = jax.eval_shape(of(task.init), config, key)
    valid = rows("valid")
    batch = rows("train") if task.stream is None else task.stream.first
    code = {
        "init": _code(of(task.init), config, key),
        "step": _code(of(task.step), config, state, batch, key),
        "evaluate": _code(of(task.evaluate), config, state, valid, key),
    }
    return {**held, "state": _kinds(state), "code": code}


def _data(data: PyTree) -> dict[str, Any] | None:
    if data is None:
        return None
    if is_stream(data):  # its contents are known only after a full pass
        words = equality.digest(data) if isinstance(data, (ByStep, ByEpoch)) else ""
        return {"arrays": {type(data).__name__: words}, "sha256": words}
    digest = hashlib.sha256()
    arrays = jax.tree.map(np.asanyarray, data)
    for array in jax.tree.leaves(arrays):
        for first in range(0, len(array), ROWS):  # read a memory-mapped file in pieces
            digest.update(array[first : first + ROWS].tobytes())
    return {"arrays": _kinds(arrays), "sha256": digest.hexdigest()}


def _kinds(tree: PyTree) -> dict[str, str]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): kind(leaf) for path, leaf in leaves}


def _code(function: Callable[..., Any], *args: Any) -> str:
    """Return a digest of a function's trace and of the constants in it."""
    traced = jax.make_jaxpr(function)(*args)
    text = traced.pretty_print(use_color=False)
    digest = hashlib.sha256(object_names.lasting(text).encode())
    for constant in traced.consts:
        array = np.asarray(constant)
        digest.update(kind(array).encode() + array.tobytes())
    return digest.hexdigest()[:16]


def _value(value: Any) -> Any:
    """Return a value for JSON, or its text and digest if it cannot be written."""
    dtype = getattr(value, "dtype", None)
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return {"key": str(dtype), "words": jax.random.key_data(value)}
    held = object_names.written(value)
    if not isinstance(held, dict) or "$repr" not in held:
        return held
    return {"$repr": str(shown(value)), "digest": equality.digest(value)}


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each change that changes a resumed sweep's numbers."""
    versions = then["surroundings"]["versions"], now["surroundings"]["versions"]
    traced = all(versions[0].get(n) == versions[1].get(n) for n in TRACING)
    trials = then["trials"], now["trials"]
    said = [*_space_changes(*trials)] or [*_trial_changes(*trials, traced)]
    # Another config changes the step of the same task.
    said = [*_task_changes(then, now, traced, same_configs=not said), *said]
    return [*said, *_changes(then["options"], now["options"])]


def surroundings_differences(
    then: Mapping[str, Any], now: Mapping[str, Any]
) -> list[str]:
    """Return a sentence for each change of versions, device and settings.

    Such a change may change the last bits of a resumed sweep's numbers.
    """
    before, after = dict(then["surroundings"]), dict(now["surroundings"])
    said = [*_changes(before.pop("versions"), after.pop("versions"))]
    said += _changes(before.pop("device"), after.pop("device"), "device ")
    return [*said, *_changes(before, after)]


def _task_changes(
    then: Mapping[str, Any], now: Mapping[str, Any], traced: bool, same_configs: bool
) -> Iterator[str]:
    before = [then["task"], *then["own_tasks"]]
    after = [now["task"], *now["own_tasks"]]
    if len(before) != len(after):
        old, new = len(before) - 1, len(after) - 1
        yield f"trials: they had {old} tasks of their own, now {new}."
    for old, new in zip(before, after, strict=False):
        title = f"task {new['name']}"
        yield from _changes({"task": old["name"]}, {"task": new["name"]})
        limit = "diverged_above"
        yield from _changes({limit: old[limit]}, {limit: new[limit]}, title + ": ")
        for split, data in new["data"].items():
            yield from _data_changes(old["data"].get(split), data, f"{title}: {split}")
        if not same_configs:
            continue
        yield from _changes(old["state"], new["state"], f"{title}: state")
        for name, code in new["code"].items():
            if traced and old["code"].get(name) != code:
                yield f"{title}: {name} is another function."


def _data_changes(old: Any, new: Any, title: str) -> Iterator[str]:
    if old is None or new is None:
        if old is not new:
            yield f"{title} is {'new' if old is None else 'missing'}."
        return
    shapes = list(_changes(old["arrays"], new["arrays"], title))
    if not shapes and old["sha256"] != new["sha256"]:
        yield f"{title} has the same shapes, but other numbers."
    yield from shapes


def _space_changes(then: list[Any], now: list[Any]) -> Iterator[str]:
    before, after = _columns(then), _columns(now)
    for name in dict.fromkeys([*before, *after]):
        if name not in before or name not in after:
            yield f"space: {name} is {'new' if name in after else 'missing'}."
            continue
        old, new = before[name], after[name]
        gone, come = [v for v in old if v not in new], [v for v in new if v not in old]
        if len(old) != len(new):
            yield f"space: {name} had {len(old)} values, now {len(new)}."
        elif gone and old[gone[0]] == new[come[0]]:
            yield f"space: {name} had another value that is written {old[gone[0]]}."
        elif gone:
            yield f"space: {name} had the value {old[gone[0]]}, now {new[come[0]]}."


def _columns(trials: list[Any]) -> dict[str, dict[str, str]]:
    """Return the values of each hyperparameter, by their full text."""
    columns: dict[str, dict[str, str]] = {}
    for trial in trials:
        row = {**trial["setting"], "seed": trial["seed"], "fold": trial["fold"]}
        for name, value in row.items():
            columns.setdefault(name, {}).setdefault(_full(value), _words(value))
    return columns


def _trial_changes(then: list[Any], now: list[Any], traced: bool) -> Iterator[str]:
    """Yield a sentence on the first changed trial, if the sets of values agree."""
    if len(then) != len(now):
        yield f"trials: there were {len(then)}, now {len(now)}."
        return
    for number, (old, new) in enumerate(zip(then, now, strict=True)):
        old, new = dict(old), dict(new)
        made = old.pop("config"), new.pop("config")
        if _full(old) != _full(new):
            yield f"trial {number} was {_words(old)}, now {_words(new)}."
            return
        if traced and made[0] != made[1]:
            yield (
                f"trial {number}: the same setting, {_words(old['setting'])}, makes "
                "another config."
            )
            return


def _changes(
    then: Mapping[str, Any], now: Mapping[str, Any], title: str = ""
) -> Iterator[str]:
    """Yield a sentence for each name that differs; `title` precedes the name."""
    for name in dict.fromkeys([*then, *now]):
        if name not in then or name not in now:
            known = "new" if name in now else "missing"
            yield f"{title}{name} is {known}."
        elif _full(then[name]) != _full(now[name]):
            old, new = _words(then[name]), _words(now[name])
            yield f"{title}{name} was {old}, now {new}."


def _full(value: Any) -> str:
    """Return the part of a value to compare: its digest, if it has one."""
    if isinstance(value, dict):
        shown = "$repr" if "digest" in value else None
        items = sorted(value.items())
        return f"{{{', '.join(f'{k}: {_full(v)}' for k, v in items if k != shown)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_full, value))}]"
    return repr(value)


def _words(value: Any) -> str:
    """Return the text of a value that `object_names.to_json` wrote."""
    if isinstance(value, list):
        return f"[{', '.join(map(_words, value))}]"
    if not isinstance(value, dict):
        return repr(value)
    if "$repr" in value or "$object" in value:
        return str(value.get("$repr") or value["$object"])
    if "$numpy" in value:
        return f"{value['$numpy']}({value['value']})"
    if "$tuple" in value:
        return f"({', '.join(map(_words, value['$tuple']))})"
    call = value.get("$dataclass", "").partition(":")[2]
    inside = value.get("fields", value)
    fields = ", ".join(f"{name}={_words(item)}" for name, item in inside.items())
    return f"{call}({fields})" if call else f"{{{fields}}}"
