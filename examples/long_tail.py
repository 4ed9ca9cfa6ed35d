"""Learn digits whose classes have 108 down to 5 examples, and judge all classes alike.

One program trains plain cross-entropy (tau = 0) and logit adjustment at all rates.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from sklearn.metrics import f1_score

import jopt
from jopt import sweep
from jopt.losses import CrossEntropy, LogitAdjusted
from jopt.tasks import MLP, digits

(inputs, labels), random = digits().train, np.random.default_rng(0)
counts = np.geomspace(108, 5, 10).round().astype(int)
order = random.permutation(len(labels))
rows = [order[labels[order] == digit][:n] for digit, n in enumerate(counts)]
train = inputs[np.concatenate(rows)], labels[np.concatenate(rows)]


def make(key):
    return MLP(64, rngs=nnx.Rngs(key))


def loss_fn(model, batch, key, loss):  # loss: the trial's, of Supervised
    return loss(model(batch[0]), batch[1]).mean()


def evaluate(model, batch):
    logits, truth = model(batch[0]), jax.nn.one_hot(batch[1], 10)
    confusion = truth[:, :, None] * jax.nn.one_hot(logits.argmax(1), 10)[:, None, :]
    return {"loss": CrossEntropy()(logits, batch[1]), "confusion": confusion}


def macro_f1(config, state, means):
    both = means["confusion"].sum(axis=0) + means["confusion"].sum(axis=1)
    return {"macro_f1": jnp.mean(2 * jnp.diagonal(means["confusion"]) / both)}


def factory(learning_rate, tau):
    return sweep.Supervised(jopt.adamw(learning_rate), LogitAdjusted(counts, tau))


fields = {"train": train, "valid": digits().valid, "batch_size": 32}
fields |= {"summarize": macro_f1, "metric": "macro_f1", "mode": "max"}
task = sweep.Task.from_model("long tail", make, loss_fn, evaluate, **fields)
trials = sweep.grid(factory, learning_rate=[1e-3, 3e-3, 1e-2, 3e-2], tau=[0, 1, 2])
result = sweep.run(task, trials, steps=300, seeds=3)

images, truth = digits().test
for tau, rows in result.to_pandas().groupby("tau"):
    rate = rows.groupby("learning_rate")["valid_macro_f1"].mean().idxmax()
    f1 = []
    for trial in rows["trial"][rows["learning_rate"] == rate]:
        model = nnx.merge(nnx.graphdef(make(0)), result.params(trial))
        f1.append(f1_score(truth, model(images).argmax(axis=1), average="macro"))
    print(f"tau {tau} at {rate:g}: F1 {np.mean(f1):.3f} +- {np.std(f1, ddof=1):.3f}")
