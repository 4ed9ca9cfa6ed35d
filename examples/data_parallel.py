"""Train on all devices there are: the batch and Adam's moments divided among them."""

import os

import jax
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from sklearn.datasets import load_digits

import jopt

jax.config.update("jax_num_cpu_devices", 8)  # without GPUs: of the host's cores
# They share the host's threads. With a thread a device, or several steps under way,
# those that wait for one another may leave none for those that they wait for.
os.environ.setdefault("NPROC", "32")  # XLA's threads
jax.config.update("jax_cpu_enable_async_dispatch", False)
images, labels = load_digits(return_X_y=True)
devices = jax.devices()
mesh = Mesh(np.array(devices), ("data",))


def create():
    rngs = nnx.Rngs(0)
    model = nnx.Sequential(
        nnx.Linear(64, 512, rngs=rngs), nnx.relu, nnx.Linear(512, 10, rngs=rngs)
    )
    return jopt.TrainState.create(model, jopt.adamw(1e-3), shards=len(devices))


def loss_fn(model, batch, key):
    losses = optax.softmax_cross_entropy_with_integer_labels
    return losses(model(batch[0]), batch[1]).mean()


everywhere = NamedSharding(mesh, PartitionSpec())
shardings = jopt.state_sharding(jax.eval_shape(create), everywhere)
state = jax.jit(create, out_shardings=shardings)()  # made where it will lie
step = jopt.train_step(loss_fn, shardings=shardings)
order = np.random.default_rng(0)
for number in range(200):
    rows = order.integers(1500, size=128)
    state, metrics = step(state, (images[rows] / 16, labels[rows]))
    if number % 50 == 0:
        print(f"step {number}: loss {metrics.loss:.4f}")


def on_one(tree):
    """The bytes of a tree that the first device holds."""
    shards = (x.addressable_shards[0].data for x in jax.tree.leaves(tree))
    return sum(shard.nbytes for shard in shards)


print(f"on each of {len(devices)} devices: {on_one(state.packed):,} bytes of params,")
print(f"{on_one(state.opt_state):,} of the optimizer's state")
right = state.model(images[1500:] / 16).argmax(1) == labels[1500:]
print(f"accuracy on the last 297 images: {right.mean():.3f}")
