"""Promises about a rank that is data: the same training, and one program for all."""

import re
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

import jopt
from jopt import sweep
from jopt.sweep._plan import Plan
from jopt.sweep._trial import stack
from jopt.sweep.engine import StackedTrials
from jopt.sweep.engine._program import Program

WIDTH, RANK = 64, 8
RNG = np.random.default_rng(0)
DATA = (
    RNG.normal(size=(32, 12)).astype(np.float32),
    RNG.normal(size=(32, 10)).astype(np.float32),
)
SIZES: dict[str, Any] = {"steps": 6, "segments": 2}


class Net(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(12, WIDTH, rngs=rngs)
        self.hidden = nnx.Linear(WIDTH, WIDTH, rngs=rngs)
        self.last = nnx.Linear(WIDTH, 10, rngs=rngs)

    def __call__(self, x):
        return self.last(jnp.tanh(self.hidden(jnp.tanh(self.first(x)))))


def loss_fn(model, batch, key):
    return jnp.mean((model(batch[0]) - batch[1]) ** 2)


def evaluate(model, batch):
    return {"loss": jnp.mean((model(batch[0]) - batch[1]) ** 2, axis=-1)}


BASE = Net(nnx.Rngs(7))


def task(adapt=jopt.lora):
    return sweep.Task.from_model(
        "adapted",
        lambda key: adapt(BASE, RANK, key=key),
        loss_fn,
        evaluate,
        train=DATA,
        valid=DATA,
        test=DATA,
        wrt=nnx.LoRAParam,
        batch_size=8,
    )


def tx(learning_rate, rank):
    return jopt.limit_rank(jopt.adamw(learning_rate, weight_decay=0.1), rank)


def narrowed(path, leaf, rank):
    """Return an adapter's first columns."""
    name = jax.tree_util.keystr(path)
    if "lora_a" in name:
        return leaf[..., :rank]
    return leaf[:rank] if "lora_b" in name else leaf


@pytest.mark.slow("the other models take the same path", but=1)
@pytest.mark.parametrize("adapt", [jopt.lora, jopt.dora])
@pytest.mark.parametrize(
    "inner",
    [
        lambda: jopt.chain(jopt.clip_by_global_norm(0.1), jopt.adamw(0.05)),
        lambda: jopt.lamb(0.05, weight_decay=0.1),
        lambda: jopt.schedule_free_adamw(0.05, warmup_steps=2),
    ],
    ids=["clipped", "lamb", "schedule_free"],
)
def test_it_trains_as_adapters_of_that_rank_do(adapt, inner):
    params = {"kernel": RNG.normal(size=(6, 5)).astype(np.float32)}
    x, y = (RNG.normal(size=(8, n)).astype(np.float32) for n in (6, 5))
    model = adapt(params, 4, alpha=4.0)
    rank = 2
    small = jax.tree_util.tree_map_with_path(
        lambda path, leaf: narrowed(path, leaf, rank), model
    )

    def loss_fn(model, batch, key):
        return jnp.mean((x @ jopt.merge(model)["kernel"] - y) ** 2)

    runs = []
    for tx, start in ((jopt.limit_rank(inner(), rank), model), (inner(), small)):
        wrt = lambda path, leaf: "lora_" in path  # noqa: E731
        state = jopt.TrainState.create(start, tx, wrt=wrt)
        step, losses = jopt.train_step(loss_fn), []
        for _ in range(4):
            state, metrics = step(state, x)
            losses.append(metrics.loss)
        runs.append((state, losses))
    (limited, ours), (plain, theirs) = runs
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    for params in ("params", "eval_params"):
        adapters = getattr(limited, params).adapters
        cut = jax.tree_util.tree_map_with_path(
            lambda path, leaf: narrowed(path, leaf, rank), adapters
        )
        other = getattr(plain, params).adapters
        chex.assert_trees_all_close(cut, other, rtol=1e-5, atol=1e-6)
        before, after = (
            t["kernel"].lora_a[:, rank:] for t in (model.adapters, adapters)
        )
        np.testing.assert_array_equal(before, after)
        assert not adapters["kernel"].lora_b[rank:].any()


@pytest.fixture(scope="module")
def swept():
    trials = sweep.grid(tx, learning_rate=[1e-3, 1e-2], rank=[1, 2, 8])
    return sweep.run(task(), trials, **SIZES, block=6)


def test_a_sweep_over_rate_and_rank_is_one_program(swept):
    assert swept.info["segment_compiles"] == swept.info["groups"] == 1
    assert swept.table["status"].tolist() == ["complete"] * 6
    assert len(set(swept.table["valid_loss"].tolist())) == 6
    for trial, rank in enumerate(swept.table["rank"].tolist()):
        adapter = swept.params(trial)["hidden"]["dot_general"]
        rows = np.asarray(adapter["lora_b"][...]).any(axis=1)
        assert rows.tolist() == [column < rank for column in range(RANK)]


def test_every_trial_has_the_base_as_it_was(swept):
    for trial in range(6):
        params = swept.params(trial)
        for name in ("first", "hidden", "last"):
            given = getattr(BASE, name).kernel[...]
            np.testing.assert_array_equal(params[name]["kernel"][...], given)
    ((_, models),) = swept._models
    (kernel,) = jax.tree.leaves(models.params["hidden"]["kernel"])
    assert kernel.shape == (6, WIDTH, WIDTH)
    assert kernel.strides[0] == 0  # one copy for all


@pytest.mark.slow("adapters are merged in their own quick test")
def test_a_trial_of_the_sweep_is_merged_to_a_plain_model(swept):
    built = jopt.lora(BASE, RANK)
    nnx.update(built, swept.params(0))
    merged = jopt.merge(built)
    assert nnx.graphdef(merged) == nnx.graphdef(BASE)
    loss = np.mean((merged(DATA[0]) - DATA[1]) ** 2)
    np.testing.assert_allclose(loss, swept.table["valid_loss"][0], rtol=1e-5)


@pytest.mark.slow("a sweep over ranks runs in one program in the quick run")
@pytest.mark.parametrize("adapt", [jopt.lora, jopt.dora])
def test_no_array_of_the_program_has_a_kernel_s_size_and_a_trial_axis(adapt):
    own = task(adapt)
    trials = sweep.grid(tx, learning_rate=np.geomspace(1e-3, 1e-1, 4), rank=[1, 4])
    plan = Plan(own, own.batch_size, 6, 3, jax.random.key(0))
    call = plan.batches(0)[0]
    configs = stack([trial.config for trial in trials])
    stacked = StackedTrials(own, configs, plan.starts(trials), plan.data(), call)
    fixed = [leaf.shape for leaf in stacked.data.fixed]
    assert fixed.count((WIDTH, WIDTH)) == 1
    text = Program(stacked, 8, call).text
    shapes = {
        tuple(map(int, found.split(",")))
        for found in re.findall(r"f32\[([\d,]+)\]", text)
    }
    assert (8, WIDTH, RANK) in shapes  # an adapter of each trial
    assert not {(8, WIDTH, WIDTH), (WIDTH, 8, WIDTH), (WIDTH, WIDTH, 8)} & shapes
    assert (8 * WIDTH, WIDTH) not in shapes


@pytest.mark.slow("nnx's do in the quick run")
def test_linen_s_variables_share_their_base_too():
    module = linen.Dense(10)
    variables = module.init(jax.random.key(0), DATA[0])
    apply = lambda model, x: module.apply(jopt.merge(model), x)  # noqa: E731
    own = sweep.Task.from_model(
        "linen",
        lambda key: jopt.lora(variables, 4, key=key),
        lambda model, batch, key: jnp.mean((apply(model, batch[0]) - batch[1]) ** 2),
        lambda model, batch: {
            "loss": jnp.mean((apply(model, batch[0]) - batch[1]) ** 2, axis=-1)
        },
        train=DATA,
        valid=DATA,
        wrt=lambda path, leaf: "lora_" in path,
        batch_size=8,
    )
    result = sweep.run(own, sweep.grid(tx, learning_rate=[1e-2], rank=[1, 4]), **SIZES)
    assert result.info["segment_compiles"] == 1
    for trial in (0, 1):
        kernel = result.params(trial).base["kernel"]
        np.testing.assert_array_equal(kernel, variables["params"]["kernel"])
    assert len(set(result.table["valid_loss"].tolist())) == 2


def test_a_sweep_begins_from_the_weights_of_a_plain_model():
    """The paths of the base are the plain model's, so `start` takes it as it is."""
    own = sweep.Task.from_model(
        "started",
        lambda key: jopt.lora(Net(nnx.Rngs(key)), RANK, key=key),
        loss_fn,
        evaluate,
        train=DATA,
        valid=DATA,
        start=BASE,
        wrt=nnx.LoRAParam,
        batch_size=8,
    )
    assert own.model is not None
    model = own.model(jopt.sgd(0.1), own.init(jopt.sgd(0.1), jax.random.key(3)))
    kernel = model.params["hidden"]["kernel"]
    np.testing.assert_array_equal(jax.tree.leaves(kernel)[0], BASE.hidden.kernel[...])


@pytest.mark.parametrize(
    ("rank", "params", "words"),
    [
        (0, {}, "LimitRank: rank must be at least 1, got 0"),
        (5, {"lora_a": np.ones((3, 4))}, "at most 4, the number of columns, got 5"),
        (2, {"w": np.ones((3, 4))}, "leaves named lora_a or lora_b, .* there are w"),
    ],
)
def test_a_rank_that_cannot_be_is_a_sentence(rank, params, words):
    with pytest.raises(ValueError, match=words):
        jopt.limit_rank(jopt.sgd(0.1), rank).init(params)
