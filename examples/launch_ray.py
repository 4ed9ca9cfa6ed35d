"""Train blocks of trials on a Ray cluster: an actor a block at a time.

    pip install 'jopt[ray,tasks]'
    python examples/launch_ray.py

An actor keeps the program that it has compiled, and fills it again with each block. Ray
gives it a GPU, starts it again if it dies, and trains its block again.
"""

import os

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
import numpy as np
import ray
from ray.util import ActorPool

import jopt
from jopt import sweep
from jopt.tasks import digits

BLOCK, ACTORS, GPUS = 8, 2, 0


@ray.remote(num_cpus=1, num_gpus=GPUS, max_restarts=2, max_task_retries=2)
class Trainer:
    def train(self, rates):
        trials = sweep.grid(jopt.adamw, learning_rate=rates)
        result = sweep.run(digits(), trials, steps=100, block=BLOCK)
        return result.table["valid_loss"].tolist()


ray.init(num_cpus=ACTORS, include_dashboard=False)
actors = ActorPool([Trainer.remote() for _ in range(ACTORS)])
rates = np.geomspace(1e-5, 1, 4 * BLOCK).reshape(-1, BLOCK).tolist()
losses = list(actors.map(lambda actor, block: actor.train.remote(block), rates))
best = np.nanargmin(np.concatenate(losses))
print(f"best of {np.size(losses)}: learning_rate={np.concatenate(rates)[best]:.2g};")
print(f"validation loss {np.concatenate(losses)[best]:.4f}")
ray.shutdown()
