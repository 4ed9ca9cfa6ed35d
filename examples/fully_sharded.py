"""Train a language model whose params, gradients and moments are divided among devices.

The axes of the mesh are explicit: the type of an array says how it is divided, and an
operation that would have to guess is an error. Each block gathers its own weights.
"""

import os

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, PartitionSpec as P

import jopt
from jopt.tasks import VOCABULARY, text

jax.config.update("jax_num_cpu_devices", 8)  # without GPUs: of the host's cores
os.environ.setdefault("NPROC", "32")  # they share its threads: see data_parallel.py
jax.config.update("jax_cpu_enable_async_dispatch", False)
mesh = jax.make_mesh((len(jax.devices()),), ("data",), axis_types=(AxisType.Explicit,))
jax.set_mesh(mesh)
WIDTH, HEADS, LENGTH, LAYERS = 64, 4, 64, 2


def create(key):
    """Return the params: each matrix divided by its rows, each vector whole."""

    def matrix(key, rows, columns):
        return rows**-0.5 * jax.random.normal(
            key, (rows, columns), out_sharding=P("data", None)
        )

    keys = iter(jax.random.split(key, 2 + 4 * LAYERS))

    def block():
        return {
            "attend": matrix(next(keys), WIDTH, 3 * WIDTH),
            "merge": matrix(next(keys), WIDTH, WIDTH),
            "widen": matrix(next(keys), WIDTH, 4 * WIDTH),
            "narrow": matrix(next(keys), 4 * WIDTH, WIDTH),
            "norms": jnp.ones((2, WIDTH)),
        }

    return {
        "places": matrix(next(keys), LENGTH, WIDTH),
        "characters": matrix(next(keys), WIDTH, len(VOCABULARY)),
        "blocks": [block() for _ in range(LAYERS)],
    }


def gathered(weights):
    """Return weights whole on each device; their gradients come back divided."""
    return jax.tree.map(lambda w: jax.sharding.reshard(w, P()), weights)


def normed(x, scale):
    size = jnp.sqrt(jnp.mean(x**2, axis=-1, keepdims=True) + 1e-6)
    return x / size * scale[None, None]


@jax.checkpoint  # a block's weights are gathered again on the way back, not kept
def block(weights, x):
    weights = gathered(weights)
    q, k, v = jnp.split(normed(x, weights["norms"][0]) @ weights["attend"], 3, axis=-1)
    q, k, v = (
        part.reshape(*part.shape[:2], HEADS, WIDTH // HEADS) for part in (q, k, v)
    )
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / (WIDTH // HEADS) ** 0.5
    causal = jnp.tril(jnp.ones((LENGTH, LENGTH), bool))[None, None]
    shares = jax.nn.softmax(jnp.where(causal, scores, -1e9))
    found = jnp.einsum("bhqk,bkhd->bqhd", shares, v).reshape(x.shape)
    x = x + found @ weights["merge"]
    hidden = normed(x, weights["norms"][1]) @ weights["widen"]
    return x + jax.nn.gelu(hidden) @ weights["narrow"]


def loss_fn(params, batch, key):
    characters, following = (jax.nn.one_hot(part, len(VOCABULARY)) for part in batch)
    table = gathered(params["characters"])
    x = characters @ table.T + gathered(params["places"])[None]
    for weights in params["blocks"]:
        x = block(weights, x)
    chances = jax.nn.log_softmax(x @ table / WIDTH**0.5)
    return -jnp.mean(jnp.sum(chances * following, axis=-1))


tx = jopt.chain(jopt.clip_by_global_norm(1.0), jopt.muon(2e-2, adam_learning_rate=3e-3))
params = jax.jit(create)(jax.random.key(0))
state = jopt.TrainState.create(params, tx)
step = jopt.train_step(loss_fn)
train, order = text(length=LENGTH).train, np.random.default_rng(0)
for number in range(101):
    rows = order.integers(len(train[0]), size=32)
    batch = [jax.device_put(part[rows], P("data")) for part in train]
    state, metrics = step(state, batch)
    if number % 25 == 0:
        print(f"step {number}: loss {metrics.loss:.4f}")


def on_one(tree):
    """The share of a tree's bytes that the first device holds."""
    arrays = jax.tree.leaves(tree)
    held = sum(x.addressable_shards[0].data.nbytes for x in arrays)
    return held / sum(x.nbytes for x in arrays)


print(f"a matrix is still {jax.typeof(state.params['blocks'][0]['widen'])}")
print(f"a device holds {on_one(state.params):.0%} of the params,", end=" ")
print(f"{on_one(state.opt_state):.0%} of the optimizer's state")
