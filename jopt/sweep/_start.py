"""Start a model from given arrays in place of its initial ones."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jopt.compress import dequantize, load_compressed
from jopt.core import (
    PyTree,
    TreePath,
    by_path,
    dtype_of,
    listed_paths,
    path_text,
    with_paths,
)
from jopt.sweep._array_files import read_tree
from jopt.training import form_of, is_random


class Arrays(NamedTuple):
    """Arrays by their path in a tree, on the host."""

    table: dict[TreePath, np.ndarray]

    def into(self, tree: PyTree) -> PyTree:
        """Return a tree with these arrays in its dtypes; other leaves stay."""

        def leaf(path: TreePath, node: PyTree) -> PyTree:
            if path not in self.table:
                return node
            return jax.tree.map(
                lambda old: jnp.asarray(self.table[path], dtype_of(old)), node
            )

        return with_paths(leaf, tree)


class Given(NamedTuple):
    """The parameters and the model state that training begins from."""

    params: Arrays
    model_state: Arrays

    @classmethod
    def of(
        cls,
        start: Any,
        title: str,
        shapes: tuple[PyTree, PyTree],
        whole: bool = False,
    ) -> "Given":
        """Return the given start of a model, checked.

        Args:
          start: a tree of parameters, an nnx module, linen's variables, a pair with the
            fields `params` and `model_state`, or the path of a saved one: a sweep's
            directory, which gives its best model, a checkpoint, or a file of
            `save_compressed`.
          title: the beginning of error messages.
          shapes: the shapes of the model's parameters and state.
          whole: whether every array of the model must be given.

        Raises:
          ValueError: an array is not among the parameters, has another shape or is
            missing; the path is not a saved model.
          OSError: there is nothing at the path.
        """
        if isinstance(start, (str, os.PathLike)):
            start = _saved(Path(start).absolute(), title)
        params, model_state = map(by_path, _pair(start))
        ours, rest = map(by_path, shapes)
        if not params:
            raise ValueError(f"{title} must have arrays of parameters, got none.")
        for path, array in params.items():
            _check_array(title, path, array, ours)
        drawn = by_path(is_random(shapes[1]))  # each seed keeps its random numbers
        kept = {p: x for p, x in model_state.items() if p in rest and not drawn[p]}
        for path, array in kept.items():
            _check_array(title, path, array, rest)
        missing = [path for path in ours if path not in params]
        missing += [path for path in rest if not drawn[path] and path not in kept]
        if whole and missing:
            raise ValueError(
                f"{title} must have every array of the model, got none at "
                f"{path_text(missing[0])}; give a model with its state, as "
                "result.model(trial) returns it."
            )
        on_host = ({p: np.asarray(x) for p, x in t.items()} for t in (params, kept))
        return cls(*map(Arrays, on_host))


def _saved(path: Path, title: str) -> PyTree:
    if not path.exists():
        raise FileNotFoundError(
            f"{title} must be a saved model, got {path}, where there is nothing; give "
            "the directory of a sweep or of a checkpoint."
        )
    if path.is_file():
        return dequantize(load_compressed(path))
    best = path / "best" / "1"  # of a sweep
    try:
        return read_tree(best if best.is_dir() else path)
    except ValueError as error:
        raise ValueError(
            f"{title} must be a checkpoint that result.save wrote, got {path}, which "
            "orbax cannot read."
        ) from error


def _pair(start: Any) -> tuple[PyTree, PyTree]:
    if hasattr(start, "params") and hasattr(start, "model_state"):
        return start.params, start.model_state
    if isinstance(start, Mapping) and set(start) == {"params", "model_state"}:
        return start["params"], start["model_state"]
    form = form_of(start)
    return form.split(start)


def _check_array(
    title: str, path: TreePath, array: Any, ours: Mapping[TreePath, Any]
) -> None:
    if path not in ours:
        raise ValueError(
            f"{title} has {path_text(path)}, and the model has no such parameter; it "
            f"has {listed_paths(ours)}."
        )
    given, own = np.shape(array), ours[path].shape
    if given != own:
        raise ValueError(
            f"{title} must have the shapes of the model, got {list(given)} at "
            f"{path_text(path)}, where the model has {list(own)}."
        )
