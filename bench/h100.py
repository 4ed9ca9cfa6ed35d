"""Compile for an H100 on a machine that has none.

XLA's GPU compiler needs only a description of the chip. What must be installed, of
jaxlib's version, without their dependencies:

    pip install --no-deps jax-cuda12-plugin jax-cuda12-pjrt \\
        nvidia-cuda-nvcc-cu12 nvidia-cuda-runtime-cu12 nvidia-cuda-cupti-cu12

The description is a public file of XLA's own repository. Gemms are not tuned, for lack
of the chip: XLA takes its cost model's choice.
"""

import importlib.util
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
from jax.experimental import topologies

PACKAGES = ("jax-cuda12-plugin", "jax-cuda12-pjrt", "nvidia-cuda-nvcc-cu12")
DESCRIPTION = "xla/backends/gpu/target_config/specs/h100_sxm.txtpb"


class Missing(Exception):
    """What is needed to compile and not there, in a sentence."""


class H100:
    """A device that programs can be compiled for.

    description: the path of XLA's text file about it.

    Raises `Missing`, which says what to do, without the file or the plugin.
    """

    def __init__(self, description: Path | None):
        if description is None or not description.is_file():
            raise Missing(
                f"There is no {description or 'description of the chip'}; get "
                f"{DESCRIPTION} of https://github.com/openxla/xla and give the file by "
                "--target."
            )
        if importlib.util.find_spec("jax_cuda12_plugin") is None:
            raise Missing(
                "jax-cuda12-plugin is not installed; install version "
                f"{version('jaxlib')} of it, and what else bench/h100.py names."
            )
        # There is no driver to ask, and no chip to run on.
        os.environ.setdefault("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")
        jax.config.update("jax_platforms", "cpu")
        topology = topologies.get_topology_desc(
            platform="cuda",
            topology_name="h100",
            target_config=description.read_text(),
            topology="1x1x1",
        )
        self.device = topology.devices[0]
        self._sharding = jax.sharding.SingleDeviceSharding(self.device)

    def place(self, tree: Any) -> Any:
        """Return the arrays' shapes and dtypes, or those given, as on this device."""
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self._sharding),
            tree,
        )

    def shapes(self, function: Any, *arguments: Any) -> Any:
        """Return the shapes and dtypes of what a function gives, on this device."""
        return self.place(jax.eval_shape(function, *arguments))
