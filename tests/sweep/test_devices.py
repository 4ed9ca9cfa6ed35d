"""Promises of a sweep on several devices: the same numbers, no word between them."""

import pickle
import subprocess
import sys
import types
from pathlib import Path

import jax
import numpy as np
import pytest
from collectives import collectives
from pooled_trials import first_call, stacked_trials, trained

from jopt.sweep.engine import Pool, as_devices
from jopt.sweep.engine._program import Program

SCRIPT = """
import math, pickle, sys
import jax, numpy as np
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
from collectives import collectives

jax.config.update("jax_num_cpu_devices", 4)
made = jax.local_devices()
assert len(made) == 4
from pooled_trials import first_call, stacked_trials, trained
from jopt.sweep.engine._pool import Pool
from jopt.sweep.engine._program import Program

found = []
for count in (2, 4):
    program = Program(stacked_trials(21), 2, first_call(), made[:count])
    assert program.width == 2 * count
    assert program.compiles == count
    assert collectives(program.text) == []
    on_one_at_first = np.arange(0, 21, count)
    for on_host in (False, True):
        pool = Pool(program, on_host=on_host)
        found.append(trained(pool, on_one_at_first))
        calls = pool.cut(on_one_at_first)
        assert len(calls) == math.ceil(len(on_one_at_first) / program.width)
assert Program(stacked_trials(1), 2, first_call()).width == 2  # a device a trial
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
    program = Program(stacked_trials(21), 2, first_call())
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
    assert collectives(text) == ["all-reduce", "collective-permute"]


def test_devices_are_at_least_one_and_each_once():
    (device,) = jax.local_devices()
    assert as_devices([device]) == as_devices(None)
    for wrong in ([], [device, device]):
        with pytest.raises(ValueError, match="devices of at least one, each once"):
            as_devices(wrong)


def test_devices_of_another_process_are_refused():
    (device,) = jax.local_devices()
    kind = {"platform": device.platform, "device_kind": device.device_kind}
    far = types.SimpleNamespace(process_index=1, **kind)
    with pytest.raises(ValueError, match="of process 1 in process 0; each process of"):
        as_devices([device, far])
