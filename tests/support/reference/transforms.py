"""References of the building blocks in `jopt/transforms/`, from their definitions.

Pascanu et al. 2012, Algorithm 1, for the clip by the global norm; Polyak 1964 and
Sutskever et al. 2013 for the trace; Kingma & Ba 2014 for the mean and its bias; Yong et
al. 2020, equation 1, for the centering; You et al. 2017 for the trust ratio.
"""

from typing import NamedTuple

import jax
import numpy as np

from reference.core import as_data, leafwise, together, values_at

# _apply_every.py


def apply_every(k=1):
    def rule(gradients, _):
        for t in range(len(gradients)):
            first = t - t % k
            total = np.sum(gradients[first : t + 1], axis=0)
            yield (total if t % k == k - 1 else 0 * total), {"grad_acc": total}

    return leafwise(rule)


# _block_clipping.py


@as_data
def clip_by_block_rms(threshold):
    def rule(gradients, _):
        for g in gradients:
            rms = np.sqrt(np.mean(np.abs(g) ** 2)) if g.size else 0
            yield g if rms <= threshold else g * threshold / rms, {}

    return leafwise(rule)


@as_data
def adaptive_grad_clip(clipping, eps=1e-3, axis=None):
    def norm(x):
        inner = axis
        if axis is None and x.squeeze().ndim > 1:
            inner = 0 if x.ndim < 4 else tuple(range(x.ndim - 1))
        return np.sqrt(np.sum(np.abs(x) ** 2, axis=inner, keepdims=True))

    def rule(gradients, params):
        for g, p in zip(gradients, params, strict=True):
            most, size = clipping * np.maximum(norm(p), eps), norm(g)
            yield g * np.where(size > most, most / np.maximum(size, 1e-6), 1), {}

    return leafwise(rule)


# _clipping.py


@as_data
def clip(max_delta):
    def rule(gradients, _):
        return ((np.clip(g, -max_delta, max_delta), {}) for g in gradients)

    return leafwise(rule)


@as_data
def clip_by_global_norm(max_norm):
    def transformation(grads, _):
        leaves = [g.reshape(len(g), -1) for g in jax.tree.leaves(grads)]
        norms = np.linalg.norm(np.concatenate(leaves, axis=1), axis=1)
        factors = np.minimum(1, max_norm / norms)

        def clipped(g):
            return g * factors.reshape(-1, *[1] * (g.ndim - 1))

        return jax.tree.map(clipped, grads), {}

    return transformation


# _constraints.py


def keep_params_nonnegative():
    return leafwise(
        lambda gradients, params: (
            (np.maximum(p + g, 0) - p, {})
            for g, p in zip(gradients, params, strict=True)
        )
    )


def zero_nans():
    return leafwise(
        lambda gradients, _: ((np.where(np.isnan(g), 0, g), {}) for g in gradients)
    )


# _decay.py


@as_data
def add_decayed_weights(weight_decay=0.0, mask=None):
    def transformation(grads, params):
        first = jax.tree.map(lambda p: p[0], params)
        chosen = jax.tree.map(lambda _: True, first) if mask is None else mask(first)

        def decayed(yes, g, p):
            rates = yes * values_at(weight_decay, len(g))
            return g + rates.reshape(-1, *[1] * (g.ndim - 1)) * p

        return jax.tree.map(decayed, chosen, grads, params), {}

    return transformation


@as_data
def add_adaptive_decay(ratio, decay=0.1, eps=1e-8):
    def rule(gradients, params):
        mean = 0
        for g, p in zip(gradients, params, strict=True):
            now = ratio * np.linalg.norm(g) / (np.linalg.norm(p) + eps)
            mean = decay * mean + (1 - decay) * now
            yield g + mean * p, {"weight_decay": mean}

    return together(rule)


# _dimensions.py


class MuonDimensionNumbers(NamedTuple):
    reduction_axis: int = 0
    output_axis: int = 1


MATRIX = MuonDimensionNumbers()


def each_matrix(function, x, axes):
    """Apply `function` to each matrix, [inputs, outputs], of an array."""
    x = np.moveaxis(x, axes, (-2, -1))
    made = [function(x[i]) for i in np.ndindex(x.shape[:-2]) if x.size]
    return np.moveaxis(np.reshape(made, x.shape), (-2, -1), axes)


# _momentum.py


@as_data
def trace(decay, nesterov=False):
    def rule(gradients, _):
        t = 0
        for g in gradients:
            t = g + decay * t
            yield g + decay * t if nesterov else t, {"trace": t}

    return leafwise(rule)


@as_data
def ema(decay, debias=True):
    def rule(gradients, _):
        m = 0
        for t, g in enumerate(gradients, 1):
            m = decay * m + (1 - decay) * g
            yield m / (1 - decay**t) if debias else m, {"ema": m}

    return leafwise(rule)


