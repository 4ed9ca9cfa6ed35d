"""Memory: what a compiled program says that it needs, and what there is."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jopt.core import PyTree
from jopt.sweep.engine._devices import Device

USABLE = 0.9  # of what is free: the rest is for what no analysis counts


def available(devices: Sequence[Device]) -> int:
    """Return the free bytes of each of these devices, the least of them.

    Of an accelerator, what its allocator may still take. CPU devices share what the
    operating system says is free, or what the process's control group leaves, if less.
    """
    return min(_free(device, len(devices)) for device in devices)


def budget(devices: Sequence[Device], memory: int | None, held: int) -> int:
    """Return the bytes that a sweep may take of each device, beside its data.

    memory: bytes in all of each memory, data included, CPU devices having one together;
    None for nine tenths of what is free. held: bytes of data on each device already.

    Raises a ValueError for a memory below 1, or that the data fill.
    """
    if memory is None:
        return int(USABLE * available(devices))
    if memory < 1:
        raise ValueError(
            f"A sweep needs memory of at least 1 byte, got {memory}; leave it out to "
            "take what is free."
        )
    sharing = len(devices) if devices[0].platform == "cpu" else 1
    if held and memory // sharing <= held:
        raise ValueError(
            f"A sweep needs memory of more than the {shown(held * sharing)} that its "
            f"data take, got {shown(memory)}; give it more, or leave it out to take "
            "what is free."
        )
    return memory // sharing - held


def needed(compiled: Any) -> int:
    """Return the bytes on a device while a compiled program runs, its arguments too."""
    sizes = compiled.memory_analysis()
    if sizes is None:  # a backend that does not say
        return 0
    return (
        sizes.argument_size_in_bytes
        + sizes.output_size_in_bytes
        - sizes.alias_size_in_bytes  # outputs in the place of donated arguments
        + sizes.temp_size_in_bytes
    )


def size(tree: PyTree) -> int:
    """Return the bytes of all arrays, or shapes of arrays, of a tree."""
    leaves = jax.tree.leaves(tree)
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)


def shown(number: float) -> str:
    """Return bytes as a person reads them: 512 bytes, 1.4 MB, 23 GB."""
    if number < 1000:
        return f"{number:.0f} bytes"
    power = min(int(math.log(number, 1000)), 4)
    return f"{number / 1000**power:.3g} {['kB', 'MB', 'GB', 'TB'][power - 1]}"


def _free(device: Device, devices: int) -> int:
    if device.platform == "cpu":
        return host() // devices
    stats = device.memory_stats() or {}
    if "bytes_limit" not in stats:
        return np.iinfo(np.int64).max  # it does not say
    return stats["bytes_limit"] - stats.get("bytes_in_use", 0)


def host() -> int:
    """Return the free bytes of the host's memory."""
    return min(_system(), _control_group())


def _system() -> int:
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    try:  # elsewhere the whole memory is all that is said without a package
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return np.iinfo(np.int64).max


def _control_group(root: Path = Path("/sys/fs/cgroup")) -> int:
    """What a container's limit leaves; files that can be dropped do not count."""
    try:
        limit = int((root / "memory.max").read_text())  # "max" where there is none
        used = int((root / "memory.current").read_text())
        stat = (root / "memory.stat").read_text().split()
        dropped = int(stat[stat.index("inactive_file") + 1])
    except (OSError, ValueError):
        return np.iinfo(np.int64).max
    return max(0, limit - used + dropped)
