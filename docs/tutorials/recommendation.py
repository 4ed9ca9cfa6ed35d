# %% [markdown]
# # A recommendation, from counts to factors
#
# Shops recommend goods, and libraries films. This page recommends modules to files:
# given what a file of Python's own library imports, what else does it import? The data
# comes with Python. Nobody rates anything here. We only see what was chosen, which is
# the usual case.

# %%
import re
import sys
import sysconfig
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from matplotlib.figure import Figure

import jopt
from jopt import sweep
from jopt.core import pytree

# %% [markdown]
# ## Who chose what
#
# A line that begins with `import` or `from` is a choice. Files with few choices and
# modules of few files tell little, so they are left out. The numbers on this page are
# those of one installation: another version of Python has other files.

# %%
library = Path(sysconfig.get_path("stdlib"))
line = re.compile(rb"^(?:import|from) +(\w+)", re.M)
chosen = []
for path in sorted(library.rglob("*.py")):
    if not {"site-packages", "dist-packages"} & set(path.parts):
        names = {name.decode() for name in line.findall(path.read_bytes())}
        chosen.append(names & sys.stdlib_module_names)

files_of = {
    name: sum(name in names for names in chosen) for name in set().union(*chosen)
}
modules = sorted(name for name, files in files_of.items() if files >= 3)
bought = np.array([[name in names for name in modules] for names in chosen])
bought = bought[bought.sum(axis=1) >= 4]
files, size = bought.shape
print(f"{files} files, {size} modules, {bought.sum()} choices")

# %% [markdown]
# ## One choice held out
#
# Of each file one choice is hidden for validation, and another for the test. A model
# ranks the hidden module among all that the file is not known to import. The score is
# HR@10: the share of hidden modules among the first ten. It asks what a reader of ten
# suggestions would ask.

# %%
random = np.random.default_rng(0)
orders = [random.permutation(np.flatnonzero(row)) for row in bought]
hidden = {
    "valid": np.array([o[0] for o in orders]),
    "test": np.array([o[1] for o in orders]),
}
known = bought.copy()
for places in hidden.values():
    known[np.arange(files), places] = False


def hit(scores, known, place):
    """Return whether the hidden module is among the ten that score most."""
    own = jnp.take_along_axis(scores, place[:, None], axis=1)
    # A module that scores the same stands before it: equal scores earn nothing.
    before = jnp.sum((scores >= own) & ~known, axis=1) - 1
    return before < 10


# %% [markdown]
# ## What it must beat
#
# *The most popular* are the same for every file. *The nearest* adds up, over the known
# modules of a file, the cosine between their columns and a candidate's. This old rule
# is hard to beat on small data.

# %%
together = known.T.astype(float) @ known
norms = np.sqrt(np.maximum(np.diagonal(together), 1))
rivals = {
    "most popular": np.tile(known.sum(axis=0), (files, 1)),
    "nearest": known @ (together / np.outer(norms, norms)),
}
baseline = {
    name: {
        prefix + "hr10": float(
            hit(jnp.asarray(scores, "float32"), known, hidden[part]).mean()
        )
        for part, prefix in (("valid", ""), ("test", "test_"))
    }
    for name, scores in rivals.items()
}
for name, values in baseline.items():
    print(f"{name:13} validation HR@10 {values['hr10']:.3f}")

# %% [markdown]
# ## Factors
#
# Matrix factorization gives each module two vectors: one as something known, one as
# something asked for. A file is the sum of its known modules' vectors. So a new file
# needs no training, only its imports. A bias says how popular a module is.


