"""Does every optimizer train a small real task, and at which learning rate best?

    python bench/optimizers.py                       all, 300 steps of digits
    python bench/optimizers.py --steps 30 adam muon  some

Each optimizer trains scikit-learn's digits at eight learning rates, side by side in one
compiled program, with its own defaults. The best is the one with the least validation
loss. No optimizer is tuned beyond that, and no ranking is meant: 300 steps of an MLP.
"""

import argparse
import json
import sys
from pathlib import Path

import jax
import numpy as np

import jopt
from jopt import sweep
from jopt.sweep.surroundings import surroundings
from jopt.tasks.digits import digits

HERE = Path(__file__).parent
RATES = np.geomspace(1e-4, 3, 8)

# What an optimizer's factory must be given beside the rate; None is nothing.
OPTIMIZERS = {
    **dict.fromkeys(
        """adabelief adadelta adafactor adagrad adam adamax adamaxw adamw adan
        ademamix adopt amsgrad cocob dadapt_adamw dog dowg fromage kron lamb lars lion
        madgrad mars momo momo_adam muon nadam nadamw normuon novograd
        optimistic_adam_v2 optimistic_gradient_descent prodigy radam rmsprop rprop
        schedule_free_adamw schedule_free_sgd sgd shampoo sign_sgd signum
        simplified_ademamix sm3 soap stable_adamw yogi""".split(),
        None,
    ),
    "noisy_sgd": {"key": 0},
    "polyak_sgd": {"rate": "max_learning_rate"},
}


def factory(name):
    """Return the optimizer as a function of its learning rate."""
    given = dict(OPTIMIZERS[name] or {})
    rate = given.pop("rate", "learning_rate")
    return lambda learning_rate: getattr(jopt, name)(**{rate: learning_rate}, **given)


def first_loss(task):
    """Return the validation loss before the first step."""
    params, model_state = task.init(jax.random.key(0))
    return float(task.evaluate(params, model_state, task.valid)["loss"].mean())


def picture(rows, path):
    """Draw the validation loss of every optimizer at every rate."""
    import matplotlib.pyplot as plt

    losses = np.array([row["losses"] for row in rows], float)
    figure, axes = plt.subplots(figsize=(7, 0.24 * len(rows) + 1.4), layout="tight")
    image = axes.imshow(
        np.log10(losses), aspect="auto", cmap="viridis_r", vmin=-1.2, vmax=0.5
    )
    axes.set_facecolor("lightgray")
    axes.set_xticks(range(len(RATES)), [f"{rate:.1e}" for rate in RATES], rotation=45)
    axes.set_yticks(range(len(rows)), [row["optimizer"] for row in rows])
    axes.plot([int(np.nanargmin(line)) for line in losses], range(len(rows)), "w*")
    axes.set_xlabel("learning rate; the star is the best, gray diverged")
    ticks = (-1, -0.5, 0, 0.5)
    bar = figure.colorbar(image, ax=axes, label="validation loss", ticks=list(ticks))
    bar.ax.set_yticklabels([f"{10**tick:.2g}" for tick in ticks])
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", choices=[[], *OPTIMIZERS], default=[])
    parser.add_argument("--steps", type=int, default=300)
    given = parser.parse_args()
    names = given.names or sorted(OPTIMIZERS)
    task = digits()
    before = first_loss(task)
    print(f"digits, {given.steps} steps; validation loss before: {before:.3f}\n")
    print(
        f"{'optimizer':28}{'best rate':>10}{'loss':>9}{'accuracy':>10}{'diverged':>10}"
    )
    rows = []
    for name in names:
        trials = sweep.grid(factory(name), learning_rate=RATES)
        result = sweep.run(task, trials, steps=given.steps, block=len(RATES))
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
        stem = (
            HERE / "results" / f"optimizers-digits-{surroundings()['device']['kind']}"
        )
        path = Path(str(stem).lower() + ".json")
        path.write_text(json.dumps({**report, **surroundings()}, indent=2) + "\n")
        picture(rows, path.with_suffix(".png"))
        print(f"\nwritten to {path.relative_to(HERE.parent)} and .png")
    if not all(row["reduced"] for row in rows):
        sys.exit("not every optimizer reduced the loss")


if __name__ == "__main__":
    main()
