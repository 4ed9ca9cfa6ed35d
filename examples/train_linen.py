"""Train a Flax linen model in bfloat16, in microbatches, and checkpoint it."""

import tempfile

import jax
import numpy as np
import optax
import orbax.checkpoint
from flax import linen
from sklearn.datasets import load_digits

import jopt

images, labels = load_digits(return_X_y=True)


class Model(linen.Module):
    @linen.compact
    def __call__(self, x):
        for _ in range(3):
            x = linen.relu(linen.Dense(64)(x))
        return linen.Dense(10)(x)


def loss_fn(variables, batch, key):
    losses = optax.softmax_cross_entropy_with_integer_labels
    return losses(Model().apply(variables, batch[0]), batch[1]).mean()


# The step, whole. Without buckets every leaf of params and state is an array by itself.
variables = Model().init(jax.random.key(0), images[:1])
tx = jopt.chain(jopt.clip_by_global_norm(1.0), jopt.adamw(3e-3))
halves = jopt.Precision(compute="bfloat16", mu="bfloat16")
state = jopt.TrainState.create(variables, tx, precision=halves, buckets=True)
step = jopt.train_step(loss_fn, accumulate=4)
order = np.random.default_rng(0)
for number in range(300):
    rows = order.integers(1500, size=64)
    state, metrics = step(state, (images[rows] / 16, labels[rows]))
    if number % 100 == 0:
        print(f"step {number}: loss {metrics.loss:.4f}, norm {metrics.grad_norm:.3f}")

right = Model().apply(state.model, images[1500:] / 16).argmax(1) == labels[1500:]
print(f"accuracy on the last 297 images: {right.mean():.3f}")
print(f"batches that were not finite: {state.skipped}")

# A checkpoint is written leaf by leaf, and fits any buckets.
directory, checkpointer = tempfile.mkdtemp(), orbax.checkpoint.StandardCheckpointer()
checkpointer.save(f"{directory}/state", state.by_leaf())
checkpointer.wait_until_finished()
saved = checkpointer.restore(f"{directory}/state", state.by_leaf())
other = jopt.TrainState.create(variables, tx, precision=halves, buckets=False)
other = other.filled(saved)
batch = (images[:64] / 16, labels[:64])
print(f"the next loss: {step(state, batch)[1].loss:.4f}, restored without buckets: ")
print(f"               {step(other, batch)[1].loss:.4f}")
