"""Sentences are short: of docstrings, of the README and of the pages."""

import ast
import re
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LONGEST, MEDIAN = 40, 18  # words
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]


def docstrings(path):
    kinds = ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, kinds):
            yield ast.get_docstring(node) or ""


def sentences(text):
    """Yield lists of words; code, and the rows of tables and lists, stand apart."""
    text = re.sub(r"```.*?```|<[^>]*>", "", text, flags=re.DOTALL)
    for part in re.split(r"\n\s*\n|\n(?=\s*(?:[-*|#]|\d+\.|\w+:) ?)", text):
        if part.startswith(("    ", "|")):  # formulas and tables
            continue
        line = " ".join(re.sub(r"`[^`]*`", "code", part).replace(".)", ").").split())
        for sentence in re.split(r"(?<=[.:;?!])\s+", line):
            words = re.findall(
                r"[\w'.-]+", re.sub(r"\]\([^)]*\)|https?:\S+", "", sentence)
            )
            if len(words) > 2:
                yield words


@pytest.mark.parametrize("what", ["docstrings", "pages"])
def test_sentences_are_short(what):
    files = [*(ROOT / "jopt").rglob("*.py")] if what == "docstrings" else PAGES
    found = [
        (len(words), f"{path.relative_to(ROOT)}: {' '.join(words)}")
        for path in files
        for text in (docstrings(path) if what == "docstrings" else [path.read_text()])
        for words in sentences(text)
    ]
    assert [said for length, said in found if length > LONGEST] == []
    assert statistics.median(length for length, _ in found) <= MEDIAN
    assert len(found) > 500
