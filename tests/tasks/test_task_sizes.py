"""The built-in tasks take sizes, and equal calls share a program."""

import jax
import pytest

from jopt.sweep._supervised import training_of
from jopt.tasks import digits, mnist, mnist_nnx, text

DEFAULTS = {digits: 64, mnist: 32, mnist_nnx: 32, text: 64}


def shapes(task):
    params, _ = jax.eval_shape(training_of(task).start, jax.random.key(0))
    return [leaf.shape for leaf in jax.tree.leaves(params)]


@pytest.mark.parametrize("make", DEFAULTS)
def test_equal_calls_give_the_same_object(make):
    default, other = DEFAULTS[make], DEFAULTS[make] // 2
    assert make() is make(width=default)
    assert make(width=other) is make(width=other)
    assert make(width=other) is not make()


@pytest.mark.parametrize("make", DEFAULTS)
def test_width_is_the_width_of_the_network(make):
    default = DEFAULTS[make]
    ratio = {a / b for a, b in zip(*pair(make, 2 * default), strict=True)}
    assert ratio == {1.0, 2.0}


def pair(make, width):
    """All axes of the parameters at this width and at the default."""
    return [
        [n for s in shapes(task) for n in s] for task in (make(width=width), make())
    ]


@pytest.mark.parametrize("make", DEFAULTS)
def test_no_width_is_refused(make):
    with pytest.raises(ValueError, match="width must be at least 1, got 0"):
        make(width=0)