# %%
class Factors(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        normal = nnx.initializers.normal(0.1)
        self.known = nnx.Param(normal(rngs.params(), (size, 32)))
        self.asked = nnx.Param(normal(rngs.params(), (size, 32)))
        self.bias = nnx.Param(jnp.zeros(size))

    def __call__(self, told: jax.Array) -> jax.Array:
        told = told / jnp.sqrt(jnp.maximum(told.sum(axis=1, keepdims=True), 1))
        return told @ self.known[...] @ self.asked[...].T + self.bias[...][None]


# %% [markdown]
# Training plays the test's game. It hides some of the known modules at random, and asks
# for them. How many it hides is a number, so it is swept with the others. `Hide` is an
# augmentation of our own: a pytree that is called with a batch and a key.


# %%
@pytree
class Hide:
    """Tell the model a random part of what is known of a file."""

    share: float

    def __call__(self, batch, key):
        known, _ = batch
        kept = jax.random.bernoulli(key, 1 - self.share, known.shape)
        return known & kept, known


def loss_fn(model, batch, key):
    told, known = batch
    wrong = optax.sigmoid_binary_cross_entropy(
        model(told.astype("float32")), known & ~told
    )
    return jnp.where(told, 0.0, wrong).mean()  # of what is told nothing is asked


def evaluate(model, batch):
    known, place = batch
    scores = model(known.astype("float32"))
    right = jax.nn.one_hot(place, size, dtype=bool)
    wrong = optax.sigmoid_binary_cross_entropy(scores, right)
    return {
        "loss": jnp.where(known, 0.0, wrong).mean(axis=1),
        "hr10": hit(scores, known, place),
    }


task = sweep.Task.from_model(
    "imports",
    lambda key: Factors(nnx.Rngs(key)),
    loss_fn,
    evaluate,
    predict=lambda model, batch: model(batch[0].astype("float32")),
    train=(known, known.argmax(axis=1)),  # parts look alike; training asks for more
    valid=(known, hidden["valid"]),
    test=(known, hidden["test"]),
    metric="hr10",
    mode="max",
    baseline=baseline,
)

# %% [markdown]
# ## A sweep
#
# Twelve settings of rate, decay and hidden share, in one program. The best by
# validation is tested once.


# %%
def factory(learning_rate, weight_decay, hide):
    tx = jopt.schedule_free_adamw(learning_rate, weight_decay=weight_decay)
    return sweep.Supervised(tx, augment=Hide(hide))


space = {
    "learning_rate": [0.03, 0.1],
    "weight_decay": [0.1, 0.3],
    "hide": [0.2, 0.5, 0.8],
}
result = sweep.run(task, sweep.grid(factory, **space), epochs=60, segments=6)
best = result.best
assert best is not None
print(best.hyperparameters, f"validation HR@10 {best.valid['hr10']:.3f}")

tested = {name: values["test_hr10"] for name, values in baseline.items()}
tested["factors"] = best.test["hr10"]
for name, value in tested.items():
    print(f"{name:13} test HR@10 {value:.3f}")

# %% [markdown]
# ## Ask it
#
# A file that nobody has written yet: it knows two modules, and asks for more.

# %%
asked = np.isin(modules, ["socket", "selectors"])
(scores,) = np.asarray(result.predict(asked[None]))
order = np.argsort(-np.where(asked, -np.inf, scores))
print("beside socket and selectors:", *(modules[place] for place in order[:8]))

# %% [markdown]
# ## A picture
#
# ![Validation HR@10 by hidden share](recommendation.png)

# %%
figure = Figure(figsize=(7, 3.4), layout="constrained")
axes = figure.subplots()
table = result.table
for rate in space["learning_rate"]:
    for decay, style in zip(space["weight_decay"], ("o-", "s--"), strict=True):
        mine = (table["learning_rate"] == rate) & (table["weight_decay"] == decay)
        label = f"rate {rate:g}, decay {decay:g}"
        axes.plot(table["hide"][mine], table["valid_hr10"][mine], style, label=label)
axes.axhline(baseline["nearest"]["hr10"], color="gray", ls=":", label="nearest")
axes.set(xlabel="share that training hides", ylabel="validation HR@10")
axes.legend(fontsize="small")
figure.savefig(Path(__file__).with_suffix(".png"), dpi=100)

# %% [markdown]
# ## What was learnt
#
# - The rule of the nearest is close to the best of twelve trained models. Factors add
#   one or two hidden modules in a hundred, which is about what another draw of the
#   hidden modules changes. `python bench/cases.py imports` repeats it over five draws.
# - What training hides matters as much as the rate. It must leave the model enough to
#   go by, and enough to ask for.
# - A score that breaks ties in its own favour rewards models that cannot tell modules
#   apart: with all scores equal, `hit` is false.
