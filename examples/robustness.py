"""Choose by the weakest part: accuracy by class, under noise, and after a shift.

Augmentation is swept with the learning rate. Each setting has four scores on
validation, all from one sweep: accuracy, that of the worst class, and those on copies
of the images with noise or a shift. The most accurate setting may not be robust.
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
corrupted = {"noisy": noisy, "shifted": np.roll(valid_x, 1, axis=2)}


def make(key):
    rngs = nnx.Rngs(key)
    layers = nnx.Linear(64, 64, rngs=rngs), nnx.relu, nnx.Linear(64, 10, rngs=rngs)
    return nnx.Sequential(*layers)


def logits(model, x):
    return model(x.reshape(len(x), -1))


def loss_fn(model, batch, key):
    x, (y, _) = batch
    losses = optax.softmax_cross_entropy_with_integer_labels(logits(model, x), y)
    return losses.mean()


def evaluate(model, batch):
    x, (y, corrupted) = batch
    right = {
        name: (logits(model, images).argmax(axis=1) == y).astype(jnp.float32)
        for name, images in {"plain": x, **corrupted}.items()
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
    train=(train_x, (train_y, dict.fromkeys(corrupted, train_x))),
    valid=(valid_x, (valid_y, corrupted)),
    summarize=weakest,
    metric="weakest",
    mode="max",
)
strengths = {"noise": [0.0, 0.5, 1.0], "pixels": [0.0, 1.0]}
trials = sweep.grid(setting, learning_rate=[3e-3, 1e-2], **strengths)
result = sweep.run(task, trials, steps=300, seeds=2)
table, best = result.settings(), result.best
print(best)
names = ("plain", "worst_class", "noisy", "shifted", "weakest")
print(f"{'noise':>8}{'pixels':>8}" + "".join(f"{name:>13}" for name in names))
for row in np.flatnonzero(
    table["learning_rate"] == best.hyperparameters["learning_rate"]
):
    scores = "".join(f"{table[f'valid_{name}'][row]:13.3f}" for name in names)
    print(f"{table['noise'][row]:8g}{table['pixels'][row]:8g}{scores}")