# _newton_schulz.py


QUINTIC = (3.4445, -4.7750, 2.0315)


def rows_of(coefficients, steps):
    rows = np.float32(coefficients).astype(np.float64)
    return np.tile(rows, (int(steps), 1)) if rows.ndim == 1 else rows


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


# _norms.py


def rms(x):
    return np.linalg.norm(x) / max(x.size, 1) ** 0.5


@as_data
def scale_by_param_block_norm(min_scale=1e-3):
    return scaled_by(lambda p: max(np.linalg.norm(p), min_scale))


@as_data
def scale_by_param_block_rms(min_scale=1e-3):
    return scaled_by(lambda p: max(rms(p), min_scale))


def scaled_by(size):
    def rule(gradients, params):
        return ((size(p) * g, {}) for g, p in zip(gradients, params, strict=True))

    return leafwise(rule)


@as_data
def normalize_by_update_norm(scale_factor=1.0, eps=1e-6):
    def transformation(grads, _):
        leaves = [g.reshape(len(g), -1) for g in jax.tree.leaves(grads)]
        norms = np.linalg.norm(np.concatenate(leaves, axis=1), axis=1)
        factors = scale_factor / (norms + eps)

        def normalized(g):
            return g * factors.reshape(-1, *[1] * (g.ndim - 1))

        return jax.tree.map(normalized, grads), {}

    return transformation


def centralize():
    def centered(g):
        return g - g.mean(tuple(range(1, g.ndim)), keepdims=True)

    return leafwise(
        lambda gradients, _: ((centered(g) if g.ndim > 1 else g, {}) for g in gradients)
    )


@as_data
def scale_by_trust_ratio(min_norm=0.0, trust_coefficient=1.0, eps=0.0):
    def rule(gradients, params):
        for g, p in zip(gradients, params, strict=True):
            size, length = (max(np.linalg.norm(x), min_norm) for x in (p, g))
            some = size > 0 and length > 0
            yield g * (trust_coefficient * size / (length + eps) if some else 1), {}

    return leafwise(rule)


# _plateau.py


@as_data
def reduce_on_plateau(
    factor=0.1,
    patience=10,
    rtol=1e-4,
    atol=0.0,
    cooldown=0,
    accumulation_size=1,
    min_scale=0.0,
):
    """PyTorch's rule, for the same value at each step."""

    def rule(gradients, _, value):
        scale, best, waited, resting = 1.0, np.inf, 0, 0
        for t, g in enumerate(gradients, 1):
            if t % accumulation_size == 0:
                better = best == np.inf or value < best * (1 - rtol) - atol
                best, waited = (value, 0) if better else (best, waited + 1)
                if resting:
                    resting, waited = resting - 1, 0
                elif waited == patience:
                    scale, waited = max(scale * factor, min_scale), 0
                    resting = cooldown
            yield scale * g, {"scale": scale, "best_value": best}

    return together(rule)


# _proximal.py


@as_data
def proximal_l1(strength, learning_rate):
    def rule(gradients, params):
        rates = values_at(learning_rate, len(gradients))
        for rate, g, p in zip(rates, gradients, params, strict=True):
            q = p + g
            size = np.abs(q)
            yield np.sign(q) * np.maximum(size - rate * strength, 0) - p, {}

    return leafwise(rule)


@as_data
def add_l1_subgradient(strength):
    return leafwise(
        lambda gradients, params: (
            (g + strength * np.sign(p), {})
            for g, p in zip(gradients, params, strict=True)
        )
    )


# _rate.py


@as_data
def scale(step_size):
    return scale_by_schedule(step_size)


def scale_leaves(factors):
    return scale_by_schedule(factors)


@as_data
def scale_by_schedule(step_size_fn):
    def rule(gradients, _):
        rates = values_at(step_size_fn, len(gradients))
        for rate, g in zip(rates, gradients, strict=True):
            yield rate * g, {}

    return leafwise(rule)


@as_data
def scale_by_learning_rate(learning_rate, *, flip_sign=True):
    sign = -1 if flip_sign else 1

    def rule(gradients, _):
        rates = values_at(learning_rate, len(gradients))
        for rate, g in zip(rates, gradients, strict=True):
            yield sign * rate * g, {}

    return leafwise(rule)


# _shape.py


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


# _stateless.py


def stateless(f):
    return lambda grads, params: (f(grads, params), {})


def stateless_with_tree_map(f):
    return lambda grads, params: (jax.tree.map(f, grads, params), {})


# _trivial.py


def identity():
    return leafwise(lambda gradients, _: ((g, {}) for g in gradients))


def set_to_zero():
    return leafwise(lambda gradients, _: ((0 * g, {}) for g in gradients))
