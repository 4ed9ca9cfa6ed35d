"""Does a sweep of a model with convolutions keep up with a loop of jitted steps?

Models, on MNIST in batches of 32:

    cnn        the CNN of Flax's own guide: two `nnx.Conv` of 32 and 64 channels,
               BatchNorm, dropout, `avg_pool` and two dense layers
    resnet     a stem, and a ResNet block with stride 2 and BatchNorm
    depthwise  a stem, and two depthwise convolutions, each with a pointwise one
    series     three 1-D convolutions with strides over the image as a row of pixels

Ways to train each at several learning rates of AdamW, in one run, in turn:

    loop     one jitted, donating `train_step`, called in a Python loop, and one jitted
             evaluation at its end; the rate is a leaf, so that it compiles once
    plain    `jopt.sweep.run`, which picks its block and its strategy
    grouped  the same with all trials in one block: XLA's grouped convolutions; slow, so
             it has a third of the rounds
    fast     `jopt.sweep.run` of the model `with_fast_convolutions`

Each way ends with the same evaluation. Speeds are trial-steps a second without
compiling, medians over rounds; the ratios are those of the medians. A trial has
`--steps` steps, divided by the root of the number of trials.

    python bench/conv.py
    python bench/conv.py --quick
"""

import argparse
import functools
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


class ResNet(nnx.Module):
    """A stem and a block: two convolutions beside a projection, with BatchNorm."""

    def __init__(self, rngs):
        conv = partial(nnx.Conv, use_bias=False, rngs=rngs)
        self.stem = conv(1, 16, (3, 3), strides=2)
        self.first = conv(16, 32, (3, 3), strides=2)
        self.second = conv(32, 32, (3, 3))
        self.beside = conv(16, 32, (1, 1), strides=2)
        self.norms = nnx.List([nnx.BatchNorm(n, rngs=rngs) for n in (16, 32, 32, 32)])
        self.last = nnx.Linear(32, 10, rngs=rngs)

    def __call__(self, x):
        stem, first, second, beside = self.norms
        x = nnx.relu(stem(self.stem(x)))
        y = second(self.second(nnx.relu(first(self.first(x)))))
        x = nnx.relu(y + beside(self.beside(x)))
        return self.last(x.mean((1, 2)))


class Depthwise(nnx.Module):
    """A stem and two depthwise convolutions, each with a pointwise one."""

    def __init__(self, rngs):
        conv = partial(nnx.Conv, rngs=rngs)
        self.layers = nnx.List(
            [
                conv(1, 32, (3, 3), strides=2),
                conv(32, 32, (3, 3), feature_group_count=32),
                conv(32, 64, (1, 1)),
                conv(64, 64, (3, 3), strides=2, feature_group_count=64),
                conv(64, 64, (1, 1)),
            ]
        )
        self.last = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, x):
        for layer in self.layers:
            x = nnx.relu(layer(x))
        return self.last(x.mean((1, 2)))


class Series(nnx.Module):
    """Three 1-D convolutions over the pixels of an image, one row after the other."""

    def __init__(self, rngs):
        sizes = [(1, 16), (16, 32), (32, 32)]
        self.layers = nnx.List(
            [nnx.Conv(*size, (5,), strides=3, rngs=rngs) for size in sizes]
        )
        self.last = nnx.Linear(32, 10, rngs=rngs)

    def __call__(self, x):
        x = x.reshape(len(x), -1, 1)
        for layer in self.layers:
            x = nnx.relu(layer(x))
        return self.last(x.mean(1))


MODELS = {"cnn": CNN, "resnet": ResNet, "depthwise": Depthwise, "series": Series}


def losses(model, batch):
    logits = model(batch[0])
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1])


def loss_fn(model, batch, key):
    return losses(model, batch).mean()


def task(make):
    data = mnist()
    return sweep.Task.from_model(
        "convolving",
        make,
        loss_fn,
        lambda model, batch: {"loss": losses(model, batch)},
        train=data.train,
        valid=tuple(part[:64] for part in data.valid),
        batch_size=BATCH,
    )


