"""Find a learning rate with the step that will use it: in bfloat16, accumulating.

The step of a sweep is the one that `train_step` compiles. Precision and accumulation
are fields of the task: each combination is a program of its own.
"""

import functools

import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits

import jopt
from jopt import sweep

images, labels = load_digits(return_X_y=True)
images = (images / 16).astype(np.float32)
TRAIN = images[:1200], labels[:1200]
VALID = images[1200:], labels[1200:]


class MLP(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(64, 64, rngs=rngs)
        self.last = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, x):
        return self.last(nnx.relu(self.first(x)))


def losses(model, batch):
    logits = model(batch[0])
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1])


@functools.cache
def task(precision, accumulate):
    dtypes = {"bfloat16": jopt.Precision(compute="bfloat16"), "float32": None}
    return sweep.Task.from_model(
        "digits",
        lambda key: MLP(nnx.Rngs(key)),
        lambda model, batch, key: losses(model, batch).mean(),
        lambda model, batch: {"loss": losses(model, batch)},
        train=TRAIN,
        valid=VALID,
        precision=dtypes[precision],
        accumulate=accumulate,
    )


def factory(learning_rate, precision, accumulate):
    return sweep.Setup(jopt.adamw(learning_rate), task(precision, accumulate))


trials = sweep.grid(
    factory,
    learning_rate=np.geomspace(1e-4, 1e-1, 8),
    precision=["float32", "bfloat16"],
    accumulate=[1, 4],
)
result = sweep.run(task("float32", 1), trials, steps=200, batch_size=128)
groups = result.info["groups"]
print(f"{len(trials)} trials, {groups} structures, each compiled once")
for precision in ("float32", "bfloat16"):
    for accumulate in (1, 4):
        rows = np.flatnonzero(
            (result.table["precision"] == precision)
            & (result.table["accumulate"] == accumulate)
        )
        loss = result.table["valid_loss"][rows]
        rate = result.table["learning_rate"][rows][np.argmin(loss)]
        print(f"{precision}, {accumulate} microbatches: {loss.min():.4f} at {rate:.3g}")
