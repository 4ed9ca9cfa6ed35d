"""Let the worst trials go on from the best, and train with the schedule they found."""

import numpy as np

import jopt
from jopt import sweep
from jopt.tasks import digits

rates = np.geomspace(1e-4, 1e-1, 16)
population = sweep.PopulationBasedTraining(
    {"learning_rate": sweep.log_uniform(1e-5, 1)}, perturbation_interval=2
)
found = sweep.run(
    digits(),
    sweep.grid(jopt.adamw, learning_rate=rates),
    steps=200,
    segments=20,
    population=population,
)
assert found.best is not None
assert found.lineage is not None
for stretch in found.lineage.ancestors(found.best.trial):
    rate = stretch.setting["learning_rate"]
    print(f"from step {stretch.step}: trial {stretch.trial}, rate {rate:.3g}")

schedule = found.lineage.schedule(found.best.trial, "learning_rate")
trials = sweep.grid(lambda: jopt.adamw(schedule))
again = sweep.run(digits(), trials, steps=200, seeds=4)
print(again.settings()["valid_accuracy"], found.best.valid["accuracy"])
