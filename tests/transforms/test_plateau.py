"""`reduce_on_plateau` over sequences of values."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax.contrib
import pytest
from comparison import relaxed, stack

import jopt

RNG = np.random.default_rng(0)
FALLING = np.maximum.accumulate(RNG.normal(size=60))[::-1] + 3
NOISY = np.exp(-np.arange(60) / 15) + 0.2 * RNG.random(60)


def scales(tx: Any, values: Any) -> Any:
    """The scale of each update in a run of values."""

    def step(state, value):
        update, state = tx.update(jnp.ones((), jnp.float32), state, value=value)
        return state, update

    values = jnp.asarray(values, jnp.float32)
    return jax.lax.scan(step, tx.init(jnp.ones((), jnp.float32)), values)[1]


SETTINGS = [
    {"patience": 3},
    {"factor": 0.5, "patience": 2, "cooldown": 4},
    {"factor": 0.7, "patience": 2, "rtol": 0.05, "atol": 0.02},
    {"factor": 0.5, "patience": 1, "accumulation_size": 4, "min_scale": 0.2},
    {"factor": 0.5, "patience": 2, "rtol": 0.0, "atol": 0.1, "cooldown": 1},
]


@pytest.mark.parametrize("values", [FALLING, NOISY], ids=["falling", "noisy"])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_scales_are_those_of_optax(settings, values):
    with relaxed():
        wanted = scales(optax.contrib.reduce_on_plateau(**settings), values)

    got = scales(jopt.reduce_on_plateau(**settings), values)

    np.testing.assert_allclose(got, wanted, rtol=1e-6)
    assert got[-1] < 1


def test_scales_are_those_of_torch():
    torch = pytest.importorskip("torch", reason="PyTorch is the reference here")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    # PyTorch shrinks after its patience, jopt and optax when it is reached.
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=2, threshold=0.01, cooldown=1, eps=0.0
    )
    rates = []
    for value in NOISY.astype(np.float32):
        scheduler.step(float(value))
        rates.append(optimizer.param_groups[0]["lr"])

    tx = jopt.reduce_on_plateau(0.5, 3, rtol=0.01, cooldown=1)

    np.testing.assert_allclose(scales(tx, NOISY), rates, rtol=1e-6)
    assert rates[-1] < 0.2


def test_every_number_can_be_swept_at_once():
    names = ("factor", "patience", "rtol", "atol", "cooldown", "accumulation_size")
    rows = [
        (0.5, 2, 1e-4, 0.0, 0, 1),
        (0.1, 3, 0.05, 0.1, 2, 3),
        (0.7, 1, 0.0, 0.0, 1, 2),
    ]
    txs = [jopt.reduce_on_plateau(**dict(zip(names, row, strict=True))) for row in rows]

    swept = jax.jit(jax.vmap(scales, in_axes=(0, None)))(stack(txs), NOISY)

    for tx, got in zip(txs, swept, strict=True):
        np.testing.assert_array_equal(got, jax.jit(scales)(tx, NOISY))
    assert len({float(row[-1]) for row in swept}) == 3


def test_values_below_zero_have_a_plateau_too():
    """optax's and PyTorch's rule takes an equal value for a better one there."""
    settings = {"factor": 0.5, "patience": 2}
    steady, growing = np.full(6, -3.0), -3 - np.arange(6.0)

    with relaxed():
        theirs = scales(optax.contrib.reduce_on_plateau(**settings), steady)

    assert list(theirs) == [1] * 6
    tx = jopt.reduce_on_plateau(**settings)
    np.testing.assert_allclose(scales(tx, steady), [1, 1, 0.5, 0.5, 0.25, 0.25])
    np.testing.assert_allclose(scales(tx, growing), 1)


def test_a_value_that_is_nan_is_no_improvement():
    tx = jopt.reduce_on_plateau(0.5, 2)

    np.testing.assert_allclose(
        scales(tx, [jnp.nan, jnp.nan, 3.0, 3.0, 3.0]), [1, 0.5, 0.5, 0.5, 0.25]
    )


def test_the_scale_belongs_to_the_mean_of_the_last_values():
    tx = jopt.reduce_on_plateau(0.5, 1, accumulation_size=2)

    # Means 2, 1, 3: the third is the first without an improvement.
    np.testing.assert_allclose(
        scales(tx, [3.0, 1.0, 0.0, 2.0, 3.0, 3.0]), [1, 1, 1, 1, 1, 0.5]
    )


def test_it_shrinks_an_optimizers_steps():
    tx = jopt.chain(jopt.sgd(1.0), jopt.reduce_on_plateau(0.5, 1))
    params = jnp.ones(2, jnp.float32)
    state = tx.init(params)

    for wanted in (-1.0, -0.5, -0.25):
        updates, state = tx.update(params, state, params, value=1.0)
        np.testing.assert_allclose(updates, wanted)


def test_without_a_value_it_says_so():
    tx = jopt.reduce_on_plateau()
    message = (
        "ReduceOnPlateau: update needs the value that should fall, got none; "
        "call tx.update(updates, state, params, value=loss) (optax's combinators drop "
    )

    with pytest.raises(ValueError, match="^" + re.escape(message)):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"factor": 1.0}, "factor must be below 1, got 1.0."),
        ({"factor": 0.0}, "factor must be above 0, got 0.0."),
        ({"patience": -1}, "patience must be at least 0, got -1."),
        ({"rtol": 1.5}, "rtol must be at most 1, got 1.5."),
        ({"atol": -1.0}, "atol must be at least 0, got -1.0."),
        ({"cooldown": -2}, "cooldown must be at least 0, got -2."),
        ({"accumulation_size": 0}, "accumulation_size must be at least 1, got 0."),
        ({"min_scale": -0.1}, "min_scale must be at least 0, got -0.1."),
    ],
    ids=str,
)
def test_bad_numbers_are_a_sentence(settings, message):
    with pytest.raises(
        ValueError, match="^" + re.escape(f"ReduceOnPlateau: {message}")
    ):
        jopt.reduce_on_plateau(**settings)
