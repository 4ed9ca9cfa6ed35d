"""Promises of the objectives: mixed, attacked and weighed."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from scipy import stats

import jopt
from jopt import losses
from jopt.losses._mixup import symmetric_beta

RNG = np.random.default_rng(0)
INPUTS = jnp.asarray(RNG.uniform(size=(12, 3)), jnp.float32)
LABELS = jnp.asarray(RNG.integers(0, 4, 12), jnp.int32)
HOT = np.eye(4, dtype=np.float32)[LABELS]
KERNEL = jnp.asarray(RNG.normal(size=(3, 4)), jnp.float32)
KEY = jax.random.key(0)


def apply(inputs):
    return inputs @ KERNEL.astype(inputs.dtype)


def cross_entropy(inputs, labels=HOT):
    return float(optax.softmax_cross_entropy(apply(inputs), labels).mean())


def test_mixup_mixes_each_example_with_another_and_their_labels():
    seen = []

    def seeing(inputs):
        seen.append(inputs)
        return apply(inputs["x"])

    # The row of an example's own number tells of what it has been mixed.
    inputs = {"x": INPUTS, "number": jnp.eye(12)}
    mixup = losses.Mixup(losses.CrossEntropy(), 1.0)
    loss, metrics = mixup(seeing, (inputs, LABELS), KEY)

    shares = np.asarray(seen[0]["number"])
    own = np.unique(np.diag(shares)[np.diag(shares) < 1])
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(shares.sum(axis=0), 1, rtol=1e-6)  # a permutation
    assert len(own) == 1
    assert set(shares.ravel()) <= {0, 1, own[0], *shares[shares > 0].ravel()}
    np.testing.assert_allclose(seen[0]["x"], shares @ INPUTS, rtol=1e-5)
    assert loss == pytest.approx(cross_entropy(shares @ INPUTS, shares @ HOT))
    assert metrics == {}


def test_mixup_of_no_strength_is_the_loss():
    for key in jax.random.split(KEY, 3):
        loss, _ = losses.Mixup(losses.CrossEntropy(), 0.0)(apply, (INPUTS, LABELS), key)
        assert loss == pytest.approx(cross_entropy(INPUTS), rel=1e-6)


@pytest.mark.slow("other strengths are other arguments of one draw", but=2)
@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0, 5.0, 1e3])
def test_the_shares_of_mixup_have_the_beta_distribution(alpha):
    keys = jax.random.split(KEY, 10_000)
    drawn = jax.vmap(symmetric_beta, (0, None))(keys, jnp.float32(alpha))
    wanted = stats.beta(alpha, alpha)
    points = wanted.ppf(np.linspace(0.15, 0.85, 15))
    below = np.mean(np.asarray(drawn)[:, None] <= points, axis=0)
    np.testing.assert_allclose(below, wanted.cdf(points), atol=0.02)


def attack(inputs, labels, epsilon, step, steps, low=-np.inf, high=np.inf):
    """The projected sign method on a linear model, in float64."""
    x, w = np.asarray(inputs, float), np.asarray(KERNEL, float)
    moved = x.copy()
    for _ in range(steps):
        p = np.exp(moved @ w)
        p /= p.sum(axis=1, keepdims=True)
        moved = moved + step * np.sign((p - labels) @ w.T)
        moved = np.clip(np.clip(moved, x - epsilon, x + epsilon), low, high)
    return moved.astype(np.float32)


@pytest.mark.slow("the other attacks differ by a number", but=2)
@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, {"step": 0.1, "steps": 1}),
        ({"step": 0.04}, {"step": 0.04, "steps": 1}),
        ({"step": 0.04, "steps": 4}, {"step": 0.04, "steps": 4}),
        ({"low": 0, "high": 1}, {"step": 0.1, "steps": 1, "low": 0, "high": 1}),
        ({"high": 1}, {"step": 0.1, "steps": 1, "high": 1}),
    ],
    ids=["FGSM", "a short step", "PGD", "bounds", "one bound"],
)
def test_an_attack_is_that_of_the_papers(given, wanted):
    objective = losses.Adversarial(losses.CrossEntropy(), 0.1, **given)
    seen = []

    def seeing(inputs):
        seen.append(inputs)
        return apply(inputs)

    loss, metrics = objective(seeing, (INPUTS, LABELS), KEY, attacked=apply)

    moved = attack(INPUTS, HOT, 0.1, **wanted)
    np.testing.assert_allclose(seen[0], moved, atol=1e-6)
    assert loss == pytest.approx(cross_entropy(moved), rel=1e-5)
    assert metrics["start_loss"] == pytest.approx(cross_entropy(INPUTS), rel=1e-5)
    assert loss > metrics["start_loss"]


@pytest.mark.slow("attacks have a quick reference")
def test_an_attack_may_start_at_random_in_the_ball():
    def start(key, share):
        objective = losses.Adversarial(losses.CrossEntropy(), 0.1, 0.0, start=share)
        seen = []
        objective(lambda x: seen.append(x) or apply(x), (INPUTS, LABELS), key)
        return np.asarray(seen[-1] - INPUTS)

    starts = np.stack([start(key, 0.5) for key in jax.random.split(KEY, 8)])
    assert stats.kstest(starts.ravel(), stats.uniform(-0.05, 0.1).cdf).pvalue > 0.01
    assert np.abs(start(KEY, 0.0)).max() == 0


@pytest.mark.slow("attacks have a quick reference")
def test_the_attack_is_no_part_of_the_gradient():
    moved = attack(INPUTS, HOT, 0.1, 0.05, 3)

    def trained(kernel, epsilon):
        objective = losses.Adversarial(losses.CrossEntropy(), epsilon, 0.05, 3)
        return objective(lambda x: x @ kernel, (INPUTS, LABELS), KEY)[0]

    def given(kernel, inputs):
        return optax.softmax_cross_entropy(inputs @ kernel, HOT).mean()

    by_kernel, by_epsilon = jax.jit(jax.grad(trained, (0, 1)))(KERNEL, 0.1)
    wanted, by_inputs = jax.grad(given, (0, 1))(KERNEL, moved)

    np.testing.assert_allclose(by_kernel, wanted, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        by_epsilon, jnp.sum(by_inputs * np.sign(moved - INPUTS)), rtol=1e-4
    )


def test_inputs_keep_their_dtype_and_the_loss_is_float32():
    def low(inputs):
        assert inputs.dtype == jnp.bfloat16
        return apply(inputs)

    for objective in (
        losses.Mixup(losses.CrossEntropy()),
        losses.Adversarial(losses.CrossEntropy(), 0.1),
    ):
        loss, _ = objective(low, (INPUTS.astype(jnp.bfloat16), LABELS), KEY)
        assert (loss.dtype, loss.shape) == (jnp.float32, ())


class Normed(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(3, 8, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.last = nnx.Linear(8, 4, rngs=rngs)

    def __call__(self, inputs):
        return self.last(nnx.relu(self.norm(self.first(inputs))))


@pytest.mark.slow("attacks have a quick reference")
def test_a_module_with_batch_statistics_is_attacked_in_evaluation_mode():
    def loss_fn(model, batch, key):
        frozen = nnx.merge(*nnx.split(model), copy=True)
        frozen.eval()
        return objective(model, batch, key, attacked=frozen)

    objective = losses.Adversarial(losses.CrossEntropy(), 0.1, 0.05, 2)
    state = jopt.TrainState.create(Normed(nnx.Rngs(0)), jopt.sgd(0.1))
    before = jax.tree.map(jnp.copy, state.model_state)

    after, metrics = jopt.train_step(loss_fn, has_aux=True)(state, (INPUTS, LABELS))

    assert metrics.loss > 0 < metrics.aux["start_loss"]
    changed = jax.tree.map(lambda x, y: bool((x != y).any()), before, after.model_state)
    assert all(jax.tree.leaves(changed))


TARGETS = {"class": LABELS, "value": INPUTS[:, 0]}
TASKS = {"class": losses.Focal(1.0), "value": optax.l2_loss}


def heads(params, inputs):
    outputs = inputs @ params
    return {"class": outputs, "value": outputs[:, 0]}


def test_the_losses_of_tasks_are_added_by_weight():
    objective = losses.Weighted(TASKS, {"value": 3, "class": 0.5})

    loss, metrics = objective(lambda x: heads(KERNEL, x), (INPUTS, TARGETS), KEY)

    wanted = {
        "class": losses.Focal(1.0)(apply(INPUTS), LABELS).mean(),
        "value": optax.l2_loss(apply(INPUTS)[:, 0], INPUTS[:, 0]).mean(),
    }
    chex.assert_trees_all_close(metrics, wanted, rtol=1e-6)
    assert loss == pytest.approx(3 * wanted["value"] + 0.5 * wanted["class"])


def test_learned_variances_find_the_sizes_of_the_losses():
    """Trained beside the kernel by a train step, to where s = log(2 L)."""
    objective = losses.UncertaintyWeighted(TASKS)

    def loss_fn(params, batch, key):
        return objective(
            lambda x: heads(params["kernel"], x),
            batch,
            key,
            log_variances=params["log_variances"],
        )

    logs = {name: jnp.zeros(()) for name in TASKS}
    params = {"kernel": KERNEL, "log_variances": logs}
    frozen = jopt.freeze({"kernel": True, "log_variances": False})
    tx = jopt.chain(jopt.sgd(0.5), frozen)
    state = jopt.TrainState.create(params, tx)
    batches = jax.tree.map(lambda x: jnp.stack([x] * 100), (INPUTS, TARGETS))

    state, metrics = jopt.train_steps(loss_fn, has_aux=True)(state, batches)

    for name, log in state.params["log_variances"].items():
        wanted = jnp.log(2 * metrics.aux[name][-1])
        np.testing.assert_allclose(log, wanted, atol=1e-3)
