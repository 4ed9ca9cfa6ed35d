"""D-Adaptation: Defazio & Mishchenko 2023."""

import numpy as np

from reference.core import as_data, dot, together, values_at


def dadapt_adamw(learning_rate=1.0, betas=(0.9, 0.999), *args, **kwargs):
    return _dadapt_adamw(learning_rate, *betas, *args, **kwargs)


@as_data
def _dadapt_adamw(
    learning_rate, beta1, beta2, eps=1e-8, estim_lr0=1e-6, weight_decay=0.0
):
    b = np.sqrt(beta2)

    def rule(gradients, params):
        m, v, s, r, d = 0, 0, 0, 0, estim_lr0
        rates = values_at(learning_rate, len(gradients))
        for t, (g, p) in enumerate(zip(gradients, params, strict=True), 1):
            rate = rates[t - 1] * d * np.sqrt(1 - beta2**t) / (1 - beta1**t)
            r = b * r + (1 - b) * rate * dot(g, s / (np.sqrt(v) + eps))
            s = b * s + (1 - b) * rate * g
            m = beta1 * m + (1 - beta1) * rate * g
            v = beta2 * v + (1 - beta2) * np.abs(g) ** 2
            d = max(d, r / ((1 - b) * np.sum(np.abs(s))))
            u = -m / (np.sqrt(v) + eps) - weight_decay * rate * p
            yield u, {"estim_lr": d, "numerator_weighted": r}

    return together(rule)
