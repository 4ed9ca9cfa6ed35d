"""Every numeric argument of every public factory can be mapped, with one compile."""

import pytest
from sweepable import differing, factories


@pytest.mark.parametrize("name", list(factories()))
def test_mapping_over_any_argument_equals_a_loop(name):
    assert differing(name) == []
