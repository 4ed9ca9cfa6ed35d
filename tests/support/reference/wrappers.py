"""References of the wrappers in `jopt/wrappers/`: which steps and leaves they pass on.

Liang et al. 2024, Algorithm 1, for `cautious`; Cutkosky et al. 2023, Algorithm 1, with
its authors' clip of h, for `mechanize`; Foret et al. 2020, Algorithm 1, for `sam`;
Defazio et al. 2024, Algorithm 1, for `schedule_free`. Few of them give their states.
"""

from typing import Any

import jax
import numpy as np

from reference.core import as_data, dot, together, values_at


def _at(steps, tree):
    return jax.tree.map(lambda x: x[steps], tree)


def _spread(steps, made, others):
    others[steps] = made
    return others


# _accumulate.py


def MultiSteps(opt, every_k_schedule):
    def transformation(grads, params):
        steps, last, length = [], -1, len(jax.tree.leaves(grads)[0])
        while last + _every(every_k_schedule, len(steps)) < length:
            steps.append(
                slice(last + 1, last + _every(every_k_schedule, len(steps)) + 1)
            )
            last = steps[-1].stop - 1
        mean = lambda g: np.stack([g[s].mean(axis=0) for s in steps])  # noqa: E731
        ends = [s.stop - 1 for s in steps]
        made, _ = opt(jax.tree.map(mean, grads), _at(ends, params))
        return jax.tree.map(
            lambda g, u: _spread(ends, u, np.zeros_like(g)), grads, made
        ), {}

    return transformation


def _every(every: Any, step: int) -> int:
    return int(every(step) if callable(every) else every)  # pyright: ignore


# _averaging.py


@as_data
def parameter_ema(decay, debias=True):
    def transformation(updates, params):
        def means(p, u):
            e, found = 0 if debias else p[0], []
            for after in p + u:
                e = decay * e + (1 - decay) * after
                found.append(e)
            return np.stack(found)

        return updates, {"ema": jax.tree.map(means, params, updates)}

    return transformation


# _cautious.py


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


# _conditional.py


def conditionally_transform(inner, should_transform_fn, fill=np.copy):
    def transformation(grads, params):
        every = np.arange(len(jax.tree.leaves(grads)[0]))
        steps = [t for t in every if should_transform_fn(t)]
        made, _ = inner(_at(steps, grads), _at(steps, params))
        return jax.tree.map(lambda g, u: _spread(steps, u, fill(g)), grads, made), {}

    return transformation


def conditionally_mask(inner, should_transform_fn):
    return conditionally_transform(inner, should_transform_fn, np.zeros_like)


# _finite.py


def apply_if_finite(inner, max_consecutive_errors):
    return inner


# _flatten.py


def flatten(inner):
    return lambda grads, params: (inner(grads, params)[0], {})


# _freeze.py


def freeze(mask):
    return masked(lambda grads, _: (jax.tree.map(lambda g: 0 * g, grads), {}), mask)


def selective_transform(optimizer, *, freeze_mask):
    def trained(params):
        return jax.tree.map(lambda frozen: not frozen, freeze_mask(params))

    def transformation(grads, params):
        made, states = masked(optimizer, trained)(grads, params)
        return freeze(freeze_mask)(made, params)[0], states

    return transformation


# _inject.py


def inject_hyperparams(inner_factory):
    return inner_factory


# _masked.py


def masked(inner, mask):
    def transformation(grads, params):
        chosen = mask(jax.tree.map(lambda p: p[0], params))

        def hidden(tree):
            return jax.tree.map(lambda yes, leaf: leaf if yes else None, chosen, tree)

        made, states = inner(hidden(grads), hidden(params))
        merged = jax.tree.map(
            lambda g, u: g if u is None else u,
            grads,
            made,
            is_leaf=lambda g: g is None,
        )
        return merged, states

    return transformation


# _mechanize.py


flat = together(lambda run, _: ((row, {"row": row}) for row in run))


@as_data
def mechanize(base, weight_decay=1e-2, eps=1e-8, s_init=1e-6, num_betas=6):
    betas = [1 - 0.1 ** (i + 1) for i in range(int(num_betas))]
    betas = np.array(betas, np.float32).astype(np.float64)

    def transformation(grads, params):
        steps, _ = base(grads, params)
        rows = flat(steps, params)[1]["row"]

        def rule(gradients, params):
            r, m, v, s = 0, 0, 0, np.full(betas.size, s_init)
            for g, p, d in zip(gradients, params, rows, strict=True):
                total, x0 = s.sum(), params[0]
                norms = np.linalg.norm(g) / (np.linalg.norm(p) + eps)
                gone = (x0 - p) / (total + eps)
                h = dot(g + weight_decay * total * norms * p, gone)
                r = betas * r + np.clip(h, -m, m) * s
                m = np.maximum(betas * m, np.abs(h) + eps)
                v = betas**2 * v + h**2
                s = (np.maximum(r, 0) + s_init / betas.size * m) / (np.sqrt(v) + eps)
                yield x0 - s.sum() * (gone - d) - p, {"r": r, "m": m, "v": v, "s": s}

        return together(rule)(grads, params)

    return transformation


# _monitor.py


def monitor(measures):
    return lambda grads, params: (grads, {})


def snapshot(measure_name, measure):
    return monitor({measure_name: measure})


def measure_with_ema(measure, decay):
    return None


# _partition.py


def partition(transforms, param_labels):
    def group(name):
        return lambda params: jax.tree.map(
            lambda label: label == name, param_labels(params)
        )

    def transformation(updates, params):
        states = {}
        for name, inner in transforms.items():
            updates, state = masked(inner, group(name))(updates, params)
            states |= state
        return updates, states

    return transformation


# _sam.py


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


# _schedule_free.py


@as_data
def schedule_free(base, learning_rate, b1=0.9, weight_lr_power=2.0, *, lag=None):
    def transformation(grads, params):
        steps = len(jax.tree.leaves(grads)[0])
        rates = values_at(learning_rate, steps + 1)
        weights = np.maximum.accumulate(rates[1:]) ** weight_lr_power
        sizes = np.ones(steps) if lag is None else -rates[1 - int(lag) :][:steps]

        def points(d, y):
            increments = sizes.reshape(-1, *[1] * (y.ndim - 1)) * d
            return y[0] + np.cumsum(increments, axis=0)

        def updates(z, y):
            before = np.concatenate([y[:1], z[:-1]])
            for t in range(steps):
                x = (y[t] - (1 - b1) * before[t]) / b1
                c = weights[t] / weights[: t + 1].sum()
                x = (1 - c) * x + c * z[t]
                yield (1 - b1) * z[t] + b1 * x - y[t]

        z = jax.tree.map(points, base(grads, params)[0], params)
        return jax.tree.map(lambda *run: np.stack([*updates(*run)]), z, params), {
            "z": z
        }

    return transformation
