"""The distributions of a space: their quantiles, their ends, what they refuse."""

import math
import warnings

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import example, given, settings, strategies as st

from jopt.sweep import (
    Choice,
    Integers,
    LogInt,
    LogUniform,
    Uniform,
    choice,
    integers,
    log_int,
    log_uniform,
    uniform,
)

LAST = math.nextafter(1, 0)  # the greatest number that is drawn
U = np.append(np.random.default_rng(0).random(200), [0.0, LAST])

shares = st.floats(0, 1, exclude_max=True)
floats = st.floats(-1e300, 1e300)
positive = st.floats(1e-300, 1e300)
whole = st.integers(-(2**53), 2**53)
natural = st.integers(1, 2**53)
few = settings(max_examples=60, derandomize=True, deadline=None, database=None)
any_number = st.one_of(st.floats(allow_nan=False), st.integers())


def test_uniform_has_the_quantiles_of_scipys():
    expected = scipy.stats.uniform(-3, 5).ppf(U)
    np.testing.assert_allclose([uniform(-3, 2).at(u) for u in U], expected, atol=1e-12)


def test_log_uniform_has_the_quantiles_of_scipys():
    expected = scipy.stats.loguniform(1e-5, 10).ppf(U)
    found = [log_uniform(1e-5, 10).at(u) for u in U]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_integers_have_the_quantiles_of_scipys():
    expected = scipy.stats.randint(-2, 6).ppf(U[U > 0])
    assert [integers(-2, 5).at(u) for u in U[U > 0]] == expected.tolist()
    assert integers(-2, 5).at(0) == -2


@pytest.mark.parametrize(("low", "high"), [(1, 2), (1, 6), (3, 4), (16, 40)])
def test_log_integers_are_as_likely_as_what_is_nearest_to_them(low, high):
    edges = np.arange(low, high + 2) - 0.5
    expected = np.diff(np.log(edges)) / np.log(edges[-1] / edges[0])
    found = [log_int(low, high).at(u) for u in (np.arange(20_000) + 0.5) / 20_000]
    counts = np.bincount(found, minlength=high + 1)[low:]
    np.testing.assert_allclose(counts / 20_000, expected, atol=1e-4)


def test_log_integers_are_drawn_as_often_as_optunas():
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    drawn: dict = {"k": optuna.distributions.IntDistribution(1, 6, log=True)}
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    theirs = np.bincount([study.ask(drawn).params["k"] for _ in range(2000)])
    ours = np.bincount([log_int(1, 6).at((i + 0.5) / 2000) for i in range(2000)])
    assert scipy.stats.chisquare(theirs[1:], ours[1:]).pvalue > 0.01


def test_choices_are_equally_likely_and_kept_as_they_are():
    values = ["sgd", True, None, (8, 8), math.sin]
    assert [choice(values).at(u) for u in (0, 0.2, 0.4, 0.6, LAST)] == values
    assert choice(values).at(0.25) is True


def test_what_is_drawn_is_plain_python():
    assert type(Uniform(np.float32(0), 1).at(0.5)) is float
    assert type(LogUniform(1, np.int64(2)).at(np.float64(0.5))) is float
    assert type(Integers(1.0, np.int64(8)).at(0.5)) is int
    assert type(log_int(1, 8).at(np.float64(0.5))) is int
    assert type(choice(np.arange(3)).at(0.5)) is int
    assert type(choice(jnp.arange(3)).at(0.5)) is int
    assert type(choice([np.float32(0.5)]).at(0)) is float


@few
@given(low=floats, high=floats, u=shares, value=any_number)
@example(low=-1e308, high=1e308, u=0.5, value=math.inf)
def test_uniform_stays_between_its_ends(low, high, u, value):
    low, high = sorted((low, high))
    space = uniform(low, high)
    assert low <= space.at(u) <= high
    assert space.clip(value) == float(min(max(value, low), high))


@few
@given(low=positive, high=positive, u=shares, value=any_number)
@example(low=1e-5, high=1e-5, u=0.3, value=0)
@example(low=5e-324, high=1.7e308, u=LAST, value=-math.inf)
def test_log_uniform_stays_between_its_ends(low, high, u, value):
    low, high = sorted((low, high))
    space = log_uniform(low, high)
    assert low <= space.at(u) <= high
    assert space.clip(value) == float(min(max(value, low), high))


@few
@given(low=natural, high=natural, u=shares, value=any_number)
@example(low=1, high=2**53, u=LAST, value=2**60)
def test_log_integers_stay_between_their_ends(low, high, u, value):
    low, high = sorted((low, high))
    for space in (log_int(low, high), integers(low, high)):
        for found in (space.at(u), space.clip(value)):
            assert type(found) is int
            assert low <= found <= high


@few
@given(low=whole, high=whole, u=shares)
def test_integers_stay_between_their_ends(low, high, u):
    low, high = sorted((low, high))
    found = integers(low, high).at(u)
    assert type(found) is int
    assert low <= found <= high


