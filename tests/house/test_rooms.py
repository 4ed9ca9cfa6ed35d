"""Imports go down from room to room, no file is in a circle, `import jopt` is light."""

import ast
import graphlib
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import jopt
from jopt.interop._optax import MODULES

ROOMS = [
    {"_version", *MODULES},
    {"core"},
    {"schedules"},
    {"transforms"},
    {"wrappers"},
    {"optimizers"},
    {"losses", "data"},
    {"training"},
    {"compress"},
    {"sweep"},
    {"report"},
    {"studies"},
    {"tasks"},
    {"interop"},
    {"contrib"},
    {"cli"},
    {"__main__"},
]
# The sweep's own rooms and the files beside them, from the lowest up.
SWEEP = [
    {"_array_files", "_config", "_convolution", "_interrupts", "_object_names"}
    | {"_progress", "_whole_files"},
    {"_json"},
    {"_data", "_equality", "_fast_convolutions", "_folds", "_start"},
    {"_supervised"},
    {"space"},
    {"_task"},
    {"_local_sgd", "_predictions", "_trial"},
    {"proposals"},
    {"_shown_values", "engine", "population", "pruners"},
    {"_swept_constants"},
    {"_history"},
    {"_front"},
    {"_plan"},
    {"_group", "_result"},
    {"store"},
    {"_state"},
    {"_merged"},
    {"_kept_result", "_loop"},
    {"_run"},
    {"_resume"},
    {"_search"},
    {"_extend"},
    {"__init__"},
]
UPWARDS = {
    # optax has names of jopt's wrappers in these rooms: they are looked up when used.
    "transforms/__init__.py": {""},
    "schedules/__init__.py": {""},
    # A result is saved and drawn by the room above, which is loaded when it is.
    "sweep/_result.py": {"report"},
}
# Names that a type checker sees at once are imported when they are first used.
LATE = {"interop/__init__.py", "tasks/__init__.py"}
PACKAGE = Path(jopt.__file__).parent
FILES = sorted(
    path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"
)
NAMES = [str(path.relative_to(PACKAGE)) for path in FILES]
each_file = pytest.mark.parametrize("path", FILES, ids=NAMES)


def levels(rooms: list[set[str]]) -> dict[str, int]:
    return {room: level for level, names in enumerate(rooms) for room in names}


def modules_imported(source: str) -> list[str]:
    """The modules of jopt that a file imports from, lazily and for types alone too."""
    modules = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            modules += [name if is_module(name) else node.module for name in inner]
    return [name for name in modules if name.split(".")[0] == "jopt"]


def is_module(name: str) -> bool:
    path = PACKAGE.parent.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def above(path: Path, root: Path, level: dict[str, int]) -> set[str]:
    """The rooms of `root` that a file in it imports although they are no lower."""
    prefix = ("jopt", *root.relative_to(PACKAGE).parts)
    room = path.relative_to(root).parts[0].removesuffix(".py")
    found = [tuple(name.split(".")) for name in modules_imported(path.read_text())]
    inside = [name[len(prefix) :] for name in found if name[: len(prefix)] == prefix]
    rooms = {name[0] if name else "" for name in inside}
    return {
        other
        for other in rooms - {room}
        if level.get(other, len(level)) >= level.get(room, len(level))
    }


@each_file
def test_a_file_imports_its_own_room_and_lower_ones(path):
    # `jopt` itself is as high as the highest room that its list of names is from.
    listed = modules_imported((PACKAGE / "__init__.py").read_text())
    level = levels(ROOMS)
    tops = [level[name.split(".")[1]] for name in listed if "." in name]

    found = above(path, PACKAGE, {**level, "": max(tops)})

    assert found == UPWARDS.get(path.relative_to(PACKAGE).as_posix(), set())


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.is_relative_to(PACKAGE / "sweep")], ids=str
)
def test_inside_the_sweep_imports_go_down_too(path):
    assert above(path, PACKAGE / "sweep", levels(SWEEP)) == set()


def test_no_file_is_in_a_circle():
    graph = {}
    for path in FILES:
        if path.name == "__init__.py":
            continue  # lists of names
        own = ".".join(("jopt", *path.relative_to(PACKAGE).with_suffix("").parts))
        graph[own] = {m for m in modules_imported(path.read_text()) if m != own}

    graphlib.TopologicalSorter(graph).prepare()  # or a CycleError that names them


@each_file
def test_a_file_with_an_underscore_is_imported_by_its_own_room(path):
    folder = ("jopt", *path.relative_to(PACKAGE).parent.parts)

    foreign = {
        name
        for name in modules_imported(path.read_text())
        if name.rpartition(".")[2].startswith("_")
        and folder[: name.count(".")] != tuple(name.split(".")[:-1])
    }

    assert foreign == set()


@pytest.mark.parametrize(
    "room", [path.parent for path in FILES if path.name == "__init__.py"], ids=str
)
def test_no_file_has_the_name_of_what_its_room_exports(room):
    name = ".".join(("jopt", *room.relative_to(PACKAGE).parts))
    public = set(getattr(importlib.import_module(name), "__all__", ()))

    files = {path.stem for path in room.iterdir()}

    assert public & files == set()


def test_the_walk_over_imports_sees_them_all():
    source = """
import jopt
import jopt.sweep as s
from jopt import training, cli
from jopt.core._numbers import (
    wide,
)
def late():
    from jopt.tasks import digits
"""
    assert modules_imported(source) == [
        "jopt",
        "jopt.sweep",
        "jopt.training",
        "jopt.cli",
        "jopt.core._numbers",
        "jopt.tasks",
    ]
    with pytest.raises(AssertionError, match="absolute"):
        modules_imported("from . import x")


def test_importing_jopt_imports_jax_and_nothing_heavier():
    heavy = [
        "flax",
        "optax",
        "orbax",
        "altair",
        "matplotlib",
        "pandas",
        "sklearn",
        "rich",
        "chex",
        "torch",
        "mlxtend",
    ]
    script = f"""
import sys
import jopt
print(*(name for name in {heavy} if name in sys.modules))
"""

    run = [sys.executable, "-c", script]
    found = subprocess.run(run, capture_output=True, text=True, check=True).stdout

    assert found.split() == []
