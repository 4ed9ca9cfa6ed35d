"""`Precision`: the dtypes of a training run."""

import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from classifiers import BATCH, KINDS, plain_loss, plain_model

import jopt
from jopt.training import TrainState, _precision as precision_module, train_step

BF16, F32 = jnp.dtype(jnp.bfloat16), jnp.dtype(jnp.float32)


def dtypes(tree):
    return {x.dtype for x in jax.tree.leaves(tree)}


@pytest.mark.slow("one kind of model is in the quick run", but=1)
@pytest.mark.parametrize("kind", KINDS)
def test_params_are_held_in_their_dtype_and_all_else_is_not(kind):
    make, loss_fn = KINDS[kind]
    policy = jopt.Precision(params="bfloat16")
    state = TrainState.create(make(), jopt.adam(0.01), precision=policy)
    kept = dtypes(state.model_state)

    # The model's sums of bfloat16 and of the batch's float32 are its own.
    with jax.numpy_dtype_promotion("standard"):
        state, metrics = train_step(loss_fn)(state, BATCH)

    adam = state.opt_state[0]
    assert dtypes(state.params) == {BF16}
    assert dtypes((adam.mu, adam.nu)) == {F32}
    assert dtypes(state.model_state) == kept
    assert dtypes((metrics.loss, metrics.grad_norm)) == {F32}
    counts = (state.step, state.skipped, adam.count, metrics.nonfinite)
    assert dtypes(counts) == {jnp.dtype(jnp.int32)}


@pytest.mark.slow("leaves that are not joined are stored alike", but=1)
@pytest.mark.parametrize("buckets", [True, False])
def test_moments_are_stored_in_their_dtypes(buckets):
    policy = jopt.Precision(mu=jnp.bfloat16, nu="float16")
    state = TrainState.create(
        plain_model(), jopt.adam(0.01), buckets=buckets, precision=policy
    )
    wanted = [{BF16}, {jnp.dtype(jnp.float16)}, {F32}]
    for steps in range(2):
        for _ in range(steps):
            state, _ = train_step(plain_loss)(state, BATCH)
        adam = state.opt_state[0]
        assert [dtypes(x) for x in (adam.mu, adam.nu, state.params)] == wanted


@jopt.pytree
class Gaussian:
    mu: jax.Array
    nu: jax.Array


def test_the_users_own_mu_is_none_of_the_optimizers():
    params = Gaussian(mu=jnp.ones(3), nu=jnp.ones(2))
    policy = jopt.Precision(mu="bfloat16")
    state = TrainState.create(params, jopt.adam(0.01), precision=policy, buckets=False)
    adam = state.opt_state[0]
    assert dtypes(state.params) == dtypes(adam.nu) == {F32}
    assert dtypes(adam.mu) == {BF16}


def watched(seen):
    """The loss function, which notes the dtypes that it meets."""

    def loss_fn(params, batch, key):
        inputs, labels = batch
        seen.append((params["w"].dtype, inputs.dtype, labels.dtype))
        loss = plain_loss(params, batch, key)
        seen.append((loss.dtype,))
        return loss

    return loss_fn


@pytest.mark.slow("one kind of model is in the quick run", but=1)
@pytest.mark.parametrize("cut", [{}, {"accumulate": 2}], ids=["whole", "accumulate"])
def test_the_loss_function_computes_in_the_dtype_of_computation(cut):
    seen = []
    state = TrainState.create(
        plain_model(), jopt.adam(0.01), precision=jopt.Precision(compute="bfloat16")
    )

    state, metrics = train_step(watched(seen), **cut)(state, BATCH)

    assert set(seen) == {(BF16, BF16, BATCH[1].dtype), (BF16,)}
    assert dtypes((state.params, state.opt_state[0].mu, metrics.loss)) == {F32}
    exact = jax.jit(jax.grad(plain_loss))(plain_model(), BATCH, None)
    np.testing.assert_allclose(metrics.grad_norm, jopt.global_norm(exact), rtol=0.02)
    assert metrics.grad_norm != jopt.global_norm(exact)


