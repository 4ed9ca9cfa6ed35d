"""Promises that every row of the table of schedules keeps, and corners of some."""

import functools
import pickle
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import reference
from comparison import assert_close, relaxed, stack
from transformation_table import SCHEDULES, numbers, values, variations

import jopt
from jopt.core import divmod_steps, round_if_close

every_schedule = pytest.mark.parametrize("name", SCHEDULES)


def by_turns(first, among=SCHEDULES):
    """Every second schedule, from `first` on, in the quick run; the rest as slow."""
    slow = pytest.mark.slow("these schedules are other tests' turn")
    rows = [
        pytest.param(name, marks=() if i % 2 == first else slow)
        for i, name in enumerate(among)
    ]
    return pytest.mark.parametrize("name", rows)


STEPS = np.arange(121)
LONG = np.arange(100_001)
LONG_SCHEDULES = {
    "linear up from 0": lambda lib: lib.linear_schedule(0.0, 0.5, 99_991),
    "linear": lambda lib: lib.linear_schedule(0.9, 0.1, 77_777, 7),
    "polynomial up from 0": lambda lib: lib.polynomial_schedule(0.0, 0.9, 2, 99_991, 3),
    "polynomial, root": lambda lib: lib.polynomial_schedule(0.9, 0.0, 0.5, 99_991),
    "exponential": lambda lib: lib.exponential_decay(0.5, 41, 0.97),
    "exponential, end": lambda lib: lib.exponential_decay(
        0.5, 1000, 0.5, 7, end_value=1e-9
    ),
    "stairs": lambda lib: lib.exponential_decay(1.0, 41, 0.9, staircase=True),
    "stairs, begin": lambda lib: lib.exponential_decay(
        1.0, 49, 0.97, 7, staircase=True
    ),
    "stairs up": lambda lib: lib.exponential_decay(
        1e-3, 41, 1.2, staircase=True, end_value=9.0
    ),
    "piecewise": lambda lib: lib.piecewise_constant_schedule(
        0.5, {41: 0.5, 3000: 0.1, 99_999: 3.0}
    ),
    "cosine": lambda lib: lib.cosine_decay_schedule(0.5, 99_991),
    "cosine, floor": lambda lib: lib.cosine_decay_schedule(0.5, 9_999, 0.1, 1.5),
    "warmup cosine": lambda lib: lib.warmup_cosine_decay_schedule(
        0.0, 0.5, 4_099, 99_991, exponent=2.0
    ),
    "warmup linear": lambda lib: lib.warmup_linear_decay_schedule(0.0, 0.5, 41, 99_991),
    "warmup stable": lambda lib: lib.warmup_stable_decay_schedule(
        0.0, 0.5, 41, 99_990, 0.05, 0.25
    ),
    "warmup stable, root": lambda lib: lib.warmup_stable_decay_schedule(
        0.0, 0.5, 41, 99_990, 0.0, 0.25, cooldown="1-sqrt"
    ),
    "warmup exponential": lambda lib: lib.warmup_exponential_decay_schedule(
        0.0, 0.5, 41, 47, 0.97, 7, staircase=True
    ),
    "inverse sqrt": lambda lib: lib.inverse_sqrt_schedule(0.0, 0.5, 4_099),
    "linear onecycle": lambda lib: lib.linear_onecycle_schedule(99_990, 0.5),
    "cosine onecycle": lambda lib: lib.cosine_onecycle_schedule(99_990, 0.5),
    "interpolate": lambda lib: lib.piecewise_interpolate_schedule(
        "linear", 0.5, {41: 0.5, 3_007: 3.0, 99_991: 0.1}
    ),
    "interpolate, cosine": lambda lib: lib.piecewise_interpolate_schedule(
        "cosine", 0.5, {41: 0.5, 3_007: 3.0, 99_991: 0.1}
    ),
    "restarts": lambda lib: lib.sgdr_schedule(
        [
            {"init_value": 0.0, "peak_value": p, "warmup_steps": w, "decay_steps": d}
            for p, w, d in ((0.5, 41, 4_099), (0.4, 0, 30_011), (0.3, 5, 50_000))
        ]
    ),
    "join": lambda lib: lib.join_schedules(
        [
            lib.linear_schedule(0.0, 0.5, 41),
            lib.cosine_decay_schedule(0.5, 4_959),
            lib.exponential_decay(0.5, 41, 0.97, staircase=True),
        ],
        [41, 5_000],
    ),
}


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


@by_turns(0, [name for name, row in SCHEDULES.items() if row.optax])
def test_values_are_those_of_optax(name):
    with relaxed():
        theirs = jax.vmap(SCHEDULES[name](optax))(jnp.asarray(STEPS))

    assert_close(make(name)(STEPS), theirs, rtol=2e-6)


@every_schedule
def test_values_are_those_of_float64(name):
    wanted = SCHEDULES[name](reference)(STEPS.astype(np.float64))

    assert_close(make(name)(STEPS), wanted, rtol=1e-6)


@pytest.mark.slow("other kinds of counts are in the quick run", but=30)
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


@by_turns(0)
def test_an_array_of_counts_gives_each_its_value(name):
    schedule, counts = make(name), np.array([[0, 7], [20, 100]])

    alone = [[schedule(int(count)) for count in row] for row in counts]

    np.testing.assert_allclose(schedule(counts), np.array(alone), rtol=1e-6)


@by_turns(1)
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


@by_turns(0)
def test_a_new_number_is_not_a_new_program(name):
    program, structures = traced()

    for schedule in variations(make(name)):
        program(schedule)

    assert structures.count(jax.tree.structure(make(name))) == 1


