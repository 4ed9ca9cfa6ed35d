"""Train a Flax nnx model on scikit-learn's digits with jopt's train step."""

import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits

import jopt

images, labels = load_digits(return_X_y=True)
rngs = nnx.Rngs(0)
model = nnx.Sequential(
    nnx.Linear(64, 128, rngs=rngs), nnx.relu, nnx.Linear(128, 10, rngs=rngs)
)


def loss_fn(model, batch, key):
    losses = optax.softmax_cross_entropy_with_integer_labels
    return losses(model(batch[0]), batch[1]).mean()


schedule = jopt.warmup_cosine_decay_schedule(0.0, 3e-3, 50, 500)
state = jopt.TrainState.create(model, jopt.adamw(schedule))
step = jopt.train_step(loss_fn)  # compiled; donates the state
order = np.random.default_rng(0)
for number in range(500):
    rows = order.integers(1500, size=64)
    state, metrics = step(state, (images[rows] / 16, labels[rows]))
    if number % 100 == 0:
        rate = metrics.hyperparameters["learning_rate"]
        print(f"step {number}: loss {metrics.loss:.4f}, learning rate {rate:.2e}")
right = state.model(images[1500:] / 16).argmax(1) == labels[1500:]
print(f"accuracy on the last 297 images: {right.mean():.3f}")
