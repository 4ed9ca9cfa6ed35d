"""Search for AdamW's numbers on digits: batches by TPE, the best confirmed afresh.

Each batch of 16 settings fills the program that the first one compiled, and is proposed
from what the earlier ones gave while the one before it trains.
"""

import numpy as np

import jopt
from jopt import sweep
from jopt.tasks import digits

space = sweep.Space(
    jopt.adamw,
    learning_rate=sweep.log_uniform(1e-5, 1),
    weight_decay=sweep.log_uniform(1e-4, 1),
    b2=sweep.uniform(0.9, 0.9999),
)
known = {"learning_rate": 1e-3, "weight_decay": 1e-2, "b2": 0.999}
result = sweep.search(
    digits(), space, trials=96, batch=16, steps=200, enqueue=[known], confirm=4
)
assert result.best is not None
print(f"best of {len(result.trials)} trials: {result.best.hyperparameters}")

# With the seed that chose it, a winner looks better than with fresh ones.
settings, table = result.settings(), result.table
searched = np.nanmin(table["valid_loss"][~table["confirmed"]])
fresh = settings["valid_loss"][settings["confirmed"]].min()
print(f"validation loss: {searched:.4f} as searched, {fresh:.4f} with fresh seeds")
