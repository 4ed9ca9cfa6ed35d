"""Run optax's own tests on jopt: `python tests/conformance`, `--every 1` for all."""

import os
import sys
from pathlib import Path

import pytest

MODULES = [
    "optax._src.alias_test",
    "optax._src.float64_test",
    "optax._src.lookahead_test",
    "optax._src.sharding_test",
    "optax._src.update_test",
    "optax.contrib._common_test",
    "optax.contrib._mechanic_test",
    "optax.contrib._muon_test",
    "optax.contrib._reduce_on_plateau_test",
    "optax.contrib._sam_test",
    "optax.contrib._schedule_free_test",
    "optax.schedules",
    "optax.transforms",
]

if __name__ == "__main__":
    tests = str(Path(__file__).parent.parent)
    sys.path.insert(0, tests)
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [tests, os.environ.get("PYTHONPATH")])
    )
    # The tests of sharding need devices, which are made before they are imported.
    os.environ["XLA_FLAGS"] = (
        os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    )
    # Not under this repository's own settings: its strict dtypes are not optax's.
    own = ["-c", os.devnull, "--noconftest"]
    settings = ["-p", "conformance.plugin", *own, "-q", "--tb=short"]
    chosen = [] if any(a.startswith("optax") for a in sys.argv[1:]) else MODULES
    sys.exit(pytest.main([*settings, *sys.argv[1:], "--pyargs", *chosen]))
