"""Every test runs with strict dtypes and ranks: nothing is promoted in silence."""

import jax

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_collection_modifyitems(items):
    """Put the tests of one row of the table side by side: they share its programs."""
    of_a_row = [item for item in items if "name" in _given(item)]
    others = [item for item in items if "name" not in _given(item)]
    items[:] = others + sorted(of_a_row, key=lambda item: _given(item)["name"])


def _given(item):
    return item.callspec.params if hasattr(item, "callspec") else {}
