"""Does AdamW learn as well with its moments in 8 bits, or in 4?

A causal transformer that predicts the next character of a text (`jopt.tasks.text`),
trained with AdamW, its rate warmed up and then decayed to a tenth by half a cosine.
Each seed has its own start and its own batches, the same for every row, so rows differ
by how the optimizer's state is kept and by nothing else. The seeds are trained in one
program, by vmap.

state     bytes of the optimizer's state for each parameter; small leaves stay float32
training  loss in nats a character, the mean over the last tenth of the steps
held out  the same, of text that is not trained on, after the last step
ratio     the row's training loss over float32's of the same seed: mean over the seeds,
          and their standard deviation
nearest   bitsandbytes' rule, by which a small mean square becomes 0
32        blocks of 32 numbers instead of 256

Exits with 1 if a row of 8 bits is not within 1 % of float32 on average, or 8 bits of
the dynamic map take more than 2.1 bytes a parameter.

    python bench/low_bit.py
    python bench/low_bit.py --text FILE --steps 2000
    python bench/low_bit.py --quick       few steps of a small model, no file
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from record import keep, question

import jopt
from jopt.sweep._supervised import training_of
from jopt.sweep.store import surroundings
from jopt.tasks import text

COLUMNS = {"": 24, "state": 12, "training": 11, "held out": 11, "ratio": 20, "s": 10}
ROWS = {
    "float32": lambda tx: tx,
    "8-bit dynamic": jopt.low_bit,
    "8-bit dynamic, nearest": lambda tx: jopt.low_bit(tx, code=jopt.Dynamic(False)),
    "8-bit companded": lambda tx: jopt.low_bit(tx, code=jopt.Companded()),
    "8-bit companded, 32": lambda tx: jopt.low_bit(tx, block=32, code=jopt.Companded()),
    "4-bit dynamic": lambda tx: jopt.low_bit(tx, 4),
    "4-bit companded, 32": lambda tx: jopt.low_bit(tx, 4, 32, code=jopt.Companded()),
}


def trained(task, tx, params, keys, steps):
    """Train the models of all seeds; return their losses [seeds, steps], and params."""
    train = jax.tree.map(jnp.asarray, task.train)

    def run(params, key):
        def step(carry, key):
            params, state = carry
            rows = jax.random.randint(key, (task.batch_size,), 0, len(train[0]))
            batch = jax.tree.map(lambda x: x[rows], train)
            loss = lambda p: training_of(task).loss(p, {}, batch, key)[0]  # noqa: E731
            value, grads = jax.value_and_grad(loss)(params)
            updates, state = tx.update(grads, state, params)
            return (jopt.apply_updates(params, updates), state), value

        carry = (params, tx.init(params))
        carry, losses = jax.lax.scan(step, carry, jax.random.split(key, steps))
        return losses, carry[0]

    losses, params = jax.block_until_ready(jax.jit(jax.vmap(run))(params, keys))
    return np.asarray(losses), params


def measured(task, tx, start, keys, steps, held_out):
    """Return a row of the table, with the curves."""
    began = time.perf_counter()
    losses, params = trained(task, tx, start, keys, steps)
    seconds = time.perf_counter() - began
    one = jax.eval_shape(lambda p: jax.tree.map(lambda x: x[0], p), start)
    size = jopt.memory(jax.eval_shape(tx.init, one), one).bytes_per_parameter
    return {
        "state_bytes_a_parameter": size,
        "training": losses[:, -max(steps // 10, 1) :].mean(axis=1).tolist(),
        "held_out": np.asarray(held_out(params)).tolist(),
        "seconds": seconds,
        "curve": np.stack([part.mean(axis=1) for part in _parts(losses)], 1).tolist(),
    }


def _parts(losses):
    return np.array_split(losses, min(50, losses.shape[1]), axis=1)


def main():
    parser = argparse.ArgumentParser(description=question(__doc__))
    parser.add_argument("--text", metavar="FILE", help="instead of Python's help pages")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--quick", action="store_true", help="small, and no file")
    options = parser.parse_args()
    if options.quick:
        options.steps, options.width, options.seeds = 40, 64, 2

    task = text(options.text, length=32, width=options.width, layers=2, heads=4)
    rate = jopt.warmup_cosine_decay_schedule(
        0.0, options.rate, options.steps // 10, options.steps, options.rate / 10
    )
    adamw = jopt.adamw(rate, weight_decay=0.01)
    keys = jax.random.split(jax.random.key(0), (2, options.seeds))
    start = jax.jit(jax.vmap(lambda key: training_of(task).start(key)[0]))(keys[0])
    parameters = sum(x[0].size for x in jax.tree.leaves(start))
    some = jax.tree.map(lambda x: jnp.asarray(x[:256]), task.valid)
    held_out = jax.jit(
        jax.vmap(lambda p: training_of(task).values(p, {}, some)["loss"].mean())
    )
    quick = ["float32", "8-bit dynamic", "4-bit dynamic"]
    names = quick if options.quick else list(ROWS)

    load_before = os.getloadavg()
    print("".join(f"{head:>{width}}" for head, width in COLUMNS.items()))
    table = {}
    for name in names:
        row = table[name] = measured(
            task, ROWS[name](adamw), start, keys[1], options.steps, held_out
        )
        pairs = zip(row["training"], table["float32"]["training"], strict=True)
        row["ratios"] = [mine / full for mine, full in pairs]
        spread = statistics.stdev(row["ratios"]) if options.seeds > 1 else 0.0
        row |= {"ratio": statistics.mean(row["ratios"]), "ratio_spread": spread}
        print(
            f"{name:24}{row['state_bytes_a_parameter']:8.2f} B/p"
            f"{statistics.mean(row['training']):11.4f}"
            f"{statistics.mean(row['held_out']):11.4f}"
            f"{row['ratio']:11.4f} +-{spread:7.4f}{row['seconds']:10.1f}",
            flush=True,
        )
        print(" " * 24 + "by seed: " + ", ".join(f"{r:.4f}" for r in row["ratios"]))

    if not options.quick:
        report = {
            "question": question(__doc__),
            "command": "python " + " ".join(["bench/low_bit.py", *sys.argv[1:]]),
            "text": Path(options.text).name if options.text else "pydoc_data.topics",
            "parameters": parameters,
            "steps": options.steps,
            "batch": [task.batch_size, 32],
            "rate": options.rate,
            "rows": table,
            "load": {"before": load_before, "after": os.getloadavg()},
            **surroundings(),
        }
        path = keep("low_bit", report)
        picture(table, options.steps, path.with_suffix(".png"))

    eight = (name for name in names if name.startswith("8-bit"))
    wide = [name for name in eight if abs(table[name]["ratio"] - 1) > 0.01]
    size = table["8-bit dynamic"]["state_bytes_a_parameter"]
    if not options.quick and (wide or size > 2.1):
        sys.exit(f"more than 1 % from float32: {wide}; {size:.3f} bytes a parameter")


def picture(table, steps, path):
    """Draw the curves, and each one's distance from float32's."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (above, below) = plt.subplots(
        2, 1, figsize=(8, 8), sharex=True, layout="constrained"
    )
    full = np.array(table["float32"]["curve"])
    at = (np.arange(full.shape[1]) + 0.5) * steps / full.shape[1]
    for number, (name, row) in enumerate(table.items()):
        curve = np.array(row["curve"])
        color = "black" if name == "float32" else f"C{number - 1}"
        label = f"{name} ({row['state_bytes_a_parameter']:.2f} bytes a parameter)"
        above.plot(at, curve.mean(axis=0), color=color, label=label, linewidth=1.2)
        if name != "float32":
            apart = 100 * (curve / full - 1)
            below.plot(at, apart.mean(axis=0), color=color, linewidth=1.2)
            low, high = apart.min(axis=0), apart.max(axis=0)
            below.fill_between(at, low, high, color=color, alpha=0.12, linewidth=0)
    above.set(ylabel="training loss, nats a character")
    above.legend(frameon=False)
    below.axhline(0, color="black", linewidth=1)
    below.axhspan(-1, 1, color="grey", alpha=0.15, linewidth=0)
    below.set(
        xlabel="step", ylabel="above float32's, %", title="mean and range of the seeds"
    )
    below.set_ylim(-2, 5)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
