"""Every package that jopt imports is declared in pyproject.toml."""

import ast
import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

import jopt

PACKAGE = Path(jopt.__file__).parent
PROJECT = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]


def imported():
    """The first word of every import in jopt, lazy ones included."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield (node.module or "").split(".")[0]


def names(requirements):
    """The normalized names of distributions."""
    words = (re.match(r"[\w.-]+", requirement) for requirement in requirements)
    return {re.sub(r"[-_.]+", "-", word[0]).lower() for word in words if word}


def test_every_package_that_jopt_imports_is_declared():
    extras = [r for extra in PROJECT["optional-dependencies"].values() for r in extra]
    declared = names([*PROJECT["dependencies"], *extras])
    distributions = importlib.metadata.packages_distributions()

    others = {*imported()} - sys.stdlib_module_names - {"jopt"}

    assert {"jax", "flax", "orbax", "rich", "matplotlib"} <= others
    undeclared = {
        name for name in others if not names(distributions.get(name, [name])) & declared
    }
    assert undeclared == set()


def test_what_the_command_needs_is_declared_without_an_extra():
    needed = {"jax", "optax", "flax", "numpy", "rich", "orbax-checkpoint"}
    needed |= {"filelock"}  # of JAX's cache, which the command bounds
    assert names(PROJECT["dependencies"]) == needed
