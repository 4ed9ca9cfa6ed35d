"""The devices and the memory that a command may use."""

import os
from typing import Any

MOST = 16  # CPU devices a core; with more, JAX takes minutes to start


def prepare(count: int | None) -> None:
    """Make JAX split the CPU into `count` devices; call it before JAX starts.

    This has no effect on accelerators.

    Args:
      count: the number of devices, at least 1; None for JAX's default.

    Raises:
      ValueError: if `count` is below 1 or above 16 a core.
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


def first(count: int | None) -> Any:
    """Return the first `count` devices, or None for None, which means all.

    Raises:
      ValueError: if there are fewer.
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


def memory(text: str | None) -> int | None:
    """Return the number of bytes of a text such as 512M or 2G; None for None.

    Raises:
      ValueError: if the text is malformed.
    """
    if text is None:
        return None
    powers = {"k": 1, "m": 2, "g": 3, "t": 4}
    number, power = text.removesuffix("B"), 0
    if number[-1:].lower() in powers:
        number, power = number[:-1], powers[number[-1].lower()]
    try:
        return int(float(number) * 1000**power)
    except (ValueError, OverflowError):
        raise ValueError(f"--memory got {text!r}; write bytes, 512M or 2G.") from None
