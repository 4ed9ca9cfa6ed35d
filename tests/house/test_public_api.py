"""The public names are those of a committed list, and the reference explains each."""

import ast
import inspect
import re
import textwrap
from pathlib import Path

import pytest
from public_names import (
    entry_places,
    names_of_jopt,
    page,
    public_api,
    public_names,
    rooms,
)

import jopt

COMMITTED = Path(__file__).with_name("public_api.txt")
ROOMS = rooms()
OURS = {
    id(value): (f"{room.__name__}.{name}", value)
    for room in ROOMS.values()
    for name in public_names(room)
    if (inspect.isclass(value := getattr(room, name)) or inspect.isroutine(value))
    and str(value.__module__).startswith("jopt")
}
# Pass their arguments to optax's function of the same name, which explains them.
OPTAXS = re.compile(r"optax's|optax\.")


def sections(text):
    """Return the sections of a docstring in Google's style by name."""
    parts = re.split(r"^(Args|Returns|Yields|Raises|Attributes):$", text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def listed(section):
    """Return the names that a section explains, several in a line too."""
    lines = re.findall(r"^  (\*{0,2}\w+(?:, \*{0,2}\w+)*):", section, re.M)
    return {name.strip("*") for line in lines for name in line.split(", ")}


def commented(cls):
    """Return the fields that a comment beside them explains."""
    return {*re.findall(r"^    (\w+):[^\n]*#", inspect.getsource(cls), re.M)}


def raises(value):
    """Return whether the body raises an error of its own, but for "abstract"."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(value)))
    found = [node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise)]
    return any(exc and "NotImplementedError" not in ast.unparse(exc) for exc in found)


def missing(value):
    """Return what the docstring of a public class or function does not explain."""
    text = inspect.getdoc(value) or ""
    if inspect.isclass(value) and value.__doc__ is None:
        return ["docstring"]
    found = sections(text)
    explained = listed(found.get("Args", "") + found.get("Attributes", ""))
    if inspect.isclass(value):
        explained |= commented(value)
    parameters = inspect.signature(value).parameters.values()
    variadic = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    left = [
        p.name
        for p in parameters
        if p.kind not in variadic and p.name not in explained and p.name[0] != "_"
    ]
    if inspect.isclass(value):
        return left
    # Google's style: a sentence that begins with "Return" says what is returned.
    says = re.match(r"Returns? |Yields? ", text) or {"Returns", "Yields"} & {*found}
    is_none = inspect.signature(value).return_annotation is None
    left += [] if says or is_none or is_transformation(value) else ["Returns"]
    left += ["Raises"] if raises(value) and "Raises" not in found else []
    return left


def is_transformation(function):
    """Return whether the annotation says that a transformation is returned."""
    kind = inspect.signature(function).return_annotation
    return inspect.isclass(kind) and issubclass(kind, jopt.GradientTransformation)


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
    left = {name: missing(value) for name, value in OURS.values()}
    assert {name: gaps for name, gaps in left.items() if gaps} == {}
