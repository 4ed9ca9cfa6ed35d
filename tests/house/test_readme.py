"""The code of README and docs runs as it stands there."""

import re
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page):
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


BLOCKS = [
    pytest.param(page, code, id=f"{page.stem} {number}")
    for page in PAGES
    for number, code in enumerate(blocks(page))
]


@pytest.mark.slow("CI runs it; the code is of tested parts", but=2)
@pytest.mark.parametrize(("page", "code"), BLOCKS)
def test_the_code_of_a_page_runs(page, code):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        exec(compile(code, str(page), "exec"), {})


def test_the_readme_is_one_page():
    assert len(README.read_text().splitlines()) <= 120
    assert all(len(code.strip().splitlines()) <= 20 for code in blocks(README))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_to_files(page):
    targets = re.findall(r"\]\((?!http)([^)#]+)", page.read_text())
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert missing == []


@pytest.mark.parametrize("name", ["main", "test"])
def test_the_readme_has_both_commands_on_one_line_each(name):
    pattern = rf"<!-- {name} -->\n```bash\n(python3 -m venv [^\n]*)\n```"
    assert re.search(pattern, README.read_text())
