"""Promises about errors of the user's own code: they come out as they are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

import jopt
from jopt import sweep
from jopt.cli import main


class Broken(Exception):
    def __init__(self, row, why):
        super().__init__(f"row {row} is {why}")


class Unlike(ValueError):
    """One that cannot be made anew of a sentence alone."""

    def __init__(self, row, why):
        super().__init__(f"row {row} is {why}")


ERRORS = {
    Broken: lambda: Broken(17, "broken"),
    Unlike: lambda: Unlike(17, "broken"),
    StopIteration: StopIteration,
    OSError: lambda: OSError(28, "no"),
}


class Raises:
    """A function that raises from its n-th call on, and before is another."""

    def __init__(self, error, function=None, call=1):
        self.error, self.function, self.left = error, function, call

    def __call__(self, *args, **kwargs):
        self.left -= 1
        if self.left <= 0:
            raise self.error
        return self.function(*args, **kwargs)  # pyright: ignore[reportOptionalCall]

    def __repr__(self):
        return "Raises()"


class Judge(sweep.Pruner):
    def __init__(self, error):
        self.error = error

    def check(self, segments, settings):
        pass

    def keep(self, observations):
        raise self.error

    def __repr__(self):
        return "Judge()"


class Breeds:
    def __init__(self, error):
        self.error = error

    def check(self, segments, settings):
        pass

    def reachable(self, setting):
        return [setting]

    def due(self, segment, segments):
        return True

    def step(self, values, settings, random, segment):
        raise self.error

    def __repr__(self):
        return "Breeds()"


def run(task=None, factory=jopt.sgd, **options):
    trials = sweep.grid(factory, learning_rate=[0.1, 0.2])
    options = {"steps": 4, "segments": 2, "block": 2, **options}
    return sweep.run(toy.task() if task is None else task, trials, **options)


CASES = {
    "factory": (
        lambda e: {"factory": Raises(e)},
        r"In the trial with learning_rate=0.1",
    ),
    "init": (
        lambda e: {"task": toy.task(init=Raises(e))},
        "In init of the task points",
    ),
    "loss": (
        lambda e: {"task": toy.task(loss=Raises(e))},
        "In step of the task points, on a batch of train",
    ),
    "evaluate": (
        lambda e: {"task": toy.task(evaluate=Raises(e))},
        "In evaluate of the task points, on the first examples of train",
    ),
    "init, later": (
        lambda e: {"task": toy.task(init=Raises(e, toy.init, 3))},
        r"In the program of trials 0, 1 \(points\)",
    ),
    "loss, later": (
        lambda e: {"task": toy.task(loss=Raises(e, toy.loss, 2))},
        r"In the program of trials 0, 1 \(points\)",
    ),
    "evaluate, later": (
        lambda e: {"task": toy.task(evaluate=Raises(e, toy.evaluate, 4))},
        r"In the program of trials 0, 1 \(points\)",
    ),
    "progress": (
        lambda e: {"progress": Raises(e)},
        "In progress, after a block of segment 1",
    ),
    "callback": (
        lambda e: {"callbacks": [Raises(e, lambda now: None, 2)]},
        r"In the callback Raises\(\) after segment 2",
    ),
    "pruner": (lambda e: {"pruner": Judge(e)}, r"In Judge\(\) after segment 1"),
    "population": (
        lambda e: {"population": Breeds(e)},
        r"In Breeds\(\) after segment 1",
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(
            e, marks=[] if e is Broken else pytest.mark.slow("errors are alike")
        )
        for e in ERRORS
    ],
)
def test_an_error_of_the_users_comes_out_as_it_is_with_a_note(name, kind):
    options, note = CASES[name]
    error = ERRORS[kind]()
    with pytest.raises(kind, match=note) as raised:
        run(**options(error))
    assert raised.value is error


def test_a_stop_of_an_iterator_in_the_users_code_is_no_end_of_ours():
    error = StopIteration()
    with pytest.raises(StopIteration) as raised:
        run(toy.task(evaluate=Raises(error, toy.evaluate, 2)))
    assert raised.value is error


def test_an_init_that_looks_at_the_key_is_told_not_to():
    def init(key):
        width = 5 if jax.random.uniform(key) < 0.5 else 6
        return {"hidden": jnp.zeros((2, width)), "out": jnp.zeros((width, 2))}, {}

    with pytest.raises(TypeError, match=r"must not look at the key but by jax\.random"):
        run(toy.task(init=init))


def test_data_that_evaluate_cannot_take_are_named():
    test = np.zeros((3, 2), np.float32)
    with pytest.raises(TypeError, match="first examples of test; it must take train"):
        run(toy.task(test=test))


def test_what_a_source_raises_comes_out(tmp_path, monkeypatch):
    task = toy.task(source="toy:task")
    sweep.run(task, sweep.grid(jopt.sgd, learning_rate=[0.1]), steps=2, block=1,
              segments=1, directory=tmp_path)  # fmt: skip
    error = TypeError("of the task's own")
    monkeypatch.setattr(toy, "task", Raises(error))
    with pytest.raises(TypeError, match="In toy:task, by which") as raised:
        sweep.resume(tmp_path, trust=True)
    assert raised.value is error


def test_an_error_in_a_call_of_the_host_says_which_trial():
    def read(x):
        if x > 1:
            raise Broken(17, "broken")
        return np.float32(0)

    def loss(params, state, batch, key):
        value, state = toy.loss(params, state, batch, key)
        shape = jax.ShapeDtypeStruct((), jnp.float32)
        seen = jax.pure_callback(
            read, shape, state["seen"] / 32, vmap_method="sequential"
        )
        return value + seen, state

    with pytest.raises(jax.errors.JaxRuntimeError, match="row 17 is broken") as raised:
        run(toy.task(loss=loss), block=1)
    assert "In segment 2 of trial 0." in raised.value.__notes__


def test_what_was_written_before_an_error_is_gone_on_from(tmp_path):
    whole = run()
    trials = sweep.grid(jopt.sgd, learning_rate=[0.1, 0.2])
    with pytest.raises(Broken):
        run(directory=tmp_path, callbacks=[Raises(ERRORS[Broken]())])
    again = sweep.resume(tmp_path, toy.task(), trials)
    np.testing.assert_array_equal(again.curves, whole.curves)


MINE = """
import jax
import jax.numpy as jnp
import numpy as np
import toy

def read(seen):
    if seen > 40:
        raise RuntimeError("row 17 is broken")
    return np.float32(0)

def loss(params, state, batch, key):
    value, state = toy.loss(params, state, batch, key)
    shape = jax.ShapeDtypeStruct((), jnp.float32)
    return value + jax.pure_callback(
        read, shape, state["seen"], vmap_method="sequential"), state

task = toy.task(loss=loss)
"""


def test_the_command_says_the_users_error_its_line_and_how_to_go_on(tmp_path, capsys):
    file, out = tmp_path / "mine.py", tmp_path / "out"
    file.write_text(MINE)
    size = ["--steps", "4", "--segments", "2", "--block", "1", "--learning-rate", "0.1"]
    assert main(["sweep", f"{file}:task", *size, "--out", str(out)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    for words in (
        f"at {file}, line 9: RuntimeError: row 17 is broken.",
        "In segment 2 of trial 0.",
        f"Go on with: jopt sweep --resume {out}",
    ):
        assert words in error
    assert (out / "record" / "checkpoints" / "0").is_dir()
