"""Tasks and rules that make no sweep: one sentence each, before anything is trained."""

import textwrap
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import toy

import jopt
from jopt import sweep
from jopt.cli import main
from jopt.sweep._task import check_task


def run(task, **options) -> Any:
    trials = sweep.grid(jopt.sgd, learning_rate=[0.1, 0.2])
    sizes: dict[str, Any] = {"steps": 12, "segments": 3, "block": 2}
    return sweep.run(task, trials, **{**sizes, **options})


def init_by_count():
    widths = iter(range(3, 99))

    def init(key):
        width = next(widths)
        return {"hidden": jnp.zeros((2, width)), "out": jnp.zeros((width, 2))}, {}

    return init


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"init": init_by_count()}, "init must give the same shapes whatever the key"),
        (
            {"init": lambda key: toy.init(key)[0]},
            r"init must return \(params, model",
        ),
        ({"init": lambda key: jnp.zeros(2)}, r"init must return \(params, model"),
        (
            {"loss": lambda p, s, batch, k: toy.scores(p, *batch)[0].mean()},
            r"The loss function must return \(loss, model_state\)",
        ),
        (
            {"evaluate": lambda p, s, batch: toy.scores(p, *batch)[0]},
            "evaluate must return a dict of one value an example",
        ),
        (
            {"evaluate": lambda p, s, batch: {"loss": 1.0}},
            "evaluate must return a dict of one value an example",
        ),
        (
            {"evaluate": lambda p, s, batch: {"loss": p["out"]}},
            "evaluate must return a dict of one value an example",
        ),
        (
            {"evaluate": lambda p, s, batch: None},
            "evaluate must return a dict of one value an example.* got None",
        ),
        (
            {"evaluate": lambda p, s, batch: {"loss": None}},
            "evaluate must return a dict of one value an example",
        ),
        (
            {"loss": lambda p, s, batch, k: (jnp.zeros((), jnp.int32), s)},
            r"The loss function must return a real scalar, got int32\[\]",
        ),
        (
            {"loss": lambda p, s, batch, k: (None, s)},
            "The loss function must return a real scalar, got None",
        ),
        ({"train": {}}, "train must have at least one array of examples, got {}"),
        ({"valid": None}, "valid must have at least one array of examples, got None"),
        ({"valid": {}}, "valid must have at least one array of examples, got {}"),
        ({"test": {}}, "test must have at least one array of examples, got {}"),
        ({"batch_size": 16.0}, r"batch_size must be an integer, got 16\.0"),
        ({"batch_size": True}, "batch_size must be an integer, got True"),
        ({"epochs": 1.5}, r"epochs must be an integer, got 1\.5"),
    ],
)
def test_a_task_that_is_none_is_refused(changes, sentence):
    with pytest.raises(
        (ValueError, TypeError), match=f"^(Task( points)?: )?{sentence}"
    ):
        run(toy.task(**changes))


def test_a_loss_may_be_a_python_number():
    result = run(toy.task(loss=lambda p, s, batch, k: (0.0, s)))
    assert (result.curves == 0).all()


def test_one_example_is_enough_to_validate_on():
    task = toy.task(valid=toy.points(1), test=toy.points(1))
    check_task(task, jopt.sgd(0.1))


def test_a_task_of_a_setup_is_checked_too():
    bad = toy.task(name="bad", evaluate=lambda p, s, batch: {"loss": p["out"]})
    trials = sweep.grid(lambda rate: sweep.Setup(jopt.sgd(rate), bad), rate=[0.1])
    with pytest.raises(ValueError, match=r"^Task bad: evaluate must return"):
        sweep.run(toy.task(), trials, steps=2)


def test_data_of_another_dtype_in_the_validation_set_is_refused_or_taken():
    inputs, labels = toy.points(30, seed=1)
    result = run(toy.task(valid=(inputs.astype(np.float64), labels)))
    assert np.isfinite(result.table["valid_loss"]).all()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--set", "momentum=0.9:0.1:3"], "0.9:0.1:3"),
        (
            ["--pruner", "halving:min_resource=3"],
            "SuccessiveHalving: the first segment",
        ),
        (["--pruner", "hyperband"], "Hyperband: "),
        (["--folds", "1000"], "folds of at most the 126 examples of points, got 1000"),
        (["--evolve", "learning_rate=1:1e-3"], "1:1e-3"),
        (
            ["--pruner", "spike:segments=1", "--evolve", "learning_rate=1e-3:1"],
            "got both",
        ),
    ],
)
def test_the_command_refuses_in_a_sentence(tmp_path, capsys, arguments, sentence):
    file, tests = tmp_path / "task.py", toy.__file__.rpartition("/")[0]
    text = f"""
        import sys
        sys.path.insert(0, {tests!r})
        import toy
        task = toy.task()
    """
    file.write_text(textwrap.dedent(text))
    sizes = ["--steps", "12", "--segments", "3", "--out", str(tmp_path / "out")]
    rates = ["--optimizer", "sgd", "--learning-rate", "1e-3:1e-1:4"]
    assert main(["sweep", f"{file}:task", *sizes, *rates, *arguments]) == 2

    shown = capsys.readouterr().err
    assert shown.startswith("jopt: ")
    assert shown.count("\n") == 1
    assert sentence in shown
