"""The files that a project's host and its tools read say the same as the project."""

import json
import re
import tomllib
from pathlib import Path

import pytest

import jopt

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
HOME = "https://github.com/jopt-dev/jopt"


def test_urls_and_licence_are_the_same_everywhere():
    citation = (ROOT / "CITATION.cff").read_text()
    site = (ROOT / "mkdocs.yml").read_text()
    assert PROJECT["urls"]["Source"] == HOME
    assert PROJECT["authors"] == [{"name": "jopt contributors"}]
    assert f"repository-code: {HOME}\n" in citation
    assert f"license: {PROJECT['license']}\n" in citation
    assert f"repo_url: {HOME}\n" in site
    assert f"site_url: {PROJECT['urls']['Documentation']}\n" in site


def test_the_version_is_the_changelogs_and_the_citations():
    newest = re.search(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert newest is not None
    assert newest[1] == jopt.__version__
    assert f"\nversion: {jopt.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_hosted_ci_runs_every_python_that_is_declared():
    text = (ROOT / ".github/workflows/ci.yml").read_text()
    declared = re.findall(r"Python :: (3\.\d+)", " ".join(PROJECT["classifiers"]))
    assert [json.loads(found) for found in re.findall(r"python: (\[.*\])", text)] == [
        declared
    ]
    assert "bash .ci/run" in text


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "SECURITY.md", "CITATION.cff"])
def test_files_that_are_named_exist(name):
    text = (ROOT / name).read_text()
    found = re.findall(r"`((?:jopt|tests|docs|bench)/[\w./]+)`", text)
    found += re.findall(r"\]\((?!http)([^)#]+)\)", text)
    found = [path for path in found if "NAME" not in path]
    assert [path for path in found if not (ROOT / path).exists()] == []
