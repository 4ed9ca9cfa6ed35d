"""Rank settings by what is wanted: a regression by R2, a classification by macro F1.

`evaluate` gives values of any shape for each example, and `summarize` makes scalars of
their means. A mean of scores of batches would be neither R2 nor F1.
"""

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_diabetes, load_wine
from sklearn.metrics import f1_score, r2_score

import jopt
from jopt import sweep


def parts(x, y):
    """Standardize the inputs and cut the rows into training and validation."""
    x = ((x - x.mean(0)) / x.std(0)).astype(np.float32)
    rows = np.random.default_rng(0).permutation(len(x))
    train, valid = np.split(rows, [len(x) * 2 // 3])
    return {"train": (x[train], y[train]), "valid": (x[valid], y[valid])}


def mlp(outputs, inputs):
    def make(key):
        first, last = jax.random.split(key)
        return {
            "first": jax.random.normal(first, (inputs, 32)) / inputs**0.5,
            "last": jax.random.normal(last, (32, outputs)) / 32**0.5,
            "bias": jnp.zeros(outputs),
        }

    return make


def answers(params, x):
    return jnp.tanh(x @ params["first"]) @ params["last"] + params["bias"]


def squares(params, batch):
    x, y = batch
    return {"loss": (answers(params, x)[:, 0] - y) ** 2, "y": y, "y2": y**2}


def r2(config, state, means):
    return {"r2": 1 - means["loss"] / (means["y2"] - means["y"] ** 2)}


def crosses(params, batch):
    x, y = batch
    logits = answers(params, x)
    said = jax.nn.one_hot(logits.argmax(axis=1), 3)
    truth = jax.nn.one_hot(y, 3)
    loss = -jnp.sum(truth * jax.nn.log_softmax(logits), axis=1)
    return {"loss": loss, "confusion": truth[:, :, None] * said[:, None, :]}


def macro_f1(config, state, means):
    confusion = means["confusion"]
    both = confusion.sum(axis=0) + confusion.sum(axis=1)
    return {"macro_f1": jnp.mean(2 * jnp.diagonal(confusion) / both)}


def mean_loss(evaluate):
    return lambda params, batch, key: evaluate(params, batch)["loss"].mean()


x, y = load_diabetes(return_X_y=True)
target = ((y - y.mean()) / y.std()).astype(np.float32)
diabetes = sweep.Task.from_model(
    "diabetes",
    mlp(1, x.shape[1]),
    mean_loss(squares),
    squares,
    **parts(x, target),
    summarize=r2,
    metric="r2",
    mode="max",
    baseline={"least squares": {"r2": 0.45}},
)
x, y = load_wine(return_X_y=True)
wine = sweep.Task.from_model(
    "wine",
    mlp(3, x.shape[1]),
    mean_loss(crosses),
    crosses,
    **parts(x, y.astype(np.int32)),
    summarize=macro_f1,
    metric="macro_f1",
    mode="max",
)
trials = sweep.grid(jopt.adamw, learning_rate=np.geomspace(1e-4, 0.3, 12))
for task in (diabetes, wine):
    result = sweep.run(task, trials, steps=200, seeds=2, batch_size=32)
    best, (x, y) = result.best, task.valid
    said = np.asarray(answers(result.params(best.trial), x))
    if task is wine:
        checked = f1_score(y, said.argmax(axis=1), average="macro")
    else:
        checked = r2_score(y, said[:, 0])
    value = best.valid[task.metric]
    assert abs(value - checked) < 1e-6 * max(1, abs(checked)), (value, checked)
    rate = best.hyperparameters["learning_rate"]
    print(f"{task.name}: best {task.metric} {value:.4f} at {rate:.3g}, as scikit-learn")
