"""Evolution strategies with no data: 64 settings climb a valley, in one program.

A task needs no loss, no gradient and no data set. Here the gradient is estimated from
the heights of random points around the mean (Salimans et al. 2017).
"""

import jax
import jax.numpy as jnp
import numpy as np

import jopt
from jopt import sweep

POINTS, SIZE = 64, 10


def rosenbrock(x):
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def init(config, key):
    mean = jax.random.normal(key, (SIZE,))
    return {"mean": mean, "opt_state": config["tx"].init(mean)}


def step(config, state, batch, key):
    noise = jax.random.normal(key, (POINTS // 2, SIZE))
    noise = jnp.concatenate([noise, -noise])  # in pairs: the mean height cancels
    heights = jax.vmap(rosenbrock)(state["mean"] + config["spread"] * noise)
    ranks = jnp.argsort(jnp.argsort(heights)) / (POINTS - 1) - 0.5
    gradient = ranks @ noise / (POINTS * config["spread"])
    tx = config["tx"]
    updates, opt_state = tx.update(gradient, state["opt_state"], state["mean"])
    mean = jopt.apply_updates(state["mean"], updates)
    return {"mean": mean, "opt_state": opt_state}, {"spread_of_heights": heights.std()}


def evaluate(config, state, batch, key):
    return {"height": rosenbrock(state["mean"])}


def factory(learning_rate, spread):
    return {"tx": jopt.adam(learning_rate), "spread": spread}


task = sweep.Task("valley", init, step, evaluate, metric="height")
rates, spreads = np.geomspace(1e-3, 0.3, 16), np.geomspace(1e-3, 0.3, 4)
trials = sweep.grid(factory, learning_rate=rates, spread=spreads)
result = sweep.run(task, trials, steps=1000, seeds=2)
print(f"best: {result.best.hyperparameters}, height {result.best.valid['height']:.3g}")
