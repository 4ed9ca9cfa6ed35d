"""Promises of the sweep's memory: what fits is found, and what waits is not changed."""

import re

import chex
import jax
import numpy as np
import pytest
from pooled_trials import CALL, lanes_of, trained

from jopt.sweep.engine import Pool, _memory as memory, given, pick
from jopt.sweep.engine._fitting import room
from jopt.sweep.engine._program import Program

LANES = lanes_of(21)
DATA = memory.size(LANES.data)
ALL = memory.size(jax.eval_shape(LANES.start, LANES.txs, LANES.seeded)[0])


@pytest.fixture(scope="module")
def program():
    return Program(LANES, 4, CALL)


def test_a_program_says_what_a_trial_takes(program):
    larger = Program(LANES, 16, CALL)
    slope = (larger.bytes - program.bytes) / 12
    trial = ALL / 21
    assert 2 * trial < slope < program.bytes_a_trial  # twice there, and activations
    assert program.bytes >= program.trained_bytes > 0


def test_arguments_outputs_and_room_to_work_are_counted_once():
    def double(x):
        return 2 * x

    x = np.ones(1000, np.float32)
    kept = jax.jit(double).lower(x).compile()
    donated = jax.jit(double, donate_argnums=0).lower(x).compile()
    assert 8000 <= memory.needed(kept) < 8200
    assert 4000 <= memory.needed(donated) < 4200


def test_what_is_free_is_less_than_there_is():
    (device,) = jax.local_devices()
    one = memory.available([device])
    assert 1e6 < one < 1e15
    assert memory.available([device, device]) == pytest.approx(one / 2, rel=0.2)
    assert memory.budget([device], None, held=0) == pytest.approx(0.9 * one, rel=0.2)


def test_a_limit_is_of_a_memory_and_holds_the_data():
    (device,) = jax.local_devices()
    assert memory.budget([device], 1000, held=300) == 700
    assert memory.budget([device, device], 1000, held=300) == 200
    with pytest.raises(ValueError, match="memory of at least 1 byte, got 0"):
        memory.budget([device], 0, held=0)


def test_a_container_has_what_its_limit_leaves(tmp_path):
    assert memory._control_group(tmp_path) > 1e18
    for name, text in [
        ("memory.max", "1000\n"),
        ("memory.current", "700\n"),
        ("memory.stat", "anon 500\ninactive_file 200\n"),
    ]:
        (tmp_path / name).write_text(text)
    assert memory._control_group(tmp_path) == 500
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._control_group(tmp_path) > 1e18


def test_bytes_are_shown_as_a_person_reads_them():
    numbers = [0, 999, 1000, 1.44e6, 23e9, 5e15]
    shown = [memory.shown(number) for number in numbers]
    assert shown == ["0 bytes", "999 bytes", "1 kB", "1.44 MB", "23 GB", "5e+03 TB"]


@pytest.mark.slow("the sentence is tested with a given size")
def test_a_block_too_large_is_refused_with_the_largest_that_fits():
    limit = DATA + ALL + 12_000
    with pytest.raises(
        ValueError, match="block that fits in memory, got 1000"
    ) as error:
        given(LANES, 1000, CALL, limit=limit)
    largest = int(re.findall(r"device is (\d+)\.", str(error.value))[0])
    there = room(LANES, None, limit).bytes
    assert given(LANES, largest, CALL, limit=limit).bytes <= there
    assert Program(LANES, largest + 1, CALL).bytes > there


@pytest.mark.slow("the sentence is that of a block too large")
def test_a_device_without_room_for_one_trial_is_said():
    for ask in (
        lambda: given(LANES, 9, CALL, limit=DATA + 100),
        lambda: pick(LANES, CALL, steps=10**9, memory=DATA + 100),
    ):
        with pytest.raises(ValueError, match="at least one trial of a device, got 100"):
            ask()


@pytest.mark.slow("tests/sweep/test_sweep.py picks blocks")
def test_a_block_is_picked_among_those_that_fit(program):
    limit = DATA + ALL + int(1.5 * program.bytes)
    picked, search = pick(LANES, CALL, steps=10**9, memory=limit)
    assert picked.bytes <= room(LANES, None, limit).bytes
    assert max(search["expected_train_seconds"]) < 11
    assert picked.block in search["expected_train_seconds"]


def test_trials_that_a_device_cannot_hold_wait_on_the_host():
    enough, scarce = DATA + 2 * ALL + 2, DATA + 2 * ALL - 2
    assert room(LANES, None, enough) == (ALL + 2, False)
    assert room(LANES, None, scarce) == (2 * ALL - 2, True)
    assert Pool(given(LANES, 1, CALL, limit=scarce)).on_host


def test_trials_that_the_host_cannot_hold_either_are_refused(monkeypatch):
    monkeypatch.setattr(memory, "host", lambda: 1000)
    with pytest.raises(ValueError, match=r"got 21 that take .* the host 1 kB"):
        room(LANES, None, DATA + ALL)


def test_a_trial_is_bitwise_the_same_wherever_it_waits(program):
    survivors = np.asarray([20, 3, 4, 5, 11, 12])
    there = trained(Pool(program), survivors)
    away = trained(Pool(program, on_host=True), survivors)
    assert there == away
    assert len(there[0]) == 21 + 2 * 6


@pytest.mark.parametrize("on_host", [False, True])
def test_what_is_read_of_a_pool_can_be_written_into_another(program, on_host):
    pool, other = Pool(program, on_host=on_host), Pool(program, on_host=not on_host)
    trained(pool)
    rows = np.asarray([2, 7])
    other.write(rows, pool.read(rows), pool.shared)
    chex.assert_trees_all_equal(pool.read(rows), other.read(rows))
    fresh = Pool(program, on_host=on_host)
    kept = np.asarray([0, 20])
    chex.assert_trees_all_equal(fresh.read(kept), other.read(kept))


@pytest.mark.parametrize("on_host", [False, True])
def test_a_child_goes_on_where_its_parent_is_with_its_own_key(program, on_host):
    pool = Pool(program, on_host=on_host)
    trained(pool)
    lanes, everyone = program.lanes, np.arange(21)
    before = lanes.join(pool.read(everyone), pool.shared)
    pool.inherit(np.where(everyone == 5, 9, everyone), lanes.txs)
    after = lanes.join(pool.read(everyone), pool.shared)
    inherited = np.where(everyone == 5, 9, everyone)[5:]
    wanted = jax.tree.map(lambda x: x[inherited], before.params)
    found = jax.tree.map(lambda x: x[5:], after.params)
    chex.assert_trees_all_equal(found, wanted)
    np.testing.assert_array_equal(after.key, before.key)
    chex.assert_trees_all_equal(after.tx, before.tx)
