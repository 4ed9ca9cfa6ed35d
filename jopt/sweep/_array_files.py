"""Read and write pytrees of arrays on disk, as atomic orbax checkpoints."""

import contextlib
import functools
import logging
import os
import re
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jopt.core import PyTree, is_typed_key
from jopt.sweep import _processes as processes

_ONE = threading.Lock()  # sweeps in several threads share orbax's logger
ROOM = 1 << 18, 1 << 13  # bytes that orbax adds: per checkpoint, per array


def write_arrays(path: Path, tree: PyTree) -> None:
    """Write a pytree of arrays to a new path; arrays of size 0 are allowed.

    The disk space is allocated first. Otherwise TensorStore's threads would keep
    printing on the terminal after a failed write.

    Raises:
      OSError: the disk is full; the message is the operating system's.
    """
    # orbax takes no empty array and, in a job, no array of one process's device.
    alone = processes.number() == 1

    def accepted(leaf: Any) -> Any:
        of_device = is_typed_key(leaf) or (alone and np.size(leaf) > 0)
        return leaf if of_device else np.asarray(leaf)

    tree = jax.tree.map(accepted, tree)
    try:
        _ask_for_room(path.parent, jax.tree.leaves(tree))
        checkpointer, ocp = _orbax()
        with _quiet():
            checkpointer.save(path, ocp.args.PyTreeSave(tree))
    except (OSError, ValueError) as error:  # TensorStore raises ValueError
        raise OSError(_reason(error)) from error


def read_arrays(
    path: Path, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
    """Return the named arrays of a checkpoint that holds a dict of arrays.

    Shapes are compared before any memory is allocated.

    Raises:
      ValueError: an array is missing or has another shape; the message names it.
    """
    checkpointer, ocp = _orbax()
    plain = ocp.RestoreArgs(restore_type=np.ndarray)
    names = list(shapes)
    with _quiet():
        there = checkpointer.metadata(path).item_metadata.tree
        for name, written in shapes.items():
            shape = getattr(there.get(name), "shape", None)
            if shape is None or tuple(shape) != written:
                raise ValueError(
                    f"its array {name} has the shape {shape}, not {written}."
                )
        return checkpointer.restore(
            path,
            ocp.args.PyTreeRestore(
                dict.fromkeys(names, 0), restore_args=dict.fromkeys(names, plain)
            ),
        )


def read_tree(path: Path) -> Any:
    """Return a whole checkpoint: orbax's tree, with NumPy arrays as leaves.

    Raises:
      FileNotFoundError: there is no checkpoint at the path.
      ValueError: the path is not an orbax checkpoint.
    """
    if not path.exists():
        raise FileNotFoundError(f"There is no checkpoint at {path}.")
    checkpointer, ocp = _orbax()
    with _quiet():
        try:
            shapes = checkpointer.metadata(path).item_metadata.tree
        except (OSError, AttributeError) as error:
            raise ValueError(f"{path} is no checkpoint of orbax's.") from error
        plain = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), shapes)
        return checkpointer.restore(path, ocp.args.PyTreeRestore(restore_args=plain))


def _ask_for_room(directory: Path, arrays: Sequence[Any]) -> None:
    if not hasattr(os, "posix_fallocate"):
        return
    there, each = ROOM
    needed = there + sum(each + x.size * x.dtype.itemsize for x in arrays)
    with tempfile.TemporaryFile(dir=directory) as probe:
        os.posix_fallocate(probe.fileno(), 0, needed)


def load_orbax() -> None:
    """Start to import orbax in a background thread; it takes half a second."""
    threading.Thread(target=_orbax, name="jopt-orbax", daemon=True).start()


@functools.cache
def _orbax() -> tuple[Any, Any]:
    import orbax.checkpoint as ocp  # slow to load
    from orbax.checkpoint import type_handlers

    class Numpy(type_handlers.NumpyHandler):
        async def serialize(self, values: Any, infos: Any, args: Any = None) -> Any:
            values = [x if x.size else x.view(_Unsized) for x in values]
            return await super().serialize(values, infos, args)

    registry = type_handlers.create_type_handler_registry(
        (np.ndarray, Numpy()),
        (jax.Array, type_handlers.get_type_handler(jax.Array)),
    )
    # Each process of a job reads and writes without waiting for the others.
    own = ocp.options.MultiprocessingOptions()
    if processes.number() > 1:
        own = ocp.options.MultiprocessingOptions(
            primary_host=processes.index(),
            active_processes={processes.index()},
            barrier_sync_key_prefix=f"jopt-{processes.index()}",
        )
    # Uncompressed: compression doubles the time and hardly shrinks parameters.
    handler = ocp.PyTreeCheckpointHandler(
        use_zarr3=True,
        use_compression=False,
        type_handler_registry=registry,
        multiprocessing_options=own,
    )
    return ocp.Checkpointer(handler, multiprocessing_options=own), ocp


class _Unsized(np.ndarray):
    """An array of size 0 that says its size is 1, since orbax refuses size 0.

    TensorStore writes and reads it as it is.
    """

    size: Any = 1

    def __deepcopy__(self, memo: Any) -> "_Unsized":
        return self


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep orbax's log, which repeats the errors that it raises, off the terminal."""
    logger = logging.getLogger("absl")
    with _ONE:
        before, logger.disabled = logger.disabled, True
        try:
            yield
        finally:
            logger.disabled = before


def _reason(error: Exception) -> str:
    """Return the operating system's message for an error, if it has one."""
    code = re.search(r"os_error_code='(\d+)'", str(error))  # in TensorStore's message
    if code:
        return os.strerror(int(code[1]))
    return getattr(error, "strerror", None) or str(error).partition("\n")[0]