@pytest.mark.parametrize(("output", "dtype"), [("float32", F32), (None, BF16)])
def test_the_loss_is_of_the_dtype_of_the_output(output, dtype):
    seen = []

    @jopt.pytree
    class Sees(jopt.GradientTransformation):
        def init(self, params):
            return ()

        def update(self, updates, state, params=None, *, value: Any = None, **extra):
            assert value is not None
            seen.append(value.dtype)
            return updates, state

    policy = jopt.Precision(compute="bfloat16", output=output)
    state = TrainState.create(plain_model(), Sees(), precision=policy)
    _, metrics = train_step(plain_loss)(state, BATCH)
    assert set(seen) == {dtype}
    assert metrics.loss.dtype == F32


@pytest.mark.slow("tests/wrappers/test_low_precision.py has each rounding", but=2)
@pytest.mark.parametrize("rounding", ["nearest", "master", "stochastic", "kahan"])
def test_small_steps_are_lost_by_rounding_to_nearest_alone(rounding):
    policy = jopt.Precision("bfloat16", rounding=rounding)
    params = {"w": jnp.ones((64, 2)), "b": jnp.ones(64)}

    def loss_fn(params, batch, key):
        return sum(jnp.sum(p) for p in jax.tree.leaves(params))

    state = TrainState.create(params, jopt.sgd(1e-3), precision=policy)
    step = train_step(loss_fn)
    for _ in range(20):
        state, _ = step(state, ())

    mean = np.mean([np.mean(np.float64(p)) for p in state.params.values()])
    assert dtypes(state.params) == {BF16}
    # 1 - 20 / 1000, where the numbers below 1 are 1 / 256 apart.
    expected, room = (1, 0) if rounding == "nearest" else (0.98, 3e-3)
    assert abs(mean - expected) <= room


def test_names_and_dtypes_are_one_policy():
    assert jopt.Precision("bfloat16", mu=np.float16) == jopt.Precision(
        jnp.bfloat16, mu="float16"
    )
    assert hash(jopt.Precision(jnp.bfloat16)) == hash(jopt.Precision("bfloat16"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"params": "int8"}, "params must be a floating dtype .* got 'int8'"),
        ({"compute": "bf16"}, "compute must be a floating dtype .* got 'bf16'"),
        ({"mu": jnp.int32}, "mu must be a floating dtype"),
        ({"output": "complex64"}, "output must be a floating dtype"),
    ],
)
def test_what_is_no_floating_dtype_is_refused(settings: Any, message):
    with pytest.raises(TypeError, match=f"Precision: {message}"):
        jopt.Precision(**settings)


def test_an_unknown_rounding_is_refused():
    with pytest.raises(ValueError, match=r"one of nearest, .*kahan, got 'up'"):
        jopt.Precision(rounding="up")  # pyright: ignore[reportArgumentType]


def of(field: str, dtype: Any) -> jopt.Precision:
    return jopt.Precision(**{field: dtype})


@pytest.mark.parametrize("field", ["params", "compute", "output", "mu", "nu"])
def test_a_dtype_that_the_device_lacks_is_refused_by_name(field, monkeypatch):
    policy = of(field, "float64")
    with pytest.raises(ValueError, match=f"Precision: {field} is float64, which JAX"):
        TrainState.create(plain_model(), jopt.adam(0.1), precision=policy)

    monkeypatch.setattr(precision_module, "_refusal", lambda name: f"no {name}")
    policy = of(field, "float16")
    device = jax.devices()[0].device_kind
    message = rf"{field} is float16, which {device} cannot compute \(no float16\)"
    with pytest.raises(ValueError, match=message):
        TrainState.create(plain_model(), jopt.adam(0.1), precision=policy)


@pytest.mark.parametrize("field", ["mu", "nu"])
def test_moments_that_the_optimizer_lacks_are_refused(field):
    policy = of(field, "bfloat16")
    with pytest.raises(ValueError, match=f"{field} is bfloat16, but the optimizer's"):
        TrainState.create(plain_model(), jopt.sgd(0.1, 0.9), precision=policy)


def test_importing_jopt_and_stating_a_policy_asks_for_no_device():
    program = (
        "import jopt; jopt.Precision('bfloat16', compute='float16', mu='float64');"
        "from jax._src import xla_bridge; "
        "assert not xla_bridge.backends_are_initialized()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
