"""Who changes `import optax` to `import jopt` misses no name."""

import inspect

import optax
import optax.contrib
import pytest

import jopt
from jopt._from_optax import NAMES


def names(module):
    return {name for name in dir(module) if not name.startswith("_")}


def test_every_name_of_optax_is_here():
    assert {*optax.__all__, *names(optax)} <= names(jopt)
    assert names(optax.schedules) - names(jopt) == set()
    assert names(optax.transforms) - names(jopt) == set()


def test_every_name_of_contrib_is_here():
    for name in names(optax.contrib):
        assert getattr(jopt.contrib, name) is getattr(jopt, name)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_what_is_taken_over_is_optax_s_own(name):
    rooms = (optax.contrib, optax.schedules, optax)

    theirs = next(getattr(room, name) for room in rooms if hasattr(room, name))

    assert getattr(jopt, name) is theirs


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'jopt' has no attribute 'adamm'"):
        jopt.adamm  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]


def factories():
    """The names that are functions in both, jopt's own and not handed on."""
    rooms = (optax, optax.contrib)
    found = {name: getattr(room, name) for room in rooms for name in names(room)}
    for name, theirs in sorted(found.items()):
        if name not in NAMES and name == name.lower() and inspect.isfunction(theirs):
            yield name, theirs


@pytest.mark.parametrize(
    ("name", "theirs"), [pytest.param(*pair, id=pair[0]) for pair in factories()]
)
def test_arguments_come_in_the_order_of_optax(name, theirs):
    ours = list(inspect.signature(getattr(jopt, name)).parameters.values())
    wanted = list(inspect.signature(theirs).parameters.values())

    ordered = [p.name for p in wanted if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert [p.name for p in ours][: len(ordered)] == ordered
    assert {p.name for p in wanted} <= {p.name for p in ours}
