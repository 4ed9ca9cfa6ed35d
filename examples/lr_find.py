"""Suggest a learning rate from a few steps with many, and check it in a longer run."""

import jopt
from jopt import studies, sweep
from jopt.tasks import digits

task = digits()
found = studies.lr_range(task, jopt.adamw, low=1e-5, high=1.0, rates=26, steps=50)
assert found.suggestion is not None, found.rule
print(f"suggested: {found.suggestion:.2g}. {found.rule}")
print(f"diverges from: {found.edge}; by rule: {found.suggestions}")

rates = [found.suggestion * factor for factor in (0.1, 1.0, 10.0)]
trials = sweep.grid(jopt.adamw, learning_rate=rates)
table = sweep.run(task, trials, epochs=5, seeds=2).settings()
for rate, loss in zip(table["learning_rate"], table["valid_loss"], strict=True):
    print(f"after 5 epochs at {rate:.2g}: validation loss {loss:.3f}")
