"""Promises about sweeps that begin from given weights and train a part of them."""

import re
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from told import TASK

import jopt
from jopt import sweep
from jopt.sweep._plan import Plan
from jopt.sweep._task import kept
from jopt.sweep._trial import stack
from jopt.sweep.engine import StackedTrials
from jopt.sweep.engine._devices import bytes_needed, bytes_of
from jopt.sweep.engine._program import Program

WIDTH, RANK = 64, 2
RNG = np.random.default_rng(0)
DATA = (
    RNG.normal(size=(32, 8)).astype(np.float32),
    RNG.normal(size=(32, 3)).astype(np.float32),
)
SIZES: dict[str, Any] = {"steps": 6, "segments": 3}


class Net(nnx.Module):
    def __init__(self, rngs, width=WIDTH):
        self.first = nnx.Linear(8, width, rngs=rngs)
        self.norm = nnx.BatchNorm(width, rngs=rngs)
        hidden = nnx.Linear(width, width, rngs=rngs)
        self.hidden = nnx.LoRA(width, RANK, width, base_module=hidden, rngs=rngs)
        self.drop = nnx.Dropout(0.1, rngs=rngs)
        self.last = nnx.Linear(width, 3, rngs=rngs)

    def __call__(self, x):
        x = jnp.tanh(self.norm(self.first(x)))
        return self.last(self.drop(jnp.tanh(self.hidden(x))))


def make(key):
    return Net(nnx.Rngs(key))


def loss_fn(model, batch, key):
    return jnp.mean((model(batch[0]) - batch[1]) ** 2)


def evaluate(model, batch):
    return {"loss": jnp.mean((model(batch[0]) - batch[1]) ** 2, axis=-1)}


def task(start, **options):
    given = {"train": DATA, "valid": DATA, "test": DATA, "batch_size": 8, **options}
    given = {"wrt": nnx.LoRAParam, **given}
    return sweep.Task.from_model("tuned", make, loss_fn, evaluate, start=start, **given)


def trials(number=4):
    rates = np.geomspace(1e-3, 1e-1, number)
    return sweep.grid(jopt.adamw, learning_rate=rates)


def arrays(tree):
    """Return the arrays of a model or a tree by their paths."""
    if isinstance(tree, nnx.Module):
        tree = nnx.state(tree, nnx.Param)
    flat = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in flat}


@pytest.fixture(scope="module")
def base():
    return Net(nnx.Rngs(7))


@pytest.fixture(scope="module")
def tuned(base):
    return sweep.run(task(base), trials(), **SIZES, seeds=2, block=4)


def test_adapters_are_trained_and_the_base_stays_as_it_was(base, tuned):
    given = arrays(base)
    seen = [arrays(tuned.params(trial)) for trial in range(8)]
    for path, array in given.items():
        every = [params[path] for params in seen]
        if "lora" in path:
            assert not any(np.array_equal(array, trained) for trained in every)
        else:
            assert all(np.array_equal(array, trained) for trained in every)
    assert tuned.table["status"].tolist() == ["complete"] * 8
    assert np.isfinite(tuned.best.test["loss"])


def test_a_trial_is_train_step_alone(base):
    result = sweep.run(task(base), trials(1), **SIZES, block=1, shuffle="sweep")
    plan = Plan(task(base), 8, 6, 3, jax.random.key(0), shuffle="sweep")
    start = plan.starts(trials(1))
    state = jopt.TrainState.create(
        task_model(base, start.init_keys[0]),
        jopt.adamw(1e-3),
        start.keys[0],
        wrt=nnx.LoRAParam,
        buckets=False,
    )
    step, losses = jopt.train_step(loss_fn), []
    for segment in range(3):
        for rows in plan.batches(segment)[0].rows:
            state, metrics = step(state, jax.tree.map(lambda x, r=rows: x[r], DATA))
            losses.append(metrics.loss)
    np.testing.assert_allclose(result.curves[0], np.asarray(losses), rtol=1e-5)


