"""What does a mini-step of gradient accumulation cost?

A window is 8 mini-steps and one step of AdamW, on 16 leaves of 1,024 by 1,024 float32.
Every program takes parameters, state and gradients, has the first two donated, and
gives them back, the updates applied.

addition   the sum alone: what a loop that is written by hand does in between
jopt       jopt.accumulate(adamw, 8), with its guard against what is not finite
no guard   the same, without
optax      optax.MultiSteps(adamw, 8)
adamw      jopt's, a step at every call: the price of the step itself

The programs take turns, a window each; the order changes from round to round. A time is
the median over the rounds: of a mini-step that waits, of the one that fills the window,
and of the window by mini-step.

python bench/accumulation.py [rounds]
"""

import json
import random
import statistics
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import optax

import jopt
from jopt.sweep.surroundings import surroundings

HERE = Path(__file__).parent
EVERY, LEAVES, SHAPE = 8, 16, (1024, 1024)


def stepping(tx):
    """Return a function of params, state and gradients that applies the updates."""

    def step(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return jax.tree.map(jnp.add, params, updates), state

    return step


def adding(params, state, grads):
    return params, jax.tree.map(jnp.add, state, grads)


def compiled(params, tx=None):
    """Return the program of `tx`, or of the addition, its arguments and its memory."""
    # A program's own arrays: they are donated.
    params = jax.tree.map(jnp.copy, params)
    state = tx.init(params) if tx else jax.tree.map(jnp.zeros_like, params)
    step = jax.jit(stepping(tx) if tx else adding, donate_argnums=(0, 1))
    program = step.lower(params, state, params).compile()
    temporary = program.memory_analysis().temp_size_in_bytes
    return program, [params, state], temporary


def window(program, held, grads):
    """Return the seconds of each mini-step of a window; `held` moves on."""
    times = []
    for _ in range(EVERY):
        began = time.perf_counter()
        held[:] = jax.block_until_ready(program(*held, grads))
        times.append(time.perf_counter() - began)
    return times


def main(rounds=15):
    keys = jax.random.split(jax.random.key(0), LEAVES)
    params = {f"w{i:02}": jax.random.normal(k, SHAPE) for i, k in enumerate(keys)}
    grads = jax.tree.map(lambda p: 0.1 * p, params)
    adamw = jopt.adamw(1e-3)
    programs = {
        "addition": compiled(params),
        "jopt": compiled(params, jopt.accumulate(adamw, EVERY)),
        "no guard": compiled(
            params, jopt.accumulate(adamw, EVERY, should_skip_update_fn=None)
        ),
        "optax": compiled(params, optax.MultiSteps(optax.adamw(1e-3), EVERY)),
        "adamw": compiled(params, adamw),
    }
    windows = {name: [] for name in programs}
    order = list(programs)
    for _ in range(rounds + 1):
        random.shuffle(order)
        for name in order:
            program, held, _ = programs[name]
            windows[name].append(window(program, held, grads))
    table = {
        name: {
            "waiting_ms": 1e3 * statistics.median(t for w in seen[1:] for t in w[:-1]),
            "full_ms": 1e3 * statistics.median(w[-1] for w in seen[1:]),
            "mini_step_ms": 1e3 * statistics.median(sum(w) / EVERY for w in seen[1:]),
            "temporary_mb": programs[name][2] / 1e6,
        }
        for name, seen in windows.items()
    }
    print(f"{'':10}{'waiting':>10}{'full':>10}{'mini-step':>12}{'temporary':>12}")
    for name, row in table.items():
        waiting, full, mean, memory = row.values()
        print(f"{name:10}{waiting:7.1f} ms{full:7.1f} ms{mean:9.1f} ms{memory:9.0f} MB")
    ratios = {
        f"optax / {name}": table["optax"]["mini_step_ms"] / table[name]["mini_step_ms"]
        for name in ("jopt", "no guard")
    } | {
        f"{name} / addition": table[name]["waiting_ms"]
        / table["addition"]["waiting_ms"]
        for name in ("jopt", "no guard", "optax")
    }
    print(", ".join(f"{name} {ratio:.1f}" for name, ratio in ratios.items()))
    report = {"rounds": rounds, "times": table, "ratios": ratios, **surroundings()}
    path = HERE / "results" / f"accumulation-{report['device']['kind']}.json".lower()
    path.write_text(json.dumps(report, indent=2) + "\n")
    print(f"written to {path.relative_to(HERE.parent)}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
