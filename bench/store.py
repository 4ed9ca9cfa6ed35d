"""What does the record of a sweep cost: seconds of training, bytes, seconds to open?

digits     64 learning rates of AdamW, trained with a record and without one, in turn:
           the seconds of training with it over those without
tiny       10,000 trials of two weights each: bytes on the disk, seconds spent on
           writing, seconds to load the result and to make its page

A segment is written while the next one is trained, so writing costs what it takes of
the cores. A crash loses at most the segment that is being written and the one in
training.

    python bench/store.py
    python bench/store.py --quick           fewer trials, no results
"""

import statistics
import tempfile
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from record import Record, arguments

import jopt
from jopt import report, sweep
from jopt.sweep.store import Store
from jopt.tasks import digits

MOST = 1.05  # times the seconds without a record
ROUNDS = 5


def trained(task, trials, directory=None, **options):
    """Return the result of a sweep."""
    return sweep.run(task, trials, directory=directory, overwrite=True, **options)


def slower(trials, rounds, **options):
    """Return the seconds of training with a record and without, medians of rounds."""
    seconds = {"with": [], "without": []}
    grid = sweep.grid(jopt.adamw, learning_rate=np.geomspace(1e-5, 1, trials))
    for _ in range(rounds):
        for way in seconds:
            with tempfile.TemporaryDirectory() as place:
                kept = {"directory": Path(place) / "sweep"} if way == "with" else {}
                result = trained(digits(), grid, **kept, **options)
            seconds[way].append(result.info["train_seconds"])
    return {way: statistics.median(found) for way, found in seconds.items()}


def tiny():
    """Return a task of two weights, without data."""

    def init(config, key):
        return jnp.zeros(2, jnp.float32)

    def step(config, state, batch, key):
        loss = jnp.sum((state - 1.0) ** 2)
        return state - config["rate"] * 2.0 * (state - 1.0), {"loss": loss}

    def evaluate(config, state, batch, key):
        return {"loss": jnp.sum((state - 1.0) ** 2)}

    return sweep.Task("tiny", init, step, evaluate)


def timed(function, *args):
    """Return the seconds of a call, and what it returned."""
    began = time.perf_counter()
    found = function(*args)
    return time.perf_counter() - began, found


def writing(seconds):
    """Add the seconds of each save to a list; return what undoes that."""
    save = Store.save

    def timed_save(self, *args):
        took, _ = timed(save, self, *args)
        seconds.append(took)

    Store.save = timed_save
    return lambda: setattr(Store, "save", save)


def main():
    """Measure, print and write the rows."""
    options = arguments(__doc__).parse_args()
    record = Record("store", __doc__, options)
    few = options.quick
    found = slower(8 if few else 64, 1 if few else ROUNDS, steps=40 if few else 320)
    ratio = found["with"] / found["without"]
    record.add_bound(
        "digits, training with a record", ratio, "times", MOST, seconds=found
    )
    trials = 200 if few else 10_000
    grid = sweep.grid(dict, rate=np.linspace(0.01, 0.4, trials))
    with tempfile.TemporaryDirectory() as place:
        directory, seconds = Path(place) / "sweep", []
        undo = writing(seconds)
        result = trained(tiny(), grid, directory, steps=100, block=min(trials, 1000))
        undo()
        files = [path for path in directory.rglob("*") if path.is_file()]
        sizes = {"record": sum(path.stat().st_size for path in files)}
        load, loaded = timed(sweep.load, directory)
        np.testing.assert_array_equal(loaded.curves, result.curves)
        page = directory / "report.html"
        draw, _ = timed(report.write, loaded, page)
        sizes["page"] = page.stat().st_size
    name = f"tiny, {trials:,} trials"
    curves = 4 * trials * 100
    took = result.info["train_seconds"]
    for what, value, unit, most in (
        ("record over its curves", sizes["record"] / curves, "times", 3.0),
        ("writing, of the training's seconds", sum(seconds) / took, "times", 1.0),
        ("load", load, "s", 5.0),
        ("page", draw, "s", 60.0),
        ("page", sizes["page"] / 1e6, "MB", 20.0),
    ):
        record.add_bound(f"{name}: {what}", value, unit, most)
    record.more |= {"bytes": sizes, "save_seconds": seconds, "train_seconds": took}
    record.write()


if __name__ == "__main__":
    main()
