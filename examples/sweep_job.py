"""Train one sweep on all processes of a job, each with its own trials.

    python examples/sweep_job.py                        one process
    bash examples/launch.sh 2 examples/sweep_job.py     two on this machine
    srun python examples/sweep_job.py                   as many as SLURM starts

The table is the same, bit for bit, for the same block. A job that was ended goes on
where it stopped, if it is started again with the same directory as its argument.
"""

import os
import sys
from pathlib import Path

import jax
import numpy as np

import jopt
from jopt import sweep
from jopt.tasks import digits

if "JOB_PROCESSES" in os.environ:  # of launch.sh
    jax.distributed.initialize(
        num_processes=int(os.environ["JOB_PROCESSES"]),
        process_id=int(os.environ["JOB_PROCESS"]),
    )
elif int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
    jax.distributed.initialize()  # SLURM says where the others are

directory = Path(sys.argv[1]) if len(sys.argv) > 1 else None
if directory is not None and (directory / "record" / "header.json").exists():
    result = sweep.resume(directory)
else:
    trials = sweep.grid(jopt.adamw, learning_rate=np.geomspace(1e-4, 1, 16).tolist())
    pruner = sweep.SuccessiveHalving(reduction_factor=2)
    options = {"steps": 200, "block": 4, "pruner": pruner, "directory": directory}
    result = sweep.run(digits(), trials, **options)
if directory is not None:
    result.save(directory)  # the first process writes
if jax.process_index() == 0:
    assert result.best is not None
    print(f"{result.info['processes']} processes trained {len(result.trials)} trials;")
    print(f"best: {result.best.hyperparameters}, {result.best.test}")
