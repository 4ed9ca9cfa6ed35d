"""`hyperparameters` and `replace`: read and change numbers by name."""

import contextlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compile_counts import counted
from transformation_table import TRANSFORMATIONS

import jopt

PARAMS = {"w": jnp.ones(2)}


def names(tx):
    return list(jopt.hyperparameters(tx, tx.init(PARAMS)))


def test_a_name_is_the_fields_where_one_part_has_it():
    assert names(jopt.adamw(0.1)) == [
        "b1",
        "b2",
        "eps",
        "eps_root",
        "weight_decay",
        "learning_rate",
    ]


def test_values_are_the_numbers_themselves():
    tx = jopt.chain(jopt.clip(1.0), jopt.sgd(0.1, momentum=0.9))

    assert jopt.hyperparameters(tx, tx.init(PARAMS)) == {
        "max_delta": 1.0,
        "decay": 0.9,
        "learning_rate": 0.1,
    }


@pytest.mark.parametrize(
    ("tx", "wanted"),
    [
        (jopt.chain(jopt.clip(1.0), jopt.clip(2.0)), ["0.max_delta", "1.max_delta"]),
        (
            jopt.chain(jopt.sgd(0.1, 0.9), jopt.sgd(0.2)),
            ["decay", "0.learning_rate", "1.learning_rate"],
        ),
        (
            jopt.named_chain(("slow", jopt.sgd(0.1)), ("fast", jopt.sgd(0.2, 0.9))),
            ["slow.learning_rate", "decay", "fast.learning_rate"],
        ),
        (
            jopt.chain(jopt.clip(1.0), jopt.chain(jopt.sgd(0.1), jopt.sgd(0.2))),
            ["max_delta", "1.0.learning_rate", "1.1.learning_rate"],
        ),
        (
            jopt.named_chain(("a", jopt.lift(optax.sgd)(0.1)), ("b", jopt.sgd(0.2))),
            ["a.learning_rate", "b.learning_rate"],
        ),
        (jopt.identity(), []),
    ],
)
def test_a_name_of_several_parts_starts_with_what_tells_them_apart(tx, wanted):
    assert names(tx) == wanted


def test_a_schedule_is_the_value_of_the_next_update():
    decay = jopt.linear_schedule(0.4, 0.0, 4)
    tx = jopt.named_chain(
        ("adam", jopt.adamw(lambda t: 1 / (1 + t), weight_decay=decay))
    )
    state, seen = tx.init(PARAMS), []

    for _ in range(4):
        now = jopt.hyperparameters(tx, state)
        seen.append((float(now["learning_rate"]), float(now["weight_decay"])))
        _, state = tx.update(PARAMS, state, PARAMS)

    wanted = [(1, 0.4), (1 / 2, 0.3), (1 / 3, 0.2), (1 / 4, 0.1)]
    np.testing.assert_allclose(seen, wanted, rtol=1e-6)


def test_a_lifted_schedule_is_read_at_the_state_of_optax():
    tx = jopt.lift(optax.adam)(jopt.linear_schedule(0.4, 0.0, 4))
    _, state = tx.update(PARAMS, tx.init(PARAMS))

    now = jopt.hyperparameters(tx, state)

    np.testing.assert_allclose(now["learning_rate"], 0.3, rtol=1e-6)
    assert now["b1"] == 0.9


def test_numbers_of_a_block_are_read_under_vmap_and_jit():
    rates = jnp.array([0.1, 0.2])

    now = jax.jit(jax.vmap(lambda tx: jopt.hyperparameters(tx, tx.init(PARAMS))))(
        jopt.sgd(rates)
    )

    np.testing.assert_array_equal(now["learning_rate"], rates)


def replaced(tx, path):
    """`tx` with another number at `path`, and the first of these that is lawful."""
    for value in (0.125, 1.5, 2.0, 12.0):
        with contextlib.suppress(ValueError):
            return jopt.replace(tx, **{path: value}), value
    raise AssertionError(f"{path} takes no number")


@pytest.mark.parametrize(
    "name", [name for name, row in TRANSFORMATIONS.items() if not row.in_state]
)
def test_every_name_given_is_a_name_taken(name):
    tx = TRANSFORMATIONS[name](jopt)
    state = tx.init({"w": jnp.ones((2, 2))})

    before = jopt.hyperparameters(tx, state)

    for path in before:
        other, value = replaced(tx, path)
        assert jopt.hyperparameters(other, state) == {**before, path: value}


def test_replace_changes_numbers_schedules_and_static_fields():
    cosine = jopt.warmup_cosine_decay_schedule(0.0, 0.1, 10, 100)
    tx = jopt.adamw(cosine)

    assert jopt.replace(tx, b1=0.8) == jopt.adamw(cosine, b1=0.8)
    assert jopt.replace(tx, learning_rate=0.3) == jopt.adamw(0.3)
    assert jopt.replace(tx, peak_value=0.3, b2=0.9) == jopt.adamw(
        jopt.warmup_cosine_decay_schedule(0.0, 0.3, 10, 100), b2=0.9
    )
    assert jopt.replace(tx, nesterov=True) == jopt.nadamw(cosine)
    assert jopt.replace(tx, weight_decay=cosine) == jopt.adamw(
        cosine, weight_decay=cosine
    )
    assert jopt.replace(tx) == tx == jopt.adamw(cosine)


