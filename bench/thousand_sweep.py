"""The sweep that thousand.py measures, in a process of its own; prints one JSON line.

A few trials are swept first, with the same block and all that is watched: what JAX,
XLA and the files need whatever the number of trials is in the memory before.
"""

import contextlib
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console

import jopt
from jopt import sweep
from jopt.cli.display import Display
from jopt.sweep._loop import Loop
from jopt.sweep._plan import Plan, base_key
from jopt.sweep._trial import stack
from jopt.sweep.engine import StackedTrials, _devices as devices
from jopt.sweep.engine._program import Program
from jopt.sweep.store import surroundings
from jopt.tasks import digits

KILO = 1 if sys.platform == "darwin" else 1024  # what ru_maxrss counts in


def peak():
    """Return the most bytes of memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KILO


class Clock:
    """Adds up the seconds within functions."""

    def __init__(self):
        self.seconds = {}

    @contextlib.contextmanager
    def on(self, owner, name, now=time.perf_counter):
        """Count the seconds within `owner.name`, by the clock `now`."""
        inner = getattr(owner, name)
        self.seconds.setdefault(name, 0.0)

        def outer(*args, **kwargs):
            began = now()
            try:
                return inner(*args, **kwargs)
            finally:
                self.seconds[name] += now() - began

        setattr(owner, name, outer)
        yield
        setattr(owner, name, inner)


def watched(task, trials, options, directory, clock):
    """Sweep with the display on a terminal that nobody sees, and with a callback."""
    seen, peaks = [], {}

    def callback(segment):
        seen.append(
            float(segment.valid["loss"][segment.alive, segment.number - 1].min())
        )

    with contextlib.ExitStack() as stack_:
        nobody = stack_.enter_context(open(os.devnull, "w"))
        console = Console(file=nobody, force_terminal=True, width=120)
        show = stack_.enter_context(Display(console, list(trials[0].hyperparameters)))
        stack_.enter_context(clock.on(Loop, "run", time.process_time))
        stack_.enter_context(clock.on(Loop, "_keep"))
        stack_.enter_context(clock.on(Loop, "_saved"))  # before a callback
        # Of a core, so that a busy machine is no matter; it draws in its own thread.
        watching = (Loop, "_tell"), (Loop, "_call_back"), (show.bar.live, "refresh")
        for owner, name in watching:
            stack_.enter_context(clock.on(owner, name, time.thread_time))

        def progress(now):
            if not peaks:
                peaks["ready"], clock.seconds["refresh"] = peak(), 0.0  # of compiling
            show(now)

        result = sweep.run(
            task,
            trials,
            progress=progress,
            callbacks=[callback],
            directory=directory,
            **options,
        )
    assert len(seen) == options["segments"]
    return result, {**peaks, "trained": peak()}


def said(task, trials, options):
    """Return the bytes that the sweep's own analysis says are needed, by what for."""
    plan = Plan(
        task, task.batch_size, options["steps"], options["segments"], base_key(0)
    )
    call = plan.batches(0)[0]
    configs, data = stack([trial.config for trial in trials]), plan.data()
    program = Program(
        StackedTrials(task, configs, plan.starts(trials), data, call),
        options["block"],
        call,
    )
    a_trial = devices.bytes_of(program.shapes[0]) / program.block
    return {
        "trials": round(a_trial * len(trials)),
        "call": program.bytes,
        "data": devices.bytes_of(data),
        "curves": len(trials) * options["steps"] * 4,
        "bytes_a_trial": a_trial,
    }


def main():
    given = json.loads(sys.argv[1])
    number, on_disk = given.pop("trials"), given.pop("directory")
    task = digits()
    rates, decays = np.geomspace(1e-5, 1e-1, number // 10), np.geomspace(1e-4, 1, 10)
    trials = sweep.grid(jopt.adamw, learning_rate=rates, weight_decay=decays)
    peaks = {"imported": peak()}
    with tempfile.TemporaryDirectory() as parent:
        directories = [Path(parent, name) if on_disk else None for name in "ab"]
        few = trials[: 2 * given["block"]]
        result, _ = watched(task, few, given, directories[0], Clock())
        if directories[0] is not None:
            result.save(directories[0])
        peaks["few"], clock = peak(), Clock()
        began = time.perf_counter()
        result, seen = watched(task, trials, given, directories[1], clock)
        total, peaks, saving, size = time.perf_counter() - began, peaks | seen, 0.0, 0
        if directories[1] is not None:
            began = time.perf_counter()
            result.save(directories[1])
            saving, peaks["saved"] = time.perf_counter() - began, peak()
            files = [path for path in directories[1].rglob("*") if path.is_file()]
            size = sum(path.stat().st_size for path in files)
    info = result.info
    found = {
        "train_seconds": info["train_seconds"],
        "total_seconds": total,
        "trial_steps": info["trial_steps"],
        "segment_compiles": info["segment_compiles"],
        "seconds": clock.seconds,
        "save_seconds": saving,
        "directory_bytes": size,
        "peaks": peaks,
        "said": said(task, trials, given),
        "load": os.getloadavg(),
        **surroundings(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
