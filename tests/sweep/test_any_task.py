"""Promises about tasks that are not supervised learning: any state, any metric."""

import dataclasses
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import specs
import toy

import jopt
from jopt import sweep
from jopt.report import Record, _figures
from jopt.sweep._plan import Plan
from jopt.sweep._trial import stack
from jopt.sweep.engine import StackedTrials

SIZES: dict[str, Any] = {"steps": 12, "segments": 3, "block": 2}
RATES = [0.05, 0.1, 0.2]


def init(config, key):
    return {"at": jax.random.normal(key, (3,)), "moves": jnp.zeros((), jnp.int32)}


def step(config, state, batch, key):
    """Climb -|x|^2 by random search: with no data, and no gradient."""
    assert batch is None
    tried = state["at"] + config["size"] * jax.random.normal(key, (3,))
    better = height(tried) > height(state["at"])
    state = {"at": jnp.where(better, tried, state["at"]), "moves": state["moves"] + 1}
    return state, {"better": better.astype(jnp.float32)}


def evaluate(config, state, batch, key):
    assert batch is None
    return {"height": height(state["at"]), "loss": -height(state["at"])}


def height(x):
    return -jnp.sum(x**2)


def climb(**fields) -> sweep.Task:
    given = {"metric": "height", "mode": "max", **fields}
    return sweep.Task("climb", init, step, evaluate, **given)


def run(task=None, trials=None, **options) -> Any:
    trials = sweep.grid(dict, size=RATES) if trials is None else trials
    return sweep.run(task or climb(), trials, **{**SIZES, **options})


@pytest.fixture(scope="module")
def climbed():
    return run()


def test_a_task_without_data_or_gradients_is_swept(climbed):
    assert climbed.table["status"].tolist() == ["complete"] * 3
    assert (np.diff(climbed.valid["height"], axis=1) >= 0).all()
    assert np.isnan(climbed.curves).all()  # its steps return no loss
    assert list(climbed.valid) == ["height", "loss"]  # what ranks comes first


def test_a_trial_is_its_step_by_hand(climbed):
    init_key, key = jax.random.split(jax.random.fold_in(jax.random.key(0), 0))
    for trial, size in enumerate(RATES):
        config = {"size": jnp.float32(size)}
        state, better = jax.jit(init)(config, init_key), []
        for number in range(12):
            state, seen = step(config, state, None, jax.random.fold_in(key, number))
            better.append(seen["better"])
        chex.assert_trees_all_close(climbed.params(trial), state, rtol=1e-6)
        by_segment = np.reshape(better, (3, 4)).mean(axis=1)
        np.testing.assert_allclose(climbed.train["better"][trial], by_segment)
        assert climbed.table["train_better"][trial] == np.float32(by_segment[-1])


def test_the_greatest_wins_where_the_mode_is_max(climbed):
    heights = climbed.table["valid_height"]
    assert climbed.best.trial == np.argmax(heights) == climbed.top(1)[0]
    assert climbed.best_by("loss") == climbed.best.trial
    assert climbed.best_by("loss", "max") == np.argmin(heights)
    with pytest.raises(ValueError, match="one of height, loss, got 'hight'"):
        climbed.best_by("hight")


def test_a_picture_names_what_ranks(climbed):
    chart = _figures.response(Record.of(climbed), "size")
    assert specs.title(chart, "y") == "validation height after 12 steps"
    tips = [row["tip"] for row in specs.rows(chart, "tip")]
    assert len(tips) == len(climbed.trials)
    assert all("valid_height" in tip and "loss" not in tip for tip in tips)


def test_the_metric_of_a_run_takes_the_place_of_the_tasks():
    result = run(climb(metric="loss", mode="min"), metric="height", mode="max")
    assert result.best.trial == np.argmax(result.table["valid_height"])
    assert (result.metric, result.mode) == ("height", "max")
    with pytest.raises(ValueError, match="mode must be given with the metric 'height'"):
        run(climb(metric="loss", mode="min"), metric="height")


