"""How fast is jopt on an accelerator, beside optax and beside the device's ceilings?

Each case of bench/gpu_cases.py runs in a process of its own, in this order, and prints
a JSON line as soon as something is measured. This script writes the line to a file at
once. A case that takes longer than its budget is killed, one that fails is recorded
with its error, and the next one runs; one for which no time is left is recorded as
skipped. So a run that is killed has lost nothing that it had measured: `--table` reads
its file.

    python bench/gpu.py                          eight minutes, into bench/results/
    python bench/gpu.py --quick                  every case small, also on a CPU; into
                                                 the system's temporary directory
    python bench/gpu.py --only gpt2              some cases, and the ceilings
    python bench/gpu.py --table FILE.jsonl       the table of an earlier run

Every ratio is of medians of programs that took turns in one process, compile time
apart. A fraction is of a ceiling that the same run measured:

    copy    bytes that must be read and written, over the bandwidth of a 1 GiB copy
    bf16    operations of the model's matrix products, over the rate of bfloat16
    tf32    the same for float32 at the default precision, which is TF32 on a GPU

The script needs jax, flax, optax, orbax and scikit-learn, and torch for one column. It
runs from a checkout that is not installed, and downloads nothing. It uses one device.
"""

import argparse
import contextlib
import hashlib
import itertools
import json
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
FULL, QUICK, QUICK_ON_GPU = 8.0, 3.0, 2.0  # minutes in all
STARTING = 90.0  # seconds that the device may take to answer
LEAST = 10.0  # seconds that must be left for a case to start
ERROR = 4000  # characters of an error that are kept

# Seconds of eight minutes that a case may take at most. Together they are more: what a
# case leaves, the later ones may use.
BUDGETS = {
    "ceilings": 25,
    "mlp": 110,
    "gpt2": 125,
    "optimizer-1": 40,
    "optimizer-gpt2": 45,
    "optimizer-2000": 50,
    "cnn": 50,
    "halving": 40,
    "overheads": 40,
    "transformer": 60,
}


class Case(NamedTuple):
    """A command that prints rows as JSON lines, and the seconds that it may take."""

    name: str
    command: Sequence[str]
    seconds: float


class Results:
    """The lines of a run: each is written to a file before it is looked at."""

    def __init__(self, path: Path):
        self.path = path
        self.lines: list[dict[str, Any]] = []
        self.began = time.monotonic()
        path.touch(exist_ok=False)  # never an earlier run's file

    def add(self, line: dict[str, Any]) -> None:
        """Write a line, with the seconds since the run began."""
        line |= {"at": round(time.monotonic() - self.began, 3)}
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self.lines.append(line)

    @property
    def ceilings(self) -> dict[str, float]:
        """The rates that were measured: bytes and operations a second, by name."""
        return {k: v for row in self.lines for k, v in row.get("ceiling", {}).items()}


def run(cases: Sequence[Case], results: Results, deadline: float) -> None:
    """Run the cases one after another until `deadline`, a time of the monotonic clock.

    A case's command is given the end of its budget and the ceilings found so far.
    """
    for case in cases:
        left = deadline - time.monotonic()
        if left < LEAST:
            status = {"status": "skipped", "left_seconds": round(left, 1)}
            results.add({"case": case.name, **status})
            _say(f"{case.name}: skipped, {max(left, 0):.0f} s are left")
            continue
        began, load = time.monotonic(), os.getloadavg()
        _say(f"{case.name}, at most {min(case.seconds, left):.0f} s")
        try:
            status = _ran(case, results, min(case.seconds, left))
        except BaseException:
            results.add({"case": case.name, "status": "interrupted"})
            raise
        seconds = round(time.monotonic() - began, 1)
        told = {"seconds": seconds, "load": [load, os.getloadavg()]}
        results.add({"case": case.name, **status, **told})
        _say(f"{case.name}: {status['status']} after {seconds:.0f} s")


