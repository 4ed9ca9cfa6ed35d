"""bench/gpu.py loses nothing that was measured, whatever a case does."""

import importlib
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

BENCH = Path(__file__).parents[2] / "bench"
sys.path.append(str(BENCH))
gpu = importlib.import_module("gpu")
gpu_cases = importlib.import_module("gpu_cases")

ROW = "import json, time; print(json.dumps({'row': %r}), flush=True)"
FOREVER = "; time.sleep(600)"
HEAD = {"device": {"kind": "NVIDIA H200"}, "commit": "abc", "versions": {}}


PARENT = """
import json, subprocess, sys, time
started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(json.dumps({"row": str(started.pid)}), flush=True)
time.sleep(600)
"""
UNDER_WAY = f"""
import json, os, sys, threading, time
sys.path.append({str(BENCH)!r})
from gpu_cases import end_with_parent
threading.Thread(target=end_with_parent, daemon=True).start()
print(json.dumps({{"row": str(os.getpid())}}), flush=True)
time.sleep(600)
"""
WHOLE = """
import json, sys, time
from pathlib import Path
given = json.loads(sys.argv[1])
sys.path.append(given["bench"])
import gpu
codes = {"before": given["first"], "under way": given["second"]}
cases = [gpu.Case(n, [sys.executable, "-c", code], 60) for n, code in codes.items()]
results = gpu.started(Path(given["directory"]), given["head"])
gpu.run(cases, results, time.monotonic() + 100)
"""


def case(name: str, code: str, seconds: float = 20.0):
    return gpu.Case(name, [sys.executable, "-c", code], seconds)


def ran(tmp_path: Path, *cases, seconds: float = 60.0) -> list[dict]:
    results = gpu.started(tmp_path, dict(HEAD))
    gpu.run(cases, results, time.monotonic() + seconds)
    assert gpu.read(results.path) == json.loads(json.dumps(results.lines))
    return results.lines[1:]


def summary(lines: list[dict]) -> list[tuple[str, str]]:
    return [(x["case"], x.get("row") or x.get("status", "?")) for x in lines]


def test_an_error_and_a_hang_in_one_case_leave_the_others(tmp_path):
    lines = ran(
        tmp_path,
        case("error", f"{ROW % 'a'}; raise RuntimeError('out of memory')"),
        case("hang", ROW % "b" + FOREVER, 1.5),
        case("segfault", f"{ROW % 'c'}; import os; os.kill(os.getpid(), 11)"),
        case("fine", ROW % "d"),
    )

    assert summary(lines) == [
        ("error", "a"),
        ("error", "failed"),
        ("hang", "b"),
        ("hang", "killed"),
        ("segfault", "c"),
        ("segfault", "failed"),
        ("fine", "d"),
        ("fine", "done"),
    ]
    assert lines[1]["error"].endswith("RuntimeError: out of memory")
    assert "out of memory" in gpu.table([HEAD, *lines])


def test_a_hang_takes_the_processes_that_it_started_with_it(tmp_path):
    lines = ran(tmp_path, case("hang", PARENT, 3.0))

    assert lines[-1]["status"] == "killed"
    _gone(int(lines[0]["row"]))


def test_what_no_longer_fits_is_recorded_as_skipped(tmp_path):
    lines = ran(
        tmp_path,
        case("first", ROW % "a" + FOREVER, 1.5),
        case("second", ROW % "b"),
        seconds=gpu.LEAST + 1,
    )

    assert summary(lines) == [
        ("first", "a"),
        ("first", "killed"),
        ("second", "skipped"),
    ]


def test_a_kill_of_the_whole_leaves_what_was_measured_and_no_process(tmp_path):
    given = {"bench": str(BENCH), "directory": str(tmp_path), "head": HEAD}
    given |= {"first": ROW % "a", "second": UNDER_WAY}
    process = subprocess.Popen(
        [sys.executable, "-c", WHOLE, json.dumps(given)], stderr=subprocess.DEVNULL
    )
    lines = _lines(tmp_path, 4)
    process.kill()
    process.wait()

    (path,) = tmp_path.iterdir()
    with path.open("a") as file:
        file.write('{"case": "under way", "row": "cut in the mid')
    assert gpu.read(path) == lines
    assert summary(lines[1:3]) == [("before", "a"), ("before", "done")]
    assert "under way: the run ended here" in gpu.table(lines)
    _gone(int(lines[3]["row"]))


