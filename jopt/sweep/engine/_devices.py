"""The devices that share a sweep, and their memory.

Each device trains its own trials, by the same program as a device alone. One program
over a mesh, by `jax.shard_map`, would have no collectives either. But XLA compiles it
differently, and its numbers differ in the last bit from those of one device.
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jopt.core import PyTree, is_typed_key

Device: TypeAlias = Any  # a jax.Device, which type checkers take for a value

USABLE = 0.9  # share of the free memory; the rest is for uncounted buffers


def as_devices(devices: Sequence[Device] | None = None) -> tuple[Device, ...]:
    """Return the devices of a sweep, by default all of this process's.

    Raises:
      ValueError: there is no device, one is listed twice, their kinds differ, or one
        belongs to another process.
    """
    found = tuple(jax.local_devices() if devices is None else devices)
    others = [each for each in found if each.process_index != jax.process_index()]
    if others:
        raise ValueError(
            "A sweep needs devices of its own process, such as jax.local_devices(), "
            f"got {others[0]} of process {others[0].process_index} in process "
            f"{jax.process_index()}; each process of a job trains its own trials."
        )
    kinds = {(device.platform, device.device_kind) for device in found}
    if not found or len(set(found)) < len(found) or len(kinds) > 1:
        raise ValueError(
            "A sweep needs devices of at least one, each once and all of one kind, "
            f"got {list(found)}."
        )
    return found


def copies(tree: PyTree, devices: Sequence[Device]) -> list[PyTree]:
    """Return a tree of arrays on each device, without a copy where it already is."""
    return [jax.device_put(tree, device) for device in devices]


def bare(leaves: Sequence[Any]) -> list[np.ndarray]:
    """Return leaves on the host, with keys as their bits."""
    return [
        np.asarray(jax.random.key_data(leaf) if is_typed_key(leaf) else leaf)
        for leaf in leaves
    ]


def keyed(leaves: Sequence[Any], like: Sequence[Any]) -> list[Any]:
    """Return leaves of `bare` with bits as keys again, where `like` has a key."""

    def key(words: Any, kind: Any) -> jax.Array:
        one = jnp.zeros((), kind.dtype)  # `like` may be shapes, which have no impl
        return jax.random.wrap_key_data(words, impl=jax.random.key_impl(one))

    pairs = zip(leaves, like, strict=True)
    return [key(leaf, kind) if is_typed_key(kind) else leaf for leaf, kind in pairs]


def budget(devices: Sequence[Device], memory: int | None, held: int) -> int:
    """Return the bytes that a sweep may use on each device, besides its data.

    Args:
      devices: the devices that share the sweep.
      memory: total bytes of each memory, data included (CPU devices share one memory);
        None for nine tenths of the free bytes.
      held: bytes of data that are already on each device.

    Raises:
      ValueError: `memory` is below 1, or the data fill it.
    """
    if memory is None:
        return int(USABLE * free_bytes(devices))
    if memory < 1:
        raise ValueError(
            f"A sweep needs memory of at least 1 byte, got {memory}; leave it out to "
            "take what is free."
        )
    sharing = len(devices) if devices[0].platform == "cpu" else 1
    if held and memory // sharing <= held:
        raise ValueError(
            f"A sweep needs memory of more than the {shown_bytes(held * sharing)} that "
            f"its data take, got {shown_bytes(memory)}; give it more, or leave it out "
            "to take what is free."
        )
    return memory // sharing - held


def bytes_needed(compiled: Any) -> int:
    """Return the bytes on a device while a program runs, arguments included.

    Return 0 if the backend does not report them.
    """
    sizes = compiled.memory_analysis()
    if sizes is None:
        return 0
    return (
        sizes.argument_size_in_bytes
        + sizes.output_size_in_bytes
        - sizes.alias_size_in_bytes  # outputs that reuse donated arguments
        + sizes.temp_size_in_bytes
    )


def bytes_of(tree: PyTree) -> int:
    """Return the bytes of all arrays, or shapes of arrays, in a tree."""
    leaves = jax.tree.leaves(tree)
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)


def shown_bytes(number: float) -> str:
    """Return a number of bytes in words: 512 bytes, 1.4 MB, 23 GB."""
    if number < 1000:
        return f"{number:.0f} bytes"
    power = min(int(math.log(number, 1000)), 4)
    return f"{number / 1000**power:.3g} {['kB', 'MB', 'GB', 'TB'][power - 1]}"


def free_bytes(devices: Sequence[Device]) -> int:
    """Return the free bytes of the device that has the fewest.

    On an accelerator they are the bytes that its allocator may still take. CPU devices
    share the bytes that the operating system reports as available, or that the
    process's control group leaves, whichever are fewer.
    """
    if devices[0].platform == "cpu":
        return host_bytes() // len(devices)
    every = [device.memory_stats() or {} for device in devices]
    known = [stats for stats in every if "bytes_limit" in stats]
    free = [stats["bytes_limit"] - stats.get("bytes_in_use", 0) for stats in known]
    return min(free, default=np.iinfo(np.int64).max)  # if no device reports them


def host_bytes() -> int:
    """Return the free bytes of the host's memory."""
    return min(_system_bytes(), _control_group_bytes())


def _system_bytes() -> int:
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    try:  # elsewhere only the whole memory is known without another package
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return np.iinfo(np.int64).max


def _control_group_bytes(root: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the bytes left by a container's limit; file caches count as free."""
    try:
        limit = int((root / "memory.max").read_text())  # "max" means no limit
        used = int((root / "memory.current").read_text())
        stat = (root / "memory.stat").read_text().split()
        dropped = int(stat[stat.index("inactive_file") + 1])
    except (OSError, ValueError):
        return np.iinfo(np.int64).max
    return max(0, limit - used + dropped)
