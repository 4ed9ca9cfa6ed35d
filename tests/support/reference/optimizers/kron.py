"""PSGD's Kron, with the random numbers of jopt: Li 2015; Pooladzandi & Li 2024."""

import jax
import numpy as np

from reference.core import apply, as_data, chain, diagonal, leafwise, moments
from reference.transforms import add_decayed_weights, scale_by_learning_rate


def bound(s):
    """PSGD's lower bound of the spectral norm."""
    x = s @ s[:, np.argmax(np.sum(s**2, axis=0))]
    return np.linalg.norm(s @ x) / np.linalg.norm(x)


def fitted(q, seen, v, rate, full):
    """The factors one step closer to those that whiten."""
    pairs = moments(apply(seen, q)), moments(apply(v, [np.linalg.inv(f).T for f in q]))
    for f, s, r in zip(q, *pairs, strict=True):
        if full:
            yield f - rate * np.triu(s - r) / bound(s + r) @ f
        else:
            yield f - rate * np.diag(np.diag(s - r)) / np.max(np.diag(s + r)) @ f


@as_data
def scale_by_kron(
    b1=0.9,
    preconditioner_update_probability=1.0,
    precond_lr=0.1,
    precond_init_scale=1.0,
    damping=2**-11.5,
    max_rms=1.1,
    merge_dims=True,
):
    key = jax.random.key(0)

    def rule(gradients, _):
        _, *shape = gradients.shape
        laid = [-1, shape[-1]] if merge_dims and len(shape) > 2 else shape or [1]
        m = 0 * gradients[0].reshape(laid)
        full, scale = not diagonal(m), precond_init_scale ** (1 / m.ndim)
        q = [scale * np.eye(d) for d in m.shape]
        for t, g in enumerate(gradients):
            m = b1 * m + (1 - b1) * g.reshape(m.shape)
            mean = u = m / (1 - b1 ** (t + 1))
            if (t + 1) % round(1 / preconditioner_update_probability) == 0 < m.size:
                v = np.float64(jax.random.normal(jax.random.fold_in(key, t), m.shape))
                seen = mean + (damping * np.mean(abs(mean)) + 1e-12) * v
                q = list(fitted(q, seen, v, precond_lr, full))
            if m.size:
                u = apply(apply(mean, q), [f.T for f in q])
                u = u * min(1, max_rms / np.sqrt(np.mean(abs(u) ** 2)))
            yield u.reshape(shape), {"mu": m.reshape(shape)}

    return leafwise(rule)


def kron(learning_rate, *args, weight_decay=0.0, mask=None, **kwargs):
    return chain(
        scale_by_kron(*args, **kwargs),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
