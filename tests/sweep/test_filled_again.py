"""A compiled program is filled again with other trials, of the same bits."""

import jax
import numpy as np
import pytest
import toy
from compile_counts import compiled_anew

import jopt
from jopt import sweep

RATES = np.geomspace(1e-3, 1, 12).tolist()
SIZES = {"steps": 8, "segments": 2, "block": 3}
DECAY = {"held": 1.0}


def scaled(params, model_state, batch, key):
    value, state = toy.loss(params, model_state, batch, key)
    return DECAY["held"] * value, state


TASK = toy.task()
SCALED = toy.task(loss=scaled)


def run(rates, task=TASK, **options):
    return sweep.run(
        task, sweep.grid(jopt.adamw, learning_rate=rates), **{**SIZES, **options}
    )


def test_a_program_filled_again_compiles_nothing_and_gives_the_same_bits(caplog):
    whole = run(RATES)
    with compiled_anew():
        first = run(RATES[:6])
        with jax.log_compiles():
            caplog.clear()
            second = run(RATES[6:])
            compiled = [r for r in caplog.records if "Compiling" in r.getMessage()]

    assert compiled == []
    assert first.info["segment_compiles"] == 1
    assert second.info["segment_compiles"] == 0
    for name in ("curves", "valid"):
        parts = [getattr(r, name) for r in (first, second)]
        joined = jax.tree.map(lambda *rows: np.concatenate(rows), *parts)
        jax.tree.map(np.testing.assert_array_equal, joined, getattr(whole, name))
    ours, theirs = second.params(2), whole.params(8)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    assert second.best is not None
    assert second.best.test


def test_another_number_of_trials_and_of_steps_fills_it_too():
    sweep.clear_programs()
    whole, few = run(RATES), run(RATES[4:9])
    assert few.info["segment_compiles"] == 0
    np.testing.assert_array_equal(few.curves, whole.curves[4:9])
    longer = run(RATES[4:9], steps=16, segments=4, pruner=sweep.LossSpike())
    assert longer.info["segment_compiles"] == 0
    np.testing.assert_array_equal(longer.curves[:, :8], few.curves)


@pytest.mark.slow("the other changes are other parts of one digest", but=2)
@pytest.mark.parametrize(
    "changes",
    [
        {"block": 2},
        {"batch_size": 8},
        {"keep": "best"},
        {"seeds": 2, "shuffle": "trial"},
        {"task": toy.task(evaluate=lambda p, s, b: {"loss": toy.scores(p, *b)[0]})},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_changes_the_program_compiles_another_one(changes):
    run(RATES[:4])
    assert run(RATES[:4], **changes).info["segment_compiles"] == 1


def test_a_global_that_a_task_uses_is_seen_and_so_are_new_numbers_in_its_data():
    run(RATES[:4], SCALED)
    DECAY["held"] = 0.5
    try:
        halved = run(RATES[:4], SCALED)
    finally:
        DECAY["held"] = 1.0
    assert halved.info["segment_compiles"] == 1
    np.testing.assert_allclose(halved.curves[:, 0], run(RATES[:4]).curves[:, 0] / 2)

    inputs, labels = toy.points()
    task = toy.task(train=(inputs, labels))
    before = run(RATES[:4], task)
    inputs *= 2  # in place
    after = run(RATES[:4], task)
    assert after.info["segment_compiles"] == 0
    assert (after.curves[:, 0] != before.curves[:, 0]).all()


@pytest.mark.slow("a program is filled again in the quick run")
def test_two_programs_are_kept_and_forgotten_when_asked():
    blocks = [1, 2, 4]
    assert [run(RATES[:4], block=b).info["segment_compiles"] for b in blocks]
    assert run(RATES[:4], block=4).info["segment_compiles"] == 0
    assert run(RATES[:4], block=2).info["segment_compiles"] == 0
    assert run(RATES[:4], block=1).info["segment_compiles"] == 1
    sweep.clear_programs()
    assert run(RATES[:4], block=1).info["segment_compiles"] == 1
