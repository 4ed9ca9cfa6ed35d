"""SOAP: Vyas et al. 2024, Algorithm 3."""

import numpy as np

from reference.core import apply, as_data, chain, diagonal, leafwise, moments
from reference.transforms import add_decayed_weights, scale_by_learning_rate


def refreshed(v, factors, bases):
    """Sort by eigenvalue; one step of orthogonal iteration."""
    new = []
    for i, (f, q) in enumerate(zip(factors, bases, strict=True)):
        order = np.argsort(-np.sum(q * (f @ q), axis=0))
        v = np.take(v, order, i)
        new.append(np.linalg.qr(f @ q[:, order])[0])
    return v, new


@as_data
def scale_by_soap(
    b1=0.95, b2=0.95, shampoo_beta=None, eps=1e-8, precondition_frequency=10
):
    c = b2 if shampoo_beta is None else shampoo_beta

    def rule(gradients, _):
        m, v = 0 * gradients[0], 0 * abs(gradients[0])
        factors = bases = []
        for t, g in enumerate(gradients):
            outer = [] if diagonal(g) else moments(g)
            if t == 0:
                factors = [(1 - c) * o for o in outer]
                bases = [np.linalg.eigh(f)[1][:, ::-1] for f in factors]
                yield 0 * g, {"mu": m, "nu": v}
                continue
            m = b1 * m + (1 - b1) * g
            v = b2 * v + (1 - b2) * abs(apply(g, [q.T for q in bases])) ** 2
            mean = apply(m, [q.T for q in bases]) / (1 - b1**t)
            u = apply(mean / (np.sqrt(v / (1 - b2**t)) + eps), bases)
            factors = [c * f + (1 - c) * o for f, o in zip(factors, outer, strict=True)]
            if t % precondition_frequency == 0:
                v, bases = refreshed(v, factors, bases)
            yield u, {"mu": m, "nu": v}

    return leafwise(rule)


def soap(learning_rate, *args, weight_decay=0.01, mask=None, **kwargs):
    return chain(
        scale_by_soap(*args, **kwargs),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
