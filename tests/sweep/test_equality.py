"""Promises about settings: equal by value and dtype, whatever they print."""

import collections
import csv
import functools
import operator
import threading
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy

import jopt
from jopt import sweep
from jopt.cli.display import _apart
from jopt.report import Record
from jopt.sweep._equality import Identities, digest, same
from jopt.sweep._shown_values import columns, space, told_apart
from jopt.sweep._trial import groups, settings_of
from jopt.sweep.store._fingerprint import differences, fingerprint

SIZES: Any = {"steps": 4, "segments": 2, "block": 2}


class Matrices:
    """A rule by which masks are made."""

    def __init__(self, axes):
        self.axes = axes

    def mask(self, path, leaf):
        return leaf.ndim > self.axes


def functions(axes):
    """Functions that hold a number in each way there is."""

    def nested(leaf):
        return leaf.ndim > axes

    def countdown(n):
        return n == 0 or (countdown(n - 1) and axes)

    return {
        "closure": nested,
        "nested": lambda path, leaf: nested(leaf),
        "recursive": countdown,
        "default": lambda leaf, least=axes: leaf.ndim > least,
        "keyword default": lambda leaf, *, least=axes: leaf.ndim > least,
        "partial": functools.partial(operator.gt, axes),
        "method": Matrices(axes).mask,
        "compiled": jax.jit(nested),
        "cached": functools.cache(nested),
        "own kind": operator.itemgetter(axes),
        "optax": optax.scale(axes),
        "array": functools.partial(nested, jnp.asarray([axes])),
    }


@pytest.mark.parametrize("kind", functions(0))
def test_functions_are_equal_by_code_and_what_they_hold(kind):
    one, again, other = (functions(axes)[kind] for axes in (1, 1, 2))
    assert one is not again
    assert same(one, again)
    assert not same(one, other)
    assert digest(one) == digest(again) != digest(other)


def test_the_place_and_the_docstring_of_a_program_are_no_value():
    assert same(lambda leaf: leaf.ndim, lambda leaf: leaf.ndim)
    assert not same(lambda leaf: leaf.ndim, lambda leaf: leaf.size)
    assert not same(lambda leaf: leaf.ndim, lambda leaf, axes=1: leaf.ndim)


Pair = collections.namedtuple("Pair", "one two")
MANY = np.arange(2000.0)


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (0.1, np.float64(0.1), True),
        (0.5, np.float32(0.5), False),
        (np.float32(0.1), jnp.float32(0.1), True),
        (np.bool_(True), True, True),
        (1, 1.0, False),
        (1, True, False),
        (0.0, -0.0, False),
        (float("nan"), np.float64("nan"), True),
        ([1 << 20000], [(1 << 20000) + 1], False),
        ("a", np.str_("a"), True),
        (None, "None", False),
        (MANY, MANY.copy(), True),
        (MANY, MANY + 1e-12 * (MANY == 1000), False),
        (np.zeros(2), np.zeros((1, 2)), False),
        (np.zeros(0), np.zeros(0, np.float32), False),
        (jnp.zeros(2, jnp.bfloat16), jnp.zeros(2, jnp.float16), False),
        (jax.random.key(0), jax.random.key(0), True),
        (jax.random.key(0), jax.random.key(1), False),
        (jax.random.key(0), jax.random.PRNGKey(0), False),
        (jax.random.PRNGKey(0), jax.random.PRNGKey(0), True),
        ((1, 2), [1, 2], False),
        (Pair(1, 2), (1, 2), False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ({"a": MANY}, {"a": MANY + 1}, False),
        ({1, 2}, {2, 1}, True),
        (Matrices(1), Matrices(1), True),
        (Matrices(1), Matrices(2), False),
        (jopt.adamw(1e-3, b1=0.9), jopt.adamw(1e-3, b1=0.9), True),
        (jopt.adamw(1e-3, b1=0.9), jopt.adamw(1e-3, b1=0.8), False),
        (optax.adam(1e-3), optax.adam(1e-3), True),
        (optax.adam(1e-3), optax.adam(1e-2), False),
        (jax.nn.relu, jax.nn.gelu, False),
        (threading.Lock(), threading.Lock(), False),
    ],
)
def test_values_are_equal_by_value_and_dtype(one, other, equal):
    assert same(one, other) is equal
    assert same(one, one)
    assert equal == (len(Identities().first_of_each([one, other])) == 1)


