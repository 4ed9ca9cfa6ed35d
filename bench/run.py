"""Run the benchmarks of a training step, one after the other, and print one table.

    python bench/run.py --quick     small, 5 minutes on 2 cores, results are not kept
    python bench/run.py             in full, bench/results/NAME-DEVICE.json written; the
                                    minutes that optax compiles 10,000 leaves are in it
    python bench/run.py --target h100_sxm.txtpb     h100_hlo.py too, for that chip

On Linux all scripts run with an allocator that keeps the memory that it was given:
XLA's temporary arrays, which are optax's too, are otherwise new pages in every call.
What a script prints goes to standard error; the table of all rows, measure, aim, what
was found, pass or miss, to standard output. Exits with 1 if a script fails, and after a
full run if a row misses its aim. Run nothing else beside it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from record import line, question

HERE = Path(__file__).parent
SCRIPTS = ("memory", "compile", "accumulate", "step", "train_step", "low_bit")
ALOFT = "h100_hlo"  # for another device, where --target describes it
BY_EXIT = ("low_bit", ALOFT)  # scripts that write no rows: whether they exit with 0
LONGEST = 600, 7200  # seconds of a script, quick and in full
KEPT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 34)}  # glibc's


def ran(
    name: str, quick: bool, target: Path | None, path: Path
) -> tuple[list[dict[str, Any]], str]:
    """Run a script; return its rows, and a sentence on how it went."""
    script = HERE / f"{name}.py"
    if not script.exists():
        return [], "is not there"
    command = [sys.executable, str(script), *["--quick"] * quick]
    command += ["--json", str(path)] if name not in BY_EXIT else []
    command += ["--all"] if name == "step" and not quick else []
    command += ["--target", str(target)] if name == ALOFT and target else []
    began = time.perf_counter()
    try:
        # Its table and its progress are beside the one table of this script.
        done = subprocess.run(
            command,
            stdout=sys.stderr,
            timeout=LONGEST[not quick],
            env={**KEPT, **os.environ},
        )
    except subprocess.TimeoutExpired:
        return [], f"failed: not done after {LONGEST[not quick]} s"
    took = f"{time.perf_counter() - began:.0f} s"
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    rows = [row for row in rows if {"measure", "found", "aim"} <= row.keys()]
    if done.returncode and not rows:
        return [], f"failed: it exited with {done.returncode} after {took}"
    return rows, f"{took}, {len(rows) or 'no'} rows"


def main() -> None:
    parser = argparse.ArgumentParser(description=question(__doc__))
    parser.add_argument("--quick", action="store_true", help="small, results not kept")
    parser.add_argument("--only", nargs="+", help="these scripts, by name")
    parser.add_argument(
        "--target", type=Path, help=f"for {ALOFT}, which is run with it"
    )
    options = parser.parse_args()
    scripts = (*SCRIPTS, ALOFT) if options.target else SCRIPTS
    began, load, found, said = time.perf_counter(), os.getloadavg(), {}, {}
    with tempfile.TemporaryDirectory() as directory:
        for name in options.only or scripts:
            print(f"\n== {name}", file=sys.stderr, flush=True)
            path = Path(directory, f"{name}.json")
            found[name], said[name] = ran(name, options.quick, options.target, path)
    print(f"{'measure':58}{'aim':>9}{'found':>17}")
    for name, rows in found.items():
        print(f"-- {name}: {said[name]}")
        for row in rows:
            print(line(row))
    every = [row for rows in found.values() for row in rows]
    missed = [row["measure"] for row in every if row["kept"] is False]
    took = time.perf_counter() - began
    print(f"\n{len(every)} rows, {len(missed)} missed, {took:.0f} s", end="; ")
    print(f"load {load[0]:.1f} before")
    failed = [name for name, words in said.items() if words.startswith("failed")]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")
    if missed and not options.quick:
        sys.exit(f"missed: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
