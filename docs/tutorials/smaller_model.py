# %% [markdown]
# # A smaller model
#
# Three ways to make a trained network smaller: set weights to zero (pruning), store
# them in few bits (quantization), or let it teach a narrow one (distillation).
# Elsewhere each setting is a process of its own, mostly at the rate of the dense model.
# Here sparsity, bits and rate are numbers of one sweep, and each level is judged at its
# own best rate.

# %%
import tempfile
from pathlib import Path

import numpy as np

import jopt
from jopt import studies, sweep
from jopt.losses import Distilled
from jopt.tasks import digits

directory = Path(tempfile.mkdtemp())

# %% [markdown]
# ## The model that works
#
# A network of width 64 on scikit-learn's digits, at the best of three rates. Its
# weights are kept in a directory, from which the rest begins.

# %%
trials = sweep.grid(jopt.adamw, learning_rate=[1e-3, 3e-3, 1e-2])
dense = sweep.run(digits(), trials, steps=400, seeds=2)
dense.save(directory / "dense")
print(dense.best.hyperparameters, dense.best.valid)

# %% [markdown]
# ## Without training
#
# `steps=0` prunes and quantizes the given weights. Eight bits cost next to nothing. Two
# bits, or an eighth of the weights, cost much: the network was never told of it.


# %%
def table(found):
    rows = zip(
        *(found.table[name] for name in ("sparsity", "bits", "bytes", "accuracy")),
        strict=True,
    )
    for sparsity, bits, size, accuracy in rows:
        stored = f"{bits:2.0f} bits" if bits < 32 else "floats "
        print(f"  {sparsity:6.1%} zeros, {stored} {size:8,.0f} bytes: {accuracy:.3f}")


levels = {"sparsity": (0.0, 0.5, 0.875), "bits": (2, 4, 8, None)}
after = studies.compress(digits(), start=directory / "dense", steps=0, **levels)
table(after)

# %% [markdown]
# ## With training
#
# The same levels, begun at the same weights, and trained while they are pruned and
# rounded: 300 steps are enough for 2 bits, and for an eighth of the weights.

# %%
trained = studies.compress(
    digits(), start=directory / "dense", steps=300, seeds=2, **levels
)
table(trained)
print(trained.outcome)

# %% [markdown]
# `save` writes a table, a picture, a page, and the smallest model within the tolerance.

# %%
trained.save(directory / "small")
print(*sorted(path.name for path in (directory / "small").iterdir()))
print(trained.lines(directory / "small"))

# %% [markdown]
# ## A teacher
#
# A student learns from what the wide network answers, softened by a temperature, beside
# the labels. On these easy digits that helps a student that is far too narrow, such as
# this one of width 4. At width 8 it made no difference when this page was written.

# %%
narrow = {"sparsity": 0.0, "bits": None, "learning_rate": (1e-2, 3e-2), "steps": 300}
teacher = digits().starting_from(directory / "dense")
alone = studies.compress(digits(width=4), seeds=6, **narrow)
taught = studies.compress(
    digits(width=4),
    teacher=teacher,
    distilled=Distilled(temperature=2.0, weight=0.7),
    seeds=6,
    **narrow,
)
for name, found in {"by the labels": alone, "by the teacher": taught}.items():
    print(f"{name}: accuracy {np.max(found.table['accuracy']):.3f}")
