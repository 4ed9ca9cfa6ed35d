"""The public names are those of a committed list, and the reference explains each."""

import ast
import inspect
import re
import textwrap
from pathlib import Path

import optax
from flax import linen as nn
from public_names import (
    entry_places,
    is_ours,
    names_of_jopt,
    page,
    public_api,
    public_names,
    rooms,
)

import jopt
from jopt.core import Schedule

COMMITTED = Path(__file__).with_name("public_api.txt")
ROOMS = rooms()
# Classes and functions, once each, by the name that they are defined under.
OURS = [
    (f"{room.__name__}.{name}", value)
    for room in ROOMS.values()
    for name in public_names(room)
    if is_ours(value := getattr(room, name)) and value.__name__ == name
]
# They hand their arguments to optax's function of the same name, which explains them.
OPTAXS = {"acprop", "galore", "sophia", "scale_by_acprop", "scale_by_galore"}
OPTAXS |= {"scale_by_backtracking_linesearch", "scale_by_lbfgs"}
OPTAXS |= {"scale_by_zoom_linesearch"}
FLAXS = {"parent", "name"}  # fields of every linen module


def sections(text):
    """Return the sections of a docstring in Google's style by name."""
    parts = re.split(r"^(Args|Returns|Yields|Raises|Attributes):$", text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def listed(section):
    """Return the names that a section explains, several in a line too."""
    lines = re.findall(r"^  (\*{0,2}\w+(?:, \*{0,2}\w+)*):", section, re.M)
    return {name.strip("*") for line in lines for name in line.split(", ")}


def explained_by(cls):
    """Return the fields that the docstrings of a class, or comments, explain."""
    found = set()
    for base in (b for b in cls.__mro__ if b.__module__.startswith("jopt")):
        parts = sections(inspect.cleandoc(base.__doc__ or ""))
        found |= listed(parts.get("Args", "") + parts.get("Attributes", ""))
        found |= {*re.findall(r"^    (\w+):[^\n]*#", inspect.getsource(base), re.M)}
    return found


def raises(function):
    """Return whether the body raises an error, functions inside it left out."""
    left = []
    for definition in ast.parse(textwrap.dedent(inspect.getsource(function))).body:
        left += ast.iter_child_nodes(definition)
    while left:
        node = left.pop()
        if isinstance(node, ast.Raise):
            return True
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Lambda)):
            left += ast.iter_child_nodes(node)
    return False


def missing(name, value):
    """Return what the docstring of a public class or function does not explain."""
    text = inspect.getdoc(value) or ""
    is_class = inspect.isclass(value)
    if not text or (is_class and value.__doc__ is None):
        return ["docstring"]
    found = sections(text)
    explained = explained_by(value) if is_class else listed(found.get("Args", ""))
    variadic = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    left = [
        p.name
        for p in inspect.signature(value).parameters.values()
        if p.kind not in variadic and p.name not in explained and p.name[0] != "_"
    ]
    if name in OPTAXS:
        assert getattr(optax, name, None) or getattr(optax.contrib, name)
        left = []
    if is_class:
        return left if not issubclass(value, nn.Module) else [*{*left} - FLAXS]
    # Google's style: a sentence that begins with "Return" says what is returned.
    says = re.match(r"Returns? |Yields? ", text) or {"Returns", "Yields"} & {*found}
    if not (says or returns_nothing_else(value)):
        left.append("Returns")
    if raises(value) and "Raises" not in found:
        left.append("Raises")
    return left


def returns_nothing_else(function):
    """Return whether nothing is returned, or what a factory's name says."""
    kind = inspect.signature(function).return_annotation
    made = jopt.GradientTransformation, Schedule
    return kind is None or (inspect.isclass(kind) and issubclass(kind, made))


def test_public_names_and_signatures_are_those_of_the_committed_list():
    found = public_api()
    message = "python docs/public_names.py > tests/house/public_api.txt"
    assert found == COMMITTED.read_text(), f"If the change is meant: {message}"


def test_every_public_name_is_in_the_reference():
    for room in ROOMS.values():
        places = entry_places(page(room))
        left = {f"{room.__name__}.{name}" for name in public_names(room)} - places
        assert left == set()
    public = {name for name in vars(jopt) if not name.startswith("_")}
    shown = {*names_of_jopt()}
    assert {n for n in public - shown if not inspect.ismodule(vars(jopt)[n])} == set()


def test_every_public_name_explains_arguments_results_and_errors():
    left = {place: missing(place.split(".")[-1], value) for place, value in OURS}
    assert {place: gaps for place, gaps in left.items() if gaps} == {}
    assert len(left) > 450