def test_pruners_and_populations_follow_the_mode():
    """Turned, a metric to maximize gives what its negative gives to minimize."""
    trials = sweep.grid(dict, size=np.geomspace(0.01, 0.3, 8).tolist())
    pruner = sweep.SuccessiveHalving(reduction_factor=2)
    up = run(trials=trials, pruner=pruner)
    down = run(climb(metric="loss", mode="min"), trials, pruner=pruner)
    assert up.table["status"].tolist() == down.table["status"].tolist()
    assert "pruned" in up.table["status"]
    evolve = sweep.PopulationBasedTraining({"size": sweep.log_uniform(0.01, 0.3)})
    up = run(trials=trials, population=evolve)
    down = run(climb(metric="loss", mode="min"), trials, population=evolve)
    assert up.lineage.events == down.lineage.events != []


def test_a_counter_of_the_state_is_shared_unless_trials_differ():
    def is_shared(step):
        task = dataclasses.replace(climb(), step=step)
        trials = sweep.grid(dict, size=RATES)
        plan = Plan(task, 1, 12, 3, jax.random.key(0))
        batches = plan.batches(0)[0]
        configs = stack([trial.config for trial in trials])
        given = configs, plan.starts(trials), plan.data(), batches
        stacked = StackedTrials(task, *given)
        _, shared = jax.eval_shape(stacked.start, stacked.configs, stacked.starts)
        return len(shared)

    def counted(config, state, batch, key):
        new, metrics = step(config, state, batch, key)
        moved = jnp.any(new["at"] != state["at"]).astype(jnp.int32)
        return {**new, "moves": state["moves"] + moved}, metrics

    assert is_shared(step) == 1
    assert is_shared(counted) == 0


@pytest.mark.slow("test_sweep.py has steps that segments do not divide")
def test_a_last_segment_that_is_shorter_ends_where_it_should():
    """Steps past the end change nothing of a state, counters included."""
    result = run(steps=11)
    for trial, state in enumerate(
        run(steps=11, segments=11).params(i) for i in range(3)
    ):
        chex.assert_trees_all_close(result.params(trial), state, rtol=1e-6)
        assert result.params(trial)["moves"] == 11
    # Also of what is evaluated and not kept.
    task = dataclasses.replace(
        climb(),
        model=lambda config, state: state["at"],
        evaluate=lambda config, state, batch, key: {
            "height": height(state["at"]),
            "moves": state["moves"].astype(jnp.float32),
        },
    )
    assert run(task, steps=11).table["valid_moves"].tolist() == [11] * 3


def test_static_numbers_are_groups_and_reach_the_functions_as_they_are():
    seen = []

    def width(config, key):
        seen.append(config["width"])
        return {"at": jnp.zeros(config["width"])}

    def move(config, state, batch, key):
        assert config["flat"] in (True, False)  # no tracer
        at = state["at"] + (0 if config["flat"] else config["size"])
        return {"at": at}, {}

    def far(config, state, batch, key):
        return {"loss": -jnp.sum(state["at"])}

    task = sweep.Task("wide", width, move, far)
    grid = {"size": [0.5, 1.0], "width": [2, 3], "flat": [False, True]}
    result = run(task, sweep.grid(dict, static=("width",), **grid))
    assert set(seen) == {2, 3}
    assert result.info["groups"] == 4
    table = result.table
    wanted = np.where(table["flat"], 0, -12 * table["size"] * table["width"])
    np.testing.assert_allclose(table["valid_loss"], wanted)
    assert result.params(result.best.trial)["at"].shape == (3,)


def test_a_static_value_must_be_hashable():
    with pytest.raises(TypeError, match="static values must be hashable"):
        sweep.grid(lambda size: {"size": size, "names": {1, 2}}, size=[0.1])


