"""Does successive halving find the full sweep's winner, in a quarter of its time?

A grid of learning rate by weight decay by b2, 256 settings of AdamW with 3 seeds each,
the rate decayed to 0 by half a cosine, is swept to the end and, in the same process
with the same keys, steps, segments and block, by rules that end settings early:

    full         every setting to the end
    halving      the best sixth of the settings goes on after segments 3 and 18 of 30
    hyperband    brackets that halve from segment 1 on, from 3, from 9, and never
    median       ends what never was as good as the median of the others is now

Several rounds, each with other keys for all that is random, so that it is no luck. Each
sweep compiles anew: `total` is from nothing to the result, `train` without compiling
and without what comes after the last step. `rate` is trial-steps a second while
training, over the full sweep's: what is lost to looking, to choosing, and to a last
block that is not full. Regret is what the pruned sweep's winner lacks of the full one's
at the end, means over the seeds, in points of validation accuracy and in loss; below
zero it is the better.

Digits has 360 examples to validate on, and ten of the settings are about as good as the
best: with every setting trained to the end, another round often has another winner.
Whoever misses the winner among them misses 0.2 to 0.5 points, by chance.

When halving looks was chosen in other rounds (keys 0 to 5, 200 to 202), by what it
would have done there. Rungs after segments 1, 3 and 9 of 27 take half as many steps and
lacked up to 0.65 points: a rate that wins by the end of a cosine looks bad early. Rungs
after 2 and 8 lacked 0.28 points in each of three rounds. Looking after a tenth and over
a half of the steps is what is left of the quarter. The rounds here had no say in it.

Exits with 1 if halving misses a winner by more than 0.2 points, takes more than a
quarter of the time, or compiles a segment more than once.

`--judged` asks another question: what should a rung look at, if it comes early? Halving
by three after segments 1, 3 and 9 of 27 judges the last point, an average of weights
(`parameter_ema`), or a cooled copy (`cooled=0.1`), under a cosine, a
warmup-stable-decay and a constant rate. 54 settings are trained to the end, with copies
cooled at the rungs, and again with averages. No number of a trial depends on who is
pruned, so halving is replayed from these on 500 draws of 27 settings. Regret is what
the last point of the chosen setting lacks of the draw's best, at the end, in loss;
place is its place among the 27; cost is the steps made, those of copies included, over
all.

    python bench/halving.py
    python bench/halving.py --judged
    python bench/halving.py --task mnist --width 4 --steps 270 --seeds 1 --rounds 1
    python bench/halving.py --quick         4 segments of few settings, for CI, no file
"""

import argparse
import dataclasses
import os
import statistics
import sys
import time

import numpy as np
from record import keep, question

import jopt
from jopt import sweep
from jopt.cli import lookup
from jopt.sweep.store import surroundings

RULES = {
    "full": None,
    "halving": sweep.SuccessiveHalving(min_resource=3, reduction_factor=6),
    "hyperband": sweep.Hyperband(reduction_factor=3),
    "median": sweep.MedianPruner(n_warmup_steps=2),
}
FIRST_KEY = 300  # of the first round; see above
MOST_REGRET = 0.2  # points
MOST_TIME = 0.25
AVERAGED = 0.9  # of an average of weights, that it keeps in a step
COOLED = 0.1  # share of the steps so far
HALVING = sweep.SuccessiveHalving(reduction_factor=3)
DRAWS = 500
KEYS = ("seconds", "alive", "best_loss")
RECOMPILED = "a segment was compiled more than once"


def space(few):
    """Return the grid: 16 by 4 by 4 settings, or few."""
    rates, decays, b2 = (4, 1, 2) if few else (16, 4, 4)
    return {
        "learning_rate": np.geomspace(1e-4, 3e-1, rates).tolist(),
        "weight_decay": np.geomspace(1e-4, 1, decays).tolist(),
        "b2": [0.9, 0.99, 0.999, 0.9999][-b2:],
    }


