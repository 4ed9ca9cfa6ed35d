"""How much faster is a sweep in one program than one training after another?

Three ways to train the same model with the same learning rates on the same batches,
each evaluated once at its end, in one run, in turn:

    script   what people write: for each rate a fresh `optax.adamw(rate)` and a jitted,
             donating step, called in a Python loop; compiles once a rate
    serial   the best serial way: the whole training as one jitted scan with the rate
             traced, compiled once, called rate after rate
    jopt     `jopt.sweep.run`

`total` is from nothing to all results, compiling and (for jopt) picking the block
included; `train` is without compiling, the median over rounds. The script is run in the
first round only: it is slow, and its compiling is part of it.

    python bench/sweep.py --task digits
    python bench/sweep.py --task mnist --steps 40
"""

import argparse
import functools
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from record import keep, question

import jopt
from jopt import sweep
from jopt.cli import lookup
from jopt.sweep._plan import Plan
from jopt.sweep._supervised import training_of
from jopt.sweep.engine import means_over
from jopt.sweep.store import surroundings


class Work:
    """What all three ways do: a start, batches, a step, an evaluation."""

    def __init__(self, task, rates, steps):
        self.task, self.rates, self.steps = task, rates, steps
        self.plan = Plan(task, task.batch_size, steps, 1, jax.random.key(0))
        init_key, self.key = jax.random.split(jax.random.fold_in(self.plan.key, 0))
        self.training = training_of(task)
        self.start = tuple(jax.jit(self.training.start)(init_key))
        self.data = jax.tree.map(jnp.asarray, task.train)
        self.rows = jnp.concatenate([b.rows for b in self.plan.batches(0)])[:steps]
        self.valid = self.plan.data().valid
        self.evaluate = jax.jit(self.evaluated)

    def evaluated(self, model):
        """Return the means over the validation set."""
        values = self.training.values
        return means_over(lambda batch, _: values(*model, batch), self.valid)

    def advance(self, tx, model, opt_state, batch, number):
        """One step, as plain optax."""
        params, model_state = model
        key = jax.random.fold_in(self.key, number)
        loss = jax.value_and_grad(self.training.loss, has_aux=True)
        (value, model_state), grads = loss(params, model_state, batch, key)
        updates, opt_state = tx.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), model_state), opt_state, value


def script(work):
    """Return each rate's final validation loss, and the seconds in all."""
    began, found = time.perf_counter(), []
    rows, examples = np.asarray(work.rows), work.task.train
    for rate in work.rates:
        tx = optax.adamw(rate)

        @functools.partial(jax.jit, donate_argnums=(0, 1))
        def step(model, opt_state, batch, number, tx=tx):
            return work.advance(tx, model, opt_state, batch, number)

        model = jax.tree.map(jnp.copy, work.start)
        opt_state, losses = tx.init(model[0]), []
        for number in range(work.steps):
            batch = jax.tree.map(lambda array, r=rows[number]: array[r], examples)
            model, opt_state, loss = step(model, opt_state, batch, number)
            losses.append(loss)
        jax.device_get(losses)
        found.append(float(work.evaluate(model)["loss"]))
    return found, time.perf_counter() - began


def serial(work):
    """Return a function like `script`, and the seconds its compiling took."""

    def train(rate, model, data, rows):
        tx = optax.adamw(rate)

        def step(carry, now):
            batch = jax.tree.map(lambda array: array[now[0]], data)
            *carry, loss = work.advance(tx, *carry, batch, now[1])
            return tuple(carry), loss

        steps = (rows, jnp.arange(work.steps))
        (model, _), losses = jax.lax.scan(step, (model, tx.init(model[0])), steps)
        return work.evaluated(model)["loss"], losses

    began = time.perf_counter()
    arguments = (work.start, work.data, work.rows)
    program = jax.jit(train).lower(work.rates[0], *arguments).compile()
    compiling = time.perf_counter() - began

    def run():
        began = time.perf_counter()
        found = [program(rate, *arguments)[0] for rate in work.rates]
        return [float(loss) for loss in found], time.perf_counter() - began

    return run, compiling


def main():
    parser = argparse.ArgumentParser(description=question(__doc__))
    parser.add_argument("--task", default="digits", choices=list(lookup.BUILT_IN))
    parser.add_argument("--rates", type=int, default=64)
    parser.add_argument("--steps", type=int, help="default: the task's epochs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--block", type=int, help="default: picked by timing")
    parser.add_argument("--no-script", action="store_true", help="leave out the script")
    options = parser.parse_args()

    task = lookup.task(options.task)
    steps = options.steps
    steps = steps or task.epochs * (len(task.train[1]) // task.batch_size)
    rates = np.geomspace(1e-4, 1e-2, options.rates).tolist()
    work = Work(task, rates, steps)
    trials = sweep.grid(jopt.adamw, learning_rate=rates)

    run_serial, compiling = serial(work)

    times = {"script": [], "serial": [], "jopt": []}
    losses, totals = {}, []
    for round_ in range(options.rounds):
        if round_ == 0 and not options.no_script:
            losses["script"], seconds = script(work)
            times["script"].append(seconds)
        losses["serial"], seconds = run_serial()
        times["serial"].append(seconds)
        sweep.clear_programs()  # every round compiles and picks anew
        began = time.perf_counter()
        result = sweep.run(task, trials, steps=steps, segments=1, block=options.block)
        totals.append(time.perf_counter() - began)
        times["jopt"].append(result.info["train_seconds"])
        losses["jopt"] = result.table["valid_loss"].tolist()
    block, jopt_total = result.info["block"][0], statistics.median(totals)

    # The three are one computation, to rounding and what training makes of it.
    for name, values in losses.items():
        difference = np.median(np.abs(np.log(values) - np.log(losses["serial"])))
        assert difference < 0.05, f"{name} trained something else: {difference}"

    train = {name: statistics.median(t) for name, t in times.items() if t}
    total = {
        "serial": compiling + train["serial"],
        "jopt": jopt_total,
        **({"script": train["script"]} if "script" in train else {}),
    }
    report = {
        "question": question(__doc__),
        "task": options.task,
        "rates": options.rates,
        "steps": steps,
        "block": block,
        "block_search": result.info["block_search"],
        "jopt_totals": totals,
        "rounds": times,
        "train_seconds": train,
        "total_seconds": total,
        "jopt_train_speed_over_serial": train["serial"] / train["jopt"],
        "jopt_total_speed_over": {n: t / total["jopt"] for n, t in total.items()},
        **surroundings(),
    }
    print(f"{options.task}, {options.rates} rates, {steps} steps, blocks of {block}")
    print(f"{'':8}{'total s':>10}{'train s':>10}{'total/jopt':>12}{'train/jopt':>12}")
    for name in total:
        apart = f"{train[name]:10.2f}" if name != "script" else f"{'':10}"
        ratio = f"{train[name] / train['jopt']:12.2f}" if name != "script" else ""
        print(
            f"{name:8}{total[name]:10.2f}{apart}{total[name] / jopt_total:12.2f}{ratio}"
        )
    keep(f"sweep-{options.task}-{options.rates}", report)


if __name__ == "__main__":
    main()
