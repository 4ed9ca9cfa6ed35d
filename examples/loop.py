"""A loop written by hand: jopt where optax stood, on a ridge regression."""

import jax
import jax.numpy as jnp
from sklearn.datasets import load_diabetes

import jopt

inputs, targets = load_diabetes(return_X_y=True)
inputs = jnp.asarray(inputs / inputs.std(axis=0), jnp.float32)
targets = jnp.asarray((targets - targets.mean()) / targets.std(), jnp.float32)


def loss(params):
    return jnp.mean((inputs @ params["w"] + params["b"] - targets) ** 2)


@jax.jit
def step(tx, params, state):  # the optimizer is an argument: it is data
    updates, state = tx.update(jax.grad(loss)(params), state, params)
    return jopt.apply_updates(params, updates), state


for rate in (1e-3, 1e-2, 1e-1):
    tx = jopt.chain(jopt.clip_by_global_norm(1.0), jopt.adamw(rate, weight_decay=0.01))
    params = {"w": jnp.zeros(10), "b": jnp.zeros(())}
    state = tx.init(params)
    for _ in range(200):
        params, state = step(tx, params, state)
    print(f"learning rate {rate}: loss {loss(params):.4f}")
print(f"programs compiled for the three rates: {step._cache_size()}")
