"""Promises of the sweep's memory: what fits is found, and what waits is not changed."""

import functools

import chex
import jax
import numpy as np
import pytest
from pooled_trials import first_call, stacked_trials, trained

from jopt.sweep.engine import (
    Pool,
    _block_size as block_size,
    _devices as devices,
    pick,
    program_for,
)
from jopt.sweep.engine._block_size import room
from jopt.sweep.engine._program import Program


@functools.cache
def stacked():
    return stacked_trials(21)


@functools.cache
def call():
    return first_call()


def bytes_of_data():
    return devices.bytes_of(stacked().data)


@functools.cache
def bytes_of_all():
    """The bytes of all trials."""
    given = stacked().configs, stacked().starts
    return devices.bytes_of(jax.eval_shape(stacked().start, *given)[0])


@pytest.fixture(scope="module")
def program():
    return Program(stacked(), 4, call())


def test_a_program_says_what_a_trial_takes(program):
    larger = Program(stacked(), 16, call())
    slope = (larger.bytes - program.bytes) / 12
    trial = bytes_of_all() / 21
    assert 2 * trial < slope < program.bytes / 4  # twice there, and activations
    assert program.bytes >= program.trained_bytes > 0


def test_arguments_outputs_and_room_to_work_are_counted_once():
    def double(x):
        return 2 * x

    x = np.ones(1000, np.float32)
    kept = jax.jit(double).lower(x).compile()
    donated = jax.jit(double, donate_argnums=0).lower(x).compile()
    assert 8000 <= devices.bytes_needed(kept) < 8200
    assert 4000 <= devices.bytes_needed(donated) < 4200


def test_what_is_free_is_less_than_there_is():
    (device,) = jax.local_devices()
    one = devices.free_bytes([device])
    assert 1e6 < one < 1e15
    assert devices.free_bytes([device, device]) == pytest.approx(one / 2, rel=0.2)
    assert devices.budget([device], None, held=0) == pytest.approx(0.9 * one, rel=0.2)


def test_a_limit_is_of_a_memory_and_holds_the_data():
    (device,) = jax.local_devices()
    assert devices.budget([device], 1000, held=300) == 700
    assert devices.budget([device, device], 1000, held=300) == 200
    with pytest.raises(ValueError, match="memory of at least 1 byte, got 0"):
        devices.budget([device], 0, held=0)


def test_a_container_has_what_its_limit_leaves(tmp_path):
    assert devices._control_group_bytes(tmp_path) > 1e18
    for name, text in [
        ("memory.max", "1000\n"),
        ("memory.current", "700\n"),
        ("memory.stat", "anon 500\ninactive_file 200\n"),
    ]:
        (tmp_path / name).write_text(text)
    assert devices._control_group_bytes(tmp_path) == 500
    (tmp_path / "memory.max").write_text("max\n")
    assert devices._control_group_bytes(tmp_path) > 1e18


def test_bytes_are_shown_as_a_person_reads_them():
    numbers = [0, 999, 1000, 1.44e6, 23e9, 5e15]
    shown = [devices.shown_bytes(number) for number in numbers]
    assert shown == ["0 bytes", "999 bytes", "1 kB", "1.44 MB", "23 GB", "5e+03 TB"]


def test_a_block_too_large_is_refused_with_what_it_takes():
    memory = bytes_of_data() + bytes_of_all() + 12_000
    there = room(stacked(), None, memory).bytes
    needed = devices.shown_bytes(Program(stacked(), 1000, call()).bytes)
    words = f"got 1000 trials that take {needed} where a device has "
    with pytest.raises(ValueError, match=words + devices.shown_bytes(there)):
        program_for(stacked(), 1000, call(), memory=memory)


@pytest.mark.slow("the sentence is that of a block too large")
def test_a_device_without_room_for_one_trial_is_said():
    for ask in (
        lambda: program_for(stacked(), 1, call(), memory=bytes_of_data() + 100),
        lambda: pick(stacked(), call(), steps=10**9, memory=bytes_of_data() + 100),
    ):
        with pytest.raises(ValueError, match="at least one trial of a device, got 100"):
            ask()


@pytest.mark.slow("tests/sweep/test_sweep.py picks blocks")
def test_a_block_is_picked_among_those_that_fit(program):
    limit = bytes_of_data() + bytes_of_all() + int(1.5 * program.bytes)
    picked, search = pick(stacked(), call(), steps=10**9, memory=limit)
    assert picked.bytes <= room(stacked(), None, limit).bytes
    blocks = [int(way.partition(",")[0]) for way in search["expected_train_seconds"]]
    assert max(blocks) < 11
    assert picked.block in blocks


def test_trials_that_a_device_cannot_hold_wait_on_the_host():
    enough, scarce = (
        bytes_of_data() + 2 * bytes_of_all() + 2,
        bytes_of_data() + 2 * bytes_of_all() - 2,
    )
    assert room(stacked(), None, enough) == (bytes_of_all() + 2, False)
    assert room(stacked(), None, scarce) == (2 * bytes_of_all() - 2, True)
    assert Pool(program_for(stacked(), 1, call(), memory=scarce)).on_host


def test_trials_that_the_host_cannot_hold_either_are_refused(monkeypatch):
    monkeypatch.setattr(block_size, "host_bytes", lambda: 1000)
    with pytest.raises(ValueError, match=r"got 21 that take .* the host 1 kB"):
        room(stacked(), None, bytes_of_data() + bytes_of_all())


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
    stacked, everyone = program.stacked, np.arange(21)
    before = stacked.join(pool.read(everyone), pool.shared, ())
    pool.inherit(np.asarray([5]), pool.read(np.asarray([9])), stacked.configs)
    after = stacked.join(pool.read(everyone), pool.shared, ())
    inherited = np.where(everyone == 5, 9, everyone)[5:]
    wanted = jax.tree.map(lambda x: x[inherited], before.state.packed)
    found = jax.tree.map(lambda x: x[5:], after.state.packed)
    chex.assert_trees_all_equal(found, wanted)
    np.testing.assert_array_equal(after.key, before.key)
    chex.assert_trees_all_equal(after.config, before.config)
