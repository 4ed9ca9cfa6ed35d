"""One sentence says what was given, what was expected and what to do."""

import re

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jopt

NAN = float("nan")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jopt.adam(0.1, b1=1.0), "ScaleByAdam: b1 must be below 1, got 1.0."),
        (lambda: jopt.adam(0.1, b1=1), "ScaleByAdam: b1 must be below 1, got 1."),
        (
            lambda: jopt.adam(0.1, b2=-0.1),
            "ScaleByAdam: b2 must be at least 0, got -0.1.",
        ),
        (
            lambda: jopt.adam(0.1, b2=NAN),
            "ScaleByAdam: b2 must be at least 0 and below 1, got nan.",
        ),
        (
            lambda: jopt.adam(0.1, eps=-1e-8),
            "ScaleByAdam: eps must be at least 0, got -1e-08.",
        ),
        (
            lambda: jopt.adam(0.1, eps_root=-1.0),
            "ScaleByAdam: eps_root must be at least 0, got -1.0.",
        ),
        (
            lambda: jopt.adam(-0.1),
            "ScaleByLearningRate: learning_rate must be at least 0, got -0.1. The "
            "minus of descent is added here; to ascend, negate the loss.",
        ),
        (
            lambda: jopt.sgd(NAN),
            "ScaleByLearningRate: learning_rate must be at least 0, got nan.",
        ),
        (
            lambda: jopt.sgd(np.float32(-2)),  # pyright: ignore[reportArgumentType]
            "ScaleByLearningRate: learning_rate must be at least 0, got -2.0.",
        ),
        (
            lambda: jopt.adamw(0.1, weight_decay=-1.0),
            "AddDecayedWeights: weight_decay must be at least 0, got -1.0.",
        ),
        (
            lambda: jopt.amsgrad(0.1, b2=1.0),
            "ScaleByAmsgrad: b2 must be below 1, got 1.0.",
        ),
        (
            lambda: jopt.adagrad(0.1, initial_accumulator_value=-1.0),
            "ScaleByRss: initial_accumulator_value must be at least 0, got -1.0.",
        ),
        (
            lambda: jopt.rmsprop(0.1, decay=1.0),
            "ScaleByRms: decay must be below 1, got 1.0.",
        ),
        (
            lambda: jopt.rmsprop(0.1, eps=-1.0, centered=True),
            "ScaleByStddev: eps must be at least 0, got -1.0.",
        ),
        (
            lambda: jopt.lion(0.1, b2=1.5),
            "ScaleByLion: b2 must be below 1, got 1.5.",
        ),
        (
            lambda: jopt.lion(0.1, b2=0.0),
            "ScaleByLion: b2 must be at least 0.0001, got 0.0. It divides b1.",
        ),
        (
            lambda: jopt.scale_by_lion(mode="soft"),  # pyright: ignore[reportArgumentType]
            "ScaleByLion: mode must be one of hard, smooth, refined, got 'soft'.",
        ),
        (lambda: jopt.sgd(0.1, momentum=2), "Trace: decay must be at most 1, got 2."),
        (lambda: jopt.ema(1.0), "Ema: decay must be below 1, got 1.0."),
        (lambda: jopt.clip(-1.0), "Clip: max_delta must be at least 0, got -1.0."),
        (
            lambda: jopt.clip_by_global_norm(NAN),
            "ClipByGlobalNorm: max_norm must be at least 0, got nan.",
        ),
        (
            lambda: jopt.warmup_cosine_decay_schedule(0, 1, 10, 10),
            "WarmupCosineDecaySchedule: decay_steps must be above 10, got 10. "
            "decay_steps counts from the start and includes warmup_steps.",
        ),
        (
            lambda: jopt.warmup_cosine_decay_schedule(0, 1, -1, 10),
            "WarmupCosineDecaySchedule: warmup_steps must be at least 0, got -1.",
        ),
        (
            lambda: jopt.cosine_decay_schedule(1.0, 0),
            "CosineDecaySchedule: decay_steps must be above 0, got 0.",
        ),
        (
            lambda: jopt.polynomial_schedule(1.0, 0.0, 0, 10),
            "PolynomialSchedule: power must be above 0, got 0.",
        ),
        (
            lambda: jopt.exponential_decay(1.0, 10, -0.5),
            "ExponentialDecay: decay_rate must be at least 0, got -0.5.",
        ),
        (
            lambda: jopt.piecewise_constant_schedule(1.0, {5: -0.5}),
            "PiecewiseConstantSchedule: scales must be at least 0, got -0.5.",
        ),
        (
            lambda: jopt.PiecewiseConstantSchedule(1.0, (5, 9), (0.5,)),
            "PiecewiseConstantSchedule: boundaries and scales must have one length, "
            "got 2 and 1.",
        ),
        (
            lambda: jopt.join_schedules([jopt.constant_schedule(1.0)], [5]),
            "JoinedSchedules: 1 schedules need 0 boundaries, got 1.",
        ),
        (
            lambda: jopt.named_chain(("a", jopt.clip(1.0)), ("a", jopt.clip(1.0))),
            "named_chain: the name 'a' is given twice;",
        ),
    ],
)
def test_a_number_outside_its_range_is_refused_where_it_is_written(make, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: jopt.adam("fast"),  # pyright: ignore[reportArgumentType]
            "adam: learning_rate must be a number or a schedule, got 'fast'.",
        ),
        (
            lambda: jopt.adam(0.1, b1="high"),  # pyright: ignore[reportArgumentType]
            "adam: b1 must be a number, got 'high'.",
        ),
        (
            lambda: jopt.adam(0.1, beta1=0.9),  # pyright: ignore[reportCallIssue]
            "adam() got an unexpected keyword argument 'beta1'",
        ),
        (
            lambda: jopt.chain(jopt.clip(1.0), jopt.adam),
            "chain: args must be a gradient transformation (an object with init and "
            "update), got the function adam",
        ),
        (
            lambda: jopt.named_chain(("a", optax.adam)),
            "named_chain: args must be pairs of a name and a gradient transformation, "
            "got ('a', <function ada",
        ),
    ],
)
def test_what_is_no_number_or_transformation_is_refused(make, message):
    with pytest.raises(TypeError, match=f"^{re.escape(message)}"):
        make()


