"""DoG, DoWG, COCOB, MoMo: Ivgi et al. 2023; Khaled et al. 2023; Orabona & Tommasi
2017, Algorithm 2; Schaipp et al. 2023, Algorithms 1 and 2.
"""

import jax
import numpy as np

from reference.blocks import add_decayed_weights, identity, scale_by_learning_rate
from reference.run import as_data, chain, leafwise, values_at


def together(rule):
    """Make a transformation of a rule of the whole tree's coordinates as one vector."""

    def transformation(grads, params, **extra):
        leaves, structure = jax.tree.flatten(grads)
        flat = [
            np.concatenate([x.reshape(len(x), -1) for x in jax.tree.leaves(tree)], 1)
            for tree in (grads, params)
        ]
        steps = list(rule(*flat, **extra))
        ends = np.cumsum([leaf[0].size for leaf in leaves])
        parts = np.split(np.stack([u for u, _ in steps]), ends[:-1], axis=1)
        updates = [
            (part if np.iscomplexobj(leaf) else np.real(part)).reshape(leaf.shape)
            for part, leaf in zip(parts, leaves, strict=True)
        ]
        states = [state for _, state in steps]
        return structure.unflatten(updates), {
            name: np.stack([s[name] for s in states]) for name in states[0]
        }

    return transformation


def dog(
    learning_rate=1.0,
    init_step=("heuristic", 1e-6),
    eps=1e-8,
    weight_decay=None,
    mask=None,
):
    kind, value = init_step
    return chain(
        identity() if weight_decay is None else add_decayed_weights(weight_decay, mask),
        _dog(kind, value, eps),
        scale_by_learning_rate(learning_rate),
    )


@as_data
def _dog(kind, value, eps):
    def rule(gradients, params):
        total = 0
        start = np.linalg.norm(params[0])
        far = {"heuristic": value * (1 + start), "distance": value}.get(kind, 0)
        for t, (g, p) in enumerate(zip(gradients, params, strict=True)):
            far = max(far, np.linalg.norm(p - params[0]))
            total = total + np.linalg.norm(g) ** 2
            rate = far / np.sqrt(total + eps)
            rate = value if kind == "learning_rate" and t == 0 else rate
            yield rate * g, {"max_dist": far, "sum_sq_norm_grads": total}

    return together(rule)


def dowg(
    learning_rate=1.0, init_estim_sq_dist=None, eps=1e-4, weight_decay=None, mask=None
):
    return chain(
        identity() if weight_decay is None else add_decayed_weights(weight_decay, mask),
        _dowg(eps if init_estim_sq_dist is None else init_estim_sq_dist, eps),
        scale_by_learning_rate(learning_rate),
    )


@as_data
def _dowg(far, eps):
    def rule(gradients, params):
        r, v = far, 0
        for g, p in zip(gradients, params, strict=True):
            r = max(r, np.linalg.norm(p - params[0]) ** 2)
            v = v + r * np.linalg.norm(g) ** 2
            state = {"estim_sq_dist": r, "weighted_sq_norm_grads": v}
            yield r / (np.sqrt(v) + eps) * g, state

    return together(rule)


@as_data
def scale_by_distance_over_gradients(reps_rel=1e-6, eps=1e-8, *, global_scale=1.0):
    def rule(gradients, params):
        far, total = reps_rel * (1 + np.linalg.norm(params[0])), 0
        for g, p in zip(gradients, params, strict=True):
            far = max(far, np.linalg.norm(p - params[0]))
            total = total + np.linalg.norm(g) ** 2
            state = {"max_dist": far, "grad_sum_of_squares": total}
            yield global_scale * far / np.sqrt(total + eps) * g, state

    return leafwise(rule)


@as_data
def scale_by_cocob(alpha=100.0, eps=1e-8):
    def rule(gradients, params):
        start = params[0]
        c, g_sum, r = (np.zeros_like(start) for _ in range(3))
        scale = np.full_like(start, eps)
        for g, p in zip(gradients, params, strict=True):
            scale = np.maximum(scale, np.abs(g))
            g_sum, c = g_sum + np.abs(g), c - g
            r = np.maximum(r - g * (p - start), 0)
            bet = c / (scale * np.maximum(g_sum + scale, alpha * scale)) * (scale + r)
            state = {"cumulative_gradients": c, "scale": scale}
            yield start + bet - p, state | {"subgradients": g_sum, "reward": r}

    return leafwise(rule)


def cocob(learning_rate=1.0, alpha=100.0, eps=1e-8, weight_decay=0.0, mask=None):
    return chain(
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate, flip_sign=False),
        scale_by_cocob(alpha, eps),
    )


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
