"""Where PyTorch means the same, the steps are the same."""

import jax
import numpy as np
import pytest
from runs import STEPS, steps
from table import assert_close

import jopt

torch = pytest.importorskip("torch")

BETAS = tuple(float(np.float32(b)) for b in (0.9, 0.999))
RATE, DECAY = (float(np.float32(x)) for x in (0.1, 0.99))


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
    ],
)
def test_fifty_updates_are_those_of_torch(make, theirs):
    rng = np.random.default_rng(0)
    scales = 10 ** rng.uniform(-2, 1, (2, 1, 4, 5))
    run = (scales * rng.normal(size=(2, STEPS, 4, 5))).astype(np.float32)
    grads, params = run[0], run[1]

    weights = torch.zeros(4, 5, dtype=torch.float64, requires_grad=True)
    optimizer = theirs([weights])
    wanted = []
    for g, p in zip(grads, params, strict=True):
        before = torch.tensor(p, dtype=torch.float64)
        weights.data.copy_(before)
        weights.grad = torch.tensor(g, dtype=torch.float64)
        optimizer.step()
        wanted.append((weights.detach() - before).numpy())

    updates, _ = jax.jit(steps)(make(), grads, params)

    assert_close(updates, np.stack(wanted), rtol=1e-6)