def decayed(steps):
    """Return AdamW as a function of its peak learning rate."""

    def adamw(learning_rate, weight_decay, b2):
        rate = jopt.cosine_decay_schedule(learning_rate, steps)
        return jopt.adamw(rate, b2=b2, weight_decay=weight_decay)

    return adamw


def measured(task, rule, trials, options):
    """Return what a sweep found, and what it took."""
    reports, last = [], []

    def progress(now):
        last[:] = [now]

    def callback(now):
        losses = now.valid["loss"][:, now.number - 1].reshape(-1, options["seeds"])
        means = losses.mean(axis=1)
        reports.append(
            {
                "seconds": last[0].seconds,
                "alive": int(now.alive.sum()),
                "trial_steps": last[0].trial_steps,
                "best_loss": float(means[np.isfinite(means)].min()),
            }
        )

    watched = {"progress": progress, "callbacks": [callback]}
    sweep.clear_programs()  # each sweep compiles anew
    began = time.perf_counter()
    result = sweep.run(task, trials, pruner=rule, **watched, **options)
    total = time.perf_counter() - began
    best, info, settings = result.best, result.info, result.settings()
    assert best is not None, "every trial diverged"
    setting = best.trial // options["seeds"]
    return {
        "key": options["seed"],
        "setting": setting,
        "hyperparameters": best.hyperparameters,
        "loss": float(settings["valid_loss"][setting]),
        "accuracy": float(settings["valid_accuracy"][setting]),
        "test": best.test,
        "train_seconds": info["train_seconds"],
        "total_seconds": total,
        **{
            name: info[name]
            for name in (
                "compile_seconds",
                "segment_compiles",
                "trial_steps",
                "trial_steps_per_second",
                "rungs",
            )
        },
        "reports": reports,
        "load": os.getloadavg(),
    }


def against_full(row, full):
    """Return what a pruned sweep took of what the full one did, and what it lacks."""
    return {
        "same_winner": row["setting"] == full["setting"],
        "regret_points": 100 * (full["accuracy"] - row["accuracy"]),
        "regret_loss": row["loss"] - full["loss"],
        "steps": row["trial_steps"] / full["trial_steps"],
        "train": row["train_seconds"] / full["train_seconds"],
        "total": row["total_seconds"] / full["total_seconds"],
        "rate": row["trial_steps_per_second"] / full["trial_steps_per_second"],
    }


