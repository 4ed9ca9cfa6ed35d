"""Muon: Jordan et al. 2024; Liu et al. 2025; NorMuon: Li et al. 2025, Algorithm 1."""

from typing import NamedTuple

import jax
import numpy as np

from reference.adam import adamw
from reference.blocks import add_decayed_weights, scale_by_learning_rate
from reference.run import as_data, chain, leafwise

QUINTIC = (3.4445, -4.7750, 2.0315)


class MuonDimensionNumbers(NamedTuple):
    reduction_axis: int = 0
    output_axis: int = 1


MATRIX = MuonDimensionNumbers()


def rows_of(coefficients, steps):
    rows = np.float32(coefficients).astype(np.float64)
    return np.tile(rows, (int(steps), 1)) if rows.ndim == 1 else rows


def each_matrix(function, x, axes):
    """Apply `function` to each matrix, [inputs, outputs], of an array."""
    x = np.moveaxis(x, axes, (-2, -1))
    made = [function(x[i]) for i in np.ndindex(x.shape[:-2]) if x.size]
    return np.moveaxis(np.reshape(made, x.shape), (-2, -1), axes)


def newton_schulz(x, rows, eps, preconditioning="frobenius"):
    """By the definition; a tall matrix is turned over, which "aol" can tell."""
    if x.shape[0] > x.shape[1]:
        return newton_schulz(x.T, rows, eps, preconditioning).T
    if preconditioning == "aol":
        x = x / np.sqrt(np.maximum(np.abs(x @ x.T).sum(1, keepdims=True), eps))
    else:
        x = x / (np.linalg.norm(x) + eps)
    for a, b, c in rows:
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


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


def width_scale(shape):
    return max(1, shape[1] / max(1, shape[0])) ** 0.5


@as_data
def scale_by_shape(axes=MATRIX, consistent_rms=None):
    def scaled(x):
        if consistent_rms is None:
            return width_scale(x.shape) * x
        return consistent_rms * max(x.shape) ** 0.5 * x

    return leafwise(
        lambda gradients, _: ((each_matrix(scaled, g, axes), {}) for g in gradients)
    )


@as_data
def normalize_neurons(b2=0.95, eps=1e-8, consistent_rms=0.2, *, axes=MATRIX):
    def rule(gradients, _):
        v = 0
        shape = [gradients.shape[1 + axis] for axis in axes]
        for o in gradients:
            square = np.sum(o**2, axes[0], keepdims=True) / max(1, shape[0])
            v = b2 * v + (1 - b2) * square
            n = o / (np.sqrt(v) + eps)
            was, is_ = (np.sqrt(np.sum(x**2, axes, keepdims=True)) for x in (o, n))
            wanted = width_scale(shape) * was
            if consistent_rms is not None:
                wanted = consistent_rms * (shape[0] * shape[1]) ** 0.5
            yield np.divide(wanted, is_, where=is_ > 0, out=0 * is_) * n, {"nu": v}

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


def normuon(learning_rate, ns_coeffs=QUINTIC, *, b2=0.95, weight_decay=0.0):
    def direction(axes):
        step = scale_by_muon(ns_coeffs, axes=axes)
        return step, normalize_neurons(b2, axes=axes)

    adam = {"nesterov": True, "weight_decay": 0.0}
    return matrices_and_rest(direction, None, learning_rate, weight_decay, adam)
