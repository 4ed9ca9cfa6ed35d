"""Names are data: of settings, tasks and metrics, whatever text they are."""

import csv
import functools
import io
from typing import Any

import jax.numpy as jnp
import pytest
from rich.console import Console

from jopt import sweep
from jopt.cli import display
from jopt.report import Record, page
from jopt.sweep import Task

NAMES = {
    "slash": "optim/lr",
    "parent": "../../outside",
    "absolute": "/tmp/outside",
    "dots": "a.b..c",
    "dollars": "$x_1$ and $\\frac{",
    "quotes": "'\"`</script><b>",
    "markup": "[red]x[/red] :smile:",
    "line": "one\ntwo\ttabs",
    "long": "l" * 300,
    "Chinese": "学习率",
    "column": "valid_loss",
    "picture": "curves",
    "empty": "",
}


def init(config, key):
    return jnp.zeros(2, jnp.float32)


def step(config, state, batch, key):
    (rate,) = config.values()
    loss = jnp.sum((state - 1.0) ** 2)
    return state - rate * (state - 1.0), {"loss": loss, "steps": loss, "loss_std": loss}


def evaluate(name, config, state, batch, key):
    loss = jnp.sum((state - 1.0) ** 2)
    return {"loss": loss, "steps": loss + 1.0, "loss_std": loss + 2.0, name: -loss}


@pytest.mark.slow("other texts take the same way", but=2)
@pytest.mark.parametrize("kind", NAMES)
def test_a_name_may_be_any_text(kind, tmp_path):
    name = NAMES[kind]
    task = Task(name, init, step, functools.partial(evaluate, f"m {name}"))
    values: Any = {name: [0.1, 0.2, 0.3]}
    trials = sweep.grid(dict, **values)
    directory = tmp_path / "sweep"
    sizes: dict[str, Any] = {"steps": 4, "segments": 2, "block": 3}
    result = sweep.run(task, trials, directory=directory, **sizes)
    result.save(directory)

    column = "param_valid_loss" if kind == "column" else name
    loaded = sweep.load(directory)
    assert loaded.table[column].tolist() == [0.1, 0.2, 0.3]
    assert loaded.table[f"valid_m {name}"].tolist() == (
        result.table[f"valid_m {name}"].tolist()
    )
    assert loaded.info["task"] == name
    assert loaded.valid_steps.tolist() == [2, 4]
    assert page(Record.of(loaded)) == page(Record.of(result))
    with (directory / "trials.csv").open(newline="", encoding="utf-8") as file:
        assert [row[column] for row in csv.DictReader(file)] == ["0.1", "0.2", "0.3"]
    text = io.StringIO()
    console = Console(file=text, width=2000, markup=False, emoji=False)
    display.summary(console, result, directory, [])
    if "\n" not in name:
        assert name in text.getvalue()
    # Nothing was written beside the directory, and every picture is there.
    assert [path.name for path in tmp_path.iterdir()] == ["sweep"]
    pictures = sorted(path.name for path in directory.glob("*.png"))
    assert len(pictures) == 2
    assert "curves.png" in pictures