@few
@given(st.one_of(natural, st.integers(1, 20)), st.integers(0, 20), st.data())
def test_a_drawn_value_is_clipped_to_itself(low, width, data):
    high = min(low + width, 2**53)
    values = choice(range(low, high + 1))
    spaces = [integers(low, high), log_int(low, high), log_uniform(low, high), values]
    for space in [*spaces, uniform(low, high)]:
        value = space.at(data.draw(shares))
        assert space.clip(value) == value


@few
@given(low=st.integers(1, 50), width=st.integers(0, 50))
def test_both_ends_of_integers_are_drawn(low, width):
    for space in (integers(low, low + width), log_int(low, low + width)):
        assert (space.at(0), space.at(LAST)) == (low, low + width)


@few
@given(st.lists(shares, min_size=2, max_size=10))
def test_quantiles_rise(us):
    us = sorted(us)
    for space in (
        uniform(-3, 7),
        log_uniform(1e-7, 3),
        integers(-4, 9),
        log_int(1, 99),
    ):
        found = [space.at(u) for u in us]
        assert found == sorted(found)


def test_a_perturbed_integer_is_rounded():
    assert integers(1, 10).clip(2.6) == 3
    assert log_int(8, 10).clip(3.2) == 8
    assert integers(1, 10).clip(math.inf) == 10


def test_a_perturbed_choice_is_the_nearest_number_or_the_value_itself():
    assert choice([8, 16, 32]).clip(25.0) == 32
    assert choice([0.1, 1, True]).clip(True) is True
    assert choice(["sgd", None]).clip(None) is None
    with pytest.raises(
        ValueError, match="Choice: value must be one of 'sgd', None; go"
    ):
        choice(["sgd", None]).clip("adam")


def test_distributions_are_compared_by_value():
    assert uniform(0, 1) == Uniform(0.0, 1.0) != LogUniform(0.5, 1)
    assert LogUniform(1, 2) != Uniform(1, 2)
    assert hash(integers(1, 2)) == hash(Integers(1, 2))
    assert choice(["a"]) == Choice(("a",))
    assert repr(log_int(1, 4)) == str(LogInt(1, 4)) == "LogInt(low=1, high=4)"


@pytest.mark.parametrize("make", [uniform, log_uniform, integers, log_int])
@pytest.mark.parametrize(
    ("low", "high", "sentence"),
    [
        (2, 1, "low must be at most high, got 2"),
        (1, math.inf, "high must be finite, got inf"),
        (math.nan, 1, "low must be finite, got nan"),
        (1, 10**400, "high must be finite, got 1000"),
        ("1", 2, "low must be a number, got '1'"),
        (1, None, "high must be a number, got None"),
        (True, 2, "low must be a number, got True"),
        ([1], 2, r"low must be a number, got \[1\]"),
    ],
)
def test_ends_that_make_no_range_are_refused(make, low, high, sentence):
    with pytest.raises((ValueError, TypeError), match=r"^\w+: " + sentence):
        make(low, high)


@pytest.mark.parametrize("make", [log_uniform, log_int])
@pytest.mark.parametrize("low", [0, -1])
def test_a_log_axis_is_above_zero(make, low):
    with pytest.raises(ValueError, match=f"low must be above 0, got {low}"):
        make(low, 1)


@pytest.mark.parametrize("make", [integers, log_int])
def test_integers_have_ends_that_are(make):
    with pytest.raises(ValueError, match=r"high must be an integer, got 2\.5"):
        make(1, 2.5)
    with pytest.raises(ValueError, match=r"high must be at most 2\*\*53 in size"):
        make(1, 2**53 + 1)


@pytest.mark.parametrize("values", ["sgd", b"sgd", 3, None, {1, 2}, {"a": 1}])
def test_a_choice_is_of_a_list(values):
    with pytest.raises(TypeError, match="Choice: values must be a list of values, or"):
        choice(values)


@pytest.mark.parametrize("values", [[], (), np.array([]), range(0)])
def test_a_choice_of_nothing_is_refused(values):
    with pytest.raises(ValueError, match="Choice: values must not be empty"):
        choice(values)


@pytest.mark.parametrize("u", [-0.1, 1, 1.5, math.nan])
def test_a_quantile_is_of_a_share_below_one(u):
    for space in (uniform(0, 1), log_uniform(1, 2), integers(0, 1), choice([1])):
        with pytest.raises(ValueError, match=r"u must be in \[0, 1\), got"):
            space.at(u)


@pytest.mark.parametrize("space", [uniform(0, 1), log_int(1, 2), choice([1, 2])])
def test_not_a_number_has_no_nearest(space):
    with pytest.raises(ValueError, match=r"value must be .* got nan"):
        space.clip(math.nan)


def test_numpys_numbers_are_ends_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Uniform(np.float32(0.5), np.float16(2)).high == 2.0
        with pytest.raises(ValueError, match="at most 2"):
            integers(np.iinfo(np.int64).min, 0)
