"""The code of README and docs runs as it stands there."""

import re
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parents[2]
README, CHINESE = ROOT / "README.md", ROOT / "README.zh.md"
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


def test_the_chinese_readme_has_the_same_commands_code_and_links():
    for pattern in (r"<!-- \w+ -->", r"```\w+\n.*?```", r"\| `([^`]+)` \|"):
        found = re.findall(pattern, README.read_text(), re.DOTALL)
        assert found == re.findall(pattern, CHINESE.read_text(), re.DOTALL)
        assert len(found) > 2
    links = {*re.findall(r"\]\(([^)]+)\)", README.read_text())}
    ours = {*re.findall(r"\]\(([^)]+)\)", CHINESE.read_text())}
    assert links - ours == {"README.zh.md"}
    assert ours - links == {"README.md"}


@pytest.mark.parametrize("page", [*PAGES, CHINESE], ids=lambda page: page.stem)
def test_links_lead_to_files(page):
    targets = re.findall(r"\]\((?!http)([^)#]+)", page.read_text())
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert missing == []


@pytest.mark.parametrize("name", ["main", "test"])
def test_the_readme_has_both_commands_on_one_line_each(name):
    pattern = rf"<!-- {name} -->\n```bash\n(python3 -m venv [^\n]*)\n```"
    assert re.search(pattern, README.read_text())