def test_summaries_are_made_of_means_of_any_shape():
    """The determination and the macro F1 of a line, as in float64 by hand."""
    inputs = np.random.default_rng(0).normal(size=(700, 2)).astype(np.float32)
    targets = inputs @ np.asarray([1.0, -2.0], np.float32) + 0.1

    def scores(params, model_state, batch):
        x, y = batch
        found = x @ params["w"]
        pair = (
            jax.nn.one_hot((y > 0).astype(int), 2),
            jax.nn.one_hot((found > 0).astype(int), 2),
        )
        return {
            "loss": (found - y) ** 2,
            "y": y,
            "y2": y**2,
            "confusion": jnp.einsum("ni,nj->nij", *pair),
        }

    def summarize(config, state, means):
        confusion = means["confusion"]
        right = jnp.diagonal(confusion)
        f1 = 2 * right / (confusion.sum(0) + confusion.sum(1))
        spread = means["y2"] - means["y"] ** 2
        return {"r2": 1 - means["loss"] / spread, "f1": f1.mean()}

    task = sweep.Task.from_loss(
        "line",
        lambda key: ({"w": jnp.zeros(2)}, {}),
        lambda p, s, b, key: (scores(p, s, b)["loss"].mean(), s),
        scores,
        (inputs[:400], targets[:400]),
        (inputs[400:], targets[400:]),
        (inputs[:300], targets[:300]),
        summarize=summarize,
        metric="r2",
        mode="max",
    )
    trials = sweep.grid(jopt.sgd, learning_rate=[0.01, 0.03])
    result: Any = sweep.run(task, trials, **SIZES)
    assert list(result.valid) == ["r2", "loss", "f1", "y", "y2"]

    def by_hand(trial, x, y):
        found = x @ np.asarray(result.params(trial)["w"], float)
        truth, said = y > 0, found > 0
        f1 = [
            2
            * np.sum((truth == side) & (said == side))
            / (np.sum(truth == side) + np.sum(said == side))
            for side in (False, True)
        ]
        return 1 - np.mean((found - y) ** 2) / np.var(y), np.mean(f1)

    for trial in (0, 1):
        wanted = by_hand(trial, inputs[400:], targets[400:].astype(float))
        got = [result.table[f"valid_{name}"][trial] for name in ("r2", "f1")]
        np.testing.assert_allclose(got, wanted, rtol=1e-5)
    wanted = by_hand(result.best.trial, inputs[:300], targets[:300].astype(float))
    got = [result.best.test[name] for name in ("r2", "f1")]
    np.testing.assert_allclose(got, wanted, rtol=1e-5)


BAD = {
    "step, another shape": (
        {"step": lambda c, s, b, k: ({**s, "at": s["at"][:2]}, {})},
        r"state\['at'\] has the shape \[2\], not \[3\]",
    ),
    "step, a leaf more": (
        {"step": lambda c, s, b, k: ({**s, "more": s["at"]}, {})},
        r"state\['more'\] is new",
    ),
    "step, no pair": ({"step": lambda c, s, b, k: s}, "must return .state, metrics."),
    "step, metrics of a shape": (
        {"step": lambda c, s, b, k: (s, {"loss": s["at"]})},
        r"a dict of scalars by name, got \{loss: float32\[3\]\}",
    ),
    "evaluate, a shape": (
        {"evaluate": lambda c, s, b, k: {"height": s["at"]}},
        "scalars by name, as there are no examples to validate on, got",
    ),
    "evaluate, another metric": (
        {"evaluate": lambda c, s, b, k: {"heights": s["at"][0]}},
        r"the metric 'height' must be among .* got heights \(did you mean",
    ),
    "summarize, a shape": (
        {"summarize": lambda c, s, means: {"f1": s["at"]}},
        r"summarize must return scalars by name, got \{f1: float32\[3\]\}",
    ),
    "init, no array": ({"init": lambda c, k: {}}, "a state with no leaves"),
}


@pytest.mark.parametrize("name", BAD)
def test_functions_that_do_not_fit_are_refused(name):
    changes, sentence = BAD[name]
    task = dataclasses.replace(climb(), **changes)
    with pytest.raises(ValueError, match=f"^Task climb: .*{sentence}"):
        run(task)


