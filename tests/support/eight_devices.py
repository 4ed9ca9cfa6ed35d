"""A script: train on eight CPU devices and print what is seen as JSON."""

import functools
import itertools
import json
import os
import re
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P

if __name__ == "__main__":
    os.environ.setdefault("NPROC", "32")  # XLA's threads: some wait for one another
    jax.config.update("jax_num_cpu_devices", 8)
    # They share the host's threads, and a step of one waits for that of another.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    jax.config.update("jax_numpy_rank_promotion", "raise")

import jopt
from jopt.training import state_sharding

WIDTHS = [32, 256, 256, 256, 8]
PARAMS = sum(n * m + m for n, m in itertools.pairwise(WIDTHS))
BYTES = {"f32": 4, "u8": 1}
COLLECTIVE = re.compile(
    r"= (\S+|\(.*?\)) (all-reduce|all-gather|all-to-all|reduce-scatter"
    r"|collective-permute|collective-broadcast|send|recv)(?:-start)?\("
)


def init():
    keys = jax.random.split(jax.random.key(0), len(WIDTHS) - 1)
    return [
        {"w": n**-0.5 * jax.random.normal(key, (n, m)), "b": jnp.zeros(m)}
        for key, (n, m) in zip(keys, itertools.pairwise(WIDTHS), strict=True)
    ]


def loss_fn(params, batch, key):
    x, y = batch
    for layer in params:
        x = jnp.tanh(x @ layer["w"] + layer["b"][None])
    return jnp.square(x - y).mean()


def create(direction=jopt.adamw):
    tx = jopt.chain(jopt.clip_by_global_norm(0.1), direction(1e-2))
    return jopt.TrainState.create(init(), tx, shards=8)


def batches(number, size=64):
    random = np.random.default_rng(0)
    shapes = (number, size, WIDTHS[0]), (number, size, WIDTHS[-1])
    return tuple(random.normal(size=shape).astype(np.float32) for shape in shapes)


def collectives(text):
    """The bytes that each kind of collective makes, in order of size."""
    found = {}
    for shapes, kind in COLLECTIVE.findall(text):
        for dtype, dims in re.findall(r"(f32|u8)\[([\d,]*)\]", shapes):
            size = int(np.prod([int(d) for d in dims.split(",") if d]))
            found.setdefault(kind, []).append(BYTES[dtype] * size)
    return {kind: sorted(sizes, reverse=True) for kind, sizes in found.items()}


def held(state):
    """The most bytes that one device holds of the params and of the moments."""

    def most(tree):
        found = dict.fromkeys(jax.devices(), 0)
        for x in jax.tree.leaves(tree):
            for shard in x.addressable_shards:
                found[shard.device] += shard.data.nbytes
        return max(found.values())

    return {"params": most(state.packed), "opt_state": most(state.opt_state)}


def made(create, params_sharding):
    """The shardings of a state, and the program that makes it."""
    shardings = state_sharding(jax.eval_shape(create), params_sharding)
    return shardings, jax.jit(create, out_shardings=shardings).lower().compile()


def temporaries(program):
    return program.memory_analysis().temp_size_in_bytes


def gap(a, b):
    """The greatest difference of their params."""
    pairs = zip(jax.tree.leaves(a.params), jax.tree.leaves(b.params), strict=True)
    return max(float(np.abs(np.asarray(x) - np.asarray(y)).max()) for x, y in pairs)


def lies_as(state, shardings):
    pairs = zip(jax.tree.leaves(state), jax.tree.leaves(shardings), strict=True)
    return all(x.sharding.is_equivalent_to(s, x.ndim) for x, s in pairs)


@functools.cache
def alone(create):
    """The state and the losses of a run on one device."""
    state, step, losses = create(), jopt.train_step(loss_fn), []
    for batch in zip(*batches(5), strict=True):
        state, metrics = step(state, batch)
        losses.append(float(metrics.loss))
    return state, losses


def trained(params_sharding, create=create, **kwargs):
    """What is seen of a run on the mesh of `params_sharding`, beside one device's."""
    shardings, program = made(create, params_sharding)
    state, batch, losses = program(), None, []
    step = jopt.train_step(loss_fn, shardings=shardings, **kwargs)
    before = held(state)
    for batch in zip(*batches(5), strict=True):
        state, metrics = step(state, batch)
        losses.append(float(metrics.loss))
    return state, {
        "held": before,
        "init": collectives(program.as_text()),
        "init_temporaries": temporaries(program),
        "step": collectives(step.lower(state, batch).compile().as_text()),
        "stays": lies_as(state, shardings),
        "gap": gap(state, alone(create)[0]),
        "losses": float(np.abs(np.subtract(losses, alone(create)[1])).max()),
    }


def scanned(shardings):
    """The state after as many steps in one call, and what they send."""
    state = jax.jit(create, out_shardings=shardings)()
    steps = jopt.train_steps(loss_fn, shardings=shardings)
    state, _ = steps(state, batches(5))
    return state, collectives(steps.lower(state, batches(5)).compile().as_text())


def restored(state, shardings):
    """The state, written leaf by leaf by orbax, read, and laid out again."""
    import orbax.checkpoint as ocp

    with tempfile.TemporaryDirectory() as place, ocp.StandardCheckpointer() as files:
        by_leaf = state.by_leaf()
        files.save(Path(place) / "state", by_leaf)
        files.wait_until_finished()
        again = files.restore(Path(place) / "state", by_leaf)
    return jax.device_put(state.filled(again), shardings)


def main():
    devices = np.array(jax.devices())
    line, grid = (
        Mesh(devices, ("data",)),
        Mesh(devices.reshape(4, 2), ("data", "model")),
    )
    everywhere, whole = NamedSharding(line, P()), NamedSharding(grid, P())
    without_moments = functools.partial(create, jopt.sgd)
    in_few_bits = functools.partial(create, lambda lr: jopt.low_bit(jopt.adamw(lr)))
    shardings = state_sharding(jax.eval_shape(create), everywhere)
    state, zero = trained(everywhere)
    _, accumulated = trained(everywhere, accumulate=4)
    together, in_scan = scanned(shardings)
    columns, rows = (NamedSharding(grid, P(*at)) for at in ([None, "model"], ["data"]))
    mixed = [{"w": x, "b": whole} for x in (whole, columns, rows, whole)]
    found = {
        "params": PARAMS,
        "init_temporaries_of_params": temporaries(made(without_moments, everywhere)[1]),
        "zero": zero,
        "accumulated": accumulated,
        "in_scan": {"step": in_scan, "gap": gap(together, state)},
        "mixed": trained(mixed)[1],
        "low_bit": trained(everywhere, in_few_bits)[1],
    }
    again = restored(state, shardings)
    step = jopt.train_step(loss_fn, shardings=shardings)
    batch = tuple(x[0] for x in batches(1))
    found["restored"] = gap(step(again, batch)[0], step(state, batch)[0])
    print(json.dumps(found))


if __name__ == "__main__":
    main()
