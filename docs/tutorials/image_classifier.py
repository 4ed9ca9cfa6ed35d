# %% [markdown]
# # An image classifier, from data to a saved model
#
# Handwritten digits of 8 x 8 pixels, from scikit-learn. The path is the same for images
# of your own: split, choose a rate, sweep, train to the end, look at what is wrong,
# save.

# %%
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits
from sklearn.metrics import classification_report, confusion_matrix
from sklearn.model_selection import train_test_split

import jopt
from jopt import studies, sweep

# %% [markdown]
# ## Data
#
# Three parts: one to train on, one to choose by, one to look at once, at the end.
# Each has the same share of each digit. Pixels are scaled by statistics of the training
# part alone.

# %%
images, labels = load_digits(return_X_y=True)
images = images.reshape(-1, 8, 8, 1).astype("float32")
rest, test, rest_labels, test_labels = train_test_split(
    images, labels, test_size=300, stratify=labels, random_state=0
)
train, valid, train_labels, valid_labels = train_test_split(
    rest, rest_labels, test_size=300, stratify=rest_labels, random_state=0
)
mean, std = train.mean(), train.std()
train, valid, test = ((part - mean) / std for part in (train, valid, test))

# %% [markdown]
# ## Model and task
#
# A task says how the model is made, what its loss is, and what is measured on each
# example of the validation set. Dropout draws from the key that the step is given.


# %%
class Classifier(nnx.Module):
    def __init__(self, dropout: float, rngs: nnx.Rngs):
        self.conv = nnx.Conv(1, 16, (3, 3), rngs=rngs)
        self.hidden = nnx.Linear(16 * 4 * 4, 64, rngs=rngs)
        self.dropout = nnx.Dropout(dropout, rngs=rngs)
        self.out = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, images: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        x = nnx.relu(self.conv(images))  # [batch, 8, 8, 16]
        x = nnx.max_pool(x, (2, 2), strides=(2, 2)).reshape(len(x), -1)
        x = self.dropout(nnx.relu(self.hidden(x)), rngs=rngs)
        return self.out(x)


def make(key: jax.Array) -> Classifier:
    return Classifier(0.3, nnx.Rngs(key))


def loss_fn(model, batch, key):
    logits = model(batch[0], rngs=nnx.Rngs(key))
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1]).mean()


def evaluate(model, batch):
    logits = model(batch[0])
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch[1])
    return {"loss": losses, "accuracy": logits.argmax(axis=1) == batch[1]}


task = sweep.Task.from_model(
    "digits, 8 x 8",
    make,
    loss_fn,
    evaluate,
    train=(train, train_labels),
    valid=(valid, valid_labels),
    test=(test, test_labels),
    predict=lambda model, batch: model(batch[0]).argmax(axis=1),
    metric="accuracy",
    mode="max",
)

# %% [markdown]
# ## A range of rates
#
# `lr_range` trains a few steps at many rates at once, and suggests where to look.

# %%
found = studies.lr_range(
    task, jopt.adamw, low=1e-5, high=1.0, rates=16, seeds=1, steps=60
)
print(found.rule)

# %% [markdown]
# ## A sweep
#
# Rates and decays around the suggestion, each from three initializations, in one
# compiled program. Settings that fall behind are stopped early. A record is kept in a
# directory: a killed sweep goes on by `sweep.resume(directory)`.

# %%
rate = found.suggestion or 3e-3
trials = sweep.grid(
    jopt.adamw,
    learning_rate=[rate / 3, rate, 3 * rate],
    weight_decay=[1e-3, 0.1],
)
directory = Path(tempfile.mkdtemp()) / "digits"
result = sweep.run(
    task, trials, steps=300, seeds=3, pruner=sweep.MedianPruner(), directory=directory
)
best = result.best
print(best.hyperparameters, best.valid, best.test)
print(np.unique(result.table["status"], return_counts=True))

# %% [markdown]
# ## Train to the end
#
# The winning setting, once more, for as long as the validation loss falls. `fit` is a
# loop for those who write none: it keeps the best state and stops when `patience`
# epochs bring no better one.

# %%
schedule = jopt.cosine_decay_schedule(best.hyperparameters["learning_rate"], 1500)
tx = jopt.adamw(schedule, weight_decay=best.hyperparameters["weight_decay"])
state = jopt.TrainState.create(make(jax.random.key(1)), tx, key=jax.random.key(2))


def batches(epoch):
    order = np.random.default_rng(epoch).permutation(len(train))
    for rows in np.array_split(order, len(train) // 64)[:-1]:
        yield train[rows[:64]], train_labels[rows[:64]]


def validate(state):
    losses = evaluate(state.eval_model, (valid, valid_labels))
    return {name: float(jnp.mean(values)) for name, values in losses.items()}


fit = jopt.training.fit(
    state,
    jopt.train_step(loss_fn),
    batches,
    epochs=60,
    evaluate=validate,
    early_stopping=jopt.training.EarlyStopping(patience=10),
)
assert fit.best is not None
print(f"{len(fit.history['valid_loss'])} epochs, validation {validate(fit.best)}")

# %% [markdown]
# ## What is wrong
#
# The test set, once. A confusion matrix says which digits are taken for which.

# %%
model = fit.best.eval_model
answers = np.asarray(model(test).argmax(axis=1))
print(classification_report(test_labels, answers, digits=3))
print(confusion_matrix(test_labels, answers))

# %% [markdown]
# ## Save, and predict
#
# The sweep's winner is a directory: `result.save` writes it with tables, pictures and a
# page. `jopt predict digits images.npy` answers from the shell; this is the same from
# Python.

# %%
result.save(directory)
loaded = sweep.load(directory, task=task)
assert (loaded.predict(test[:5]) == result.predict(test[:5])).all()
print(loaded.predict(test[:5]), test_labels[:5])
