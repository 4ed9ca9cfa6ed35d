"""Every test runs with strict dtypes and ranks: nothing is promoted in silence."""

import atexit
import os
import shutil
import tempfile

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

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_addoption(parser):
    parser.addoption(
        "--all",
        action="store_true",
        help="run the tests marked slow, too; `--all -m slow` runs them alone",
    )


def pytest_configure(config):
    config.addinivalue_line(
        "markers",
        "slow(why): runs with --all; why the quick run keeps its promise without it",
    )


def pytest_collection_modifyitems(config, items):
    """Leave out slow tests, and put those of one row of the table side by side.

    Tests of one row share its programs.
    """
    from table import TRANSFORMATIONS

    if not config.getoption("--all"):
        slow = [item for item in items if item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not item.get_closest_marker("slow")]

    def row(item):
        given = item.callspec.params if hasattr(item, "callspec") else {}
        return str(given.get("name")) if given.get("name") in TRANSFORMATIONS else ""

    # The sort is stable: what is of no row stays first, and as it was.
    items.sort(key=row)
