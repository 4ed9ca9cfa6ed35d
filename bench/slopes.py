"""How do a sweep's costs grow from a hundred trials to ten thousand?

A tiny task: a line of 8 inputs, whose learning rates are swept with AdamW for 100 steps
in blocks of 100, 5 segments, with a record to resume from. Its steps cost next to
nothing, so what is left is the engine. Each size is a process of its own.

grid      seconds of the processor to make the trials
compile   the clock's, of all programs; it does not depend on the number
run       the processor's, of the whole sweep, compiling included
load      the processor's, to read the record again
memory    the growth of the peak, in bytes
store     bytes of the record, of which checkpoints
slope     of the logarithm from the second size to the last: 1 is as the number

    python bench/slopes.py
    python bench/slopes.py --quick
"""

import argparse
import itertools
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SIZES = (100, 1_000, 10_000)
STEPS, SEGMENTS, BLOCK = 100, 5, 100
MEASURES = ("grid", "compile", "run", "load", "memory", "store", "checkpoints")


def child(trials: int) -> dict[str, float]:
    """Train so many trials; return what it cost."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    import jopt
    from jopt import sweep

    def init(key: jax.Array) -> Any:
        return {"w": jax.random.normal(key, (8,))}, {}

    def loss(params: Any, state: Any, batch: Any, key: jax.Array) -> Any:
        inputs, outputs = batch
        return jnp.mean((inputs @ params["w"] - outputs) ** 2), state

    def evaluate(params: Any, state: Any, batch: Any) -> Any:
        inputs, outputs = batch
        return {"loss": (inputs @ params["w"] - outputs) ** 2}

    inputs = np.random.default_rng(0).normal(size=(256, 8)).astype(np.float32)
    data = inputs, inputs.sum(axis=1)
    task = sweep.Task.from_loss("line", init, loss, evaluate, data, data)

    def trial_rates(number: int) -> Any:
        rates = np.geomspace(1e-4, 1e-1, number)
        return sweep.grid(jopt.adamw, learning_rate=rates)

    how: Any = {"steps": STEPS, "segments": SEGMENTS, "block": BLOCK}
    sweep.run(task, trial_rates(BLOCK), **how)  # imports, and first calls
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sweep.clear_programs()
    with tempfile.TemporaryDirectory() as directory:
        moments = [time.process_time()]
        asked = trial_rates(trials)
        moments.append(time.process_time())
        result = sweep.run(task, asked, directory=directory, overwrite=True, **how)
        moments.append(time.process_time())
        growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        sweep.load(directory)
        moments.append(time.process_time())
        files = [path for path in Path(directory).rglob("*") if path.is_file()]
        sizes = {path: path.stat().st_size for path in files}
    grid, run, load = (b - a for a, b in itertools.pairwise(moments))
    kept = sum(s for path, s in sizes.items() if "checkpoints" in path.parts)
    return {
        "grid": grid,
        "compile": result.info["compile_seconds"],
        "run": run,
        "load": load,
        "memory": growth * 1024,
        "store": sum(sizes.values()),
        "checkpoints": kept,
    }


def measured(trials: int) -> dict[str, float]:
    """Return what a process says that trains so many trials."""
    command = [sys.executable, __file__, "--child", str(trials)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def slope(few: float, many: float, times: float) -> float:
    """Return the slope between two values, of logarithms."""
    return math.log(max(many, 1e-9) / max(few, 1e-9)) / math.log(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="100 and 200 trials")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(options.child)))
        return
    sizes = (100, 200) if options.quick else SIZES
    print(f"{'trials':>9}" + "".join(f"{name:>13}" for name in MEASURES))
    found = {}
    for trials in sizes:
        found[trials] = measured(trials)
        shown = "".join(f"{found[trials][name]:13.4g}" for name in MEASURES)
        print(f"{trials:9,}{shown}", flush=True)
    few, many = sizes[-2:]
    slopes = {
        name: slope(found[few][name], found[many][name], many / few)
        for name in MEASURES
    }
    print(f"{'slope':>9}" + "".join(f"{s:13.2f}" for s in slopes.values()))
    if options.quick:
        return
    from record import keep, question, versions  # they import jax

    report = {
        "question": question(__doc__),
        "command": "python bench/slopes.py",
        "versions": versions(),
        "device": {"kind": "cpu"},
        "steps": STEPS,
        "segments": SEGMENTS,
        "block": BLOCK,
        "by_trials": found,
        "slopes": slopes,
    }
    keep("slopes", report)


if __name__ == "__main__":
    main()
