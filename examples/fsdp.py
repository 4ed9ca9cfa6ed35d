"""Train one model over several processes, its state divided: as ZeRO, and as FSDP.

    python examples/fsdp.py                  one process, four devices
    bash examples/launch.sh 2 examples/fsdp.py    two processes, two devices each

ZeRO divides the optimizer's moments among the devices, FSDP the parameters too. The
program is the same for any number of processes: each hands over its part of a batch.
"""

import os

import jax
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from sklearn.datasets import load_digits

import jopt

PROCESSES = int(os.environ.get("JOB_PROCESSES", "1"))  # launch.sh says so
jax.config.update("jax_num_cpu_devices", 4 // PROCESSES)  # without GPUs
# Devices share the host's threads, and those of one step wait for one another.
os.environ.setdefault("NPROC", "32")
jax.config.update("jax_cpu_enable_async_dispatch", False)
if PROCESSES > 1:  # it finds the address in JAX_COORDINATOR_ADDRESS
    number = int(os.environ["JOB_PROCESS"])
    jax.distributed.initialize(num_processes=PROCESSES, process_id=number)
images, labels = load_digits(return_X_y=True)
devices = jax.devices()  # of all processes
mesh = Mesh(np.array(devices), ("data",))
whole, divided = (NamedSharding(mesh, PartitionSpec(*at)) for at in ([], ["data"]))


def create():
    rngs = nnx.Rngs(0)
    model = nnx.Sequential(
        nnx.Linear(64, 512, rngs=rngs),
        nnx.relu,
        nnx.Linear(512, 512, rngs=rngs),
        nnx.relu,
        nnx.Linear(512, 10, rngs=rngs),
    )
    return jopt.TrainState.create(model, jopt.adamw(1e-3), shards=len(devices))


def loss_fn(model, batch, key):
    losses = optax.softmax_cross_entropy_with_integer_labels
    return losses(model(batch[0]), batch[1]).mean()


def own_part(rows):
    """Return a batch that all devices divide, of this process's part of the rows."""
    part = np.split(rows, PROCESSES)[jax.process_index()]
    arrays = (images[part] / 16).astype(np.float32), labels[part].astype(np.int32)
    place = jax.make_array_from_process_local_data
    return tuple(place(divided, array) for array in arrays)


def on_one(tree):
    """Return the bytes of a tree that this process's first device holds."""
    shards = (x.addressable_shards[0].data for x in jax.tree.leaves(tree))
    return sum(shard.nbytes for shard in shards)


def train(name, params_sharding):
    shardings = jopt.state_sharding(jax.eval_shape(create), params_sharding)
    state = jax.jit(create, out_shardings=shardings)()  # made where it will lie
    step = jopt.train_step(loss_fn, shardings=shardings)
    order = np.random.default_rng(0)
    for number in range(51):
        state, metrics = step(state, own_part(order.integers(1500, size=128)))
        if number % 25 == 0 and jax.process_index() == 0:
            print(f"{name}, step {number}: loss {metrics.loss:.6f}")
    if jax.process_index() == 0:
        held = on_one(state.packed), on_one(state.opt_state)
        print(f"{name}: a device holds {held[0]:,} bytes of params, {held[1]:,} of")
        print("the optimizer's state")


params = jax.eval_shape(create).params
# Small leaves share a vector and stay whole; FSDP divides the rest by their rows.
by_rows = jax.tree.map(lambda x: divided if x.size >= 2**14 else whole, params)
train("ZeRO", whole)
train("FSDP", by_rows)
