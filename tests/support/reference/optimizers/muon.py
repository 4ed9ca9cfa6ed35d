"""Muon: Jordan et al. 2024; Liu et al. 2025."""

import jax

from reference.core import as_data, chain, leafwise
from reference.optimizers.adam import adamw
from reference.transforms import (
    MATRIX,
    QUINTIC,
    add_decayed_weights,
    each_matrix,
    newton_schulz,
    rows_of,
    scale_by_learning_rate,
    scale_by_shape,
)


@as_data
def scale_by_muon(
    ns_coeffs=QUINTIC,
    ns_steps=5,
    beta=0.95,
    eps=1e-8,
    *,
    nesterov=True,
    adaptive=False,
    preconditioning="frobenius",
    axes=MATRIX,
):
    def rule(gradients, _):
        m, settings = 0, (rows_of(ns_coeffs, ns_steps), eps, preconditioning)
        for t, g in enumerate(gradients, 1):
            m = beta * m + (1 - beta) * g
            mean = m / (1 - beta**t)
            if nesterov:
                mean = beta * m / (1 - beta ** (t + 1)) + (1 - beta) * g / (1 - beta**t)
            u = each_matrix(lambda x: newton_schulz(x, *settings), mean, axes)
            yield ((mean * u).sum() * u if adaptive else u), {"mu": m}

    return leafwise(rule)


def of_two_axes(params):
    return jax.tree.map(lambda p: MATRIX if p.ndim == 2 else None, params)


def matrices_and_rest(direction, numbers, rate, decay, adam):
    """Apply to each leaf what `direction` makes of its axes, or else AdamW."""

    def moved(g, p, axes):
        last = add_decayed_weights(decay), scale_by_learning_rate(rate)
        tx = adamw(rate, **adam) if axes is None else chain(*direction(axes), *last)
        return tx(g, p)[0]

    def transformation(grads, params):
        first = jax.tree.map(lambda p: p[0], params)
        axes = (numbers or of_two_axes)(first)
        return jax.tree.map(moved, grads, params, axes), {}

    return transformation


def muon(
    learning_rate,
    ns_coeffs=QUINTIC,
    ns_steps=5,
    beta=0.95,
    eps=1e-8,
    *,
    weight_decay=0.0,
    nesterov=True,
    preconditioning="frobenius",
    adam_b1=0.9,
    adam_weight_decay=0.0,
    muon_weight_dimension_numbers=None,
    consistent_rms=None,
):
    settings = {"nesterov": nesterov, "preconditioning": preconditioning}

    def direction(axes):
        step = scale_by_muon(ns_coeffs, ns_steps, beta, eps, axes=axes, **settings)
        return step, scale_by_shape(axes, consistent_rms)

    adam = {"b1": adam_b1, "eps": eps, "nesterov": nesterov}
    adam |= {"weight_decay": adam_weight_decay}
    numbers = muon_weight_dimension_numbers
    return matrices_and_rest(direction, numbers, learning_rate, weight_decay, adam)