def test_an_uncalled_factory_is_told_to_be_called():
    with pytest.raises(TypeError, match=r"jopt\.adam\(1e-3\), not jopt\.adam\.$"):
        jopt.chain(jopt.adam)


PARAMS = {"block": {"w": jnp.ones(2), "b": jnp.ones(())}}


@pytest.mark.parametrize(
    "tx",
    [
        jopt.sgd(0.1, momentum=0.9),
        jopt.adamw(0.1),
        jopt.lion(0.1),
        jopt.rmsprop(0.1, centered=True),
        jopt.scale(-0.1),
        jopt.named_chain(("a", jopt.clip(1.0))),
    ],
    ids=lambda tx: type(tx).__name__,
)
@pytest.mark.parametrize(
    ("grads", "found"),
    [
        (
            {"block": {"w": jnp.ones(2), "c": jnp.ones(())}},
            "['block']['c'] is only in the gradients and "
            "['block']['b'] is only in the params;",
        ),
        ({"block": {"w": jnp.ones(2)}}, "but ['block']['b'] is only in the params;"),
        (
            {"block": PARAMS["block"], "z": jnp.ones(2)},
            "but ['z'] is only in the gradients;",
        ),
        (
            {"block": {"w": None, "b": jnp.ones(())}},
            "but ['block']['w'] is only in the params;",
        ),
    ],
    ids=["renamed", "missing", "surplus", "None"],
)
def test_gradients_of_another_tree_name_the_first_path_that_differs(tx, grads, found):
    message = f"The gradients must be a tree like the params.*{re.escape(found)}"

    with pytest.raises(ValueError, match=message):
        tx.update(grads, tx.init(PARAMS), PARAMS)


def test_gradients_of_another_tree_than_the_state_are_named_without_params():
    tx = jopt.adam(0.1)

    with pytest.raises(ValueError, match=re.escape("['w'] is only in the gradients")):
        tx.update({"w": jnp.ones(2)}, tx.init(PARAMS))


@pytest.mark.parametrize(
    ("name", "tx"),
    [
        ("ScaleByAdam", jopt.adam(0.1)),
        ("Identity", jopt.identity()),
        ("Clip", jopt.clip(1.0)),
    ],
)
def test_integer_params_are_refused(name, tx):
    params = {"w": jnp.ones(2), "table": {"size": jnp.ones(2, jnp.int32)}}
    message = (
        f"{name}: params['table']['size'] is int32, but only float and "
        "complex parameters have gradients; keep it out of params"
    )

    with pytest.raises(TypeError, match=f"^{re.escape(message)}"):
        tx.init(params)


@pytest.mark.parametrize("tx", [jopt.add_decayed_weights(0.1), jopt.adamw(0.1)])
def test_a_decay_without_params_says_how_to_call(tx):
    message = (
        "AddDecayedWeights: update needs the parameters that decay, got none; "
        "call tx.update(updates, state, params)."
    )

    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        tx.update(PARAMS, tx.init(PARAMS))


@pytest.mark.parametrize(
    "mask",
    [
        {"block": {"w": True}},
        {"other": True},
        [True],
        {"block": {"w": {"deep": True}, "b": True}},
        lambda params: {"block": [True, False]},
    ],
    ids=["partial", "renamed", "list", "deeper", "function"],
)
def test_a_mask_that_is_no_prefix_of_the_params_is_refused(mask):
    tx = jopt.adamw(0.1, mask=mask)

    with pytest.raises(
        ValueError, match=r"^The mask's tree must be the params' tree, or"
    ):
        tx.update(PARAMS, tx.init(PARAMS), PARAMS)


@pytest.mark.parametrize(
    ("mask", "decayed"),
    [
        (True, {"w": True, "b": True}),
        ({"block": False}, {"w": False, "b": False}),
        ({"block": {"w": True, "b": False}}, {"w": True, "b": False}),
        (lambda params: {"block": {"w": False, "b": True}}, {"w": False, "b": True}),
    ],
    ids=["one", "prefix", "tree", "function"],
)
def test_a_mask_may_be_a_prefix_or_a_function(mask, decayed):
    tx = jopt.add_decayed_weights(0.5, mask)

    updates, _ = tx.update(PARAMS, tx.init(PARAMS), PARAMS)

    for name, yes in decayed.items():
        np.testing.assert_array_equal(updates["block"][name], 1.5 if yes else 1.0)
