"""A script: one process of a job of several, which train a sweep together.

    python tests/support/job.py PROCESS NUMBER PORT ACTION DIRECTORY

writes what the process has seen of the sweep to DIRECTORY/seen-PROCESS.
"""

import os
import pickle
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 1)
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    jax.config.update("jax_numpy_rank_promotion", "raise")
    address = f"127.0.0.1:{sys.argv[3]}"
    jax.distributed.initialize(address, int(sys.argv[2]), int(sys.argv[1]))

from killed_sweeps import KINDS, task

import jopt
from jopt import sweep

SUPPORT = Path(__file__).parent


def seen(result):
    """All that came of a sweep, in bytes; the models of the trials at hand, too."""
    models = {}
    for positions, stacked in result._models:
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(stacked)]
        for place, trial in enumerate(positions.tolist()):
            models[trial] = [leaf[place].tobytes() for leaf in leaves]
    tables = result.table, result.valid, result.train
    return {
        "tables": [{n: c.tobytes() for n, c in table.items()} for table in tables],
        "curves": result.curves.tobytes(),
        "models": models,
        "best": result.best and (result.best.trial, result.best.valid),
        "tested": result.best and result.best.test,
        "interrupted": result.info["interrupted"],
        "lineage": result.lineage and result.lineage.as_dict(),
    }


def trained(kind, directory):
    """Begin a sweep, or resume it."""
    if (directory / "record" / "header.json").exists():
        return sweep.resume(directory, trust=True)
    return KINDS[kind](directory)


def signalled(name, segment, directory):
    """Begin a sweep whose last process gets a signal after a segment."""

    def callback(now):
        if now.number == segment and jax.process_index() == jax.process_count() - 1:
            os.kill(os.getpid(), getattr(signal, name))

    return KINDS["pruned"](directory, callbacks=[callback])


def failing(directory):
    """Begin a sweep whose last process raises an error after a segment."""

    def callback(now):
        if now.number == 2 and jax.process_index() == jax.process_count() - 1:
            raise ValueError("not this time")

    return KINDS["plain"](directory, callbacks=[callback])


def refused(directory):
    """Ask for what a job cannot do; return the sentences."""
    every: dict[str, Any] = {"devices": jax.devices()}
    others: dict[str, Any] = {}
    said = []
    for rate, options in ((0.1, every), (0.1 + 0.1 * jax.process_index(), others)):
        trials = sweep.grid(jopt.sgd, learning_rate=rate)
        try:
            sweep.run(task(), trials, steps=2, segments=1, block=1, **options)
        except ValueError as error:
            said.append(str(error))
    return said


def start(number, action, *rest, directory):
    """Start a job; return what its processes wrote, exit statuses, and errors."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [str(number), str(port), action, *map(str, rest), str(directory)]
    run = [sys.executable, "-W", "error", "-W", "ignore:Error reading persistent"]
    jobs = [
        subprocess.Popen(
            [*run, __file__, str(process), *words],
            stderr=subprocess.PIPE,
            cwd=SUPPORT,
            text=True,
        )
        for process in range(number)
    ]
    errors = [job.communicate()[1] for job in jobs]
    return [job.returncode for job in jobs], errors


def written(directory, process):
    """What a process has seen."""
    return pickle.loads((directory / f"seen-{process}").read_bytes())


def main():
    action, *rest, place = sys.argv[4:]
    directory = Path(place)
    if action == "signalled":
        found = seen(signalled(rest[0], int(rest[1]), directory))
    elif action == "failing":
        found = seen(failing(directory))
    elif action == "refused":
        found = refused(directory)
    else:
        found = seen(trained(action, directory))
    (directory / f"seen-{jax.process_index()}").write_bytes(pickle.dumps(found))


if __name__ == "__main__":
    main()