def test_runs_do_not_overwrite_each_other_and_their_names_are_plain(tmp_path):
    head = {**HEAD, "device": {"kind": "NVIDIA H200 (141 GB) / PCIe"}, "commit": "v1+x"}

    paths = {gpu.started(tmp_path, dict(head)).path for _ in range(3)}

    assert len(paths) == 3
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+\.jsonl", path.name) for path in paths)
    assert all(path.name.startswith("NVIDIA-H200-141-GB-PCIe-v1-x-") for path in paths)


@pytest.mark.slow("a kill of the whole leaves them in the quick run")
def test_a_term_signal_leaves_the_table_and_the_json(tmp_path):
    script = [sys.executable, str(BENCH / "gpu.py"), "--quick", "--out", str(tmp_path)]
    process = subprocess.Popen(
        script, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    _lines(tmp_path, 2)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)

    assert process.returncode == 130
    assert b"ceilings: interrupted" in out or b"mlp: interrupted" in out
    (path,) = tmp_path.glob("*.json")
    assert json.loads(path.read_text())["lines"][-1]["status"] == "interrupted"


@pytest.mark.slow("the whole benchmark runs small in CI")
def test_ceilings_of_this_machine(tmp_path):
    script = [sys.executable, str(BENCH / "gpu.py"), "--quick", "--only", "ceilings"]
    done = subprocess.run(
        [*script, "--strict", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )

    (path,) = tmp_path.glob("*.json")
    report = json.loads(path.read_text())
    assert report["device"]["platform"] == jax.default_backend()
    assert report["versions"]["jax"] == jax.__version__
    assert set(report["ceilings"]) == {"copy", "bf16", "tf32"}
    assert all(rate > 1e6 for rate in report["ceilings"].values())
    assert "ceilings: done" in done.stdout


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--only", "cpu"], "--only: 'cpu' is in none of ceilings, mlp"),
        (["--minutes", "nan"], "--minutes: must be above 0, got nan"),
        (["--table", "/nowhere"], "--table: /nowhere cannot be read: [Errno 2]"),
        (["--out", "/dev/null/x", "--quick"], "/dev/null/x cannot be written"),
    ],
)
def test_bad_arguments_are_refused_in_a_sentence(options, sentence):
    script = [sys.executable, str(BENCH / "gpu.py"), *options]
    done = subprocess.run(script, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_every_case_has_a_budget():
    assert list(gpu.BUDGETS) == list(gpu_cases.CASES)


def test_products_are_counted_in_the_inner_programs_too():
    @jax.jit
    def inner(a, b):
        return jnp.einsum("bij,bjk->bik", a, b)

    def outer(a, b):
        return jax.lax.scan(lambda held, _: (inner(held, b), None), a, length=3)[0]

    shape = jax.ShapeDtypeStruct((5, 4, 4), jnp.float32)

    # Of a loop the body counts once.
    assert gpu_cases.products(jax.make_jaxpr(outer)(shape, shape).jaxpr) == 5 * 2 * 4**3


def _lines(directory: Path, number: int) -> list[dict]:
    """Wait for the first lines of the only file there, and return them."""
    for _ in range(1200):
        for path in directory.glob("*.jsonl"):
            if len(lines := gpu.read(path)) >= number:
                return lines
        time.sleep(0.05)
    raise AssertionError(f"no {number} lines in {directory}")


def _gone(pid: int) -> None:
    """Wait until a process is no more, or is a zombie that nobody has asked for."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("no /proc on this system")
    status = Path(f"/proc/{pid}/stat")
    for _ in range(200):
        if (
            not status.exists()
            or status.read_text().rpartition(")")[2].split()[0] == "Z"
        ):
            return
        time.sleep(0.05)
    raise AssertionError(f"process {pid} still runs")
