"""Every transformation's updates equal those of optax."""

import jax
import numpy as np
import pytest
from comparison import assert_close
from reference_runs import rounded, with_jopt, with_optax
from transformation_table import TRANSFORMATIONS


def both():
    """Every row that optax has; in the quick run those that nothing else proves."""
    slow = pytest.mark.slow("a float64 reference is closer; what is lifted is optax's")
    for name, row in TRANSFORMATIONS.items():
        if row.optax:
            proved = row.reference or name.startswith("lift")
            yield pytest.param(name, marks=slow if proved else ())


@pytest.mark.parametrize("name", list(both()))
def test_fifty_updates_are_those_of_optax(name):
    row = TRANSFORMATIONS[name]
    ours, theirs = with_jopt(name)[0], with_optax(name)[0]

    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    # Where optax has constants, its Adam is 7e-6 off float64 (jopt 2e-7): hence 2e-5,
    # and a scale, for where such an update is a term of a sum.
    assert_close(
        ours["float32"],
        theirs["float32"],
        rtol=max(2e-5, row.rtol),
        scale=max(2e-6, row.scale),
    )
    assert_close(
        ours["odd"], theirs["odd"], rtol=max(2e-5, row.rtol), scale=max(2e-6, row.scale)
    )
    # What optax makes of the same numbers in float32, to one unit of bfloat16.
    low = jax.tree.map(lambda u: np.asarray(u, np.float64), ours["bfloat16"])
    assert_close(low, rounded(theirs["bfloat16"]), rtol=2**-7)
