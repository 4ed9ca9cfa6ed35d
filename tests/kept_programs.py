"""Compiled programs kept between the tests of a process: most sweeps here share one.

A module that imports `kept_programs` has it; what is compiled is what was to be.
"""

import atexit
import contextlib
import functools
import shutil
import tempfile

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache


@functools.cache
def directory():
    """Where they are kept, until the process ends."""
    made = tempfile.mkdtemp(prefix="jopt-tests-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


@pytest.fixture(scope="module", autouse=True)
def kept_programs():
    with _kept_in(directory()):
        yield


def not_kept():
    """A context in which everything is compiled, so that it can be counted."""
    return _kept_in(None)


@contextlib.contextmanager
def _kept_in(place):
    changes = {
        "jax_compilation_cache_dir": place,
        "jax_persistent_cache_min_compile_time_secs": 0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in changes}
    _set(changes)
    yield
    _set(before)


def _set(changes):
    for name, value in changes.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()  # else it stays with what it first saw
