"""A chex dataclass is trained as a dict: as params, as model state and as a batch."""

from types import SimpleNamespace
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

import jopt
from jopt import sweep
from jopt.sweep._supervised import training_of
from jopt.training import TrainState, train_step, train_steps

INPUTS, LABELS = map(jnp.asarray, toy.points(16))
TX = jopt.chain(jopt.clip_by_global_norm(0.5), jopt.adamw(0.03))
TRIALS = sweep.grid(jopt.adamw, learning_rate=[0.01, 0.1, 0.3])
SIZES: dict[str, Any] = {"steps": 12, "segments": 3, "block": 3}


def classes(**settings: Any) -> Any:
    """The chex dataclasses of a model, of what it has seen, and of examples."""

    @chex.dataclass(**settings)
    class Layers:
        out: Any  # not in the order of the names, in which a dict has its leaves
        hidden: Any

    @chex.dataclass(**settings)
    class Seen:
        seen: Any

    @chex.dataclass(**settings)
    class Examples:
        labels: Any
        inputs: Any

    return SimpleNamespace(layers=Layers, seen=Seen, examples=Examples)


DICTS = SimpleNamespace(layers=dict, seen=dict, examples=dict)
CLASSES = {
    "default": classes(),
    "frozen": classes(frozen=True),
    "no mapping": classes(mappable_dataclass=False),
}


@pytest.fixture(params=CLASSES)
def kind(request):
    return CLASSES[request.param]


def fields(node: Any) -> dict[str, Any]:
    """The fields of a dataclass, or a dict itself, as a dict."""
    return node if isinstance(node, dict) else dict(vars(node))


def pair(batch: Any) -> tuple[Any, Any]:
    return fields(batch)["inputs"], fields(batch)["labels"]


def task_of(kind: Any) -> sweep.Task:
    """The small task, whose trees are of these classes."""

    def init(key):
        params, model_state = toy.init(key)
        return kind.layers(**params), kind.seen(**model_state)

    def loss(params, model_state, batch, key):
        assert type(params) is kind.layers
        assert type(model_state) is kind.seen
        assert type(batch) is kind.examples
        value, changed = toy.loss(fields(params), fields(model_state), pair(batch), key)
        return value, kind.seen(**changed)

    def evaluate(params, model_state, batch):
        return toy.evaluate(fields(params), fields(model_state), pair(batch))

    def examples(size, seed=0):
        inputs, labels = toy.points(size, seed)
        return kind.examples(inputs=inputs, labels=labels)

    splits = {
        "train": examples(96),
        "valid": examples(30, seed=1),
        "test": examples(30, seed=2),
    }
    return toy.task(init=init, loss=loss, evaluate=evaluate, **splits)


def batch_of(kind: Any) -> Any:
    return kind.examples(inputs=INPUTS, labels=LABELS)


def trained(kind: Any, **options: Any) -> Any:
    """The state and the metrics after three steps on params alone."""
    task = task_of(kind)

    def loss(params, batch, key):
        return training_of(task).loss(
            params, kind.seen(seen=jnp.zeros(())), batch, key
        )[0]

    params, _ = training_of(task).start(jax.random.key(0))
    state, metrics = TrainState.create(params, TX), None
    step = train_step(loss, **options)
    for _ in range(3):
        state, metrics = step(state, batch_of(kind))
    return state, metrics


@pytest.mark.slow("other kinds of dataclass differ in their options alone", but=1)
@pytest.mark.parametrize("options", [{}, {"accumulate": 2}], ids=["whole", "in parts"])
def test_params_and_batches_are_trained_as_a_dict_is(kind, options):
    state, metrics = trained(kind, **options)
    expected, of_dicts = trained(DICTS, **options)

    assert type(state.params) is type(state.model) is kind.layers
    chex.assert_trees_all_equal(fields(state.params), expected.params)
    chex.assert_trees_all_equal(metrics, of_dicts)
    moments = state.by_leaf().opt_state[1][0]
    assert type(moments.mu) is type(moments.nu) is kind.layers
    wanted = expected.by_leaf().opt_state[1][0]
    chex.assert_trees_all_equal(fields(moments.mu), wanted.mu)
    chex.assert_trees_all_equal(fields(moments.nu), wanted.nu)


