"""Sweep the peak and the warmup of a schedule at once: any number can be swept."""

import numpy as np

import jopt
from jopt import sweep
from jopt.tasks import digits

STEPS = 300


def scheduled(peak, warmup):
    return jopt.adamw(jopt.warmup_cosine_decay_schedule(0.0, peak, warmup, STEPS))


trials = sweep.grid(scheduled, peak=np.geomspace(1e-4, 1e-1, 8), warmup=[10, 50, 100])
result = sweep.run(digits(), trials, steps=STEPS, seeds=2)
table = result.to_pandas()
columns = ["peak", "warmup", "seed", "status", "valid_loss", "valid_accuracy"]
print(table.sort_values("valid_loss")[columns].head(6).to_string(index=False))
print(result.best)
print(f"programs compiled for {len(result.trials)} trials:", result.info["groups"])
