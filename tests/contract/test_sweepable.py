"""Every numeric argument of every public factory can be mapped, with one compile."""

import pytest
from sweepable_numbers import differing, factories

SLOW = pytest.mark.slow("the contract maps every number of every row")
NAMES = [
    pytest.param(name, marks=() if i % 24 == 0 else SLOW)
    for i, name in enumerate(factories())
]


@pytest.mark.parametrize("name", NAMES)
def test_mapping_over_any_argument_equals_a_loop(name):
    assert differing(name) == []
