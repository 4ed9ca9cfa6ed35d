"""The README's code runs as it stands there."""

import re
from pathlib import Path

import jax
import pytest

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
NAMES = ["flax", "low precision", "loop", "vocabulary", "sweep", "early stopping"]


@pytest.mark.slow("CI runs it; the code is of tested parts")
@pytest.mark.parametrize("code", BLOCKS, ids=NAMES)
def test_the_readmes_code_runs(code):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        exec(compile(code, str(README), "exec"), {})


def test_the_flax_example_is_short():
    assert len(BLOCKS[0].strip().splitlines()) <= 20


@pytest.mark.parametrize("name", ["main", "test"])
def test_the_readme_has_both_commands_on_one_line_each(name):
    pattern = rf"<!-- {name} -->\n```bash\n(python3 -m venv [^\n]*)\n```"
    assert re.search(pattern, README.read_text())
