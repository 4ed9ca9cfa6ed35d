"""Does a search find a better setting than chance does, for the same trial-steps?

AdamW's learning rate, weight decay, b1 and b2 are searched on digits, and on the
characters of Python's help with --task text, with one seed a setting, as people do:

    random, sobol     points, which learn nothing
    tpe-32, tpe-64    Optuna's TPE in batches of so many, proposed one batch ahead
    gp-32             Optuna's Gaussian process, if PyTorch is there
    hyperband         random settings, ended early in brackets
    tpe-halving       TPE, and of each batch of 81 a third goes on after 1, 3 and 9 of
                      27 segments

All ways are asked for as many trial-steps; those that end settings early have more
settings in their place. Each way searches 8 times, with other keys for everything
random, in one process: the searches of a way fill one compiled program.

`at 1/4, 1/2, 1` is the validation loss of the best complete setting by then, a mean
over the searches. `cost` is the share of the steps after which a way has random's final
mean: below a half is the aim of tpe-32. `fresh` is the loss of each search's winner,
trained again with 4 seeds that no search saw: the seed that was searched flatters every
winner. `asking` are the seconds that the proposals took, beside those of the training;
at 1,000 trials the one must be at most a quarter of the other (`--scale`).

Exits with 1 if tpe-32 needs more than half of the steps, or a search compiles anew.

    python bench/search.py
    python bench/search.py --searches 3 --ways random tpe-32
    python bench/search.py --scale         asking and training of one search of 1,000
    python bench/search.py --quick         a few settings, for CI, no file
"""

import argparse
import importlib.util
import os
import sys

import numpy as np
from record import keep, question

import jopt
from jopt import sweep
from jopt.cli import lookup
from jopt.sweep.store import surroundings

SPACE = sweep.Space(
    jopt.adamw,
    learning_rate=sweep.log_uniform(1e-5, 1),
    weight_decay=sweep.log_uniform(1e-5, 1),
    b1=sweep.uniform(0.5, 0.99),
    b2=sweep.uniform(0.9, 0.9999),
)
RUNGS = {"reduction_factor": 3}
# By way: the sampler, the settings of a batch, and what ends them early.
WAYS = {
    "random": (sweep.Random(), 32, None),
    "sobol": (sweep.Sobol(), 32, None),
    "tpe-32": (sweep.TPE(), 32, None),
    "tpe-64": (sweep.TPE(), 64, None),
    "gp-32": (sweep.GP(), 32, None),
    "hyperband": (sweep.Random(), 81, sweep.Hyperband(**RUNGS)),
    "tpe-halving": (sweep.TPE(), 81, sweep.SuccessiveHalving(**RUNGS)),
}
FIRST_KEY = 500
FRESH = range(1000, 1004)  # seeds
SHARES = (0.25, 0.5, 1.0)
GRID = np.linspace(0, 1, 257)[1:]  # of the budget
MOST_COST, MOST_ASKING = 0.5, 0.25


def search(task, way, batches, batch, options):
    """Return the result of a search of so many batches."""
    sampler, _, pruner = WAYS[way]
    given = {"trials": batches * batch, "batch": batch, "sampler": sampler}
    return sweep.search(task, SPACE, **given, pruner=pruner, **options)


def batches_of(task, way, batch, budget, options):
    """Return how many batches have the budget's trial-steps; one is trained for that.

    Diverged settings make it fewer in a search, for all ways alike.
    """
    whole = batch * options["steps"]
    if WAYS[way][2] is not None:
        whole = search(task, way, 1, batch, options).info["trial_steps"]
    return max(1, round(budget / whole))


def measured(task, way, batches, batch, budget, options):
    """Return what a search found by its steps, and what it took."""
    result = search(task, way, batches, batch, options)
    best, info, table = result.best, result.info, result.table
    assert best is not None, "every trial diverged"
    complete = table["status"] == "complete"
    losses = np.where(complete, table["valid_loss"], np.inf)
    ends = np.arange(batch, len(losses) + batch, batch)
    steps = [int(table["steps"][:end].sum()) for end in ends]
    bests = [float(losses[:end].min()) for end in ends]
    curve = []
    for share in GRID:
        made = np.flatnonzero(np.asarray(steps) <= share * budget)
        curve.append(bests[made[-1]] if len(made) else None)
    curve[-1] = bests[-1]  # the last batch may end a little later
    trial = sweep.Trial.of(SPACE, best.hyperparameters)
    again = sweep.run(task, [trial], seeds=FRESH, **options)
    fresh = again.table["valid_loss"].astype(float)
    searching = info["search"]
    return {
        "key": options["seed"],
        "trials": len(result.trials),
        "trial_steps": info["trial_steps"],
        "curve": curve,
        "best": best.valid["loss"],
        "hyperparameters": best.hyperparameters,
        "fresh": float(fresh.mean()) if np.isfinite(fresh).all() else None,
        "asking_seconds": searching["asking_seconds"],
        "train_seconds": info["train_seconds"],
        "segment_compiles": info["segment_compiles"],
    }


def mean_curve(rows):
    """Return the mean over searches of the best by the share; NaN before all have."""
    curves = np.asarray([row["curve"] for row in rows], float)
    return curves.mean(axis=0)


