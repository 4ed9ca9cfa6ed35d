"""Prodigy: Mishchenko & Defazio 2023."""

import numpy as np

from reference.core import as_data, dot, together, values_at


def prodigy(learning_rate=1.0, betas=(0.9, 0.999), *args, **kwargs):
    return _prodigy(learning_rate, *betas, *args, **kwargs)


@as_data
def _prodigy(
    learning_rate,
    beta1,
    beta2,
    beta3=None,
    eps=1e-8,
    estim_lr0=1e-6,
    estim_lr_coef=1.0,
    weight_decay=0.0,
    safeguard_warmup=False,
):
    beta3 = np.sqrt(beta2) if beta3 is None else beta3

    def rule(gradients, params):
        m, v, s, r, d = 0, 0, 0, 0, estim_lr0
        rates = values_at(learning_rate, len(gradients))
        for t, (g, p) in enumerate(zip(gradients, params, strict=True), 1):
            rate = rates[t - 1] * d * np.sqrt(1 - beta2**t) / (1 - beta1**t)
            m = beta1 * m + (1 - beta1) * d * g
            v = beta2 * v + (1 - beta2) * np.abs(d * g) ** 2
            r = beta3 * r + d / estim_lr0 * rate * dot(g, params[0] - p)
            s = beta3 * s + d / estim_lr0 * (d if safeguard_warmup else rate) * g
            d = max(d, estim_lr_coef * r / np.sum(np.abs(s)))
            u = -rate * (m / (np.sqrt(v) + d * eps) + weight_decay * p)
            yield u, {"estim_lr": d, "numerator_weighted": r}

    return together(rule)