def test_a_mode_that_is_no_word_is_refused():
    with pytest.raises(ValueError, match="mode"):
        climb(mode="highest")
    with pytest.raises(TypeError, match='mode must be "min" or "max"'):
        run(mode="highest")


def test_steps_must_be_given_without_data():
    with pytest.raises(ValueError, match="steps must be given, as climb has no"):
        run(steps=None)
    with pytest.raises(ValueError, match="folds needs training and validation"):
        run(folds=2)


@pytest.mark.slow("test_resume.py resumes bit for bit")
def test_a_resumed_sweep_of_any_task_is_the_same(tmp_path, climbed):
    def stop(now):
        if now.number == 2:
            raise KeyboardInterrupt

    trials = sweep.grid(dict, size=RATES)
    with pytest.raises(KeyboardInterrupt):
        run(directory=tmp_path, callbacks=[stop])
    again: Any = sweep.resume(tmp_path, climb(), trials)
    chex.assert_trees_all_equal(again.valid, climbed.valid)
    chex.assert_trees_all_equal(again.train, climbed.train)
    assert again.best == climbed.best
    again.save(tmp_path / "saved")
    assert (tmp_path / "saved" / "report.html").exists()


def test_equal_tasks_are_equal_and_share_a_program():
    def made(offset):
        return dataclasses.replace(
            climb(),
            step=lambda c, s, b, k: (jax.tree.map(lambda x: x, s), {"o": offset}),
        )

    assert made(1.0) == made(1.0)
    assert made(1.0) != made(2.0)
    factory = lambda size, offset: sweep.Setup({"size": size}, made(offset))  # noqa: E731
    trials = sweep.grid(factory, size=RATES, offset=[1.0])
    assert run(trials=trials).info["groups"] == 1


def test_an_augmentation_draws_from_another_key_than_the_loss_in_training_alone():
    def loss_fn(params, batch, key):
        return params * 0 + jnp.abs(batch.mean() - jax.random.uniform(key))

    task = sweep.Task.from_model(
        "draws",
        lambda key: jnp.zeros(()),
        loss_fn,
        lambda params, batch: {"loss": batch + 0 * params},
        train=jnp.ones(8),
        valid=jnp.full(8, 3.0),
        batch_size=4,
    )
    drawn = lambda batch, key: 0 * batch + jax.random.uniform(key)  # noqa: E731

    def factory(learning_rate):
        return sweep.Supervised(jopt.sgd(learning_rate), augment=drawn)

    result: Any = sweep.run(task, sweep.grid(factory, learning_rate=[0.1]), steps=3)
    assert (result.curves > 1e-3).all()
    assert len(np.unique(result.curves)) == 3
    assert result.best.valid["loss"] == 3.0


def test_the_loss_and_the_augmentation_of_a_config_are_used():
    def loss_fn(params, batch, key, weight):
        return weight["of"] * toy.loss(params, {"seen": 0.0}, batch, key)[0]

    def dimmed(factor):
        return jax.tree_util.Partial(
            lambda f, batch, key: (f * batch[0], batch[1]), factor
        )

    def factory(of, factor):
        return sweep.Supervised(jopt.sgd(0.1), {"of": of}, dimmed(factor))

    task = sweep.Task.from_model(
        "points",
        lambda key: toy.init(key)[0],
        loss_fn,
        lambda params, batch: toy.evaluate(params, None, batch),
        train=toy.points(),
        valid=toy.points(30, seed=1),
        batch_size=16,
    )
    trials = sweep.grid(factory, of=[1.0, 2.0], factor=[1.0, 0.0])
    result: Any = sweep.run(task, trials, **SIZES)
    assert result.info["groups"] == 1
    first = result.curves[:, 0]
    assert first[2] == pytest.approx(2 * first[0])
    assert first[1] == pytest.approx(np.log(2), rel=1e-6)  # nothing is seen
