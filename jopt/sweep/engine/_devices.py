"""The devices that share a sweep: each trains its own trials, and none asks another.

Every device runs the program that one device alone would run. One program over a mesh,
by `jax.shard_map`, has no collective either, but XLA compiles it along another way, and
its numbers differ in the last bit from those of one device.
"""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jopt.core import PyTree

Device: TypeAlias = Any  # a jax.Device, which type checkers take for a value

COLLECTIVE = (
    r"\b(all-reduce|all-gather|all-to-all|ragged-all-to-all|reduce-scatter"
    r"|collective-permute|collective-broadcast|send|recv)(?:-start)?\("
)


@dataclasses.dataclass(frozen=True)
class Spread:
    """Devices in the order in which they take trials: at least one."""

    devices: tuple[Device, ...]

    @classmethod
    def of(cls, devices: Sequence[Device] | None = None) -> "Spread":
        """Return the spread over these devices, or over all of this process's.

        Raises a ValueError for no devices, one twice, or kinds together.
        """
        found = tuple(jax.local_devices() if devices is None else devices)
        kinds = {(device.platform, device.device_kind) for device in found}
        if not found or len(set(found)) < len(found) or len(kinds) > 1:
            raise ValueError(
                "A sweep needs devices of at least one, each once and all of one kind, "
                f"got {list(found)}."
            )
        return cls(found)

    def copies(self, tree: PyTree) -> list[PyTree]:
        """Return a tree of arrays once on each device; no copy where it is already."""
        return [jax.device_put(tree, device) for device in self.devices]


def cpu(count: int) -> list[Device]:
    """Make `count` CPU devices of the host's cores, and return them.

    They share the host's memory and threads. It has to come before anything is computed
    with JAX.

    Raises a ValueError for a count below 1, a RuntimeError if it comes too late.
    """
    if count < 1:
        raise ValueError(f"devices.cpu: count must be at least 1, got {count}.")
    late = None
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError as error:
        late = error
    made = jax.local_devices(backend="cpu")
    if len(made) != count:
        raise RuntimeError(
            f"devices.cpu: count must be set before JAX starts, got {count} where "
            f"there are {len(made)} already; call it before anything is computed, and "
            "leave xla_force_host_platform_device_count out of XLA_FLAGS."
        ) from late
    return made


def collectives(text: str) -> list[str]:
    """Return what devices say to each other in a compiled program's text, by name."""
    return re.findall(COLLECTIVE, text)


def bare(leaves: Sequence[Any]) -> list[np.ndarray]:
    """Return leaves on the host, keys as their bits."""
    return [
        np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)
        for leaf in leaves
    ]


def keyed(leaves: Sequence[Any], like: Sequence[Any]) -> list[Any]:
    """Return leaves that `bare` gave, their keys made keys again: those of `like`."""

    def key(words: Any, kind: Any) -> jax.Array:
        one = jnp.zeros((), kind.dtype)  # `like` may be shapes, which tell no kind
        return jax.random.wrap_key_data(words, impl=jax.random.key_impl(one))

    pairs = zip(leaves, like, strict=True)
    return [key(leaf, kind) if _is_key(kind) else leaf for leaf, kind in pairs]


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
