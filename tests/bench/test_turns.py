"""Programs that take turns: how many rounds they make."""

import importlib
import sys
from pathlib import Path

import jax.numpy as jnp
import pytest

sys.path.append(str(Path(__file__).parents[2] / "bench"))
turns = importlib.import_module("turns")


@pytest.mark.parametrize(("number", "least", "most"), [(3, 3, 3), (None, 2, 100)])
def test_the_rounds_are_those_asked_for_or_those_that_fit(number, least, most):
    found = turns.rounds({"a": lambda n: jnp.ones(n)}, 0.01, turn=1e-4, number=number)
    assert least <= found["a"]["rounds"] <= most
