"""Promises of a sweep on several devices: the same numbers, no word between them."""

import pickle
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from pooled_trials import CALL, lanes_of, trained

from jopt.sweep.engine import Pool, _devices as devices
from jopt.sweep.engine._program import Program

SCRIPT = """
import math, pickle, sys
import jax, numpy as np
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
from jopt.sweep.engine import _devices as devices

made = devices.cpu(4)
assert devices.cpu(4) == made == jax.local_devices()
from pooled_trials import CALL, lanes_of, trained
from jopt.sweep.engine._pool import Pool
from jopt.sweep.engine._program import Program

found = []
for count in (2, 4):
    program = Program(lanes_of(21), 2, CALL, made[:count])
    assert program.width == 2 * count
    assert program.compiles == count
    assert devices.collectives(program.text) == []
    on_one_at_first = np.arange(0, 21, count)
    for on_host in (False, True):
        pool = Pool(program, on_host=on_host)
        found.append(trained(pool, on_one_at_first))
        calls = pool.cut(on_one_at_first)
        assert len(calls) == math.ceil(len(on_one_at_first) / program.width)
assert Program(lanes_of(1), 2, CALL).width == 2  # a device for each trial, no more
sys.stdout.buffer.write(pickle.dumps(found))
"""


@pytest.mark.slow("one device has the same promise in the quick run")
def test_a_trial_is_bitwise_the_same_on_any_number_of_devices():
    run = [
        sys.executable,
        "-W",
        "error",
        "-W",
        "ignore:Error reading persistent",
        "-c",
        SCRIPT,
    ]
    done = subprocess.run(
        run, capture_output=True, cwd=Path(__file__).parents[1] / "support"
    )
    assert done.returncode == 0, done.stderr.decode()
    found = pickle.loads(done.stdout)
    program = Program(lanes_of(21), 2, CALL)
    on_two, on_four = (
        trained(Pool(program), np.arange(0, 21, count)) for count in (2, 4)
    )
    assert found == [on_two, on_two, on_four, on_four]


def test_what_devices_say_to_each_other_is_found_in_a_compiled_text():
    text = """
      %all-reduce.1 = f32[] all-reduce(f32[] %x), to_apply=%add
      %p = (f32[4], f32[4]) collective-permute-start(f32[4] %y)
      %all-gather_fusion = f32[4] fusion(f32[4] %z), calls=%all-gather-body
    """
    assert devices.collectives(text) == ["all-reduce", "collective-permute"]


def test_devices_are_at_least_one_and_each_once():
    (device,) = jax.local_devices()
    assert devices.Spread.of([device]) == devices.Spread.of(None)
    for wrong in ([], [device, device]):
        with pytest.raises(ValueError, match="devices of at least one, each once"):
            devices.Spread.of(wrong)


def test_cores_cannot_become_devices_once_jax_has_started():
    assert devices.cpu(1) == jax.local_devices()
    with pytest.raises(RuntimeError, match="got 3 where there are 1 already"):
        devices.cpu(3)
    with pytest.raises(ValueError, match="count must be at least 1, got 0"):
        devices.cpu(0)
