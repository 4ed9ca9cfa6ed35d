"""Stop hopeless settings early, keep the sweep's state, and keep the best models.

The sweep can be killed at any moment; started again, it goes on from its last segment.
"""

import tempfile
from pathlib import Path

import jopt
from jopt import studies, sweep
from jopt.tasks import digits

directory = Path(tempfile.mkdtemp()) / "early-stopping"

trials = sweep.sample(
    jopt.adamw,
    81,
    sampler=sweep.Sobol(),
    learning_rate=sweep.log_uniform(1e-5, 1),
    weight_decay=sweep.log_uniform(1e-4, 1),
    b2=sweep.uniform(0.9, 0.999),
)
result = sweep.run(
    digits(),
    trials,
    steps=270,
    segments=27,
    pruner=sweep.SuccessiveHalving(reduction_factor=3),
    directory=directory,
)
made, whole = result.info["trial_steps"], result.info["trial_steps_of_all"]
print(f"{made:,} of {whole:,} trial-steps; compiles: {result.info['segment_compiles']}")
print(result.best)

again = sweep.resume(directory, digits())  # here there was nothing left to do
assert again.best == result.best

print(studies.combine(digits(), result, k=3))
result.save(directory, keep=3)  # report.html, trials.csv, best/1 ... best/3