def test_replace_reaches_what_is_inside_a_schedule():
    pieces = jopt.sgd(jopt.piecewise_constant_schedule(1.0, {5: 0.5, 9: 0.1}))
    joined = jopt.join_schedules(
        [jopt.linear_schedule(0.0, 1.0, 5), jopt.cosine_decay_schedule(1.0, 10)], [5]
    )
    schedules = jopt.replace(jopt.sgd(joined), **{"schedules.0.init_value": 0.5})

    assert jopt.replace(pieces, **{"scales.1": 1}) == jopt.sgd(
        jopt.piecewise_constant_schedule(1.0, {5: 0.5, 9: 1.0})
    )
    assert jopt.replace(pieces, scales=(1, 2)) == jopt.sgd(
        jopt.piecewise_constant_schedule(1.0, {5: 1.0, 9: 2.0})
    )
    assert jopt.hyperparameters(schedules, schedules.init(PARAMS)) == {
        "learning_rate": 0.5
    }


@pytest.mark.parametrize("path", ["fast.learning_rate", "fast.1.learning_rate"])
def test_replace_takes_a_start_of_the_path_or_all_of_it(path):
    tx = jopt.named_chain(("slow", jopt.sgd(0.1)), ("fast", jopt.sgd(0.2)))

    assert jopt.replace(tx, **{path: 0.3}) == jopt.named_chain(
        ("slow", jopt.sgd(0.1)), ("fast", jopt.sgd(0.3))
    )


def test_a_replaced_number_is_no_new_program_and_keeps_the_state():
    update, traces = counted(lambda tx, state: tx.update(PARAMS, state, PARAMS))
    tx = jopt.adamw(0.1)
    _, state = update(tx, tx.init(PARAMS))
    for rate in (1, 0.5, 1e-3):
        _, state = update(jopt.replace(tx, learning_rate=rate), state)

    assert len(traces) == 1


def test_a_replaced_number_of_a_lifted_factory_stays_data():
    tx = jopt.lift(optax.sgd)(0.1, nesterov=True)

    changed = jopt.replace(tx, learning_rate=2)

    assert changed == jopt.lift(optax.sgd)(2.0, nesterov=True)
    assert jax.tree.leaves(changed) == [2.0]
    assert jopt.replace(tx, nesterov=False) == jopt.lift(optax.sgd)(0.1)


def test_replace_lists_the_paths_where_a_name_is_unknown():
    tx = jopt.chain(jopt.clip(1.0), jopt.scale(0.1))
    message = (
        "replace: there is no stepsize here (did you mean step_size?); "
        "there is 0.max_delta, 1.step_size."
    )

    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        jopt.replace(tx, stepsize=0.2)
    with pytest.raises(ValueError, match="there is no b1 here; there is nothing to"):
        jopt.replace(jopt.identity(), b1=0.2)


def test_replace_lists_the_paths_where_a_name_is_ambiguous():
    tx = jopt.chain(jopt.clip(1.0), jopt.clip(2.0))
    message = "replace: max_delta is ambiguous, it occurs at 0.max_delta, 1.max_delta;"

    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        jopt.replace(tx, max_delta=0.2)


def test_replace_refuses_two_changes_of_one_place():
    tx = jopt.sgd(jopt.constant_schedule(0.1))

    with pytest.raises(
        ValueError, match="learning_rate and value change the same place"
    ):
        jopt.replace(tx, learning_rate=0.2, value=0.3)
    with pytest.raises(ValueError, match=r"change the same place, 1\.learning_rate"):
        jopt.replace(tx, **{"learning_rate": 0.2, "1.learning_rate": 0.3})


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"b1": 1.0}, ValueError, r"^ScaleByAdam: b1 must be below 1, got 1\.0\."),
        ({"eps": "x"}, TypeError, r"^ScaleByAdam: eps must be a number, got 'x'\."),
        (
            {"learning_rate": -1},
            ValueError,
            r"^ScaleByLearningRate: learning_rate must be at least 0, got -1\.",
        ),
    ],
)
def test_what_replace_makes_is_checked(changes, error, message):
    with pytest.raises(error, match=message):
        jopt.replace(jopt.adam(0.1), **changes)


def test_a_state_without_a_count_is_refused():
    tx = jopt.sgd(jopt.constant_schedule(0.1))

    with pytest.raises(ValueError, match="a schedule needs the count of its state"):
        jopt.hyperparameters(tx, jopt.sgd(0.1).init(PARAMS))
