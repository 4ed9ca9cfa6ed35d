"""Tasks and optimizers, looked up by the names that the command line takes."""

import functools
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from jopt import optimizers, tasks
from jopt.core import close_match
from jopt.interop import lift
from jopt.sweep import Task

BUILT_IN = {
    "co2": "co2",
    "diabetes": "diabetes",
    "diabetes-linen": "diabetes_linen",
    "digits": "digits",
    "docstrings": "docstrings",
    "imports": "imports",
    "longtail": "longtail",
    "mnist": "mnist",
    "mnist-nnx": "mnist_nnx",
    "text": "text",
}


def task(name: str, **settings: Any) -> Task:
    """Return the task of this name.

    Args:
      name: the name of a built-in task, or FILE.py:NAME.
      **settings: arguments of the function that makes the task.

    Raises:
      TypeError: if the name refers to something else.
      ValueError: if there is no such task; see `task_maker` for other errors.
    """
    made = task_maker(name)(**settings)
    if not isinstance(made, Task):
        raise TypeError(
            f"{name} is {type(made).__name__}, but a task must be a jopt.sweep.Task, "
            "or a function that returns one and needs no arguments."
        )
    return made


@functools.cache
def task_maker(name: str) -> Callable[..., Any]:
    """Return the function that makes a task: a built-in one, or FILE.py:NAME.

    NAME is a `Task`, or a function that returns one, whose arguments can be swept.
    Equal arguments give the same object.

    Raises:
      FileNotFoundError: if there is no such file.
      ImportError: if the task needs a package that is not installed.
      ValueError: if there is no such task, or if the file is not valid Python.
    """
    if name in BUILT_IN:
        try:
            return getattr(tasks, BUILT_IN[name])
        except ModuleNotFoundError as error:
            raise ImportError(
                f"The task {name} needs the package {error.name}, which is not "
                "installed; pip install 'jopt[tasks]'."
            ) from error
    file, colon, attribute = name.rpartition(":")
    if not colon or not file.endswith(".py"):
        raise ValueError(
            f"There is no task {name}{close_match(name, BUILT_IN)}; "
            f"there is {', '.join(BUILT_IN)}, or give your own as FILE.py:NAME."
        )
    found = _attribute(_load(Path(file)), attribute, file)
    return functools.cache(found) if callable(found) else lambda: found


def optimizer(name: str) -> Callable[..., Any]:
    """Return the factory of this name.

    It is a factory of jopt; or of optax, as `optax.NAME` or `optax.contrib.NAME`,
    lifted; or a function of the learning rate in a file, FILE.py:NAME.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if there is no such factory.
    """
    file, colon, attribute = name.rpartition(":")
    if colon and file.endswith(".py"):
        found = _attribute(_load(Path(file)), attribute, file)
        if not callable(found):
            raise ValueError(
                f"{name} must be a function of the learning rate that returns a "
                f"transformation, got {type(found).__name__}."
            )
        return found
    source, _, attribute = name.rpartition(".")
    foreign = source in ("optax", "optax.contrib")
    module = importlib.import_module(source) if foreign else optimizers
    factories = _factories(module)
    if source not in ("", "jopt", "optax", "optax.contrib") or (
        attribute not in factories
    ):
        raise ValueError(
            f"There is no optimizer {name}{close_match(attribute, factories)}; there "
            f"is {', '.join(_factories(optimizers))}, optax.NAME and "
            "optax.contrib.NAME for optax's, and FILE.py:NAME for your own."
        )
    factory = getattr(module, attribute)
    return lift(factory) if foreign else factory


def look_up(name: str, known: Mapping[str, Any], what: str) -> Any:
    """Return the value of a name, or raise ValueError that lists the known names."""
    if name not in known:
        raise ValueError(
            f"There is no {what} {name}{close_match(name, known)}; there is "
            f"{', '.join(known)}."
        )
    return known[name]


def _factories(module: ModuleType) -> list[str]:
    """List the functions of a module whose first argument is the learning rate."""
    return [
        name
        for name, value in vars(module).items()
        if inspect.isfunction(value)
        and next(iter(inspect.signature(value).parameters), "") == "learning_rate"
    ]


def _load(path: Path) -> ModuleType:
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no file {path}; what is your own is given as FILE.py:NAME."
        )
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None  # the name ends in .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(
        0, str(path.parent.resolve())
    )  # so that the file can import its neighbors
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise ValueError(
            f"{error.filename}, line {error.lineno}, is no Python: {error.msg}."
        ) from error
    return module


def _attribute(module: ModuleType, name: str, file: str) -> Any:
    if hasattr(module, name):
        return getattr(module, name)
    defined = [
        key
        for key, value in vars(module).items()
        if isinstance(value, Task)
        or getattr(value, "__module__", None) == module.__name__
    ]
    raise ValueError(
        f"{file} has no {name!r}{close_match(name, defined)}; it defines "
        f"{', '.join(defined) or 'nothing'}."
    )