@by_turns(1)
def test_vmap_over_every_number_equals_a_loop(name):
    program, _ = traced()
    wanted = np.stack([program(schedule) for schedule in variations(make(name))])

    got = jax.vmap(program)(stack(variations(make(name))))

    np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-8)


@by_turns(0)
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


CALLS = {
    "closed over": lambda schedules: jax.jit(lambda t: _every(schedules, t))(LONG),
    "as an argument": lambda schedules: _all(schedules, LONG),
    "mapped over steps": lambda schedules: jax.jit(
        jax.vmap(lambda t: _every(schedules, t))
    )(LONG),
    "mapped over numbers": lambda schedules: [
        values[1]
        for values in jax.vmap(_all, in_axes=(0, None))(stack([schedules] * 2), LONG)
    ],
    "in Python": lambda schedules: _every(schedules, LONG),
}


def _every(schedules, counts):
    return [schedule(counts) for schedule in schedules]


_all = jax.jit(_every)


@pytest.mark.slow("tests of each schedule call it in these ways", but=1)
@pytest.mark.parametrize("call", CALLS)
def test_every_step_to_100_000_is_that_of_float64(call):
    made = [make(jopt) for make in LONG_SCHEDULES.values()]

    for name, got in zip(LONG_SCHEDULES, CALLS[call](made), strict=True):
        wanted = LONG_SCHEDULES[name](reference)(LONG.astype(float))
        # 16 roundings of the value itself, however small it is beside the greatest.
        np.testing.assert_allclose(got, wanted, rtol=2**-20, atol=1e-30, err_msg=name)


def test_stairs_of_every_length_fall_at_their_step():
    lengths = np.arange(1, 700)
    falls = lengths[:, None] * np.arange(1, 100)
    at = np.stack([falls - 1, falls])  # the last step before, and the step
    exact = 0.5 ** (at // lengths[:, None])

    def stairs(length, counts):
        return jopt.exponential_decay(1.0, length, 0.5, staircase=True)(counts)

    mapped = jax.vmap(stairs, in_axes=(0, 1), out_axes=1)
    as_data = jax.jit(mapped)(lengths.astype(np.float32), at)
    constants = jax.jit(lambda at: mapped(jnp.asarray(lengths, jnp.float32), at))(at)

    np.testing.assert_array_equal(as_data, exact)
    np.testing.assert_array_equal(constants, exact)


@pytest.mark.parametrize("length", [41, 49, 33.7])
def test_stairs_of_a_closed_over_optimizer_fall_at_their_step(length):
    tx = jopt.sgd(jopt.exponential_decay(1.0, length, 0.5, staircase=True))

    @jax.jit
    def rates(state):
        def step(state, _):
            updates, state = tx.update(jnp.ones(()), state)
            return state, -updates

        return jax.lax.scan(step, state, length=360)[1]

    wanted = 0.5 ** np.floor(np.arange(360) / length)
    np.testing.assert_array_equal(rates(tx.init(jnp.zeros(()))), wanted)


def test_the_rest_of_a_division_has_the_slope_of_the_quotient():
    def quotient(past, length):
        whole, rest = divmod_steps(past, length)
        return whole + rest / length

    slopes = jax.jit(jax.grad(quotient, argnums=(0, 1)))(123.0, 41.0)

    np.testing.assert_allclose(slopes, (1 / 41, -123 / 41**2), rtol=1e-6)


def test_a_share_of_the_steps_that_is_whole_is_that_many_steps():
    steps = np.arange(1, 300)
    share = np.arange(1, 100)[:, None] / 100
    whole = np.arange(1, 100)[:, None] * steps % 100 == 0

    found = round_if_close(np.float32(share) * np.float32(steps))

    np.testing.assert_array_equal(found[whole], (share * steps).round()[whole])
    np.testing.assert_allclose(found, share * steps, rtol=2e-7)
    assert jax.grad(lambda x: round_if_close(x * 100))(0.29) == 100


def test_turns_of_a_cycle_and_a_cooldown_are_at_their_steps():
    cycle = jopt.linear_onecycle_schedule(100, 1.0, 0.29, 0.58)
    cooldown = jopt.warmup_stable_decay_schedule(
        0.0, 1.0, 41, 1000, cooldown_fraction=0.2, cooldown="1-sqrt"
    )

    assert jnp.argmax(cycle(np.arange(101))) == 29
    assert (cooldown(np.arange(41, 801)) == 1).all()
    np.testing.assert_allclose(cooldown(801), 1 - 200**-0.5, rtol=1e-6)


@pytest.mark.parametrize(
    "schedule",
    [
        jopt.exponential_decay(1e-3, 1, 1.2, end_value=9.0),
        jopt.join_schedules([jopt.exponential_decay(1.0, 1, 9.0), jnp.sqrt], [5]),
        jopt.warmup_exponential_decay_schedule(0.1, 1.0, 5, 1, 10.0, end_value=2.0),
        jopt.sgdr_schedule(
            [{"init_value": 0, "peak_value": 1, "warmup_steps": 0, "decay_steps": 1}]
        ),
    ],
    ids=lambda schedule: type(schedule).__name__,
)
def test_gradients_are_finite_where_a_schedule_has_ended(schedule):
    gradients = jax.grad(lambda schedule: schedule(np.array([0, 3, 1000])).sum())(
        jax.tree.map(jnp.float32, schedule)
    )

    assert all(jnp.isfinite(g) for g in jax.tree.leaves(gradients))
