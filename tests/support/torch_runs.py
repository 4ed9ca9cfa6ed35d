"""Compare fifty steps of jopt with a PyTorch optimizer in float64."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from comparison import assert_close
from reference_runs import STEPS, steps

torch = pytest.importorskip("torch", reason="it is the oracle")


def single(*numbers: float) -> list[float]:
    """The numbers that float32 has for these: what jopt is given as data."""
    return [float(np.float32(number)) for number in numbers]


def assert_updates_of_torch(
    tx: Any,
    optimizer: Callable[[list[Any]], Any],
    shape: tuple[int, ...] = (4, 5),
    rtol: float = 1e-6,
    scale: float = 2e-7,
) -> None:
    """Compare fifty updates, each from the same gradients and params."""
    rng = np.random.default_rng(0)
    scales = 10 ** rng.uniform(-2, 1, (2, 1, *shape))
    run = (scales * rng.normal(size=(2, STEPS, *shape))).astype(np.float32)
    grads, params = run[0], run[1]

    weights = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
    theirs = optimizer([weights])
    wanted = []
    for g, p in zip(grads, params, strict=True):
        before = torch.tensor(p, dtype=torch.float64)
        weights.data.copy_(before)
        weights.grad = torch.tensor(g, dtype=torch.float64)
        theirs.step()
        wanted.append((weights.detach() - before).numpy())

    updates, _ = jax.jit(steps)(tx, grads, params)

    assert_close(updates, np.stack(wanted), rtol=rtol, scale=scale)
