"""Fine-tune one model with 24 settings at once: they share the base, whatever its size.

A net learns the digits 0 to 4. Then adapters of rank 2 (LoRA) learn 5 to 9, in one
program in which only the adapters, the last layer and their moments are there 24 times.
"""

import jax
import numpy as np
import optax
from flax import nnx

import jopt
from jopt import sweep
from jopt.tasks import digits


class Net(nnx.Module):
    def __init__(self, rngs, rank=0):
        self.first = self.layer(64, 256, rank, rngs)
        self.second = self.layer(256, 256, rank, rngs)
        self.head = nnx.Linear(256, 5, rngs=rngs)

    def layer(self, inputs, outputs, rank, rngs):
        linear = nnx.Linear(inputs, outputs, rngs=rngs)
        if not rank:
            return linear
        return nnx.LoRA(inputs, rank, outputs, base_module=linear, rngs=rngs)

    def __call__(self, x):
        return self.head(nnx.relu(self.second(nnx.relu(self.first(x)))))


def half(data, first):
    """Return the examples of five digits."""
    images, labels = data
    rows = (labels >= first) & (labels < first + 5)
    return images[rows], labels[rows] - first


def values(model, batch):
    logits = model(batch[0])
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch[1])
    return {"loss": losses, "accuracy": logits.argmax(axis=1) == batch[1]}


def task(name, first, rank=0, **options):
    parts = {p: half(getattr(digits(), p), first) for p in ("train", "valid", "test")}
    return sweep.Task.from_model(
        name,
        lambda key: Net(nnx.Rngs(key), rank),
        lambda model, batch, key: values(model, batch)["loss"].mean(),
        values,
        **parts,
        **options,
        metric="accuracy",
        mode="max",
    )


def adapted(tree):
    """Return the weights by the names that they have in adapters; the head is new."""
    return {name: {"base_module": tree[name]} for name in ("first", "second")}


base = sweep.run(task("0 to 4", 0), sweep.grid(jopt.adamw, learning_rate=[3e-3]))
print(f"base: accuracy {base.best.test['accuracy']:.3f} on 0 to 4")
weights = nnx.to_pure_dict(base.params(base.best.trial))
tuned = task(
    "5 to 9",
    5,
    rank=2,
    start=adapted(weights),
    wrt=lambda path, leaf: "lora" in path or path.startswith("head/"),
)
trials = sweep.grid(
    jopt.adamw, learning_rate=np.geomspace(1e-4, 1e-1, 12), weight_decay=[0.0, 0.1]
)
result = sweep.run(tuned, trials, steps=100)
best = result.best
print(f"tuned: accuracy {best.test['accuracy']:.3f} on 5 to 9, {best.hyperparameters}")

params = nnx.to_pure_dict(result.params(best.trial))
kept = params["second"]["base_module"]["kernel"]
assert np.array_equal(kept, weights["second"]["kernel"])
every, shared = (sum(x.size for x in jax.tree.leaves(t)) for t in (params, weights))
head = sum(x.size for x in jax.tree.leaves(weights["head"]))
own = every - shared + head
print(f"{own:,} of {every:,} parameters are there once a trial")
assert best.test["accuracy"] > 0.9
