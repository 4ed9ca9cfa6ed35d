"""Does population-based training beat the best fixed setting of the same budget?

Three ways to spend the same steps on the same trials of digits, 5 seeds each:

    fixed        a grid of 8 learning rates by 4 weight decays, each kept to the end
    cosine       the same grid, with the rate decayed to 0 by half a cosine: what people
                 do who know that rates should fall
    population   begins with the trials of `fixed`; after each epoch the worst quarter
                 goes on from the best quarter, with both hyperparameters changed

Each takes its winner by validation loss, and only that is seen on the test set. A
population looks at the validation set after each epoch, so its validation loss flatters
it. `retrained` does not: what each way found (a setting, or the population's schedule)
is trained from 5 new seeds with nothing to choose from, and the mean is taken.

Differences are seed by seed, with a 95 % interval of their mean; one that holds 0 is a
tie. The same steps are trained each way; times are no matter here.

    python bench/population.py
    python bench/population.py --seeds 2 --epochs 5      a quick look, nothing written
"""

import argparse
import sys

import numpy as np
from record import keep, question
from scipy import stats

import jopt
from jopt import sweep
from jopt.sweep import Lineage, PopulationBasedTraining, Replay, log_uniform
from jopt.sweep._supervised import training_of
from jopt.sweep.store import surroundings
from jopt.tasks import digits

SPACE = {
    "learning_rate": np.geomspace(1e-4, 1e-1, 8).tolist(),
    "weight_decay": np.geomspace(1e-4, 1e-1, 4).tolist(),
}
POPULATION = PopulationBasedTraining(
    {name: log_uniform(values[0], values[-1]) for name, values in SPACE.items()}
)
NEW_SEEDS = 5
METRICS = ("valid_loss", "test_loss", "test_accuracy", "retrained_loss")


def factories(steps):
    """Return what makes the optimizer of a setting, by way."""

    def cosine(learning_rate, weight_decay):
        rate = jopt.cosine_decay_schedule(learning_rate, steps)
        return jopt.adamw(rate, weight_decay=weight_decay)

    return {"fixed": jopt.adamw, "cosine": cosine, "population": jopt.adamw}


def retrained(task, trial, population, seed, options):
    """Return the mean test loss of new seeds; a diverged one counts as infinite."""
    options = {**options, "seeds": NEW_SEEDS, "seed": 1000 + seed}
    result = sweep.run(task, [trial], population=population, **options)
    losses = []
    for row, status in enumerate(result.table["status"]):
        model = result.params(row), result.model_state(row)
        loss = float(np.mean(training_of(task).values(*model, task.test)["loss"]))
        losses.append(loss if status == "complete" else np.inf)
    return float(np.mean(losses))


def measured(task, way, factory, seed, options):
    """Return what a way found with a seed, and how good it is."""
    trials = sweep.grid(factory, **SPACE)
    population = POPULATION if way == "population" else None
    result = sweep.run(task, trials, population=population, seed=seed, **options)
    best = result.best
    assert best is not None, "every trial diverged"
    setting, replay = best.hyperparameters, None
    policy = [(0, setting)]
    if population is not None:
        assert isinstance(result.lineage, Lineage)
        policy = result.lineage.policy(best.trial)
        setting, replay = policy[0][1], Replay(policy)
    again = sweep.Trial.of(factory, setting)
    return {
        "valid_loss": best.valid["loss"],
        "test_loss": best.test["loss"],
        "test_accuracy": best.test["accuracy"],
        "retrained_loss": retrained(task, again, replay, seed, options),
        "trial_steps": result.info["trial_steps"],
        "policy": [[segment, setting] for segment, setting in policy],
    }


def difference(rows, other):
    """Return how far the population is from another way: mean, and 95 % interval."""
    found = {}
    for name in METRICS:
        pairs = zip(rows["population"], rows[other], strict=True)
        apart = np.asarray([mine[name] - theirs[name] for mine, theirs in pairs])
        reach = stats.sem(apart) * stats.t.ppf(0.975, len(apart) - 1)
        mean, better = float(apart.mean()), 1 if name == "test_accuracy" else -1
        verdict = "tie" if not abs(mean) > reach else "worse"
        if mean * better > reach:
            verdict = "better"
        found[name] = {
            "mean": mean,
            "interval": [mean - float(reach), mean + float(reach)],
            "seeds_better": int((apart * better > 0).sum()),
            "verdict": verdict,
        }
    return found


def show(rows, differences):
    """Print means with standard deviations, then the differences."""
    print(f"\n{'':12}" + "".join(f"{name:>18}" for name in METRICS))
    for way, found in rows.items():
        print(f"{way:12}", end="")
        for name in METRICS:
            values = [row[name] for row in found]
            print(f"{np.mean(values):>10.4f} ±{np.std(values, ddof=1):>6.4f}", end="")
        print()
    for other, found in differences.items():
        print(f"\npopulation less {other}:")
        for name, row in found.items():
            low, high = row["interval"]
            seeds = f"{row['seeds_better']} of {len(rows[other])}"
            print(
                f"    {name:16}{row['mean']:>+9.4f}  [{low:+.4f}, {high:+.4f}]  better "
                f"in {seeds} seeds: {row['verdict']}"
            )


def main():
    parser = argparse.ArgumentParser(description=question(__doc__))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=20)
    given = parser.parse_args()
    if given.seeds < 2:
        parser.error("it takes at least 2 seeds to tell a difference from chance")
    task = digits()
    steps = given.epochs * (len(task.train[1]) // task.batch_size)
    options = {"steps": steps, "segments": given.epochs, "block": 8}
    rows = {way: [] for way in factories(steps)}
    trials = int(np.prod([len(values) for values in SPACE.values()]))
    print(f"digits, {trials} trials of {steps} steps a way, {given.seeds} seeds")
    for seed in range(given.seeds):
        for way, factory in factories(steps).items():
            row = measured(task, way, factory, seed, options)
            rows[way].append(row)
            print(
                f"seed {seed}  {way:12}valid {row['valid_loss']:.4f}  test "
                f"{row['test_loss']:.4f}  {row['test_accuracy']:.4f}  retrained "
                f"{row['retrained_loss']:.4f}",
                flush=True,
            )
    differences = {other: difference(rows, other) for other in ("fixed", "cosine")}
    show(rows, differences)
    if parser.get_default("seeds") == given.seeds and given.epochs == 20:
        report = {
            "question": question(__doc__),
            "population": repr(POPULATION),
            "space": SPACE,
            "steps": steps,
            "segments": given.epochs,
            "ways": rows,
            "population_less": differences,
            **surroundings(),
        }
        keep("population-digits", report)
    if "worse" in (row["verdict"] for row in differences["fixed"].values()):
        sys.exit("population-based training lost to the best fixed setting")


if __name__ == "__main__":
    main()