def _ran(case: Case, results: Results, seconds: float) -> dict[str, Any]:
    """Run a case, write its rows as they come, and return how it ended."""
    ends = time.monotonic() + seconds
    given = {"until": time.time() + seconds, "ceilings": results.ceilings}
    environment = {"JOPT_CASE": json.dumps(given), "PYTHONPATH": _python_path()}
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            case.command,
            stdin=subprocess.PIPE,  # the case ends itself when this end closes
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,  # a group, that is killed as a whole
            env=os.environ | environment,
        ) as process,
    ):
        lines: queue.Queue[bytes | None] = queue.Queue()
        reader = threading.Thread(target=_read, args=(process, lines), daemon=True)
        reader.start()
        try:
            done = _written(case.name, lines, results, ends)
            if done:  # all its output is here
                process.wait(timeout=max(1.0, ends - time.monotonic()))
        except subprocess.TimeoutExpired:
            done = False
        finally:
            _kill(process)
            reader.join(timeout=5)
        if not done:
            _written(case.name, lines, results, 0.0)  # what it had printed before
            return {"status": "killed", "budget_seconds": round(seconds, 1)}
        if process.returncode:
            return {"status": "failed", "error": _tail(errors) or process.returncode}
    return {"status": "done"}


def _read(process: subprocess.Popen[bytes], lines: queue.Queue[bytes | None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
    lines.put(None)


def _written(name: str, lines: Any, results: Results, ends: float) -> bool:
    """Write the lines until there are no more; return False if the time is over."""
    while True:
        try:
            line = lines.get(timeout=max(0.0, ends - time.monotonic()))
        except queue.Empty:
            return False
        if line is None:
            return True
        try:
            found = json.loads(line)
        except ValueError:  # cut by a kill, or not ours
            found = {"unreadable": line.decode(errors="replace").strip()}
        row = {"case": name, **found}
        results.add(row)
        if "row" in row:
            _say(shown(row))


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):  # the whole group has ended
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _tail(file: Any) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")[-ERROR:].strip()


def _python_path() -> str:
    paths = [str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    return os.pathsep.join(filter(None, paths))


def _say(words: str) -> None:
    print("   ", words, file=sys.stderr, flush=True)


TITLES = ("ms", "times faster than", "of the ceiling", "and")
WIDTHS = (44, 36, 34, 22)  # of the row's name and the first three


def shown(row: dict[str, Any]) -> str:
    """Return a row of the table: times, ratios, fractions, what is told, verdicts."""
    if "skipped" in row:
        return f"{row['row']:{WIDTHS[0]}}  skipped: {row['skipped']}"
    times = {k: v["median_ms"] for k, v in row.get("times", {}).items()}
    times = {k: v for k, v in times.items() if not k.startswith("block ")}
    fractions = {k: f"{v:.0%}" for k, v in row.get("fractions", {}).items()}
    told = [*_verdicts(row), _joined(row.get("told", {}))]
    cells = [_joined(times), _joined(row.get("ratios", {})), _joined(fractions)]
    return _columns(row["row"], *cells, "  ".join(filter(None, told)))


def _columns(*cells: str) -> str:
    *padded, last = cells
    pairs = zip(padded, WIDTHS, strict=True)
    return "  ".join([*(f"{cell:{width}}" for cell, width in pairs), last]).rstrip()


def _joined(values: dict[str, Any]) -> str:
    number = lambda v: f"{v:,.4g}" if isinstance(v, float) else str(v)  # noqa: E731
    return ", ".join(f"{name} {number(value)}" for name, value in values.items())


def _verdicts(row: dict[str, Any]) -> Iterator[str]:
    found = row.get("ratios", {}) | row.get("fractions", {})
    for name, aim in row.get("aims", {}).items():
        if name in found:
            verdict = "MISS" if found[name] < aim else "pass"
            yield f"[{verdict}: {name} {found[name]:.3g}, aim {aim:.3g}]"


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Return the table of a run: its device, and each case's end and rows."""
    head, statuses = lines[0], {x["case"]: x for x in lines if "status" in x}
    said = [f"{head['device']['kind']}, commit {head['commit']}, {head['versions']}"]
    said.append("\n" + _columns("", *TITLES))
    for name in dict.fromkeys(line["case"] for line in lines if "case" in line):
        status = statuses.get(name, {"status": "the run ended here"})
        took = f", {status['seconds']:.0f} s" if "seconds" in status else ""
        said.append(f"\n{name}: {status['status']}{took}")
        said += [shown(x) for x in lines if x.get("case") == name and "row" in x]
        said += str(status.get("error", "")).splitlines()[-1:]
    return "\n".join(said)


def read(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a file; a last one that was cut is left out."""
    *whole, _ = path.read_text().split("\n")
    return list(map(json.loads, whole))


def started(directory: Path, head: dict[str, Any]) -> Results:
    """Return a new run's results; its file is named after device, commit and time."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    name = "-".join([head["device"]["kind"], head["commit"], stamp])
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", name)
    directory.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        again = f"{name}-{number}" if number > 1 else name
        try:
            results = Results(directory / f"{again}.jsonl")
        except FileExistsError:
            continue  # a run of the same second
        results.add(head)
        return results
    raise AssertionError("the numbers do not end")


def commit() -> str:
    """Return the commit of this checkout, or a hash of its sources if it has none."""
    git = ["git", "-C", str(HERE), "describe", "--always", "--dirty", "--abbrev=10"]
    try:
        found = subprocess.run(git, capture_output=True, text=True, check=True)
        return found.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        paths = [*HERE.glob("*.py"), *HERE.parent.joinpath("jopt").rglob("*.py")]
        paths.sort()
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in paths))
        return f"sources.{digest.hexdigest()[:10]}"


def device() -> dict[str, Any]:
    """Return the device and the versions, as a process of its own finds them."""
    asking = subprocess.run(
        _command("device", []),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=STARTING,
        env=os.environ | {"PYTHONPATH": _python_path()},
    )
    if asking.returncode:
        sys.exit(
            f"gpu.py: JAX finds no device here:\n{asking.stderr.decode()[-ERROR:]}"
        )
    return json.loads(asking.stdout.splitlines()[-1])


def _command(name: str, options: Sequence[str]) -> list[str]:
    return [sys.executable, str(HERE / "gpu_cases.py"), name, *options]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, help="in all; default 8, quick 3 or 2")
    parser.add_argument("--quick", action="store_true", help="every case small")
    parser.add_argument("--only", metavar="NAME", help="cases whose names contain this")
    parser.add_argument("--out", type=Path, help="the directory of the results")
    parser.add_argument("--strict", action="store_true", help="exit 1 unless all ends")
    parser.add_argument("--table", type=Path, metavar="FILE", help="of an earlier run")
    options = parser.parse_args()
    if options.table:
        try:
            print(table(read(options.table)))
        except (OSError, ValueError) as error:
            parser.error(f"--table: {options.table} cannot be read: {error}")
        return
    if options.minutes is not None and not options.minutes > 0:
        parser.error(f"--minutes: must be above 0, got {options.minutes:g}")
    chosen = [name for name in BUDGETS if (options.only or "") in name]
    if not chosen:
        parser.error(f"--only: {options.only!r} is in none of {', '.join(BUDGETS)}")
    began = time.monotonic()
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")  # one device is measured
    try:
        found = device()
    except subprocess.TimeoutExpired:
        sys.exit(f"gpu.py: the device did not answer within {STARTING:.0f} s.")
    on_cpu = found["device"]["platform"] == "cpu"
    if on_cpu and not options.quick:
        parser.error("there is no accelerator here; --quick runs small on a CPU")
    minutes = options.minutes
    if minutes is None:
        minutes = (QUICK if on_cpu else QUICK_ON_GPU) if options.quick else FULL
    temporary = Path(tempfile.gettempdir(), "jopt-gpu")
    out = options.out or (temporary if options.quick else HERE / "results")
    head = {
        "command": " ".join(["python", "bench/gpu.py", *sys.argv[1:]]),
        "commit": commit(),
        "minutes": minutes,
        "quick": options.quick,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **found,
    }
    try:
        results = started(out, head)
    except OSError as error:
        parser.error(f"--out: {out} cannot be written: {error.strerror}")
    _say(f"{found['device']['kind']}: into {results.path}")
    flags = ["--quick"] if options.quick else []
    names = dict.fromkeys(["ceilings", *chosen])
    share = minutes / FULL
    share = max(share, 1.0) if options.quick else share
    budgets = {name: BUDGETS[name] * share for name in names}
    cases = [Case(name, _command(name, flags), budgets[name]) for name in names]
    signal.signal(signal.SIGTERM, _terminated)
    status = 0
    try:
        run(cases, results, began + 60 * minutes)
    except KeyboardInterrupt:
        status = 130
    report = {**head, "ceilings": results.ceilings, "lines": results.lines[1:]}
    path = results.path.with_suffix(".json")
    path.write_text(json.dumps(report, indent=1) + "\n")
    print(table(results.lines))
    print(f"\nwritten to {path}")
    ends = {line["status"] for line in results.lines if "status" in line}
    sys.exit(status or (1 if options.strict and ends != {"done"} else 0))


def _terminated(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
