"""Every test runs with strict dtype and rank promotion."""

import atexit
import collections
import os
import shutil
import sys
import tempfile
import zlib

# To compile is most of the suite's time: not in 32 parts on a core or two.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_parallel_codegen_split_count=1")

# A program is compiled once for all processes of a run: workers of xdist, and what
# tests start. `compiled_anew` is for tests that count what is compiled.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    programs = tempfile.mkdtemp(prefix="jopt-tests-")
    atexit.register(shutil.rmtree, programs, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = programs
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(autouse=True)
def no_program_of_an_earlier_test():
    """Let each test's sweeps compile, so that what they compile can be counted."""
    if "jopt.sweep" in sys.modules:
        sys.modules["jopt.sweep"].clear_programs()


def pytest_addoption(parser):
    parser.addoption(
        "--all",
        action="store_true",
        help="run the tests marked slow, too",
    )
    parser.addoption(
        "--slow", action="store_true", help="run only the tests that --all adds"
    )
    parser.addoption(
        "--share",
        default="1/1",
        metavar="K/N",
        help="run the K-th of N shares: files, and rows of the table, by their names",
    )


def pytest_configure(config):
    config.addinivalue_line(
        "markers",
        "slow(why, but=0): runs with --all; why the quick run keeps its promise. but: "
        "how many of its parameters, the first ones, are quick",
    )


def pytest_collection_modifyitems(config, items):
    """Leave out slow tests, and put those of one row of the table side by side.

    Tests of one row share its programs.
    """
    from transformation_table import TRANSFORMATIONS

    seen = collections.Counter()

    def slow(item):
        mark = item.get_closest_marker("slow")
        place = item.path, getattr(item, "originalname", item.name)
        seen[place] += mark is not None
        return mark is not None and seen[place] > mark.kwargs.get("but", 0)

    if config.getoption("--slow") or not config.getoption("--all"):
        left_out = {item: slow(item) != config.getoption("--slow") for item in items}
        config.hook.pytest_deselected(items=[i for i in items if left_out[i]])
        items[:] = [item for item in items if not left_out[item]]

    def row(item):
        given = item.callspec.params if hasattr(item, "callspec") else {}
        return str(given.get("name")) if given.get("name") in TRANSFORMATIONS else ""

    def is_in_share(item):
        # A file's fixtures, and a row's programs, are made for one share.
        name = row(item) or item.path.name
        return zlib.crc32(name.encode()) % shares == share - 1

    share, shares = map(int, config.getoption("--share").split("/"))
    config.hook.pytest_deselected(items=[i for i in items if not is_in_share(i)])
    # The sort is stable: what is of no row stays first, and as it was.
    items[:] = sorted(filter(is_in_share, items), key=row)
