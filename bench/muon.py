"""How fast is Muon's update of a transformer's matrices, and in how many products?

A transformer of 12 layers, width 192: for each layer the matrices of queries, keys and
values, of what attention gives, and of the way into and out of the MLP, 48 in all, in
float32. Both libraries have the same coefficients, steps and gradients, and donate
parameters and state to one jitted program; they take turns, in random order.

dots      matrix products in the optimized program, counted in its text: ` dot(`
          instructions, of loop bodies too (once each), and custom calls of a gemm
ms        median and least of an update

optax loops over "dion"'s rows and unrolls "standard"'s: the former has fewer dots.

    python bench/muon.py
    python bench/muon.py --coefficients dion
"""

import argparse
import os
import random
import re
import statistics
import time

import jax
import jax.numpy as jnp
import optax
from record import keep, question

import jopt
from jopt.sweep.store import surroundings

LAYERS = 12


def matrices(key, width):
    """Return a tree of 48 matrices of normal numbers."""
    shapes = {
        "qkv": (width, 3 * width),
        "attention_out": (width, width),
        "mlp_in": (width, 4 * width),
        "mlp_out": (4 * width, width),
    }
    return {
        f"layer{i}": {
            name: 0.02 * jax.random.normal(jax.random.fold_in(key, 4 * i + k), shape)
            for k, (name, shape) in enumerate(shapes.items())
        }
        for i in range(LAYERS)
    }


def dots(text):
    """Return how many matrix products are in an optimized program."""
    gemms = [
        line
        for line in text.splitlines()
        if "custom-call(" in line and re.search(r"gemm|cublas|matmul|dot", line)
    ]
    return text.count(" dot(") + len(gemms)


def program(tx):
    """Return the jitted step: state first, in and out, so that donation is in place."""

    def step(state, params, gradients):
        updates, state = tx.update(gradients, state, params)
        return state, optax.apply_updates(params, updates)

    return jax.jit(step, donate_argnums=(0, 1))


def main():
    parser = argparse.ArgumentParser(description=question(__doc__))
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--coefficients", default="standard", choices=_COEFFICIENTS)
    parser.add_argument("--no-write", action="store_true", help="print only")
    options = parser.parse_args()

    params = matrices(jax.random.key(0), options.width)
    gradients = matrices(jax.random.key(1), options.width)
    arguments = {"ns_coeffs": options.coefficients, "ns_steps": 5}
    transformations = {
        "jopt": jopt.muon(1e-3, **arguments),
        "optax": optax.contrib.muon(1e-3, **arguments),
    }
    programs, held, report = {}, {}, {}
    for name, tx in transformations.items():
        held[name] = (tx.init(params), jax.tree.map(jnp.copy, params))
        began = time.perf_counter()
        programs[name] = program(tx).lower(*held[name], gradients).compile()
        report[name] = {
            "dots": dots(programs[name].as_text()),
            "compile_seconds": time.perf_counter() - began,
        }

    times = {name: [] for name in programs}
    load_before = os.getloadavg()
    for round_ in range(options.rounds + 2):
        for name in random.sample(list(programs), len(programs)):
            began = time.perf_counter()
            held[name] = jax.block_until_ready(programs[name](*held[name], gradients))
            if round_ >= 2:
                times[name].append(1e3 * (time.perf_counter() - began))
    moved = {name: jax.tree.leaves(now) for name, (_, now) in held.items()}
    apart = max(
        float(jnp.max(jnp.abs(ours - theirs)))
        for ours, theirs in zip(moved["jopt"], moved["optax"], strict=True)
    )
    travelled = max(
        float(jnp.max(jnp.abs(now - before)))
        for now, before in zip(moved["optax"], jax.tree.leaves(params), strict=True)
    )
    assert apart < 1e-3 * travelled, "the two compute something else"

    for name, found in times.items():
        report[name] |= {"median_ms": statistics.median(found), "least_ms": min(found)}
    pairs = zip(times["optax"], times["jopt"], strict=True)
    report |= {
        "question": question(__doc__),
        "width": options.width,
        "layers": LAYERS,
        "matrices": len(jax.tree.leaves(params)),
        **arguments,
        "rounds": options.rounds,
        "ratio_of_medians": report["optax"]["median_ms"] / report["jopt"]["median_ms"],
        "median_of_ratios": statistics.median(a / b for a, b in pairs),
        "params_apart": apart,
        "params_travelled": travelled,
        "load": {"before": load_before, "after": os.getloadavg()},
        **surroundings(),
    }
    print(f"{'':8}{'dots':>8}{'median ms':>12}{'least ms':>12}{'compile s':>12}")
    for name in programs:
        row = report[name]
        print(
            f"{name:8}{row['dots']:8}{row['median_ms']:12.1f}{row['least_ms']:12.1f}"
            f"{row['compile_seconds']:12.2f}"
        )
    print(
        f"jopt is {report['ratio_of_medians']:.2f} times faster (median of the rounds' "
        f"ratios {report['median_of_ratios']:.2f}); load {load_before[0]:.2f} before, "
        f"{os.getloadavg()[0]:.2f} after, of {os.cpu_count()} cores"
    )
    if not options.no_write:
        keep(f"muon-{options.coefficients}-{options.width}", report)


_COEFFICIENTS = ("standard", "dion")


if __name__ == "__main__":
    main()