def task_model(base, key):
    """Return the model of a seed with the base's arrays; its random numbers stay."""
    model = make(key)
    nnx.update(model, nnx.state(base, nnx.Param))
    return model


def test_parameters_that_are_not_given_are_each_seed_s_own(base):
    given = nnx.state(base, lambda path, leaf: "lora_a" not in path)
    given = nnx.filter_state(given, nnx.Param)
    result = sweep.run(task(given), trials(1), **SIZES, seeds=2)
    first, second = (arrays(result.params(trial)) for trial in (0, 1))
    differ = {path for path in first if not np.array_equal(first[path], second[path])}
    assert differ == {path for path in first if "lora" in path}


def compiled(own, number):
    """Return the trials and the program of a block of all of them."""
    plan = Plan(own, own.batch_size, 6, 3, jax.random.key(0))
    members, call = trials(number), plan.batches(0)[0]
    configs = stack([trial.config for trial in members])
    stacked = StackedTrials(own, configs, plan.starts(members), plan.data(), call)
    return stacked, Program(stacked, number, call)


def test_no_parameter_of_the_program_has_the_base_s_shape_and_a_trial_axis(base):
    stacked, program = compiled(task(base), 16)
    fixed = [leaf.shape for leaf in stacked.data.fixed]
    assert {(WIDTH, WIDTH), (8, WIDTH), (WIDTH, 3)} <= set(fixed)
    text = program.text
    header = next(line for line in text.splitlines() if "entry_computation" in line)
    shape = re.compile(r"f32\[([\d,]+)\]")
    shapes = {tuple(map(int, found.split(","))) for found in shape.findall(header)}
    assert (WIDTH, WIDTH) in shapes  # the base itself
    assert (16, WIDTH, RANK) in shapes  # an adapter of each trial
    assert not {(16, *one) for one in fixed if len(one) > 1} & shapes


def test_the_peak_is_one_base_and_what_each_trial_trains():
    size, number = 1500, 64
    rows = RNG.normal(size=(32, size)).astype(np.float32)

    def make(key):
        return {"base": jnp.zeros((size, size)), "scale": jnp.zeros(size)}

    def apply(params, x):
        return (x @ params["base"]) * params["scale"][None]

    own = sweep.Task.from_model(
        "scaled",
        make,
        lambda params, x, key: jnp.mean((apply(params, x) - x) ** 2),
        lambda params, x: {"loss": jnp.mean((apply(params, x) - x) ** 2, axis=1)},
        train=rows,
        valid=rows[:4],
        start={"base": RNG.normal(size=(size, size)).astype(np.float32)},
        wrt=lambda path, leaf: path == "scale",
        batch_size=1,
    )
    stacked, program = compiled(own, number)
    base, trained = 4 * size**2, 4 * size * 3  # the scale, mu and nu
    assert bytes_of(stacked.data.fixed) == pytest.approx(base, rel=0.01)
    assert bytes_of(program.shapes[0]) == pytest.approx(number * trained, rel=0.01)
    peak = bytes_needed(program._trains[0]) - bytes_of(stacked.data.train)
    assert peak < 1.1 * (base + number * trained)


def test_the_results_hold_one_copy_of_the_base(tuned):
    ((_, models),) = tuned._models
    (kernel,) = jax.tree.leaves(models.params["hidden"]["base_module"]["kernel"])
    assert kernel.shape == (8, WIDTH, WIDTH)
    assert kernel.strides[0] == 0


