"""Does every optimizer train a small real task, and at which learning rate best?

    python bench/optimizers.py                       all, 300 steps of digits
    python bench/optimizers.py --steps 30 adam muon  some

Each optimizer trains scikit-learn's digits at eight learning rates, side by side in one
compiled program, with its own defaults. The best is the one with the least validation
loss. No optimizer is tuned beyond that, and no ranking is meant: 300 steps of an MLP.

Rprop is for whole gradients: it gets all examples at each step, and steps of at most
0.01, for its default of 50 makes weights of which only the training loss is small.
"""

import argparse
import inspect
import sys

import jax
import numpy as np
from record import keep, question

import jopt
from jopt import sweep
from jopt.sweep._supervised import training_of
from jopt.sweep.store import surroundings
from jopt.tasks import digits

RATES = np.geomspace(1e-4, 3, 8)

RATE_OF = {"polyak_sgd": "max_learning_rate"}
DEPRECATED = {"optimistic_adam"}
WHOLE_BATCH = {"rprop"}
GIVEN = {"rprop": {"max_step_size": 0.01}, "noisy_sgd": {"key": 0}}


def every_optimizer():
    """Return the functions of `jopt.optimizers` that take a learning rate, by name."""
    found = {}
    for name, make in sorted(vars(jopt.optimizers).items()):
        if not callable(make) or name in DEPRECATED or name.startswith("scale_by"):
            continue
        rate = RATE_OF.get(name, "learning_rate")
        if name == name.lower() and rate in inspect.signature(make).parameters:
            found[name] = make
    return found


def of_rate(name, make):
    """Return the optimizer as a function of its learning rate, with its defaults."""
    rate = RATE_OF.get(name, "learning_rate")
    return lambda learning_rate: make(**{rate: learning_rate}, **GIVEN.get(name, {}))


def first_loss(task):
    """Return the validation loss before the first step."""
    params, model_state = training_of(task).start(jax.random.key(0))
    return float(
        training_of(task).values(params, model_state, task.valid)["loss"].mean()
    )


def picture(rows, path):
    """Draw the validation loss of every optimizer at every rate."""
    import matplotlib.pyplot as plt

    losses = np.array([row["losses"] for row in rows], float)
    figure, axes = plt.subplots(
        figsize=(7, 0.24 * len(rows) + 1.4), layout="constrained"
    )
    image = axes.imshow(
        np.log10(losses), aspect="auto", cmap="viridis_r", vmin=-1.2, vmax=0.5
    )
    axes.set_facecolor("lightgray")
    axes.set_xticks(range(len(RATES)), [f"{rate:.1e}" for rate in RATES], rotation=45)
    axes.set_yticks(range(len(rows)), [row["optimizer"] for row in rows])
    best = [int(np.nanargmin(np.append(line, np.inf))) for line in losses]
    found = [(rate, row) for row, rate in enumerate(best) if rate < len(RATES)]
    axes.plot(
        *zip(*found, strict=True),
        "*",
        color="black",
        markeredgecolor="white",
        markersize=11,
    )
    axes.set_xlabel("learning rate; the star is the best, gray diverged")
    ticks = (-1, -0.5, 0, 0.5)
    bar = figure.colorbar(
        image, ax=axes, label="validation loss", ticks=list(ticks), shrink=0.4
    )
    bar.ax.set_yticklabels([f"{10**tick:.2g}" for tick in ticks])
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=question(__doc__))
    parser.add_argument("names", nargs="*", metavar="optimizer")
    parser.add_argument("--steps", type=int, default=300)
    given = parser.parse_args()
    known = every_optimizer()
    if unknown := [name for name in given.names if name not in known]:
        parser.error(f"{unknown[0]} is none of {', '.join(known)}")
    names = given.names or list(known)
    task = digits()
    before = first_loss(task)
    print(f"digits, {given.steps} steps; validation loss before: {before:.3f}\n")
    print(
        f"{'optimizer':28}{'best rate':>10}{'loss':>9}{'accuracy':>10}{'diverged':>10}"
    )
    rows = []
    for name in names:
        trials = sweep.grid(of_rate(name, known[name]), learning_rate=RATES)
        batch = len(task.train[1]) if name in WHOLE_BATCH else None
        result = sweep.run(
            task, trials, steps=given.steps, block=len(RATES), batch_size=batch
        )
        table = result.table
        losses = np.where(table["status"] == "complete", table["valid_loss"], np.nan)
        best = int(np.nanargmin(losses)) if np.isfinite(losses).any() else 0
        rows.append(
            {
                "optimizer": name,
                "best_rate": float(RATES[best]),
                "loss": float(losses[best]),
                "accuracy": float(table["valid_accuracy"][best]),
                "losses": [float(x) if np.isfinite(x) else None for x in losses],
                "reduced": bool(losses[best] < before),
            }
        )
        row = rows[-1]
        print(
            f"{name:28}{row['best_rate']:>10.1e}{row['loss']:>9.3f}"
            f"{row['accuracy']:>10.3f}{np.isnan(losses).sum():>10}",
            flush=True,
        )
    report = {"steps": given.steps, "loss_before": before, "optimizers": rows}
    if not given.names:
        path = keep("optimizers-digits", report | surroundings())
        picture(rows, path.with_suffix(".png"))
    if not all(row["reduced"] for row in rows):
        sys.exit("not every optimizer reduced the loss")


if __name__ == "__main__":
    main()
