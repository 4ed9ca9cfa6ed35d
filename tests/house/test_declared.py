"""Every package that is imported is declared in pyproject.toml."""

import ast
import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

import pytest

import jopt

PACKAGE = Path(jopt.__file__).parent
# Distributions with another name than their module, which a machine may lack.
NOT_INSTALLED = {"griffe": "griffelib", "mlflow": "mlflow-skinny"}
FOLDERS = ["jopt", "tests", "examples", "bench", "docs"]
PROJECT = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]


def imported(folder):
    """The first word of every import in a folder, lazy ones included."""
    for path in (PACKAGE.parent / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield (node.module or "").split(".")[0]


def names(requirements):
    """The normalized names of distributions."""
    words = (re.match(r"[\w.-]+", requirement) for requirement in requirements)
    return {re.sub(r"[-_.]+", "-", word[0]).lower() for word in words if word}


def own(folder):
    """The modules in a folder that others in it import by their bare name."""
    paths = [*(PACKAGE.parent / folder).rglob("*")]
    return {path.stem for path in paths if path.is_dir() or path.suffix == ".py"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_package_that_is_imported_is_declared(folder):
    extras = [r for extra in PROJECT["optional-dependencies"].values() for r in extra]
    declared = names([*PROJECT["dependencies"], *extras])
    distributions = importlib.metadata.packages_distributions()
    ours = {"jopt"} | ({*()} if folder == "jopt" else own(folder) | own("docs"))

    others = {*imported(folder)} - sys.stdlib_module_names - ours

    assert others, "the walk over imports found none"
    undeclared = {
        name
        for name in others
        if not names(distributions.get(name, [NOT_INSTALLED.get(name, name)]))
        & declared
    }
    assert undeclared == set()


def test_what_the_command_needs_is_declared_without_an_extra():
    needed = {"jax", "optax", "flax", "numpy", "rich", "orbax-checkpoint"}
    needed |= {"filelock"}  # of JAX's cache, which the command bounds
    assert names(PROJECT["dependencies"]) == needed