def test_what_holds_itself_is_compared_and_what_is_too_large_is_itself():
    one, other = [1], [1]
    one.append(one)  # pyright: ignore[reportArgumentType]
    other.append(other)  # pyright: ignore[reportArgumentType]
    assert same(one, other)
    assert not same(one, [1, [2, 3]])
    deep: list[Any] = []
    for _ in range(100):
        deep = [deep, deep]  # 2^100 paths, a hundred parts
    assert same(deep, [deep[0], deep[0]])
    assert not same(list(map(str, range(10**5))), list(map(str, range(10**5))))


@pytest.fixture
def few_digits():
    with np.printoptions(precision=3, suppress=True, threshold=5):
        yield


@pytest.mark.usefixtures("few_digits")
def test_values_of_few_printed_digits_stay_apart():
    rates = jnp.logspace(-5, -1, 9)
    trials = sweep.grid(jopt.adamw, learning_rate=rates)
    assert len(trials) == len(settings_of(trials)) == 9
    drawn = sweep.sample(jopt.sgd, 64, learning_rate=sweep.choice(list(rates)))
    assert len(drawn) == 9
    assert columns(trials)["learning_rate"].tolist() == rates.tolist()
    masks = [MANY, MANY + 1e-9, MANY.copy()]
    trials = sweep.grid(lambda mask: jopt.sgd(0.1), mask=masks)
    assert len(trials) == len(settings_of(trials)) == len(space(trials)["mask"]) == 2


def test_different_values_are_shown_apart_and_equal_ones_alike():
    assert told_apart([0.1, 0.2, 0.1, None]) == [0.1, 0.2, 0.1, None]
    assert told_apart([1, True, 1.0]) == ["1", "True", "1.0"]
    assert told_apart(["1", 1, "b"]) == ["'1'", "1", "b"]
    assert told_apart([0.5, np.float32(0.5)]) == ["0.5", "float32(0.5)"]
    one, two = functions(1), functions(2)
    assert told_apart([one["closure"], two["closure"], functions(1)["closure"]]) == [
        "nested #1",
        "nested #2",
        "nested #1",
    ]
    keys = [jax.random.key(0), jax.random.key(1), jax.random.PRNGKey(1)]
    assert told_apart(keys) == [
        "key<fry>([0, 0])",
        "key<fry>([0, 1])",
        "uint32([0, 1])",
    ]
    assert told_apart([MANY, MANY + 1]) == ["float64[2000] #1", "float64[2000] #2"]


def with_key(key):
    return jopt.noisy_sgd(0.1, key=key)


@pytest.mark.slow("raw keys are arrays, which other tests sweep", but=1)
@pytest.mark.parametrize("make", [jax.random.key, jax.random.PRNGKey])
def test_keys_are_swept_and_kept(make, tmp_path):
    keys = [make(0), make(1), make(0)]
    trials = sweep.grid(with_key, key=keys)
    result = sweep.run(toy.task(), trials, seeds=2, **SIZES)
    assert result.info["groups"] == 1
    assert len(set(result.table["key"].tolist())) == 2
    assert result.settings()["trials"].tolist() == [2, 2]
    result.save(tmp_path)
    with (tmp_path / "trials.csv").open() as file:
        assert len({row["key"] for row in csv.DictReader(file)}) == 2
    record = Record.of(sweep.load(tmp_path))
    assert [rows.tolist() for rows in record.settings()] == [[0, 1], [2, 3]]
    assert record.best == Record.of(result).best


def test_settings_of_two_factories_stay_apart_in_the_record(tmp_path):
    trials = [*sweep.grid(jopt.sgd, learning_rate=0.1)]
    trials += sweep.grid(jopt.adamw, learning_rate=0.1)
    result = sweep.run(toy.task(), trials, **SIZES)
    assert [rows.tolist() for rows in Record.of(result).settings()] == [[0], [1]]


