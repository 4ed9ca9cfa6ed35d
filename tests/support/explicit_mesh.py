"""A script: train with and without a mesh of explicit axes on eight CPU devices.

Prints the name of each transformation that gives the same params both ways.
"""

import os

import jax
import jax.numpy as jnp
import numpy as np

if __name__ == "__main__":
    os.environ.setdefault("NPROC", "32")  # XLA's threads: some wait for one another
    jax.config.update("jax_num_cpu_devices", 8)
    # They share the host's threads, and a step of one waits for that of another.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    jax.config.update("jax_numpy_rank_promotion", "raise")

from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

import jopt

SPECS = {"w": P("data", "model"), "v": P(None, "model"), "b": P("data")}
TRANSFORMATIONS = {
    "adafactor": lambda: jopt.adafactor(1e-2, min_dim_size_to_factor=4),
    "adamw": lambda: jopt.adamw(1e-2),
    "flatten": lambda: jopt.flatten(jopt.adam(1e-2)),
    "kron": lambda: jopt.kron(1e-2),
    "lamb": lambda: jopt.lamb(1e-2),
    "low_bit": lambda: jopt.low_bit(jopt.adam(1e-2), block=8, min_size=8),
    "muon": lambda: jopt.muon(1e-2),
    "normuon": lambda: jopt.normuon(1e-2),
    "prune": lambda: jopt.prune(jopt.adamw(1e-2), 0.5, unit=jopt.Block((2, 2))),
    "shampoo": lambda: jopt.shampoo(1e-2),
    "sm3": lambda: jopt.sm3(1e-2),
    # In its eigenbasis most of the first gradient is rounding: less than this eps.
    "soap": lambda: jopt.soap(1e-2, eps=1.0),
    "straight_through": lambda: jopt.straight_through(
        jopt.adamw(1e-2), jopt.Composed(jopt.LowRank(4), jopt.Quantize(4))
    ),
}


def trained(tx, params):
    """Return the params after three steps on a quartic."""

    @jax.jit
    def step(params, state):
        grads = jax.tree.map(lambda p: p**3 + 0.1, params)
        updates, state = tx.update(grads, state, params)
        return jopt.apply_updates(params, updates), state

    state = tx.init(params)
    for _ in range(3):
        params, state = step(params, state)
    return params


def main():
    keys = jax.random.split(jax.random.key(0), 3)
    shapes = {"w": (8, 16), "v": (8, 16), "b": (8,)}
    whole = {
        name: jax.random.normal(key, shape)
        for key, (name, shape) in zip(keys, shapes.items(), strict=True)
    }
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(AxisType.Explicit,) * 2)
    divided = {
        name: jax.device_put(x, NamedSharding(mesh, SPECS[name]))
        for name, x in whole.items()
    }
    for name, make in TRANSFORMATIONS.items():
        wanted = jax.device_get(trained(make(), whole))
        with jax.set_mesh(mesh):
            got = trained(make(), divided)
            for key, x in got.items():
                assert jax.typeof(x) == jax.typeof(divided[key]), (name, key)
                assert x.addressable_shards[0].data.size < x.size, (name, key)
                np.testing.assert_allclose(x, wanted[key], 1e-5, 1e-5, err_msg=name)
        print(name, flush=True)
    step_of_buckets(mesh)


def step_of_buckets(mesh):
    """Train with TrainState: divided leaves stay alone, whole ones are joined."""

    def loss_fn(params, batch, key):
        w = jax.sharding.reshard(params["w"], P())
        return jnp.mean((batch @ w + params["a"][None] * params["c"][None]) ** 2)

    with jax.set_mesh(mesh):
        params = {
            "w": jax.device_put(jnp.ones((8, 4)), P("data", None)),
            "a": jnp.ones(4),
            "c": jnp.ones(4),
        }
        state = jopt.TrainState.create(params, jopt.adamw(1e-2))
        step = jopt.train_step(loss_fn)
        batch = jax.device_put(jnp.ones((8, 8)), P("data", None))
        state, _ = step(state, batch)
        state, metrics = step(state, batch)
        assert jnp.isfinite(metrics.loss)
        assert jax.typeof(state.params["w"]) == jax.typeof(params["w"])
        assert len(state.packed.vectors) == 1
    print("train_step", flush=True)


if __name__ == "__main__":
    main()
