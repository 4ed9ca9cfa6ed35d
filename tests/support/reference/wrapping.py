"""Wrappers over time, on a run: which steps a transformation inside sees, and of what.

States are left out, but for the averages.
"""

from typing import Any

import jax
import numpy as np

from reference.run import as_data


def _at(steps, tree):
    return jax.tree.map(lambda x: x[steps], tree)


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


def _spread(steps, made, others):
    others[steps] = made
    return others


def conditionally_transform(inner, should_transform_fn, fill=np.copy):
    def transformation(grads, params):
        every = np.arange(len(jax.tree.leaves(grads)[0]))
        steps = [t for t in every if should_transform_fn(t)]
        made, _ = inner(_at(steps, grads), _at(steps, params))
        return jax.tree.map(lambda g, u: _spread(steps, u, fill(g)), grads, made), {}

    return transformation


def conditionally_mask(inner, should_transform_fn):
    return conditionally_transform(inner, should_transform_fn, np.zeros_like)


def apply_if_finite(inner, max_consecutive_errors):
    return inner


def inject_hyperparams(inner_factory):
    return inner_factory


def flatten(inner):
    return lambda grads, params: (inner(grads, params)[0], {})


def monitor(measures):
    return lambda grads, params: (grads, {})


def snapshot(measure_name, measure):
    return monitor({measure_name: measure})


def measure_with_ema(measure, decay):
    return None


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
