"""Start sweeps in processes of their own and kill them.

    python tests/support/killed_sweeps.py --kills 100

kills sweeps of each kind at random moments, again and again, and fails if what is left
in the end differs in a bit from what a sweep leaves that was not killed.
"""

import argparse
import multiprocessing
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import toy

import jopt
from jopt import sweep
from jopt.sweep.store import RECORD
from jopt.sweep.store._checkpoints import NAME as CHECKPOINTS, PARTIAL, Checkpoints

SEGMENTS = 30

# One process loads the packages, and each sweep begins as a copy of it.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["jopt.sweep", "orbax.checkpoint"])


def task():
    """The task that the record names."""
    return toy.task(source="killed_sweeps:task")


def sgd(learning_rate, nesterov):
    """What the record names as the trials' factory."""
    return jopt.sgd(learning_rate, momentum=0.9, nesterov=nesterov)


def plain(directory=None, **options):
    """Trials of which one diverges."""
    rates = [0.003, 0.01, 0.03, 0.1, 1e38]
    trials = sweep.grid(jopt.adamw, learning_rate=rates)
    return _run(trials, directory, **options)


def folded(directory=None, **options):
    """Trials of two seeds on two folds, each trial in an order of its own."""
    trials = sweep.grid(jopt.adamw, learning_rate=[0.01, 0.1])
    options = {"folds": 2, "seeds": 2, "shuffle": "trial", "keep": "best", **options}
    return _run(trials, directory, **options)


def pruned(directory=None, **options):
    """Two structures, of which settings are pruned, and two trials that diverge."""
    rates = [0.003, 0.01, 0.03, 0.1, 0.3, 1e38]
    trials = sweep.grid(sgd, learning_rate=rates, nesterov=[False, True])
    pruner = sweep.SuccessiveHalving(min_resource=3, reduction_factor=2)
    return _run(trials, directory, pruner=pruner, **options)


def evolved(directory=None, **options):
    """A population, of which one trial diverges."""
    trials = sweep.grid(jopt.adamw, learning_rate=[1e-3, 3e-3, 1e-2, 0.1, 0.3, 1e38])
    rates = sweep.log_uniform(1e-4, 1e38)
    population = sweep.PopulationBasedTraining({"learning_rate": rates})
    return _run(trials, directory, population=population, **options)


def _run(trials, directory, **options):
    sizes: dict[str, Any] = {"steps": 4 * SEGMENTS, "segments": SEGMENTS, "block": 4}
    return sweep.run(task(), trials, directory=directory, **sizes, **options)


def train(started, directory):
    """Begin the sweep kept in `directory`, or go on with it; save what comes."""
    for name in ("altair", "vl_convert"):  # no pictures: they are slow to load
        sys.modules[name] = cast(Any, None)
    begun = (directory / RECORD / "header.json").exists()
    result = sweep.resume(directory, trust=True) if begun else started(directory)
    result.save(directory / "results")


def begin(started, directory):
    """Start a process that trains."""
    process = PROCESSES.Process(target=train, args=(started, directory))
    process.start()
    return process


def kill(process, directory, random):
    """Kill a process that trains, at a random moment."""
    _, kept = state(directory)
    next_ = 0 if kept is None else kept + 1
    moment = random.choice(["early", "segment", "save"])
    if moment == "early":  # it compiles, or restores, or is a segment on
        late = time.monotonic() + random.uniform(0, 2)
        _wait(
            lambda: time.monotonic() > late or (state(directory)[0] or -1) > next_,
            process,
        )
    elif moment == "segment":
        checkpoint = (
            directory / RECORD / CHECKPOINTS / str(next_ + random.randint(0, 1))
        )
        _wait(checkpoint.exists, process)
        time.sleep(random.uniform(0, 0.05))
    else:
        line = next_ + random.randint(0, 2)
        _wait(lambda: (state(directory)[0] or -1) >= line, process)
        _wait((directory / RECORD / CHECKPOINTS / PARTIAL).exists, process)
        time.sleep(random.uniform(0, 0.03))
    process.kill()
    process.join()
    noted, saved = state(directory)
    assert noted is None or noted - (-1 if saved is None else saved) <= 1
    assert process.exitcode == -signal.SIGKILL, "it had ended before it was killed"


def _wait(come, process):
    while not come() and process.is_alive():
        time.sleep(1e-4)


def results(directory):
    """Return the files of a sweep that tell what came of each trial, in bytes."""
    curves = np.load(directory / "results" / "curves.npz")
    arrays = {name: curves[name].tobytes() for name in curves.files}
    names = ("trials.csv", "best.json")
    return [(directory / "results" / name).read_bytes() for name in names], arrays


def state(directory):
    """Return the last segment that the record has, and that has a checkpoint."""
    files = (Path(directory) / RECORD / "segments").glob("*.npz")
    kept = Checkpoints(Path(directory) / RECORD).segments()
    noted = (int(file.stem) for file in files if file.stem.isdecimal())
    return max(noted, default=None), max(kept, default=None)


def killed(started, kills, seed, directory):
    """Kill a sweep so many times, and end it; return whether it came to the same.

    Returns whether all files of the results are equal, and no file is left over.
    """
    moments = random.Random(f"{started.__name__} {seed}")
    whole, cut_off = directory / "whole", directory / "cut off"
    processes = [begin(started, whole)]
    for _ in range(kills):
        kill(begin(started, cut_off), cut_off, moments)
    processes.append(begin(started, cut_off))
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    segments = [path.name for path in (cut_off / RECORD / "segments").iterdir()]
    assert sorted(segments) == sorted(f"{n}.npz" for n in range(SEGMENTS))
    return results(cut_off) == results(whole)


KINDS = {each.__name__: each for each in (plain, pruned, evolved, folded)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    rounds = -(-asked.kills // (10 * len(KINDS)))
    for seed in range(asked.seed, asked.seed + rounds):
        for name, started in KINDS.items():
            with tempfile.TemporaryDirectory() as directory:
                same = killed(started, 10, seed, Path(directory))
            print(f"{name}, killed 10 times: {'the same' if same else 'DIFFERS'}")
            if not same:
                sys.exit(1)


if __name__ == "__main__":
    main()
