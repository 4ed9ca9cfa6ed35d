"""Every transformation agrees with its paper, in float64: see `reference`."""

import jax
import numpy as np
import optax
import pytest
from comparison import assert_close
from reference_runs import rounded, with_jopt, with_reference
from transformation_table import TRANSFORMATIONS, simplest_first

PAPERS = [name for name, row in TRANSFORMATIONS.items() if row.reference]


def single(x):
    """The dtype that holds `x` in float32."""
    return x.astype(np.complex64 if np.iscomplexobj(x) else np.float32)


def kinds(tree):
    return [leaf.dtype for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize("name", simplest_first(PAPERS))
def test_fifty_updates_and_states_are_those_of_the_paper(name):
    row = TRANSFORMATIONS[name]
    updates, states = with_jopt(name)
    wanted, remembered = with_reference(name)

    assert_close(updates["float32"], wanted["float32"], rtol=row.rtol, scale=row.scale)
    assert_close(updates["odd"], wanted["odd"], rtol=row.rtol, scale=row.scale)
    low = jax.tree.map(lambda u: np.asarray(u, np.float64), updates["bfloat16"])
    assert_close(low, rounded(wanted["bfloat16"]), rtol=2**-7)
    for field, leaves in remembered.items():
        held = optax.tree.get(states, field)
        assert kinds(held) == kinds(jax.tree.map(single, leaves))
        assert_close(held, leaves, rtol=row.rtol, scale=row.scale)