@pytest.mark.slow("other kinds of dataclass differ in their options alone", but=1)
def test_a_model_state_is_changed_as_a_dict_is(kind):
    def after(kind):
        task = task_of(kind)

        def loss(variables, batch, key):
            value, changed = training_of(task).loss(
                variables["params"], variables["counts"], batch, key
            )
            return value, {"counts": changed}

        params, seen = training_of(task).start(jax.random.key(0))
        state = TrainState.create({"params": params, "counts": seen}, TX)
        batches = jax.tree.map(lambda x: jnp.stack([x] * 3), batch_of(kind))
        return train_steps(loss)(state, batches)

    (state, metrics), (expected, of_dicts) = after(kind), after(DICTS)

    assert type(state.params) is type(state.model["params"]) is kind.layers
    assert type(state.model_state["counts"]) is kind.seen
    assert state.model_state["counts"].seen == 3 * len(LABELS)
    chex.assert_trees_all_equal(fields(state.params), expected.params)
    chex.assert_trees_all_equal(
        fields(state.model_state["counts"]), expected.model_state["counts"]
    )
    chex.assert_trees_all_equal(metrics, of_dicts)


@pytest.mark.slow("other kinds of dataclass differ in their options alone", but=1)
@pytest.mark.parametrize("settings", [{}, {"mappable_dataclass": False}])
def test_a_field_that_is_named_params_is_a_parameter_like_others(settings):
    class Fields:
        params: Any
        target: Any

    Agent: Any = chex.dataclass(Fields, **settings)

    def loss(agent, batch, key):
        assert type(agent) is Agent
        return jnp.sum((agent.params - agent.target) ** 2)

    agent = Agent(params=jnp.ones(2), target=jnp.zeros(2))
    state, _ = train_step(loss)(TrainState.create(agent, jopt.sgd(0.25)), ())

    wanted = Agent(params=jnp.full(2, 0.5), target=jnp.full(2, 0.5))
    chex.assert_trees_all_equal(state.params, wanted)
    chex.assert_trees_all_equal(state.model, wanted)


@pytest.mark.slow("parameters of a dataclass are trained in the quick run")
def test_other_params_and_checkpoints_fill_a_state(kind):
    state, _ = trained(kind)

    again = state.filled(state.by_leaf())
    zeros = state.with_params(jax.tree.map(jnp.zeros_like, state.params))

    chex.assert_trees_all_equal(again, state)
    assert type(zeros.params) is kind.layers
    assert not any(map(jnp.any, jax.tree.leaves(zeros.params)))
    sizes = {row.path: row.shape for row in jopt.memory(state.params).rows}
    assert sizes == {"hidden": (2, 5), "out": (5, 2)}


@pytest.fixture(scope="module")
def of_dicts():
    return sweep.run(task_of(DICTS), TRIALS, **SIZES)


@pytest.mark.slow("a step trains them in the quick run, and a sweep takes that step")
def test_a_sweep_trains_them_as_dicts(kind, of_dicts, tmp_path):
    result: Any = sweep.run(task_of(kind), TRIALS, **SIZES)

    np.testing.assert_array_equal(result.curves, of_dicts.curves)
    chex.assert_trees_all_equal(result.table, of_dicts.table)
    assert result.best.test == of_dicts.best.test
    for trial in range(3):
        params, model_state = result.params(trial), result.model_state(trial)
        assert type(params) is kind.layers
        assert type(model_state) is kind.seen
        chex.assert_trees_all_equal(fields(params), of_dicts.params(trial))
        chex.assert_trees_all_equal(fields(model_state), of_dicts.model_state(trial))

    result.save(tmp_path, keep=1)
    import orbax.checkpoint as ocp

    kept = ocp.StandardCheckpointer().restore(tmp_path / "best" / "1")
    best = result.best.trial
    wanted = {
        "params": of_dicts.params(best),
        "model_state": of_dicts.model_state(best),
    }
    chex.assert_trees_all_equal(kept, wanted)
