"""How long does `jopt sweep` take from nothing to its files, and on what?

Each run is a process of its own that trains scikit-learn's digits, as `jopt sweep` does
without arguments. It is cut into five stages:

    start      Python, what the command imports, the task and its data
    compile    checking, tracing, compiling and picking the block, to the first result
    train      from the first result to the last
    files      tables, pictures, the page, the record's end and the models
    end        until the process is gone

`cold` has an empty folder for what the command keeps; `cached` has the folder that a
cold run has filled. With `--beside`, the tree of another version of jopt takes turns
with this one. The aims are those of version 0.1 (commit 1e1875b), which keeps nothing:
a cold run of this version in 0.6 of its time, a cached one in 0.4. Times are medians of
seconds of the clock, or with `--cpu` of processor time: of the process, its threads
and its children, which a busy machine changes less.

    python bench/cold.py
    python bench/cold.py --beside ../jopt-0.1 --rounds 5
    python bench/cold.py --quick
"""

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

STAGES = ("start", "compile", "train", "files", "end")
AIMS = {"cold": 0.6, "cached": 0.4}  # of the other version's time
SMALL = ["--learning-rate", "1e-3:1e-2:4", "--steps", "60"]
OLD = "jax_compilation_cache_dir"


def now(clock: bool) -> float:
    """Return the seconds of the clock, or those that this process has computed."""
    if clock:
        return time.time()
    kinds = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    used = [resource.getrusage(kind) for kind in kinds]
    return sum(each.ru_utime + each.ru_stime for each in used)


def child(path: Path, words: list[str]) -> int:
    """Run the command, and write the moments between its stages to `path`."""
    from jopt import cli, sweep

    moments: list[tuple[float, float]] = []
    run = sweep.run

    def moment() -> tuple[float, float]:
        return now(True), now(False)

    def marked(*given: Any, progress: Any, **named: Any) -> Any:
        def show(*told: Any) -> None:
            seen.append(moment())
            progress(*told)

        seen: list[tuple[float, float]] = []
        began = moment()
        result = run(*given, progress=show, **named)
        moments.extend([began, seen[0], moment()])
        return result

    sweep.run = marked
    status = cli.main(words)
    path.write_text(json.dumps([*moments, moment()]))
    return status


def ran(tree: Path, kept: Path, words: list[str]) -> dict[str, list[float]]:
    """Return the seconds of each stage of a run: of the clock, and computed."""
    with tempfile.TemporaryDirectory() as made:
        path = Path(made, "moments.json")
        words = [*words, "--out", str(Path(made, "out"))]
        given = {"PYTHONPATH": str(tree), "XDG_CACHE_HOME": str(kept)}
        command = [sys.executable, __file__, "--child", str(path), *words]
        environment = {k: v for k, v in os.environ.items() if OLD not in k.lower()}
        before = time.time(), computed()
        subprocess.run(
            command,
            env={**environment, **given, "MPLBACKEND": "Agg"},
            cwd=made,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        after = time.time(), computed()
        moments = json.loads(path.read_text())
    clock, cpu = zip(*moments, strict=True)
    # A process computes from 0 on; the clock goes on.
    edges = {"clock": [before[0], *clock, after[0]]}
    edges["cpu"] = [0.0, *cpu, after[1] - before[1]]
    return {
        kind: [b - a for a, b in itertools.pairwise(at)] for kind, at in edges.items()
    }


def computed() -> float:
    """Return the processor time of the runs until now."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def medians(runs: list[dict[str, list[float]]], kind: str) -> dict[str, float]:
    """Return the median seconds of each stage, and of the whole."""
    stages = zip(STAGES, zip(*(run[kind] for run in runs), strict=True), strict=True)
    found = {stage: statistics.median(seconds) for stage, seconds in stages}
    return found | {"all": statistics.median(sum(run[kind]) for run in runs)}


def show(found: Mapping[str, Mapping[str, Mapping[str, float]]], kind: str) -> None:
    """Print a table of seconds: a row a way, a column a stage."""
    print(f"{kind:24}" + "".join(f"{stage:>9}" for stage in (*STAGES, "all")))
    for way, kinds in found.items():
        print(f"{way:24}" + "".join(f"{s:9.2f}" for s in kinds[kind].values()))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="4 trials of 60 steps")
    parser.add_argument("--beside", type=Path, help="the tree of another version")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cpu", action="store_true", help="aims are of processor time")
    options = parser.parse_args()
    from record import cores, keep, versions  # they import jax

    words = ["sweep", *(SMALL if options.quick else [])]
    ours = Path(__file__).resolve().parent.parent
    rounds = 1 if options.quick else options.rounds
    runs: dict[str, list[dict[str, list[float]]]] = {}
    with tempfile.TemporaryDirectory() as caches:
        for turn in range(rounds):
            kept = Path(caches, str(turn))
            ways = {"cold": ours, "cached": ours}
            if options.beside:
                other = {"beside": options.beside.resolve()}
                # The other version is not always the one that comes first.
                ways = other | ways if turn % 2 else ways | other
            for way, tree in ways.items():
                to = kept if tree == ours else Path(caches, f"beside-{turn}")
                runs.setdefault(way, []).append(ran(tree, to, words))
                spent = {kind: sum(s) for kind, s in runs[way][-1].items()}
                told = ", ".join(f"{s:.1f} s {kind}" for kind, s in spent.items())
                print(f"    round {turn + 1}: {way} {told}", file=sys.stderr)
    kinds = ("clock", "cpu")
    found = {way: {kind: medians(r, kind) for kind in kinds} for way, r in runs.items()}
    for kind in kinds:
        show(found, kind)
    judged = "cpu" if options.cpu else "clock"
    ratios = {}
    for way, aim in AIMS.items() if options.beside else ():
        ratios[way] = found[way][judged]["all"] / found["beside"][judged]["all"]
        verdict = "pass" if ratios[way] <= aim else "MISS"
        print(f"{way}: {ratios[way]:.2f} of the other's {judged}, aim {aim}: {verdict}")
    if not options.quick:
        report = {
            "question": (__doc__ or "").partition("\n")[0],
            "command": " ".join(["python", "bench/cold.py", *sys.argv[1:]]),
            "versions": versions(),
            "device": {"kind": "cpu"},
            "cores": cores(),
            "load": os.getloadavg(),
            "rounds": rounds,
            "seconds": found,
            "of_the_other": ratios,
            "judged_by": judged,
        }
        keep("cold", report)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        sys.exit(child(Path(sys.argv[2]), sys.argv[3:]))
    main()
