"""The notebook opens in Colab and runs from top to bottom."""

import json
import re
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs/quickstart.ipynb"
CELLS = json.loads(NOTEBOOK.read_text())["cells"]
CODE = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]


def test_the_notebook_is_kept_without_outputs_and_installs_jopt_first():
    assert CODE[0].startswith('%pip install --quiet "jopt[all] @ git+https://')
    assert not any(cell.get("outputs") for cell in CELLS)


def test_pages_lead_to_the_notebook_in_colab():
    address = "https://colab.research.google.com/github/jopt-dev/jopt/blob/main/"
    found = re.findall(rf"{address}([\w./]+)", (ROOT / "docs/index.md").read_text())
    assert [ROOT / path for path in found] == [NOTEBOOK]


@pytest.mark.slow("CI runs it; the code is of tested parts")
def test_the_notebook_runs():
    names = {}
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for number, code in enumerate(CODE[1:]):
            exec(compile(code, f"cell {number}", "exec"), names)
    plt.close("all")
