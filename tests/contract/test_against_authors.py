"""Updates equal those of the paper's authors' own optimizers for PyTorch."""

import jax.numpy as jnp
import numpy as np
import pytest

import jopt

torch = pytest.importorskip("torch", reason="the authors' packages are for it")

from torch_runs import assert_updates_of_torch, single  # noqa: E402

B1, B2, B3 = single(0.8, 0.9, 0.96)
RATE, DECAY, EPS, POWER = single(0.1, 0.125, 1e-4, 1.5)


def oracle(name):
    return pytest.importorskip(name, reason="an oracle, if installed")


@pytest.mark.parametrize("warmup", [None, 8.0])
def test_schedule_free_sgd(warmup):
    """Theirs has the lag of the paper, which is optax's only without a warmup."""
    theirs = oracle("schedulefree")

    def sgd(p):
        made = theirs.SGDScheduleFree(
            p,
            RATE,
            B1,
            weight_decay=DECAY,
            warmup_steps=warmup or 0,
            weight_lr_power=POWER,
        )
        made.train()
        return made

    tx = jopt.schedule_free_sgd(RATE, warmup, B1, DECAY, POWER, lag=0)
    assert_updates_of_torch(tx, sgd, rtol=3e-6)


@pytest.mark.parametrize("warmup", [None, 8.0])
def test_schedule_free_adamw(warmup):
    theirs = oracle("schedulefree")

    def adamw(p):
        made = theirs.AdamWScheduleFree(
            p, RATE, (B1, B2), EPS, DECAY, warmup_steps=warmup or 0
        )
        made.train()
        return made

    tx = jopt.schedule_free_adamw(RATE, warmup, B1, B2, EPS, DECAY, lag=0)
    assert_updates_of_torch(tx, adamw, rtol=3e-6)


def test_params_for_evaluation_are_those_of_schedulefree():
    theirs = oracle("schedulefree")
    target = np.arange(3.0)
    weights = torch.full((3,), 5.0, dtype=torch.float64, requires_grad=True)
    optimizer = theirs.SGDScheduleFree([weights], RATE, B1, warmup_steps=5)
    optimizer.train()
    tx = jopt.schedule_free_sgd(RATE, 5, B1, lag=0)
    params = jnp.full(3, 5.0)
    state = tx.init(params)

    for _ in range(20):
        weights.grad = 2 * (weights.detach() - torch.tensor(target))
        optimizer.step()
        grads = 2 * (params - jnp.asarray(target, jnp.float32))
        updates, state = tx.update(grads, state, params)
        params = jopt.apply_updates(params, updates)
    optimizer.eval()

    average = jopt.schedule_free_eval_params(state, params)
    np.testing.assert_allclose(average, weights.detach().numpy(), rtol=2e-6)


@pytest.mark.parametrize("safeguard", [False, True])
def test_prodigy(safeguard):
    """Theirs corrects no bias by default, and decays as jopt does with `decouple`."""
    theirs = oracle("prodigyopt")
    first, factor = single(0.1, 20.0)
    tx = jopt.prodigy(1.0, (B1, B2), B3, EPS, first, factor, DECAY, safeguard)
    assert_updates_of_torch(
        tx,
        lambda p: theirs.Prodigy(
            p,
            1.0,
            (B1, B2),
            B3,
            EPS,
            DECAY,
            use_bias_correction=True,
            safeguard_warmup=safeguard,
            d0=first,
            d_coef=factor,
        ),
        rtol=1e-5,
    )


def test_dadapt_adamw():
    """Theirs corrects no bias and decays by L2, both by default."""
    theirs = oracle("dadaptation")
    first, factor = single(0.1, 8.0)
    tx = jopt.dadapt_adamw(factor, (B1, B2), EPS, first, DECAY)
    assert_updates_of_torch(
        tx,
        lambda p: theirs.DAdaptAdam(
            p,
            factor,
            (B1, B2),
            EPS,
            DECAY,
            decouple=True,
            use_bias_correction=True,
            d0=first,
        ),
        # A quotient of two sums over the run, of terms of both signs.
        rtol=1e-5,
        scale=1e-6,
    )


# Of names inside PyTorch that the package uses.
deprecated = pytest.mark.filterwarnings(
    "ignore:Use _accelerator:DeprecationWarning", "ignore:.*is_compiling:UserWarning"
)


@deprecated
def test_adopt():
    theirs = oracle("adopt")
    assert_updates_of_torch(
        jopt.adopt(RATE, B1, B2, EPS),
        lambda p: theirs.ADOPT(p, RATE, (B1, B2), EPS),
    )


@deprecated
def test_adopt_without_clipping():
    theirs = oracle("adopt")
    assert_updates_of_torch(
        jopt.adopt(RATE, B1, B2, EPS, use_clipping=False),
        lambda p: theirs.ADOPT(p, RATE, (B1, B2), EPS, clip_lambda=None),
    )


def test_lion():
    """Theirs has a learning rate of 1e-4 by default, and no decay."""
    theirs = oracle("lion_pytorch")
    assert_updates_of_torch(
        jopt.lion(RATE, B1, B2, weight_decay=DECAY),
        lambda p: theirs.Lion(p, RATE, (B1, B2), DECAY),
    )


def test_ademamix():
    """Of a collection: its `t_alpha_beta3`, off by default, is a pair of schedules."""
    theirs = oracle("pytorch_optimizer")
    assert_updates_of_torch(
        jopt.ademamix(RATE, B1, B2, B3, 5.0, EPS, weight_decay=DECAY),
        lambda p: theirs.AdEMAMix(
            p, RATE, (B1, B2, B3), DECAY, weight_decouple=True, alpha=5.0, eps=EPS
        ),
    )
