"""The examples that a shell starts on two processes, as on one."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def launched(processes, script, *words):
    """What a job prints."""
    run = ["bash", str(EXAMPLES / "launch.sh"), str(processes), str(EXAMPLES / script)]
    environment = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run(
        [*run, *map(str, words)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    return "\n".join(line for line in lines if not line.startswith("[Gloo]"))


@pytest.mark.slow("tests/training/test_sharding.py has the shardings in one process")
def test_one_model_over_two_processes_has_the_losses_of_one():
    losses = []
    for processes in (1, 2):
        said = launched(processes, "fsdp.py")
        losses.append([float(loss) for loss in re.findall(r"loss (\S+)", said)])
    assert len(losses[0]) == 6
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)  # other orders of sums


@pytest.mark.slow("tests/sweep/test_processes.py starts two processes itself")
def test_a_launched_sweep_goes_on_where_its_directory_is(tmp_path):
    first = launched(2, "sweep_job.py", tmp_path)
    assert "2 processes trained 16 trials" in first
    best = json.loads((tmp_path / "best.json").read_text())
    assert f"'learning_rate': {best['hyperparameters']['learning_rate']}" in first
    assert launched(2, "sweep_job.py", tmp_path) == first


@pytest.mark.slow("the launcher is a script of the examples")
def test_a_process_that_fails_ends_the_launched_job(tmp_path):
    script = tmp_path / "fails.py"
    script.write_text(
        "import os, sys, time\n"
        "time.sleep(60) if os.environ['JOB_PROCESS'] == '0' else sys.exit(3)\n"
    )
    run = ["bash", str(EXAMPLES / "launch.sh"), "2", str(script)]
    environment = {**os.environ, "PYTHON": sys.executable}
    assert subprocess.run(run, env=environment, timeout=50).returncode == 3