def summed(rows):
    """Return, by way, means over the searches; print them."""
    target = mean_curve(rows["random"])[-1]
    print(
        f"\n{'':12}{'trials':>8}{'at 1/4':>10}{'1/2':>10}{'1':>10}{'(s.d.)':>10}"
        f"{'cost':>7}{'fresh':>9}{'(s.e.)':>9}{'asking':>9}{'training':>10}"
    )
    found = {}
    for way, each in rows.items():
        curve = mean_curve(each)
        reached = np.flatnonzero(curve <= target)
        fresh = np.asarray([r["fresh"] for r in each if r["fresh"] is not None])
        spread = [np.std([r["best"] for r in each], ddof=1) if len(each) > 1 else 0.0]
        error = np.std(fresh, ddof=1) / len(fresh) ** 0.5 if len(fresh) > 1 else 0.0
        found[way] = row = {
            "trials": float(np.mean([r["trials"] for r in each])),
            "at": [float(curve[round(share * len(GRID)) - 1]) for share in SHARES],
            "spread": float(spread[0]),
            "cost": float(GRID[reached[0]]) if len(reached) else None,
            "fresh": float(fresh.mean()) if len(fresh) else None,
            "fresh_error": float(error),
            "asking_seconds": float(np.mean([r["asking_seconds"] for r in each])),
            "train_seconds": float(np.mean([r["train_seconds"] for r in each])),
        }
        cost = "over 1" if row["cost"] is None else f"{row['cost']:.2f}"
        print(
            f"{way:12}{row['trials']:>8.0f}"
            + "".join(f"{value:>10.4f}" for value in row["at"])
            + f"{row['spread']:>10.4f}{cost:>7}{row['fresh'] or np.nan:>9.4f}"
            f"{row['fresh_error']:>9.4f}{row['asking_seconds']:>9.2f}"
            f"{row['train_seconds']:>10.2f}"
        )
    return found


def scale(task, options, trials):
    """Print what asking takes beside training; return whether that is too much."""
    result = search(task, "tpe-64", -(-trials // 64), 64, options)
    asking = result.info["search"]["asking_seconds"]
    training = result.info["train_seconds"]
    print(
        f"{len(result.trials)} trials by TPE in batches of 64: asking takes "
        f"{asking / training:.0%} of the training's time, beside it"
    )
    return asking > MOST_ASKING * training


def main():
    parser = argparse.ArgumentParser(description=question(__doc__))
    parser.add_argument("--task", default="digits", choices=list(lookup.BUILT_IN))
    parser.add_argument("--steps", type=int, default=243)
    parser.add_argument("--segments", type=int, default=27)
    parser.add_argument("--trials", type=int, default=256, help="of random")
    parser.add_argument("--searches", type=int, default=8)
    parser.add_argument("--block", type=int, default=8)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--scale", action="store_true", help="1,000 trials, asking")
    parser.add_argument("--quick", action="store_true", help="seconds, for CI")
    given = parser.parse_args()
    if given.quick:
        given.steps, given.segments, given.block = 27, 27, 3
        given.trials, given.searches = 12, 2
        given.ways = ["random", "tpe-32", "tpe-halving"]
    ways = list(dict.fromkeys(["random", *given.ways]))
    if importlib.util.find_spec("torch") is None and "gp-32" in ways:
        print("no PyTorch: without gp-32")
        ways.remove("gp-32")
    task = lookup.task(given.task)
    names = ("steps", "segments", "block")
    options = {name: getattr(given, name) for name in names}
    if given.scale:
        sys.exit(scale(task, options | {"seed": FIRST_KEY}, 1000))
    budget = given.trials * given.steps
    print(
        f"{given.task}, {given.trials} full trials of {given.steps} steps a search, "
        f"{given.searches} searches a way"
    )
    rows = {way: [] for way in ways}
    for way in ways:
        batch = min(WAYS[way][1], given.trials // 4) if given.quick else WAYS[way][1]
        batch = 9 if given.quick and WAYS[way][2] is not None else batch
        first = options | {"seed": FIRST_KEY}
        batches = batches_of(task, way, batch, budget, first)
        for number in range(given.searches):
            own = options | {"seed": FIRST_KEY + number}
            row = measured(task, way, batches, batch, budget, own)
            print(f"search {number}  {way:12}{row['best']:8.4f}", flush=True)
            rows[way].append(row)
    summary = summed(rows)
    said = []
    again = [row["segment_compiles"] for each in rows.values() for row in each[1:]]
    if any(again):
        said.append("a search after the first compiled a segment")
    cost = summary.get("tpe-32", {"cost": 0})["cost"]
    if not given.quick and (cost is None or cost > MOST_COST):
        said.append(f"tpe-32 has random's final value after {cost} of the steps")
    full = all(
        getattr(given, name) == parser.get_default(name)
        for name in ("steps", "segments", "trials", "searches", "ways")
    )
    if full:
        report = {
            "question": question(__doc__),
            "task": given.task,
            "space": repr(SPACE),
            "trials": given.trials,
            **options,
            "ways": {way: repr(WAYS[way]) for way in ways},
            "summary": summary,
            "rows": rows,
            "cores": os.cpu_count(),
            **surroundings(),
        }
        keep(f"search-{given.task}", report)
    if said:
        sys.exit(f"search: {'; '.join(said)}")


if __name__ == "__main__":
    main()
