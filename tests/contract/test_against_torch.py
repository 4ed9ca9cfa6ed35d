"""Optimizers equal those of torch.optim where the two mean the same."""

import jax.numpy as jnp
import pytest

import jopt

torch = pytest.importorskip("torch")

from torch_runs import assert_updates_of_torch, single  # noqa: E402

BETAS = B1, B2 = single(0.9, 0.999)
RATE, DECAY, UP, LEAST = single(0.1, 0.99, 1.2, 1e-6)


def nadam_of_torch(p):
    """Without the schedule of the momentum, which ends where jopt's is."""
    return torch.optim.NAdam(p, RATE, BETAS, momentum_decay=1e9)


def amsgrad_of_the_paper():
    """The greatest of what no bias is taken out of, and the bias afterwards: PyTorch's.

    jopt's own, as optax's, is the greatest of the corrected squares.
    """
    uncorrected = jopt.scale_by_amsgrad(B1, 0.75, 0.0, bias_correction_nu=False)
    correction = jopt.scale_by_schedule(lambda t: jnp.sqrt(1 - 0.75 ** (t + 1)))
    return jopt.chain(uncorrected, correction, jopt.scale_by_learning_rate(RATE))


@pytest.mark.parametrize(
    ("make", "theirs"),
    [
        (lambda: jopt.sgd(RATE), lambda p: torch.optim.SGD(p, RATE)),
        (
            lambda: jopt.sgd(RATE, momentum=0.5),
            lambda p: torch.optim.SGD(p, RATE, momentum=0.5),
        ),
        (
            lambda: jopt.sgd(RATE, momentum=0.5, nesterov=True),
            lambda p: torch.optim.SGD(p, RATE, momentum=0.5, nesterov=True),
        ),
        (
            lambda: jopt.adam(RATE, *BETAS),
            lambda p: torch.optim.Adam(p, RATE, BETAS),
        ),
        (
            lambda: jopt.adamw(RATE, *BETAS, weight_decay=0.125),
            lambda p: torch.optim.AdamW(p, RATE, BETAS, weight_decay=0.125),
        ),
        (
            lambda: jopt.chain(
                jopt.add_decayed_weights(0.125), jopt.adam(RATE, *BETAS)
            ),
            lambda p: torch.optim.Adam(p, RATE, BETAS, weight_decay=0.125),
        ),
        (
            lambda: jopt.rmsprop(RATE, DECAY, eps_in_sqrt=False),
            lambda p: torch.optim.RMSprop(p, RATE, DECAY),
        ),
        (
            lambda: jopt.rmsprop(RATE, DECAY, eps_in_sqrt=False, momentum=0.5),
            lambda p: torch.optim.RMSprop(p, RATE, DECAY, momentum=0.5),
        ),
        (
            lambda: jopt.rmsprop(RATE, DECAY, eps_in_sqrt=False, centered=True),
            lambda p: torch.optim.RMSprop(p, RATE, DECAY, centered=True),
        ),
        (
            lambda: jopt.adagrad(RATE, 0.0, 0.0),
            lambda p: torch.optim.Adagrad(p, RATE, eps=0.0),
        ),
        (
            lambda: jopt.adagrad(RATE, 0.5, 0.0),
            lambda p: torch.optim.Adagrad(
                p, RATE, eps=0.0, initial_accumulator_value=0.5
            ),
        ),
        (
            lambda: jopt.chain(
                jopt.add_decayed_weights(0.125), jopt.sgd(RATE, momentum=0.5)
            ),
            lambda p: torch.optim.SGD(p, RATE, momentum=0.5, weight_decay=0.125),
        ),
        (lambda: jopt.nadam(RATE, *BETAS), nadam_of_torch),
        (
            amsgrad_of_the_paper,
            lambda p: torch.optim.Adam(p, RATE, (B1, 0.75), eps=0.0, amsgrad=True),
        ),
        (
            # PyTorch's eps is not divided by the bias.
            lambda: jopt.radam(RATE, *BETAS, eps=0.0),
            lambda p: torch.optim.RAdam(p, RATE, BETAS, eps=0.0),
        ),
        (
            lambda: jopt.rprop(RATE),
            lambda p: torch.optim.Rprop(p, RATE, (0.5, UP), (LEAST, 50)),
        ),
        (
            lambda: jopt.rprop(RATE, 0.75, 1.5, 0.0625, 0.25),
            lambda p: torch.optim.Rprop(p, RATE, (0.75, 1.5), (0.0625, 0.25)),
        ),
    ],
    ids=[
        "SGD",
        "SGD, momentum",
        "SGD, nesterov",
        "Adam",
        "AdamW",
        "Adam, L2",
        "RMSprop",
        "RMSprop, momentum",
        "RMSprop, centered",
        "Adagrad",
        "Adagrad, initial",
        "SGD, L2",
        "NAdam",
        "Adam, AMSGrad",
        "RAdam",
        "Rprop",
        "Rprop, bounds",
    ],
)
def test_fifty_updates_are_those_of_torch(make, theirs):
    assert_updates_of_torch(make(), theirs)
