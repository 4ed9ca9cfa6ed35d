"""MoMo: Schaipp et al. 2023, Algorithms 1 and 2."""

import numpy as np

from reference.core import as_data, together, values_at


@as_data
def momo(
    learning_rate=1.0,
    beta=0.9,
    lower_bound=0.0,
    weight_decay=0.0,
    adapt_lower_bound=False,
):
    def rule(gradients, params, value):
        m = None
        bound = lower_bound
        rates = values_at(learning_rate, len(gradients))
        for a, g, p in zip(rates, gradients, params, strict=True):
            new = np.concatenate([g, [value, np.vdot(g, p).real]])
            m = new if m is None else beta * m + (1 - beta) * new
            grow, slope, f, c = 1 + a * weight_decay, m[:-2], m[-2].real, m[-1].real
            along, square = np.vdot(slope, p).real, np.linalg.norm(slope) ** 2
            if adapt_lower_bound and grow * (f - c) + along < grow * bound:
                bound = max((grow * (f - c) + along) / (2 * grow), lower_bound)
            size = min(a, max(grow * (f - bound - c) + along, 0) / square)
            if adapt_lower_bound:
                bound = max(f + along - c - size * square / 2, lower_bound)
            state = {"barf": f, "gamma": c, "lb": bound}
            yield -a * weight_decay / grow * p - size * slope, state

    return together(rule)


@as_data
def momo_adam(
    learning_rate=1e-2,
    b1=0.9,
    b2=0.999,
    eps=1e-8,
    lower_bound=0.0,
    weight_decay=0.0,
    adapt_lower_bound=False,
):
    def rule(gradients, params, value):
        m, v, bound = np.zeros(gradients.shape[1] + 2, gradients.dtype), 0, lower_bound
        rates = values_at(learning_rate, len(gradients))
        for t, (a, g, p) in enumerate(zip(rates, gradients, params, strict=True), 1):
            m = b1 * m + (1 - b1) * np.concatenate([g, [value, np.vdot(g, p).real]])
            v = b2 * v + (1 - b2) * np.abs(g) ** 2
            w, grow = 1 - b1**t, 1 + a * weight_decay
            slope, f, c = m[:-2], m[-2].real, m[-1].real
            d = slope / (np.sqrt(v / (1 - b2**t)) + eps)
            along, square = np.vdot(slope, p).real, np.vdot(slope, d).real
            if adapt_lower_bound and grow * (f - c) + along < grow * w * bound:
                bound = max((grow * (f - c) + along) / (2 * w * grow), lower_bound)
            size = min(a / w, max(grow * (f - w * bound - c) + along, 0) / square)
            if adapt_lower_bound:
                bound = max((f + along - c - size * square / 2) / w, lower_bound)
            state = {"barf": f, "gamma": c, "lb": bound}
            yield -a * weight_decay / grow * p - size * d, state

    return together(rule)
