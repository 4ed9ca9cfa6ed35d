"""MADGRAD, StableAdamW, MARS, Cautious, SAM: Defazio & Jelassi 2021, Algorithm 1;
Wortsman et al. 2023, Algorithm 2; Yuan et al. 2024, Algorithm 2; Liang et al. 2024,
Algorithm 1; Foret et al. 2020, Algorithm 1.
"""

import jax
import numpy as np

from reference.adam import scale_by_adam
from reference.blocks import add_decayed_weights, scale_by_learning_rate
from reference.descent import descent
from reference.run import as_data, chain, leafwise, values_at


@as_data
def scale_by_madgrad(learning_rate, momentum=0.9, eps=1e-6):
    def rule(gradients, params):
        s = v = 0
        rates = values_at(learning_rate, len(gradients))
        for t, (rate, g, p) in enumerate(zip(rates, gradients, params, strict=True)):
            weight = (rate + eps) * np.sqrt(t + 1)
            v, s = v + weight * np.abs(g) ** 2, s + weight * g
            z = params[0] - s / (np.cbrt(v) + eps)
            new = momentum * p + (1 - momentum) * z
            yield new - p, {"grad_sum_sq": v, "s": s}

    return leafwise(rule)


def madgrad(learning_rate, momentum=0.9, weight_decay=0.0, eps=1e-6):
    direction = scale_by_madgrad(learning_rate, momentum, eps)
    return chain(add_decayed_weights(weight_decay), direction)


def stable_adamw(
    learning_rate, b1=0.9, b2=0.99, eps=1e-8, weight_decay=1e-2, mask=None
):
    direction = _scale_by_stable_adamw(b1, b2, eps, weight_decay, mask)
    return chain(direction, scale_by_learning_rate(learning_rate))


@as_data
def _scale_by_stable_adamw(b1, b2, eps, weight_decay, mask):
    adamw = chain(scale_by_adam(b1, b2, eps), add_decayed_weights(weight_decay, mask))

    def transformation(grads, params):
        steps, states = adamw(grads, params)

        def clipped(g, d, v):
            axes = tuple(range(1, g.ndim))
            t = np.arange(1, len(g) + 1).reshape(-1, *[1] * (g.ndim - 1))
            square = np.maximum(v / (1 - b2**t), eps**2)
            squares = np.sum(np.abs(g) ** 2 / square, axis=axes, keepdims=True)
            return d / np.maximum(1, np.sqrt(squares / max(g[0].size, 1)))

        return jax.tree.map(clipped, grads, steps, states["nu"]), states

    return transformation


@as_data
def scale_by_mars(b1=0.95, gamma=0.025):
    def rule(gradients, _):
        last = gradients[0]
        for g in gradients:
            c = g + gamma * b1 / (1 - b1) * (g - last)
            yield c / max(1, np.linalg.norm(c)), {"last_grad": g}
            last = g

    return leafwise(rule)


def mars(
    learning_rate,
    b1=0.95,
    b2=0.99,
    eps=1e-8,
    eps_root=0.0,
    weight_decay=0.0,
    mask=None,
    *,
    gamma=0.025,
    decay="rate",
):
    return chain(
        scale_by_mars(b1, gamma),
        scale_by_adam(b1, b2, eps, eps_root),
        descent(learning_rate, weight_decay, mask, decay),
    )


@as_data
def cautious(inner, floor=1e-3, *, descending=True):
    sign = -1 if descending else 1

    def transformation(grads, params):
        directions, states = inner(grads, params)

        def masked(g, d):
            agrees = sign * (g.conj() * d).real > 0
            axes = tuple(range(1, g.ndim))
            share = np.sum(agrees, axis=axes, keepdims=True) / max(g[0].size, 1)
            return d * agrees / np.maximum(share, floor)

        return jax.tree.map(masked, grads, directions), states

    return transformation


def normalize():
    def transformation(grads, _):
        flat = [g.reshape(len(g), -1) for g in jax.tree.leaves(grads)]
        norms = np.linalg.norm(np.concatenate(flat, axis=1), axis=1)
        return jax.tree.map(
            lambda g: g / norms.reshape(-1, *[1] * (g.ndim - 1)), grads
        ), {}

    return transformation


def sam(optimizer, adv_optimizer, sync_period=2):
    """For an `adv_optimizer` without memory."""

    def transformation(grads, params):
        ups, _ = adv_optimizer(grads, params)
        steps = len(jax.tree.leaves(grads)[0])
        ends = slice(sync_period - 1, None, sync_period)
        starts = jax.tree.map(lambda p: p[: steps // sync_period * sync_period], params)
        starts = jax.tree.map(lambda p: p[::sync_period], starts)
        downs, _ = optimizer(jax.tree.map(lambda g: g[ends], grads), starts)

        def alternate(up, down, start, p):
            updates = -up
            updates[ends] = start - p[ends] + down
            return updates

        return jax.tree.map(alternate, ups, downs, starts, params), {}

    return transformation
