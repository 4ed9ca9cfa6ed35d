"""Count how often a function is traced and what is compiled."""

import contextlib
from collections.abc import Callable
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache

from jopt.sweep import clear_programs


def counted(function: Callable[..., Any], **settings: Any) -> tuple[Any, list[Any]]:
    """Return `function` compiled, and a list that grows by one at each trace."""
    traces = []

    def traced(*args: Any) -> Any:
        traces.append(args)
        return function(*args)

    return jax.jit(traced, **settings), traces


@contextlib.contextmanager
def compiled_anew():
    """Compile everything, even what an earlier test has compiled, so that it counts."""
    clear_programs()
    kept = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    _keep_in(None)
    try:
        yield
    finally:
        _keep_in(kept)


def _keep_in(directory):
    jax.config.update("jax_compilation_cache_dir", directory)
    compilation_cache.reset_cache()  # else it stays with what it first saw
