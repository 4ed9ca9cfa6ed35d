"""What the command line makes of the values of a hyperparameter."""

import numpy as np
import pytest

from jopt import sweep
from jopt.cli.values import distribution, interval, numbers, values
from jopt.sweep import Choice, Integers, LogInt, LogUniform, Uniform


def test_values_are_ranges_lists_and_words():
    np.testing.assert_allclose(numbers("1e-5:1:6", ""), np.logspace(-5, 0, 6))
    np.testing.assert_allclose(numbers("-1..1:5", ""), np.linspace(-1, 1, 5))
    assert numbers("3e-4:3e-4:1", "") == [pytest.approx(3e-4)]
    assert values("0, 1e-4,2", "") == [0.0, 1e-4, 2.0]
    assert values("true,False", "") == [True, False]
    assert values("bfloat16", "") == ["bfloat16"]


def test_integers_stay_integers_where_all_values_are():
    assert [type(v) for v in values("5,-6", "")] == [int, int]
    assert [type(v) for v in values("5,0.5", "")] == [float, float]
    assert [type(v) for v in numbers("5,6", "")] == [float, float]


def test_an_integer_of_an_optimizer_is_swept():
    import jopt

    trials = sweep.grid(jopt.muon, learning_rate=0.1, ns_steps=values("3,5", ""))
    tx = trials[0].config
    params = {"w": np.ones((2, 2), np.float32)}
    assert np.isfinite(tx.update(params, tx.init(params), params)[0]["w"]).all()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-5:1", LogUniform(1e-5, 1)),
        ("0..0.99", Uniform(0, 0.99)),
        ("-1..-.5", Uniform(-1, -0.5)),
        ("0...5", Uniform(0, 0.5)),
        ("16:256:int", LogInt(16, 256)),
        ("1..8:int", Integers(1, 8)),
        ("sgd, adam", Choice(("sgd", "adam"))),
        ("true,false", Choice((True, False))),
        ("0..1:3", Choice((0.0, 0.5, 1.0))),
        ("0.9", 0.9),
        ("5", 5),
        ("true", True),
        ("bfloat16", "bfloat16"),
    ],
)
def test_a_range_without_a_count_is_drawn_from(text, expected):
    found = distribution(text, "")
    assert type(found) is type(expected)
    assert found == expected


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("1,two", "--set x got '1,two', numbers and words mixed; write LOW:HIGH:COUNT"),
        ("1,,2", "has an empty value"),
        ("", "has an empty value"),
        ("1e-5:1", "a range without a COUNT; .* with --sample N"),
        ("1..8:int", "a range without a COUNT; .* with --sample N"),
        ("1:2:many", "'1:2:many', a malformed range; write LOW:HIGH:COUNT"),
        ("1:2:3:4", "a malformed range"),
        ("a:b:3", "a malformed range"),
        ("..", "a malformed range"),
        ("1:2:inf", "a whole COUNT of at least 1 and at most 1,000,000"),
        ("1:2:nan", "a whole COUNT"),
        ("1:2:0", "a whole COUNT"),
        ("1:2:1e9", "a whole COUNT"),
        ("0:1:3", "a range needs 0 < LOW <= HIGH"),
        ("1..0:3", "a range needs LOW <= HIGH"),
        ("0..inf:3", "a range needs LOW <= HIGH"),
        ("0..nan:3", "a range needs LOW <= HIGH"),
    ],
)
def test_malformed_values_are_one_sentence(text, sentence):
    with pytest.raises(ValueError, match=sentence):
        values(text, "--set x")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("0:1", "'0:1'. LogUniform: low must be above 0, got 0.0. LOW..HIGH has a lin"),
        ("1..0", "Uniform: low must be at most high, got 1.0 and 0.0"),
        ("1.5:3:int", "LogInt: low must be an integer, got 1.5"),
        ("1:nan", "LogUniform: high must be finite, got nan"),
        ("0..1e400", "Uniform: high must be finite, got inf"),
        ("low:high", "a malformed range; write LOW:HIGH, as in 1e-5:1, LOW..HIGH"),
        ("1:2:many", "a malformed range"),
        ("1:2:", "a malformed range"),
        ("1:2,3", "a malformed range"),
        ("1,,2", "has an empty value"),
    ],
)
def test_a_malformed_distribution_is_a_sentence(text, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        distribution(text, "--set x")
    assert str(caught.value).startswith(f"--set x got {text!r}")


def test_an_interval_may_be_open():
    assert interval("..3000", "") == (None, 3000)
    assert interval("0.9..", "") == (0.9, None)
    assert interval("-1 .. 1e3", "") == (-1, 1000)


@pytest.mark.parametrize(
    "text",
    ["3000", "..", "", "1..b", "a..", "2..1", "nan..1", "0..inf", "1:2", "1..2:3"],
)
def test_a_malformed_interval_is_a_sentence(text):
    with pytest.raises(
        ValueError, match=r"write LOW\.\.HIGH with LOW <= HIGH"
    ) as caught:
        interval(text, "--bound x")
    assert str(caught.value).startswith(f"--bound x got {text!r}")


def test_a_distribution_of_numbers_has_no_words():
    assert distribution("1,2", "--learning-rate", numbers) == Choice((1.0, 2.0))
    with pytest.raises(ValueError, match="--learning-rate got 'fast', not numbers"):
        distribution("fast", "--learning-rate", numbers)