class Loop:
    """A jitted step in a Python loop, on the batches of the sweep."""

    def __init__(self, kind, task, steps):
        plan = Plan(task, BATCH, steps, 1, jax.random.key(0))
        rows = np.concatenate([call.rows for call in plan.batches(0)])[:steps]
        self.batches = [tuple(part[r] for part in task.train) for r in rows]
        self.model = kind(nnx.Rngs(0))  # one: another's partial is another program
        self.step = jopt.train_step(loss_fn)
        self.valid = task.valid
        self.evaluate = nnx.jit(lambda model, batch: losses(model, batch).mean())
        self.train([1e-3], self.batches[:2])  # compiles

    def train(self, rates, batches):
        """Return the seconds."""
        states = [
            jopt.TrainState.create(self.model, jopt.adamw(rate), key=1)
            for rate in rates
        ]
        began = time.perf_counter()
        for state in jax.block_until_ready(states):
            for batch in batches:
                state, metrics = self.step(state, batch)
            jax.block_until_ready((metrics, self.evaluate(state.model, self.valid)))
        return time.perf_counter() - began


def measured(name, counts, most, rounds):
    """Return a row for each number of trials of a model, and print it."""
    kind = MODELS[name]
    plain = task(lambda key: kind(nnx.Rngs(key)))
    fast = task(lambda key: sweep.with_fast_convolutions(kind(nnx.Rngs(key))))
    loop, rows = Loop(kind, plain, most), []
    for count in counts:
        steps = max(1, round(most / count**0.5))
        rates = np.geomspace(1e-4, 1e-2, count).tolist()
        trials = sweep.grid(jopt.adamw, learning_rate=rates)
        run = functools.partial(sweep.run, trials=trials, steps=steps, segments=1)
        ways = {
            "plain": functools.partial(run, plain),
            "grouped": functools.partial(run, plain, block=count),
            "fast": functools.partial(run, fast),
        }
        speeds, infos = {way: [] for way in ("loop", *ways)}, {}
        for number in range(rounds):
            seconds = loop.train(rates, loop.batches[:steps])
            speeds["loop"].append(count * steps / seconds)
            for way, trained in ways.items():
                if way == "grouped" and number % 3:
                    continue
                infos[way] = trained().info
                speeds[way].append(infos[way]["trial_steps_per_second"])
        medians = {way: statistics.median(values) for way, values in speeds.items()}
        of_loop = medians["fast"] / medians["loop"]
        of_grouped = medians["fast"] / medians["grouped"]
        rows.append(
            {
                "model": name,
                "trials": count,
                "steps": steps,
                "trial_steps_per_second": medians,
                "rounds": speeds,
                "fast_over_loop": of_loop,
                "fast_over_grouped": of_grouped,
                "block": {way: info["block"] for way, info in infos.items()},
                "strategy": {way: info["strategy"] for way, info in infos.items()},
            }
        )
        speed = "".join(f"{medians[way]:9.1f}" for way in speeds)
        info = infos["fast"]
        print(
            f"{name:>9}{count:7}{speed}{of_loop:11.2f}{of_grouped:14.2f}  "
            f"{info['block'][0]}, {info['strategy'][0]}",
            flush=True,
        )
    return rows


def main():
    parser = argparse.ArgumentParser(description=question(__doc__))
    parser.add_argument("--quick", action="store_true", help="small; no results")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=[*MODELS])
    parser.add_argument("--trials", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--steps", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    if options.quick:
        options.models, options.trials = ["resnet"], [4]
        options.steps, options.rounds = 8, 1
    print(f"{cores()} cores, {options.steps} steps, batches of {BATCH}")
    columns = "".join(f"{way:>9}" for way in ("loop", "plain", "grouped", "fast"))
    ratios = f"{'fast/loop':>11}{'fast/grouped':>14}"
    print(f"{'model':>9}{'trials':>7}{columns}{ratios}  block, strategy of fast")
    given = options.trials, options.steps, options.rounds
    rows = [row for name in options.models for row in measured(name, *given)]
    report = {
        "question": question(__doc__),
        "batch_size": BATCH,
        "cores": cores(),
        "rows": rows,
        **surroundings(),
    }
    if not options.quick:
        keep("conv", report)


if __name__ == "__main__":
    main()
