"""Workers of a shared study in processes of their own, which end at a given moment."""

import itertools
import os
import signal
from pathlib import Path
from typing import Any

import optuna
import toy
from killed_sweeps import PROCESSES

import jopt
from jopt import sweep
from jopt.sweep import _worker
from jopt.sweep.fleet import _fleet, _journal

TASK = toy.task()
SPACE = sweep.Space(
    jopt.adamw,
    learning_rate=sweep.log_uniform(1e-4, 1e30),  # the upper end diverges
    b2=sweep.uniform(0.9, 0.999),
)
SIZES: dict[str, Any] = {"steps": 8, "segments": 2, "block": 4}
SEARCH: dict[str, Any] = {**SIZES, "trials": 8, "batch": 4, "sampler": sweep.Sobol()}


def begun(path, **options):
    """Begin a study, and train nothing."""
    from jopt.sweep._run import planned

    asked = {**SEARCH, **options}
    sampler, trials, batch = (asked.pop(n) for n in ("sampler", "trials", "batch"))
    names = ("steps", "segments", "block", "pruner")
    given = {name: asked.get(name) for name in names}
    others = dict.fromkeys(("epochs", "batch_size", "metric", "mode"))
    others |= dict.fromkeys(("objectives", "bounds"))
    more: Any = {**given, **others, "seeds": 1, "folds": 1, "seed": 0}
    plan = planned("search", TASK, **more, shuffle="seed")
    held: dict[str, Any] = {"batch": batch}
    place = _fleet.Place.of(path)
    return _worker.begin(place, plan, SPACE, sampler, held, [], trials, 0)


def work(path, moment=None):
    """Train the study until it is finished, or until the moment comes."""
    if moment is not None:
        MOMENTS[moment]()
    _fleet.GRACE = 2.0
    sweep.work(path, TASK, SPACE, callbacks=CALLBACKS)


def start(path, moment=None):
    process = PROCESSES.Process(target=work, args=(os.fspath(path), moment))
    process.start()
    return process


CALLBACKS: list[Any] = []
# What is patched in a process that is to end.
FLEET: Any = _fleet.Fleet
WORKER: Any = _worker.Worker
JOURNAL: Any = _journal.GroupedJournal
STORAGE: Any = optuna.storages.JournalStorage


def _kill(*_, sign=signal.SIGKILL):
    os.kill(os.getpid(), sign)


def _after_the_claim():
    claimed: Any = _fleet.Fleet._claimed
    FLEET._claimed = lambda *given: (claimed(*given), _kill())


def _in_a_write():
    """Half of the second group of a block's records is on the disk."""
    written, numbers = _journal.GroupedJournal._write, itertools.count()

    def write(journal):
        if len(journal._held) < 4 or next(numbers) < 1:
            return written(journal)
        before = Path(journal.path).stat().st_size
        written(journal)
        after = Path(journal.path).stat().st_size
        os.truncate(journal.path, (before + after) // 2)
        _kill()

    JOURNAL._write = write


def _between_segments():
    CALLBACKS.append(_kill)


def _before_it_tells():
    WORKER._tell = _kill


def _between_tells():
    tell: Any = optuna.storages.JournalStorage.set_trial_state_values
    numbers = itertools.count()

    def told(storage, *given):
        if next(numbers) == 1:
            _kill()
        return tell(storage, *given)

    STORAGE.set_trial_state_values = told


def _stopped():
    """It stands still after a segment, until it is continued."""
    numbers = itertools.count()
    CALLBACKS.append(lambda _: next(numbers) or _kill(sign=signal.SIGSTOP))


MOMENTS = {
    "after the claim": _after_the_claim,
    "in a write": _in_a_write,
    "between segments": _between_segments,
    "before it tells": _before_it_tells,
    "between tells": _between_tells,
    "stopped": _stopped,
}
