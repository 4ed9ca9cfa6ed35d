"""Programs that are compiled although an earlier test has compiled the same."""

import contextlib

import jax
from jax.experimental.compilation_cache import compilation_cache


@contextlib.contextmanager
def compiled_anew():
    """A context in which everything is compiled, so that it can be counted."""
    kept = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    _keep_in(None)
    try:
        yield
    finally:
        _keep_in(kept)


def _keep_in(directory):
    jax.config.update("jax_compilation_cache_dir", directory)
    compilation_cache.reset_cache()  # else it stays with what it first saw
