"""Does a sweep of a model with plain convolutions keep up with a loop of jitted steps?

The model is the CNN of Flax's own guide: two `nnx.Conv` of 32 and 64 channels,
BatchNorm, dropout, `avg_pool` and two dense layers, on MNIST in batches of 32. Two ways
to train it at several learning rates of AdamW, in one run, in turn:

    loop    one jitted, donating `train_step`, called in a Python loop; the rate is a
            leaf, so that it compiles once
    sweep   `jopt.sweep.run`, which picks its block and its strategy

XLA's CPU backend makes a convolution 10 to 30 times slower inside a `lax.scan`, which
is how a sweep calls many steps elsewhere. Speeds are trial-steps a second without
compiling, medians over rounds; `in all` is with everything, once.

    python bench/conv.py
    python bench/conv.py --quick
"""

import argparse
import statistics
import time
from functools import partial

import jax
import numpy as np
import optax
from flax import nnx
from record import cores, keep, question

import jopt
from jopt import sweep
from jopt.sweep._plan import Plan
from jopt.sweep.store import surroundings
from jopt.tasks import mnist

BATCH = 32


class CNN(nnx.Module):
    """The CNN of Flax's guide to MNIST, as a user writes it."""

    def __init__(self, rngs):
        self.first = nnx.Conv(1, 32, kernel_size=(3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(32, rngs=rngs)
        self.dropout = nnx.Dropout(0.025, rngs=rngs)
        self.second = nnx.Conv(32, 64, kernel_size=(3, 3), rngs=rngs)
        self.pool = partial(nnx.avg_pool, window_shape=(2, 2), strides=(2, 2))
        self.dense = nnx.Linear(3136, 256, rngs=rngs)
        self.last = nnx.Linear(256, 10, rngs=rngs)

    def __call__(self, x):
        x = self.pool(nnx.relu(self.norm(self.dropout(self.first(x)))))
        x = self.pool(nnx.relu(self.second(x)))
        return self.last(nnx.relu(self.dense(x.reshape(len(x), -1))))


def losses(model, batch):
    logits = model(batch[0])
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1])


def loss_fn(model, batch, key):
    return losses(model, batch).mean()


def task():
    data = mnist()
    return sweep.Task.from_model(
        "cnn",
        lambda key: CNN(nnx.Rngs(key)),
        loss_fn,
        lambda model, batch: {"loss": losses(model, batch)},
        train=data.train,
        valid=tuple(part[:64] for part in data.valid),
        batch_size=BATCH,
    )


class Loop:
    """A jitted step in a Python loop, on the batches of the sweep."""

    def __init__(self, task, steps):
        plan = Plan(task, BATCH, steps, 1, jax.random.key(0))
        rows = np.concatenate([call.rows for call in plan.batches(0)])[:steps]
        self.batches = [tuple(part[r] for part in task.train) for r in rows]
        self.model = CNN(nnx.Rngs(0))  # one: another's partial is another program
        self.step = jopt.train_step(loss_fn)
        self.train([1e-3], self.batches[:2])  # compiles

    def train(self, rates, batches):
        """Return the last losses, and the seconds."""
        states = [
            jopt.TrainState.create(self.model, jopt.adamw(rate), key=1)
            for rate in rates
        ]
        began, found = time.perf_counter(), []
        for state in jax.block_until_ready(states):
            for batch in batches:
                state, metrics = self.step(state, batch)
            found.append(metrics.loss)
        return [float(loss) for loss in found], time.perf_counter() - began


def main():
    parser = argparse.ArgumentParser(description=question(__doc__))
    parser.add_argument("--quick", action="store_true", help="4 trials, no results")
    parser.add_argument("--trials", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    counts = [4] if options.quick else options.trials
    steps = 8 if options.quick else options.steps
    rounds = 1 if options.quick else options.rounds

    trained = task()
    loop, rows = Loop(trained, steps), []
    print(f"{cores()} cores, {steps} steps, batches of {BATCH}")
    print(
        f"{'trials':>6}{'loop':>10}{'sweep':>10}{'ratio':>8}  block, strategy, in all"
    )
    for count in counts:
        rates = np.geomspace(1e-4, 1e-2, count).tolist()
        trials = sweep.grid(jopt.adamw, learning_rate=rates)
        speeds, totals, result = {"loop": [], "sweep": []}, [], None
        for _ in range(rounds):
            _, seconds = loop.train(rates, loop.batches)
            speeds["loop"].append(count * steps / seconds)
            began = time.perf_counter()
            result = sweep.run(trained, trials, steps=steps, segments=1)
            totals.append(time.perf_counter() - began)
            speeds["sweep"].append(result.info["trial_steps_per_second"])
        medians = {name: statistics.median(values) for name, values in speeds.items()}
        ratio = medians["sweep"] / medians["loop"]
        info = result.info
        rows.append(
            {
                "trials": count,
                "trial_steps_per_second": medians,
                "rounds": speeds,
                "sweep_over_loop": ratio,
                "seconds_in_all": totals,
                "block": info["block"],
                "strategy": info["strategy"],
                "block_search": info["block_search"],
            }
        )
        print(
            f"{count:6}{medians['loop']:10.1f}{medians['sweep']:10.1f}{ratio:8.2f}  "
            f"{info['block'][0]}, {info['strategy'][0]}, "
            f"{statistics.median(totals):.1f} s"
        )
    report = {
        "question": question(__doc__),
        "steps": steps,
        "batch_size": BATCH,
        "cores": cores(),
        "rows": rows,
        **surroundings(),
    }
    if not options.quick:
        keep("conv", report)


if __name__ == "__main__":
    main()
