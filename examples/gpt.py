"""Sweep a small GPT on text that a host loader draws, ranked by perplexity.

The loader may be torch's or grain's, too: any iterable that can be started again. Each
batch is drawn once, for all trials.

    python examples/gpt.py [STEPS]
"""

import sys
from pydoc_data.topics import topics

import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import jopt
from jopt import sweep
from jopt.tasks import VOCABULARY, Transformer

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 100
LENGTH, BATCH, EPOCH = 32, 16, 60  # characters, sequences, batches


def windows(text, starts):
    """Return characters, and those one position later."""
    rows = starts[:, None] + np.arange(LENGTH + 1)
    return text[rows][:, :-1], text[rows][:, 1:]


class Loader:
    """Batches of windows at random places; new ones whenever it is started again."""

    def __init__(self, text, seed=0):
        self.text, self.random = text, np.random.default_rng(seed)

    def __len__(self):
        return EPOCH

    def __iter__(self):
        for _ in range(EPOCH):
            starts = self.random.integers(0, len(self.text) - LENGTH - 1, BATCH)
            yield windows(self.text, starts)


content = "\n".join(topics[name] for name in sorted(topics))
codes = {character: code for code, character in enumerate(VOCABULARY)}
text = np.array([codes.get(character, 0) for character in content], np.int32)
train, held_out = np.split(text, [len(text) * 9 // 10])


def make(key):
    return Transformer(LENGTH, width=48, layers=2, heads=4, key=key)


def values(model, batch):
    characters, following = batch
    logits = model(characters)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, following)
    return {"loss": losses.mean(axis=1)}


task = sweep.Task.from_model(
    "gpt",
    make,
    lambda model, batch, key: values(model, batch)["loss"].mean(),
    values,
    train=Loader(train),
    valid=windows(held_out, np.arange(0, 64 * LENGTH, LENGTH)),
    summarize=lambda config, state, means: {"perplexity": jnp.exp(means["loss"])},
    metric="perplexity",
)


def factory(peak):
    rate = jopt.warmup_cosine_decay_schedule(0.0, peak, STEPS // 10, STEPS)
    return jopt.chain(jopt.clip_by_global_norm(1.0), jopt.adamw(rate))


trials = sweep.grid(factory, peak=np.geomspace(3e-4, 1e-1, 6))
result = sweep.run(task, trials, steps=STEPS, segments=5)
for name in ("peak", "valid_perplexity"):
    print(name.ljust(18), *(f"{value:9.4g}" for value in result.table[name]))
best = result.best
print(f"best: perplexity {best.valid['perplexity']:.2f} at {best.hyperparameters}")
assert best.valid["perplexity"] < len(VOCABULARY) / 2

model = nnx.merge(nnx.graphdef(make(0)), result.params(best.trial))
mean = float(values(model, task.valid)["loss"].mean())
assert abs(np.exp(mean) / best.valid["perplexity"] - 1) < 1e-4