@pytest.mark.slow("the other forms are made into the same tree", but=2)
@pytest.mark.parametrize("saved", ["module", "result", "checkpoint", "state"])
def test_it_begins_from_any_form_of_the_weights(saved, base, tuned, tmp_path):
    tuned.save(tmp_path, keep=1)
    best = tuned.model(tuned.best.trial)
    start = {
        "module": base,
        "result": best,
        "checkpoint": tmp_path / "best" / "1",
        "state": nnx.state(base, nnx.Param),
    }[saved]
    own = task(start)
    tx = jopt.sgd(0.1)
    model: Any = kept(own, tx, own.init(tx, jax.random.key(3)))
    expected = base if saved in ("module", "state") else best.params
    given, ours = arrays(expected), arrays(model.params)
    assert given.keys() == ours.keys()
    for path in given:
        np.testing.assert_array_equal(given[path], ours[path])
    if saved in ("result", "checkpoint"):  # batch statistics come with them
        ours, given = (m.model_state["norm"]["mean"] for m in (model, best))
        chex.assert_trees_all_equal(ours, given)


def test_linen_and_trees_begin_from_given_weights():
    module = linen.Dense(3)
    given = module.init(jax.random.key(9), DATA[0])
    forms = {
        "linen": (
            lambda key: module.init(key, DATA[0]),
            lambda model, batch, key: loss_fn(
                lambda x: module.apply(model, x), batch, key
            ),
            lambda model, batch: evaluate(lambda x: module.apply(model, x), batch),
            given,
        ),
        "tree": (
            lambda key: {"w": jax.random.normal(key, (8, 3)), "b": jnp.zeros(3)},
            lambda model, batch, key: loss_fn(
                lambda x: x @ model["w"] + model["b"][None], batch, key
            ),
            lambda model, batch: evaluate(
                lambda x: x @ model["w"] + model["b"][None], batch
            ),
            {"w": given["params"]["kernel"]},
        ),
    }
    for name, (own_make, own_loss, own_evaluate, start) in forms.items():
        made = sweep.Task.from_model(
            name,
            own_make,
            own_loss,
            own_evaluate,
            train=DATA,
            valid=DATA,
            start=start,
            wrt=lambda path, leaf: path in ("b", "bias"),
            batch_size=8,
        )
        result = sweep.run(made, trials(2), **SIZES)
        for trial in (0, 1):
            params = result.params(trial)
            kernel = params["kernel"] if name == "linen" else params["w"]
            np.testing.assert_array_equal(kernel, given["params"]["kernel"])


@pytest.mark.slow("sweeps are resumed in their own quick tests")
def test_a_sweep_from_given_weights_is_resumed(base, tmp_path):
    def stop(segment):
        if segment.number == 2:
            raise KeyboardInterrupt

    whole = sweep.run(task(base), trials(), **SIZES, block=2)
    with pytest.raises(KeyboardInterrupt):
        sweep.run(
            task(base), trials(), **SIZES, block=2, directory=tmp_path, callbacks=[stop]
        )
    resumed = sweep.resume(tmp_path, task(base), trials())
    chex.assert_trees_all_equal(resumed.table, whole.table)
    other = Net(nnx.Rngs(8))
    with pytest.raises(ValueError, match="task tuned: init is another function"):
        sweep.resume(tmp_path, task(other), trials())


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (lambda: {"tail": np.zeros(3)}, "start has tail, and the model has no such"),
        (
            lambda: {"last": {"kernel": np.zeros((WIDTH, 4), np.float32)}},
            r"got \[64, 4\] at last/kernel, where the model has \[64, 3\]",
        ),
        (lambda: {}, "start must have arrays of parameters, got none"),
    ],
)
def test_weights_of_another_model_are_a_sentence(start, words):
    with pytest.raises(ValueError, match=words):
        task(start())


def test_a_missing_or_foreign_checkpoint_is_a_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match="start must be a saved model, got"):
        task(tmp_path / "none")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(
        ValueError, match=r"start must be a checkpoint that result.save wrote"
    ):
        task(tmp_path)


def test_only_supervised_learning_begins_from_a_model_or_has_a_teacher():
    for begin in (lambda: TASK.starting_from({}), lambda: TASK.taught_by({})):
        with pytest.raises(
            ValueError, match="told: the task must be one of supervised"
        ):
            begin()
