"""Who changes `import optax` to `import jopt` misses no name."""

import importlib
import inspect
import pkgutil

import optax
import optax.contrib
import pytest

import jopt
from jopt.interop import OPTAX_NAMES
from jopt.interop._optax import MODULES


def names(module):
    return {name for name in dir(module) if not name.startswith("_")}


def modules():
    """The public modules of the installed optax, itself included, by their path."""
    yield ""
    for found in pkgutil.iter_modules(optax.__path__):
        if found.ispkg and not found.name.startswith("_"):
            yield f".{found.name}"


@pytest.mark.parametrize("path", list(modules()))
def test_every_dotted_name_of_optax_is_an_attribute_and_an_import(path):
    theirs = importlib.import_module(f"optax{path}")
    ours = importlib.import_module(f"jopt{path}")

    for name in {*names(theirs), *getattr(theirs, "__all__", ())}:
        found = {}
        exec(f"import jopt; from jopt{path} import {name} as imported", found)
        assert eval(f"jopt{path}.{name}", found) is found["imported"]
        assert getattr(ours, name) is found["imported"]
        assert name in dir(ours)


@pytest.mark.parametrize("name", sorted(OPTAX_NAMES))
def test_what_is_taken_over_is_optax_s_own(name):
    if name in MODULES:
        ours = getattr(jopt, name)
        theirs = importlib.import_module(f"optax.{name}")
        more = names(ours) - names(theirs)
        assert all(getattr(ours, n).__module__.startswith("jopt.") for n in more)
        assert all(getattr(ours, n) is getattr(theirs, n) for n in names(theirs))
        return
    rooms = (optax.contrib, optax.schedules, optax)

    theirs = next(getattr(room, name) for room in rooms if hasattr(room, name))

    assert getattr(jopt, name) is theirs


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'jopt' has no attribute 'adamm'"):
        jopt.adamm  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]


# Parameters that optax has and jopt lacks, and why.
LACKING = {
    ("ApplyEvery", "count"): "the state is ApplyEveryState; this is the transformation",
    ("ApplyEvery", "grad_acc"): "the state is ApplyEveryState",
    (
        "GradientTransformation",
        "init",
    ): "jopt's is a base class; optax's holds functions",
    ("GradientTransformation", "update"): "the same",
    ("MuonState", "ns_coeffs"): "coefficients are fields of ScaleByMuon, not state",
}


def callables():
    """The names that can be called in both, jopt's own and not handed on."""
    rooms = (optax, optax.contrib, optax.schedules, optax.transforms)
    found = {name: getattr(room, name) for room in rooms for name in names(room)}
    for name, theirs in sorted(found.items()):
        protocol = getattr(theirs, "_is_protocol", False)
        called = inspect.isfunction(theirs) or inspect.isclass(theirs)
        if called and not protocol and name not in OPTAX_NAMES:
            yield pytest.param(name, theirs, id=name)


@pytest.mark.parametrize(("name", "theirs"), list(callables()))
def test_arguments_are_those_of_optax_in_its_order(name, theirs):
    ours = list(inspect.signature(getattr(jopt, name)).parameters.values())
    wanted = list(inspect.signature(theirs).parameters.values())

    lacking = {p.name for p in wanted} - {p.name for p in ours}
    ordered = [
        p.name
        for p in wanted
        if p.kind is p.POSITIONAL_OR_KEYWORD and p.name not in lacking
    ]
    assert lacking == {argument for of, argument in LACKING if of == name}
    shared = [p.name for p in ours]
    if isinstance(theirs, type):  # a state may have a field more
        shared = [name for name in shared if name in ordered]
    assert shared[: len(ordered)] == ordered


def test_methods_are_those_of_optax():
    for name in ("MultiSteps", "WrappedSchedule"):
        assert names(getattr(optax, name, None) or getattr(optax.schedules, name)) <= (
            names(getattr(jopt, name))
        )