def warmed(steps):
    """Return AdamW as a function of its peak rate: a warmup, a plateau, a decay."""

    def adamw(learning_rate, weight_decay, b2):
        rate = jopt.warmup_stable_decay_schedule(0, learning_rate, steps // 20, steps)
        return jopt.adamw(rate, b2=b2, weight_decay=weight_decay)

    return adamw


@dataclasses.dataclass(frozen=True, repr=False)
class Watch(sweep.Pruner):
    """Have copies cooled at the rungs of halving, and end nothing."""

    halving: sweep.Pruner = HALVING

    def check(self, segments, settings):
        self.halving.check(segments, settings)

    def rungs(self, segments, settings):
        return self.halving.rungs(segments, settings)

    def keep(self, observations):
        return observations.alive


def watched(task, factory, options, quick):
    """Return the values of all settings to the end, by what is judged."""
    grid = {
        "learning_rate": np.geomspace(1e-4, 3e-1, 6 if quick else 27).tolist(),
        "weight_decay": np.geomspace(1e-4, 1, 1 if quick else 2).tolist(),
        "b2": [0.999],
    }

    def averaged(**numbers):
        return jopt.chain(factory(**numbers), jopt.parameter_ema(AVERAGED))

    result = sweep.run(
        task, sweep.grid(factory, **grid), pruner=Watch(cooled=COOLED), **options
    )
    means = sweep.run(task, sweep.grid(averaged, **grid), **options)
    assert result.info["segment_compiles"] <= 2, RECOMPILED
    last, copies = result.valid["loss"], result.cooled["loss"]
    judged = np.isfinite(copies).any(axis=0)
    found = {
        "last point": last,
        "averaged": means.valid["loss"],
        "cooled": np.where(judged, copies, last),
    }
    numbers = {way: values.astype(float) for way, values in found.items()}
    return {w: np.where(np.isfinite(v), v, np.inf) for w, v in numbers.items()}


def replayed(values, last, length, cooled):
    """Return what halving by these values loses, and makes of all steps.

    Args:
      values: of the settings after each segment, by which rungs judge.
      last: of the settings, their last points at the end.
      length: steps of a segment.
      cooled: share of the steps over which copies are cooled; 0 without copies.
    """
    settings, segments = values.shape
    rungs = {rung.segment for rung in HALVING.rungs(segments, settings)}
    alive, made = np.isfinite(values[:, 0]), settings * length
    for segment in range(1, segments):
        if segment in rungs:
            made += alive.sum() * round(cooled * segment * length)
        seen = sweep.Observations(values[:, :segment], values[:, :segment], alive)
        alive = HALVING.keep(seen)
        made += alive.sum() * length
    chosen = int(np.argmin(np.where(alive, values[:, -1], np.inf)))
    place = 1 + int((last < last[chosen]).sum())
    return last[chosen] - last.min(), place, made / (settings * segments * length)


def judge(task, given):
    """Print what rungs that judge each way lose, and keep it."""
    options = {"steps": 162, "segments": 27, "block": 27, "seed": FIRST_KEY}
    if given.quick:
        options |= {"steps": 12, "segments": 4, "block": 2}
    steps, count = options["steps"], 4 if given.quick else 27
    schedules = {"cosine": decayed(steps), "wsd": warmed(steps), "constant": jopt.adamw}
    schedules = {"cosine": decayed(steps)} if given.quick else schedules
    random, summary = np.random.default_rng(0), {}
    print(
        f"{'rates':10}{'judged':12}{'regret':>9}{'in 9 of 10':>12}"
        f"{'place':>7}{'cost':>8}"
    )
    for schedule, factory in schedules.items():
        found = watched(task, factory, options, given.quick)
        last = found["last point"][:, -1]
        draws = [random.permutation(len(last))[:count] for _ in range(DRAWS)]
        for way, values in found.items():
            share = COOLED if way == "cooled" else 0
            length = steps // options["segments"]
            each = [replayed(values[d], last[d], length, share) for d in draws]
            regret, place, cost = np.asarray(each).T
            row = summary.setdefault(schedule, {})[way] = {
                "regret_loss": float(regret.mean()),
                "regret_in_nine_of_ten": float(np.quantile(regret, 0.9)),
                "place": float(place.mean()),
                "cost": float(cost.mean()),
            }
            print(
                f"{schedule:10}{way:12}{row['regret_loss']:>9.4f}"
                f"{row['regret_in_nine_of_ten']:>12.4f}{row['place']:>7.1f}"
                f"{row['cost']:>8.1%}",
                flush=True,
            )
    if given.quick:
        return
    report = {
        "question": "What should an early rung look at?",
        "task": given.task,
        **options,
        "settings": len(last),
        "draws": DRAWS,
        "of_a_draw": count,
        "rule": repr(HALVING),
        "average": AVERAGED,
        "cooled": COOLED,
        "summary": summary,
        "cores": os.cpu_count(),
        **surroundings(),
    }
    path = keep(f"judged-{given.task}", report)
    picture_judged(summary, path.with_suffix(".png"))


def picture_judged(summary, path):
    """Draw the mean regret by schedule and way, and that of nine draws in ten."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        1, len(summary), figsize=(9, 3.2), sharey=True, layout="constrained"
    )
    for plot, (schedule, ways) in zip(axes, summary.items(), strict=True):
        for place, one in enumerate(ways.values()):
            plot.bar(place, one["regret_loss"], color=f"C{place}", alpha=0.6)
            worst = one["regret_in_nine_of_ten"]
            plot.plot(place, worst, "_", color=f"C{place}", ms=24, mew=2)
        labels = [f"{way}\n{one['cost']:.0%} of steps" for way, one in ways.items()]
        plot.set_xticks(range(len(ways)), labels, fontsize=8)
        plot.set_title(f"{schedule} rate", fontsize=10)
        plot.grid(axis="y", alpha=0.25)
    axes[0].set_ylabel("regret in validation loss\nbar: mean, line: 9 in 10")
    figure.savefig(path, dpi=110)


def show(rows):
    """Print a line for each round and way."""
    print(
        f"\n{'key':6}{'':10}{'trial-steps':>12}{'train s':>9}{'total s':>9}"
        f"{'steps':>8}{'train':>8}{'total':>8}{'rate':>7}{'winner':>8}{'accuracy':>10}"
        f"{'regret':>8}{'loss':>9}{'regret':>9}{'compiles':>10}"
    )
    for turn, full in enumerate(rows["full"]):
        for way in rows:
            row = rows[way][turn]
            apart = against_full(row, full)
            print(
                f"{row['key']:<6}{way:10}{row['trial_steps']:>12,}"
                f"{row['train_seconds']:>9.2f}{row['total_seconds']:>9.2f}"
                f"{apart['steps']:>8.1%}{apart['train']:>8.1%}{apart['total']:>8.1%}"
                f"{apart['rate']:>7.2f}{row['setting']:>8}{row['accuracy']:>10.4f}"
                f"{apart['regret_points']:>8.2f}{row['loss']:>9.4f}"
                f"{apart['regret_loss']:>9.4f}{row['segment_compiles']:>10}"
            )


def summed(rows):
    """Return, by way, medians over the rounds and the worst regret; print them."""
    found = {}
    print()
    for way in [way for way in rows if way != "full"]:
        pairs = zip(rows[way], rows["full"], strict=True)
        each = [against_full(*pair) for pair in pairs]
        found[way] = row = {
            "same_winner": sum(one["same_winner"] for one in each),
            "most_regret_points": max(one["regret_points"] for one in each),
            "most_regret_loss": max(one["regret_loss"] for one in each),
            **{
                name: statistics.median(one[name] for one in each)
                for name in ("steps", "train", "total", "rate")
            },
        }
        print(
            f"{way:10} saves {1 - row['steps']:.1%} of the trial-steps and "
            f"{1 - row['train']:.1%} of the wall time ({1 - row['total']:.1%} with "
            f"compiling): {1 / row['steps']:.1f}, {1 / row['train']:.1f} and "
            f"{1 / row['total']:.1f} times less.\n"
            f"{'':10} The same winner in {row['same_winner']} of {len(each)} rounds, "
            f"at worst {row['most_regret_points']:+.2f} points of accuracy and "
            f"{row['most_regret_loss']:+.4f} of loss behind."
        )
    return found


def misses(summary, rows):
    """Return what halving promises and does not keep."""
    row, said = summary["halving"], []
    if row["most_regret_points"] > MOST_REGRET:
        said.append(f"a winner is {row['most_regret_points']:.2f} points behind")
    for name in ("train", "total"):
        if row[name] > MOST_TIME:
            said.append(f"it takes {row[name]:.0%} of the full sweep's {name} time")
    if any(row["segment_compiles"] != 1 for found in rows.values() for row in found):
        said.append(RECOMPILED)
    return said


def picture(rows, path):
    """Draw the best setting's loss and who goes on against time, in the last round."""
    import matplotlib.pyplot as plt
    from matplotlib import ticker

    figure, (losses, alive) = plt.subplots(
        2, 1, figsize=(7, 5.5), sharex=True, layout="constrained", height_ratios=(2, 1)
    )
    for way, found in rows.items():
        seen = {key: [r[key] for r in found[-1]["reports"]] for key in KEYS}
        (line,) = losses.plot(seen["seconds"], seen["best_loss"], label=way)
        end = seen["seconds"][-1], seen["best_loss"][-1]
        losses.plot(*end, "o", color=line.get_color())
        alive.step(seen["seconds"], seen["alive"], where="post")
    losses.set(yscale="log", ylabel="validation loss of the best")
    losses.legend(title="a dot: the end", frameon=False)
    alive.set(yscale="log", ylabel="trials that go on")
    alive.set(xscale="log", xlabel="seconds of training")
    for axis in (losses.yaxis, alive.yaxis, alive.xaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(ticker.LogFormatter(minor_thresholds=(2, 0.5)))
    for axes in (losses, alive):
        axes.grid(alpha=0.25)
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=question(__doc__))
    parser.add_argument("--task", default="digits", choices=list(lookup.BUILT_IN))
    parser.add_argument("--width", type=int, help="of the model; default: the task's")
    parser.add_argument("--steps", type=int, default=1080)
    parser.add_argument("--segments", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=3, help="of each setting")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--block", type=int, default=8)
    parser.add_argument("--only", choices=list(RULES)[1:], help="one rule beside full")
    parser.add_argument("--constant", action="store_true", help="rates do not decay")
    parser.add_argument("--judged", action="store_true", help="what rungs look at")
    parser.add_argument("--quick", action="store_true", help="seconds, for CI")
    given, rules = parser.parse_args(), dict(RULES)
    if given.only:
        rules = {name: rules[name] for name in ("full", given.only)}
    if given.quick:
        given.steps, given.segments, given.block = 24, 4, 2
        given.seeds = given.rounds = 1
        rules["halving"] = sweep.SuccessiveHalving(reduction_factor=2)
        rules["median"] = sweep.MedianPruner(n_startup_trials=2)
    sizes = {} if given.width is None else {"width": given.width}
    task = lookup.task_maker(given.task)(**sizes)
    if given.judged:
        judge(task, given)
        return
    factory = jopt.adamw if given.constant else decayed(given.steps)
    trials = sweep.grid(factory, **space(few=given.quick))
    names = ("steps", "segments", "block", "seeds")
    options = {name: getattr(given, name) for name in names}
    print(
        f"{given.task}, {len(trials)} settings, {given.seeds} seeds each, of "
        f"{given.steps} steps, {given.segments} segments, blocks of {given.block}"
    )
    # What a process pays once is no sweep's.
    sweep.run(task, trials[:2], steps=2, segments=1, block=2)

    rows = {way: [] for way in rules}
    for round_ in range(given.rounds):
        for way in np.roll(list(rules), -round_).tolist():  # none is always the first
            row = measured(
                task, rules[way], trials, options | {"seed": FIRST_KEY + round_}
            )
            print(f"round {round_}  {way:10}{row['train_seconds']:8.2f} s", flush=True)
            rows[way].append(row)
    show(rows)
    summary = summed(rows)
    said = misses(summary, rows)
    if given.quick:
        sys.exit(RECOMPILED if RECOMPILED in said else 0)
    report = {
        "question": question(__doc__),
        "task": given.task,
        **sizes,
        "space": space(few=False),
        "settings": len(trials),
        "rates": "constant" if given.constant else "cosine",
        **options,
        "rules": {way: repr(rule) for way, rule in rules.items()},
        "summary": summary,
        "rows": rows,
        "cores": os.cpu_count(),
        **surroundings(),
    }
    name = f"{given.task}-constant" if given.constant else given.task
    path = keep(f"halving-{name}", report)
    picture(rows, path.with_suffix(".png"))
    if said:
        sys.exit(f"halving: {'; '.join(said)}")


if __name__ == "__main__":
    main()