ONE_PROGRAM = {
    "lambda": lambda rate: jopt.adamw(rate, mask=lambda path, p: p.ndim > 1),
    "partial": lambda rate: jopt.adamw(
        rate, mask=functools.partial(jax.tree.map, lambda p: p.ndim > 1)
    ),
    "method": lambda rate: jopt.adamw(rate, mask=Matrices(1).mask),
    "tree": lambda rate: jopt.adamw(rate, mask={"hidden": True, "out": False}),
    "labels": lambda rate: jopt.partition(
        {"a": jopt.sgd(rate), "b": jopt.adam(rate)}, lambda path, p: path[:1] < "i"
    ),
    "stateless": lambda rate: jopt.chain(
        jopt.stateless(lambda u, p: jax.tree.map(jnp.sign, u)), jopt.sgd(rate)
    ),
    "schedule": lambda rate: jopt.chain(
        jopt.scale_by_schedule(lambda step: 1 / (1 + step)), jopt.sgd(rate)
    ),
    "optax": lambda rate: jopt.chain(optax.scale(0.5), jopt.sgd(rate)),
    "lifted": lambda rate: jopt.lift(optax.adamw)(rate, mask=lambda p: True),
}


@pytest.mark.parametrize("kind", ONE_PROGRAM)
def test_what_a_factory_makes_anew_for_each_trial_is_one_structure(kind):
    trials = sweep.grid(ONE_PROGRAM[kind], rate=[0.1, 0.01, 0.2])
    assert groups(trials) == [[0, 1, 2]]


def test_trials_whose_mask_is_made_anew_are_trained_by_one_program(recwarn):
    rates = [0.01, 0.1, 0.2]
    factory = ONE_PROGRAM["lambda"]
    trials = sweep.grid(factory, rate=rates)
    result = sweep.run(toy.task(), trials, **SIZES)
    mask = {"hidden": True, "out": True}
    named = sweep.grid(lambda rate: jopt.adamw(rate, mask=mask), rate=rates)
    assert result.info["groups"] == result.info["segment_compiles"] == 1
    expected = sweep.run(toy.task(), named, **SIZES)
    np.testing.assert_array_equal(result.curves, expected.curves)
    population = sweep.PopulationBasedTraining({"rate": sweep.log_uniform(1e-3, 1)})
    evolved = sweep.run(toy.task(), trials, population=population, **SIZES)
    assert evolved.lineage is not None
    assert len(recwarn) == 0


HELD = {
    "learning_rate.function": lambda rate: jopt.sgd(lambda step: rate * 0.9**step),
    "tx": lambda rate: optax.sgd(rate),
    "1.mask": lambda rate: jopt.chain(
        jopt.sgd(0.1), jopt.masked(jopt.scale(1), lambda path, p, rate=rate: rate > 0)
    ),
}


@pytest.mark.slow("other ways to hold a number are found alike", but=1)
@pytest.mark.parametrize("field", HELD)
def test_a_function_that_holds_a_swept_number_is_a_program_a_trial_and_said(field):
    trials = sweep.grid(HELD[field], rate=[0.1, 0.2])
    assert len(groups(trials)) == 2
    holds = r"holds (rate|step_size|learning_rate) \(-?0\.1 and -?0\.2\)"
    said = rf"2 programs: .* field \S*{field}.* {holds}"
    standard = jax.numpy_dtype_promotion("standard")  # optax counts on it
    with pytest.warns(UserWarning, match=said), standard:
        sweep.run(toy.task(), trials, **SIZES)
    population = sweep.PopulationBasedTraining({"rate": sweep.log_uniform(1e-3, 1)})
    with pytest.raises(ValueError, match=rf"makes them differ: .*{holds}"):
        sweep.run(toy.task(), trials, population=population, **SIZES)


