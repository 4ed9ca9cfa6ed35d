"""Imports go down from room to room, and `import jopt` stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import jopt
from jopt._from_optax import MODULES

ROOMS = [
    {"_kinds", "_notes", "_from_optax", "_version", *MODULES},
    {"_doors"},
    {"_pytree"},
    {"_numbers", "_explicit", "_serial", "_steps"},
    {"_leaves", "_matrices"},
    {"_core", "_stacks"},
    {"_layout"},
    {"_buckets"},
    {"_labels"},
    {"_mask", "_chain"},
    {"schedules"},
    {"transforms"},
    {"_hyperparameters", "wrappers"},
    {"optimizers"},
    {"training", "compress", "contrib"},
    {"sweep"},
    {"tasks", "integrations"},
    {"cli"},
    {"__main__"},
]
# optax has names of jopt's wrappers in these rooms: they are looked up when used.
UPWARDS = {"transforms/__init__.py": {""}, "schedules/__init__.py": {""}}
LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
PACKAGE = Path(jopt.__file__).parent
FILES = sorted(
    path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"
)


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def rooms_imported(source: str) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        words = [name.split(".") for name in names]
        rooms |= {w[1] if len(w) > 1 else "" for w in words if w[0] == "jopt"}
    return rooms


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_its_own_room_and_lower_ones(path):
    room = room_of(path)
    # `jopt` itself is as high as the highest room that its list of names is from.
    listed = rooms_imported((PACKAGE / "__init__.py").read_text())
    level = {**LEVEL, "": max(LEVEL.get(name, -1) for name in listed)}

    above = {
        other
        for other in rooms_imported(path.read_text())
        if other != room and level.get(other, len(ROOMS)) >= level[room]
    }

    assert above == UPWARDS.get(path.relative_to(PACKAGE).as_posix(), set())


def test_the_walk_over_imports_sees_them_all():
    source = """
import jopt
import jopt.sweep as s
from jopt import training, cli
from jopt._numbers import (
    wide,
)
def late():
    from jopt.tasks.digits import digits
"""
    rooms = {"", "sweep", "training", "cli", "_numbers", "tasks"}

    assert rooms_imported(source) == rooms
    with pytest.raises(AssertionError, match="absolute"):
        rooms_imported("from . import x")


def test_importing_jopt_imports_jax_and_nothing_heavier():
    heavy = [
        "flax",
        "optax",
        "orbax",
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
