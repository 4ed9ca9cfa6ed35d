"""What a sweep ran on: versions and devices, for the record."""

import importlib.metadata
import platform
from typing import Any

import jax

from jopt._version import __version__

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


def surroundings() -> dict[str, Any]:
    """Return the versions, the device and the settings that results depend on."""
    device = jax.devices()[0]
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {
        "versions": {
            "python": platform.python_version(),
            "jopt": __version__,
            **versions,
        },
        "device": {
            "platform": device.platform,
            "kind": device.device_kind,
            "count": jax.device_count(),
        },
        "matmul_precision": jax.config.jax_default_matmul_precision,  # pyright: ignore[reportAttributeAccessIssue]
    }
