"""How many trials a second each storage carries, with one worker and with several.

    python bench/fleet.py [--quick] [--url postgresql://user@host/database]

A worker claims blocks of 64 settings, tells 3 observations of each, and what came of
them: everything that a fleet asks of a storage, and no training. The plain journal is
Optuna's own, whose every record is a write and an fsync of its own.
"""

import argparse
import contextlib
import json
import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

import jopt
from jopt import sweep
from jopt.sweep.fleet import Fleet, Place
from jopt.sweep.fleet._place import Opened
from jopt.sweep.proposals import Earlier, quiet

BLOCK, REPORTS = 64, 3
SPACE = sweep.Space(
    jopt.adamw,
    learning_rate=sweep.log_uniform(1e-5, 1),
    weight_decay=sweep.log_uniform(1e-4, 1),
    b1=sweep.uniform(0.8, 0.99),
    b2=sweep.uniform(0.9, 0.9999),
)
RESULT = "r" * 700  # of a trial of 100 steps


class PlainPlace(Place):
    """A journal whose records are written one by one, as Optuna does it."""

    def opened(self, new: bool = False) -> Opened:
        backend = JournalFileBackend(self.address)
        return Opened(JournalStorage(backend), contextlib.nullcontext)


def settings(block: int, *_: Any) -> list[dict[str, float]]:
    return [
        {
            "learning_rate": 1e-5 + (block * BLOCK + row) * 1e-6,
            "weight_decay": 0.01,
            "b1": 0.9,
            "b2": 0.99,
        }
        for row in range(BLOCK)
    ]


def carry(place: Place, blocks: int, begin: Any, ended: Any) -> None:
    """Do all that a worker does but train, for as many blocks; say how long it took."""
    with quiet():
        fleet = Fleet(place)
        begin.wait()
        began, cpu = time.perf_counter(), time.process_time()
        for _ in range(blocks):
            claim = fleet.claim(SPACE, {"batch": BLOCK}, settings)
            if claim is None:  # the others have claimed all
                break
            rows = range(len(claim.ids))  # fewer where two claim at the same moment
            for segment in range(1, REPORTS + 1):
                fleet.observe(claim, dict.fromkeys(rows, 0.5), segment)
                fleet.rows()
            known = [Earlier(s, [0.5]) for s in claim.settings]
            fleet.tell(claim, known, [RESULT] * len(rows))
        ended.put((time.perf_counter() - began, time.process_time() - cpu))


def measured(place: Place, workers: int, blocks: int) -> dict[str, float]:
    """Return the trials a second of all workers, and the CPU seconds a trial."""
    with quiet():
        fleet = Fleet(place, ["min"])
        fleet.set("jopt:trials", workers * blocks * BLOCK)
    context = multiprocessing.get_context("spawn")
    begin, ended = context.Barrier(workers), context.Queue()
    given = place, blocks, begin, ended
    processes = [context.Process(target=carry, args=given) for _ in range(workers)]
    for process in processes:
        process.start()
    times = [ended.get() for _ in processes]
    for process in processes:
        process.join()
    trials = workers * blocks * BLOCK
    return {
        "trials_per_second": trials / max(wall for wall, _ in times),
        "cpu_seconds_per_trial": sum(cpu for _, cpu in times) / trials,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--url", action="append", default=[], help="servers as well")
    asked = parser.parse_args()
    several = 2 if asked.quick else 4
    blocks = 1 if asked.quick else 4
    kinds: dict[str, Any] = {"journal, grouped": Place, "journal, plain": PlainPlace}
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as directory:
        for workers in (1,) if asked.quick else (1, several):
            for name, kind in kinds.items():
                path = str(Path(directory) / f"{name} {workers}")
                own = found.setdefault(name, {})
                own[f"{workers}"] = measured(kind(path), workers, blocks)
            if not asked.quick:
                for number, url in enumerate(["sqlite", *asked.url]):
                    if url == "sqlite" and workers > 1:
                        continue
                    name = url.partition("://")[0]
                    address = f"sqlite:///{directory}/study.db" * (url == "sqlite")
                    study = f"bench-{workers}-{number}-{time.time():.0f}"
                    place = Place(address or url, study)
                    own = found.setdefault(name, {})
                    own[f"{workers}"] = measured(place, workers, 1)
                    print(f"{name}, {workers}: {own[f'{workers}']}", flush=True)
    rates = {
        n: {w: v["trials_per_second"] for w, v in o.items()} for n, o in found.items()
    }
    ratio = rates["journal, grouped"]["1"] / rates["journal, plain"]["1"]
    print(f"{'storage':20}{'workers':>8}{'trials/s':>10}{'CPU ms a trial':>16}")
    for name, of in found.items():
        for workers, values in of.items():
            cpu = 1e3 * values["cpu_seconds_per_trial"]
            rate = values["trials_per_second"]
            print(f"{name:20}{workers:>8}{rate:10.0f}{cpu:16.2f}")
    print(f"grouped against plain, one worker: {ratio:.1f} times")
    content = {"provisional": True, "block": BLOCK, "reports": REPORTS}
    content |= {"storages": found, "grouped_over_plain": ratio}
    if not asked.quick:
        path = Path(__file__).parent / "results" / "fleet-cpu.json"
        path.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
