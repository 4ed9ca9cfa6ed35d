"""The devices that a command asks for."""

import os
from typing import Any

MOST = 16  # CPU devices a core; with more, JAX takes minutes to start


def prepare(count: int | None) -> None:
    """Make as many CPU devices of the host's cores, before JAX starts.

    Accelerators are left alone: only what a machine without them has is changed.
    Raises a ValueError if count is below 1.
    """
    if count is None:
        return
    import jax

    most = MOST * (os.cpu_count() or 1)
    if not 1 <= count <= most:
        raise ValueError(
            f"--devices must be between 1 and {most}, {MOST} a core, got {count}."
        )
    jax.config.update("jax_num_cpu_devices", count)


def devices(count: int | None) -> Any:
    """Return the first `count` devices; None for all.

    Raises a ValueError in a sentence if there are fewer.
    """
    if count is None:
        return None
    import jax

    found = jax.local_devices()
    if len(found) < count:
        raise ValueError(
            f"--devices asks for {count}, and there are {len(found)} of kind "
            f"{found[0].device_kind}."
        )
    return found[:count]
