"""What does jopt cost before and around the arithmetic: importing it, eager updates?

import    `import jopt` against `import jax`, in fresh processes, in turn
eager     `tx.update` outside jit: jopt's AdamW is one compiled call, optax's a call
          an operation; 10 and 1,000 leaves of 32 by 32

python bench/overheads.py
"""

import statistics
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import optax
from record import keep

import jopt
from jopt.sweep.store import surroundings

CODE = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"


def imports(rounds=15):
    """Return the seconds of each import, round by round."""
    times = {"jax": [], "jopt": []}
    for _ in range(rounds):
        for name, found in times.items():
            command = [sys.executable, "-c", CODE.format(name)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found.append(float(done.stdout))
    return times


def eager(leaves, rounds):
    """Return the seconds of an eager update, round by round, after a first one."""
    params = {f"w{i}": jnp.ones((32, 32)) for i in range(leaves)}
    states, times = {}, {"jopt": [], "optax": []}
    transformations = {"jopt": jopt.adamw(1e-3), "optax": optax.adamw(1e-3)}
    for _ in range(rounds + 1):
        for name, tx in transformations.items():
            state = states.get(name) or tx.init(params)
            began = time.perf_counter()
            _, state = jax.block_until_ready(tx.update(params, state, params))
            times[name].append(time.perf_counter() - began)
            states[name] = state
    return {name: found[1:] for name, found in times.items()}


def main():
    measured = {
        "import": imports(),
        "eager update, 10 leaves": eager(10, 50),
        "eager update, 1000 leaves": eager(1000, 9),
    }
    medians = {
        question: {name: statistics.median(t) for name, t in times.items()}
        for question, times in measured.items()
    }
    ratios = {
        question: other / ours if "eager" in question else ours / other
        for question, times in medians.items()
        for ours in [times["jopt"]]
        for other in [times.get("optax") or times["jax"]]
    }
    for question, times in medians.items():
        shown = ", ".join(f"{name} {1e3 * t:.2f} ms" for name, t in times.items())
        word = "times faster" if "eager" in question else "times the import of jax"
        print(f"{question}: {shown}; {ratios[question]:.2f} {word}")
    report = {"medians": medians, "ratios": ratios, **surroundings()}
    keep("overheads", report)


if __name__ == "__main__":
    main()
