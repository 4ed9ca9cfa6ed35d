"""Choose by the weakest part: accuracy by class, under noise, and after a shift.

Augmentation is swept with the learning rate. Each setting has four scores on
validation, all from one sweep: accuracy, that of the worst class, and those on corrupted
copies of the images. The most accurate setting need not be the most robust one.
"""

import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import jopt
from jopt import data, sweep
from jopt.tasks import digits

random = np.random.default_rng(0)
(train_x, train_y), (valid_x, valid_y) = digits().train, digits().valid
train_x, valid_x = train_x.reshape(-1, 8, 8), valid_x.reshape(-1, 8, 8)
noisy = valid_x + random.normal(0, 1.0, valid_x.shape).astype(np.float32)
shifted = np.roll(valid_x, 1, axis=2)


def make(key):
    rngs = nnx.Rngs(key)
    layers = nnx.Linear(64, 64, rngs=rngs), nnx.relu, nnx.Linear(64, 10, rngs=rngs)
    return nnx.Sequential(*layers)


def logits(model, x):
    return model(x.reshape(len(x), -1))


def loss_fn(model, batch, key):
    x, y = batch
    losses = optax.softmax_cross_entropy_with_integer_labels(logits(model, x), y)
    return losses.mean()


def evaluate(model, batch):
    images, noisy, shifted, y = batch
    right = {
        name: (logits(model, x).argmax(axis=1) == y).astype(jnp.float32)
        for name, x in {"plain": images, "noisy": noisy, "shifted": shifted}.items()
    }
    of_class = (y[:, None] == jnp.arange(10)).astype(jnp.float32)
    by_class = of_class * right["plain"][:, None]
    return {**right, "right": by_class, "there": of_class}


def weakest(config, state, means):
    worst = jnp.min(means["right"] / means["there"])
    names = ("plain", "noisy", "shifted")
    least = jnp.minimum(worst, jnp.min(jnp.stack([means[name] for name in names])))
    return {"worst_class": worst, "weakest": least}


def setting(learning_rate, noise, pixels):
    augment = data.Compose([data.Noise(noise), data.Shift(pixels)])
    return sweep.Supervised(jopt.adamw(learning_rate), augment=augment)


task = sweep.Task.from_model(
    "robust digits",
    make,
    loss_fn,
    evaluate,
    train=(train_x, train_y),
    valid=(valid_x, noisy, shifted, valid_y),
    summarize=weakest,
    metric="weakest",
    mode="max",
)
strengths = {"noise": [0.0, 0.5, 1.0], "pixels": [0.0, 1.0]}
trials = sweep.grid(setting, learning_rate=[3e-3, 1e-2], **strengths)
result = sweep.run(task, trials, steps=300, seeds=2)
names = ("plain", "worst_class", "noisy", "shifted", "weakest")
print(f"{'noise':>8}{'pixels':>8}" + "".join(f"{name:>13}" for name in names))
for row in result.settings():
    if row["learning_rate"] == result.best.hyperparameters["learning_rate"]:
        scores = "".join(f"{row[f'valid_{name}']:13.3f}" for name in names)
        print(f"{row['noise']:8g}{row['pixels']:8g}{scores}")
print(result.best)
