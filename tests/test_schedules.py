"""What every schedule keeps, over the whole table, and the corners of some."""

import functools
import pickle
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import reference
from table import SCHEDULES, assert_close, numbers, relaxed, stack, values, variations

import jopt

every_schedule = pytest.mark.parametrize("name", SCHEDULES)
STEPS = np.arange(121)


def make(name):
    return SCHEDULES[name](jopt)


@functools.cache
def traced():
    """Schedules as data at all steps, and the structures that were traced."""
    structures = []

    @jax.jit
    def program(schedule):
        structures.append(jax.tree.structure(schedule))
        return schedule(STEPS)

    return program, structures


@pytest.mark.parametrize("name", [name for name, row in SCHEDULES.items() if row.optax])
def test_values_are_those_of_optax(name):
    with relaxed():
        theirs = jax.vmap(SCHEDULES[name](optax))(jnp.asarray(STEPS))

    assert_close(make(name)(STEPS), theirs, rtol=2e-6)


@every_schedule
def test_values_are_those_of_float64(name):
    wanted = SCHEDULES[name](reference)(STEPS.astype(np.float64))

    assert_close(make(name)(STEPS), wanted, rtol=1e-6)


@pytest.mark.slow("other kinds of counts are in the quick run", but=60)
@every_schedule
@pytest.mark.parametrize(
    "count",
    [7, 7.0, np.int64(7), jnp.int32(7), jnp.uint8(7), jnp.full((2, 0), 7)],
    ids=lambda count: f"{type(count).__name__}{getattr(count, 'dtype', '')}",
)
def test_any_count_gives_float32_of_its_shape(name, count):
    value = make(name)(count)

    assert (value.shape, value.dtype) == (jnp.shape(count), jnp.float32)
    assert not value.weak_type


@every_schedule
def test_an_array_of_counts_gives_each_its_value(name):
    schedule, counts = make(name), np.array([[0, 7], [20, 100]])

    alone = [[schedule(int(count)) for count in row] for row in counts]

    np.testing.assert_allclose(schedule(counts), np.array(alone), rtol=1e-6)


@every_schedule
def test_numbers_may_be_arrays(name):
    schedule = make(name)

    value = jax.tree.map(jnp.float32, schedule)(STEPS)

    np.testing.assert_allclose(value, schedule(STEPS), rtol=1e-6)
    assert value.dtype == jnp.float32


@every_schedule
def test_pickles_shows_and_compares_by_value(name):
    schedule, back = make(name), pickle.loads(pickle.dumps(make(name)))

    assert schedule == make(name) == back
    assert hash(schedule) == hash(back)
    assert all(repr(number) in repr(schedule) for number in numbers(schedule).values())
    assert all(third != schedule for third in variations(schedule)[2::3])


@every_schedule
def test_a_new_number_is_not_a_new_program(name):
    program, structures = traced()

    for schedule in variations(make(name)):
        program(schedule)

    assert structures.count(jax.tree.structure(make(name))) == 1


@every_schedule
def test_vmap_over_every_number_equals_a_loop(name):
    program, _ = traced()
    wanted = np.stack([program(schedule) for schedule in variations(make(name))])

    got = jax.vmap(program)(stack(variations(make(name))))

    np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-8)


@every_schedule
def test_each_number_can_be_mapped_alone(name):
    program, _ = traced()
    leaves, structure = jax.tree.flatten(make(name))

    for i, number in enumerate(leaves):
        three = jnp.asarray(values(number), jnp.float32)
        schedule = structure.unflatten([*leaves[:i], three, *leaves[i + 1 :]])
        axes = structure.unflatten([0 if j == i else None for j in range(len(leaves))])
        got = jax.eval_shape(jax.vmap(program, in_axes=(axes,)), schedule)
        assert got.shape == (3, *STEPS.shape)


@pytest.mark.slow("the contract differentiates transformations with schedules")
@every_schedule
def test_gradients_through_every_number_are_finite(name):
    program, _ = traced()

    gradients = jax.vmap(jax.grad(lambda schedule: program(schedule).sum()))(
        stack(variations(make(name)))
    )

    assert all(np.isfinite(g).all() for g in numbers(gradients).values())


# Without a way to go, or before the first step, some numbers are idle.
@pytest.mark.parametrize(
    "name", [name for name in SCHEDULES if not re.search("no |negative", name)]
)
def test_every_number_matters(name):
    program, _ = traced()
    tables = [program(schedule) for schedule in variations(make(name))]

    for i, path in enumerate(numbers(make(name))):
        assert (tables[3 * i] != tables[3 * i + 2]).any(), path


def test_a_function_is_called_with_the_int32_step():
    seen = []

    def function(count):
        seen.append(count.dtype)
        return 1.0

    tx = jopt.scale_by_schedule(function)
    jax.eval_shape(tx.update, 1.0, tx.init(1.0))
    jopt.FunctionSchedule(function)(3)

    assert set(seen) == {jnp.dtype(jnp.int32)}


def test_boundaries_and_scales_of_pieces_are_leaves():
    @jax.jit
    @jax.vmap
    def at_ten(boundary, scale):
        return jopt.piecewise_constant_schedule(1.0, [(boundary, scale)])(10)

    values = at_ten(jnp.array([5.0, 10.0, 15.0]), jnp.array([0.1, 0.2, 0.3]))

    np.testing.assert_allclose(values, [0.1, 0.2, 1.0], rtol=1e-6)


def test_boundaries_of_joined_schedules_are_leaves():
    @jax.vmap
    def at_ten(boundary):
        parts = [jopt.constant_schedule(1.0), jopt.linear_schedule(2.0, 12.0, 10)]
        return jopt.join_schedules(parts, [boundary])(10)

    np.testing.assert_allclose(at_ten(jnp.array([4.0, 10.0, 11.0])), [8.0, 2.0, 1.0])


def test_joined_schedules_take_functions_and_start_each_at_zero():
    schedule = jopt.join_schedules([lambda t: 0.5 * t, lambda t: 100.0 + t], [3])

    np.testing.assert_array_equal(schedule(np.arange(5)), [0.0, 0.5, 1.0, 100.0, 101.0])


def test_a_warmup_reaches_its_peak_and_its_end():
    schedule = jopt.warmup_cosine_decay_schedule(0.1, 0.5, 20, 100, 0.05)

    np.testing.assert_allclose(schedule(np.array([0, 20, 100])), [0.1, 0.5, 0.05])


def test_schedules_end_at_their_end_values_exactly():
    fall = jopt.linear_schedule(0.3, 0.1, 7)
    power = jopt.polynomial_schedule(0.3, 0.1, 3, 7)

    assert fall(7) == fall(1000) == power(7) == np.float32(0.1)


def test_an_exponential_decay_is_exact_over_long_runs():
    schedule = jopt.exponential_decay(1.0, 1000, 0.96)

    wanted = np.float64(np.float32(0.96)) ** 100.0
    np.testing.assert_allclose(schedule(100_000), wanted, rtol=1e-5)
