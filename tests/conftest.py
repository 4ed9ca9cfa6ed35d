"""Every test runs with strict dtypes and ranks: nothing is promoted in silence."""

import os

# To compile is most of the suite's time: not in 32 parts on a core or two.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_parallel_codegen_split_count=1")

import jax

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_collection_modifyitems(items):
    """Put the tests of one row of the table side by side: they share its programs."""
    from table import TRANSFORMATIONS

    def row(item):
        given = item.callspec.params if hasattr(item, "callspec") else {}
        return str(given.get("name")) if given.get("name") in TRANSFORMATIONS else ""

    # The sort is stable: what is of no row stays first, and as it was.
    items.sort(key=row)
