# %% [markdown]
# # Many devices
#
# Two things can be divided: the trials of a sweep, of which each device trains some,
# and one model, of which each device holds a part. Both are shown on four devices that
# JAX makes of a CPU. On GPUs leave out the lines that make them.

# %%
import os

import jax
import numpy as np
import optax
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

import jopt
from jopt import sweep
from jopt.tasks import digits

jax.config.update("jax_num_cpu_devices", 4)
# They share the host's threads. Those of one step wait for one another.
os.environ.setdefault("NPROC", "32")
jax.config.update("jax_cpu_enable_async_dispatch", False)
devices = jax.devices()
print(devices)

# %% [markdown]
# ## A sweep on several devices
#
# `sweep.run` uses all devices of its process. Each trains its own trials with the
# program that one device alone would run, and they send one another nothing. So a
# trial's numbers do not depend on how many devices there are: the curves are equal bit
# for bit.

# %%
trials = sweep.grid(jopt.adamw, learning_rate=[1e-3, 3e-3, 1e-2, 3e-2])
size = {"steps": 100, "segments": 5, "block": 1}
alone = sweep.run(digits(), trials, devices=devices[:1], **size)
shared = sweep.run(digits(), trials, **size)
print(shared.table["valid_loss"].round(3))
print("bit for bit the same:", np.array_equal(alone.curves, shared.curves))

# %% [markdown]
# The block is the number of trials that a device trains in one call. It is picked by
# timing if it is left out. Numbers are compared bit for bit for the same block only.
#
# ## One model on several devices
#
# A model that fits on one device learns faster with a batch that all of them divide.
# Each device then holds all parameters, and a part of the optimizer's state, which it
# updates: ZeRO. `state_sharding` says where each array lies.

# %%
images, labels = (np.asarray(array) for array in digits().train)
mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
whole, divided = (NamedSharding(mesh, PartitionSpec(*at)) for at in ((), ("data",)))


def create():
    rngs = nnx.Rngs(0)
    layers = nnx.Linear(images[0].size, 256, rngs=rngs), nnx.Linear(256, 10, rngs=rngs)
    model = nnx.Sequential(layers[0], nnx.relu, layers[1])
    return jopt.TrainState.create(model, jopt.adamw(3e-3), shards=4)


def loss_fn(model, batch, key):
    losses = optax.softmax_cross_entropy_with_integer_labels
    return losses(model(batch[0].reshape(len(batch[1]), -1)), batch[1]).mean()


def held(tree):
    """Return the bytes of a tree that the first device holds."""
    shards = (x.addressable_shards[0].data for x in jax.tree.leaves(tree))
    return sum(shard.nbytes for shard in shards)


def train(params_sharding):
    shardings = jopt.state_sharding(jax.eval_shape(create), params_sharding)
    state = jax.jit(create, out_shardings=shardings)()  # made where it will lie
    step = jopt.train_step(loss_fn, shardings=shardings)
    order = np.random.default_rng(0)
    for _ in range(50):
        rows = order.integers(len(images), size=64)
        batch = jax.device_put((images[rows], labels[rows]), divided)
        state, metrics = step(state, batch)
    print(
        f"loss {metrics.loss:.4f}; on a device {held(state.packed):,} bytes of params,"
    )
    print(f"{held(state.opt_state):,} of the optimizer's state")


train(whole)

# %% [markdown]
# With the large parameters divided, too, it is fully sharded training, FSDP. Only the
# shardings differ, and the loss is the same up to the order of sums.

# %%
params = jax.eval_shape(create).params
train(jax.tree.map(lambda x: divided if x.size >= 2**14 else whole, params))

# %% [markdown]
# ## Many processes
#
# Machines, and often GPUs, have a process each. `jax.distributed.initialize()` makes
# them one job, and the rest stays as it is:
#
# - **A sweep**: `sweep.run` in each process, with the same arguments. Each trains every
#   n-th trial on its own devices, and has the whole result in the end.
# - **One model**: `jax.devices()` are then those of all processes. Each hands over its
#   part of a batch, by `jax.make_array_from_process_local_data`.
#
# Both are scripts in the repository, which one command starts on two processes:
#
# ```bash
# bash examples/launch.sh 2 examples/sweep_job.py
# bash examples/launch.sh 2 examples/fsdp.py
# ```
#
# How they are started elsewhere, end, and go on is in
# [one job on many processes](../distributed.md).
