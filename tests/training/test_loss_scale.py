"""The loss scale: its rule beside Flax's and PyTorch's, its bounds, what it saves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.training.dynamic_scale import DynamicScale

from jopt.training import LossScale

# Runs of finite steps long enough to grow, and losses now and then.
FINITE = np.random.default_rng(0).random(400) > 0.15


@jax.jit
def after(scale, finite):
    """The scales after each step, the first included."""

    def step(scale, good):
        return scale.after(good), scale.scale

    last, scales = jax.lax.scan(step, scale, finite)
    return jnp.append(scales, last.scale), last


def test_the_scale_is_that_of_flax_which_grows_a_step_later():
    ours, _ = after(LossScale(2.0**10, interval=5, least=2.0**-20), FINITE)

    def step(theirs, good):
        loss = lambda x: x * jnp.where(good, 1, jnp.inf)  # noqa: E731
        return theirs.value_and_grad(loss)(jnp.float32(1))[0], theirs.scale

    start = DynamicScale(scale=2.0**10, growth_interval=4, minimum_scale=2.0**-20)
    start = jax.tree.map(jnp.asarray, start)
    with jax.numpy_dtype_promotion("standard"):
        _, theirs = jax.lax.scan(step, start, FINITE)

    np.testing.assert_array_equal(ours[:-1], theirs)
    assert len(np.unique(ours)) > 5


def test_the_scale_is_that_of_torch():
    torch = pytest.importorskip("torch")
    ours, _ = after(LossScale(8.0, 3.0, 0.25, 4, least=2.0**-60, most=2.0**60), FINITE)

    scale, good = torch.tensor(8.0), torch.tensor(0, dtype=torch.int32)
    theirs = [8.0]
    for finite in FINITE:
        missed = torch.tensor(float(not finite))
        torch._amp_update_scale_(scale, good, missed, 3.0, 0.25, 4)
        theirs.append(float(scale))

    np.testing.assert_array_equal(ours, np.asarray(theirs, np.float32))


def test_the_scale_stays_within_its_bounds():
    tries = np.repeat([True, False], 20)

    scales, last = after(LossScale(4.0, interval=2, least=0.5, most=64.0), tries)

    assert (scales.max(), scales[20], last.scale) == (64, 64, 0.5)


def test_one_bad_step_counts_anew():
    scale = LossScale(4.0, interval=3)

    scales, last = after(scale, np.array([1, 1, 0, 1, 1, 1, 1], bool))

    np.testing.assert_array_equal(scales, [4, 4, 4, 2, 2, 2, 4, 4])
    assert int(last.good_steps) == 1


def test_a_factor_of_one_is_a_scale_that_stays():
    scales, _ = after(LossScale(4.0, growth=1, backoff=1, interval=1), FINITE)

    np.testing.assert_array_equal(scales, 4)


def test_trials_have_scales_of_their_own_and_one_program():
    settings = [(2.0, 0.5, 3), (4.0, 0.25, 2), (3.0, 0.1, 7)]
    scales = [LossScale(64.0, *numbers) for numbers in settings]
    finite = np.random.default_rng(1).random((3, 60)) > 0.2
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *scales)

    together, last = jax.vmap(after)(stacked, finite)

    for i, scale in enumerate(scales):
        alone, end = after(scale, finite[i])
        np.testing.assert_array_equal(together[i], alone)
        assert int(last.good_steps[i]) == int(end.good_steps)


def test_its_types_are_kept():
    first = jax.tree.map(jnp.asarray, LossScale())

    before, then = map(jax.tree.leaves, (first, first.after(jnp.array(True))))

    def kinds(leaves):
        return [(x.shape, str(x.dtype), x.weak_type) for x in leaves]

    assert kinds(before) == kinds(then)
    assert {x[1:] for x in kinds(before)} == {("float32", False), ("int32", False)}
    assert LossScale() == LossScale(2**15) != LossScale(2.0)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_small_float16_gradients_survive_and_come_back_exactly(dtype):
    scale, weight = LossScale(), jnp.float16(1)

    def loss(w):
        return (w * jnp.float16(2**-5) * jnp.float16(2**-24)).astype(dtype)

    lost = jax.grad(lambda w: loss(w).astype(jnp.float32))(weight)
    kept = jax.grad(lambda w: scale.scaled(loss(w)))(weight)

    assert scale.scaled(loss(weight)).dtype == jnp.float32
    assert (float(lost), float(kept)) == (0, 2**-14)
    assert float(scale.unscale * kept.astype(jnp.float32)) == 2**-29


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"growth": 0.5}, "growth must be at least 1, got 0.5."),
        ({"backoff": 0.0}, "backoff must be above 0, got 0.0."),
        ({"backoff": 2}, "backoff must be at most 1, got 2."),
        ({"interval": 0}, "interval must be at least 1, got 0."),
        ({"interval": 2.5}, "interval must be a whole number, got 2.5."),
        ({"least": 0.0}, "least must be above 0, got 0.0."),
        ({"most": 1e39}, "most must be at most 8.50706e.37, got 1e.39."),
        ({"least": 8.0, "most": 4.0}, "most must be at least 8, got 4.0."),
        ({"scale": 0.5}, "scale must be at least 1, got 0.5."),
        ({"scale": 2.0**30}, "scale must be at most 1.67772e.07, got 1073741824.0."),
        ({"scale": float("nan")}, "scale must be at least 1 and .* got nan."),
        ({"good_steps": -1}, "good_steps must be at least 0, got -1."),
    ],
)
def test_a_number_outside_of_its_range_is_refused(numbers, message):
    with pytest.raises(ValueError, match=f"^LossScale: {message}"):
        LossScale(**numbers)