def test_structure_that_is_meant_is_not_warned_of():
    trials = sweep.grid(
        lambda kind: jopt.chain(jopt.stateless(lambda u, p: {**u} if kind else u)),
        kind=[True, False],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sweep.run(toy.task(), trials, **SIZES)


@pytest.mark.parametrize(
    "one",
    [
        "adamw",
        b"words",
        {"hidden": True, "out": False},
        Pair(0.9, 0.99),
        jopt.scale_by_adam(),
        jopt.chain(jopt.scale(1), jopt.scale(2)),
        optax.scale_by_adam(),
        jopt.linear_schedule(1, 0, 9),
        jnp.asarray(0.5),
        np.asarray(0.5),
        jax.random.key(0),
        jax.random.PRNGKey(0),
        Matrices(1).mask,
        None,
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_single_value_is_one_value(one):
    def factory(learning_rate, fixed):
        assert same(fixed, one)
        return jopt.sgd(learning_rate)

    assert len(sweep.grid(factory, learning_rate=[0.1, 0.2], fixed=one)) == 2
    assert len(sweep.grid(factory, learning_rate=0.1, fixed=[one])) == 1
    rates = sweep.uniform(0, 1)
    assert len(sweep.sample(factory, 2, learning_rate=rates, fixed=one)) == 2


@pytest.mark.parametrize(
    "several",
    [
        [1, 2],
        (1, 2),
        range(2),
        {1: 2, 3: 4}.keys(),
        np.arange(2),
        jnp.arange(2),
        jnp.arange(2, dtype=jnp.uint32)[:, None],
        jax.random.split(jax.random.key(0), 2),
        jax.random.split(jax.random.PRNGKey(0), 2),
        (n for n in range(2)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_several_values_are_as_many(several):
    assert len(sweep.grid(lambda n: jopt.sgd(0.1), n=several)) == 2


def test_a_choice_has_arrays_keys_and_functions():
    arrays = [np.zeros(2), np.ones(2), np.full(2, 2.0)]
    space = sweep.choice(arrays)
    assert space.clip(np.ones(2)) is arrays[1]
    assert same(space.beside(np.ones(2)), arrays[::2])
    assert space == sweep.choice([array.copy() for array in arrays])
    assert space != sweep.choice(arrays[:2])
    assert hash(space) == hash(sweep.choice([array.copy() for array in arrays]))
    keys = jax.random.split(jax.random.PRNGKey(0), 2)
    assert same(sweep.choice(keys).values, tuple(keys))


def of(trials):
    return fingerprint(toy.task(), trials, {})


@pytest.mark.usefixtures("few_digits")
def test_a_sweep_is_not_resumed_with_other_values_that_print_alike():
    def trials(axes, array):
        def factory(rate, rule, array):
            return jopt.adamw(rate, mask=functions(axes)["nested"])

        rule = functions(axes)["closure"]
        return sweep.grid(factory, rate=0.1, rule=rule, array=[array])

    begun = of(trials(1, MANY))
    assert differences(begun, of(trials(1, MANY.copy()))) == []
    for changed in (trials(2, MANY), trials(1, MANY + 1e-9)):
        (said,) = differences(begun, of(changed))
        assert "had another value that is written" in said
    with np.printoptions(precision=17):
        assert differences(begun, of(trials(1, MANY))) == []


def test_tasks_that_are_equal_share_a_program():
    def factory(rate, limit):
        # Its data, too, is made anew for each trial.
        return sweep.Setup(jopt.sgd(rate), toy.task(diverged_above=limit))

    trials = sweep.grid(factory, rate=[0.1, 0.2], limit=[10.0, 20.0])
    result = sweep.run(toy.task(), trials, **SIZES)
    assert [group["trials"] for group in result.info["grouped_by"]] == [2, 2]
    assert [group["because"] for group in result.info["grouped_by"]] == [
        {"limit": 10.0},
        {"limit": 20.0},
    ]


@pytest.mark.slow("test_resume.py resumes a population")
def test_a_population_of_arrays_keys_and_functions_is_resumed(tmp_path):
    def factory(rate, key, rule, array):
        return jopt.noisy_sgd(rate, key=key)

    fixed = {"key": jax.random.key(3), "rule": functions(1)["closure"]}
    trials = sweep.grid(factory, rate=[1e-3, 0.1, 1e38], array=[MANY], **fixed)
    rates = {"rate": sweep.log_uniform(1e-3, 1)}
    asked: Any = {**SIZES, "population": sweep.PopulationBasedTraining(rates)}

    def stop(now):
        if now.number == 2:
            raise InterruptedError

    asked["segments"] = 4
    whole = sweep.run(toy.task(), trials, **asked)
    with pytest.raises(InterruptedError):
        sweep.run(toy.task(), trials, directory=tmp_path, callbacks=[stop], **asked)
    result = sweep.resume(tmp_path, toy.task(), trials)
    np.testing.assert_array_equal(result.curves, whole.curves)
    assert result.lineage == whole.lineage
    assert result.lineage is not None
    assert result.lineage.events
    for trial in result.trials:
        assert same(trial.hyperparameters["array"], MANY)


def test_the_command_shows_values_in_digits_that_tell_them_apart():
    assert _apart(np.asarray([0.1, 0.25, np.nan])) == ["0.1", "0.25", "-"]
    assert _apart(np.asarray([0.90001, 0.90002])) == ["0.90001", "0.90002"]
    assert _apart(np.asarray([1.0, 1 + 1e-12])) == ["1", "1.0000000000010001"]
