"""The compiled steps of a group of trials."""

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jopt.core import PyTree
from jopt.sweep.engine import _memory as memory
from jopt.sweep.engine._block import Batches, Chunks, Seen
from jopt.sweep.engine._devices import Device, Spread
from jopt.sweep.engine._lanes import Lanes, Leaves

Parts: TypeAlias = list[Leaves]  # a device's trials, or what they share, each


class Program:
    """Lanes' steps, compiled once for `block` trials of a device.

    lanes: all trials of a group. block: at least 1. batches: any of a call, for shapes.
    devices: by default all of this process's. on_host: whether trials wait in the
    host's memory while no call trains them.

    A call trains `width` trials, `block` on each device.
    """

    def __init__(
        self,
        lanes: Lanes,
        block: int,
        batches: Batches,
        devices: Sequence[Device] | None = None,
        on_host: bool = False,
    ):
        self.lanes, self.block, self.on_host = lanes, block, on_host
        # A device without a trial would have nothing to do.
        self.spread = Spread(Spread.of(devices).devices[: lanes.count])
        self.data = self.spread.copies(lanes.data)
        self.compiles = 0  # of the steps; what is compiled refuses any other shape
        self._evaluations: dict[Any, Any] = {}  # by the shapes of the examples
        calls = self.spread.copies(batches)
        examples = [
            call.within(data.train) for data, call in zip(self.data, calls, strict=True)
        ]
        train = jax.jit(lanes.train, donate_argnums=0)
        self._trains = self._compile(train, examples, calls)
        self.compiles += len(self._trains)

    @property
    def width(self) -> int:
        """The trials of a call, on all devices."""
        return self.block * len(self.spread.devices)

    def start(self, rows: np.ndarray, device: int) -> tuple[Leaves, Leaves]:
        """Return the trials of `rows` before their first step, on a device."""
        return self._start(rows.astype(np.int32), *self._beginnings[device])

    def zeros(self) -> tuple[Parts, Parts]:
        """Return trials of no meaning, to time with."""
        make = lambda leaf: jnp.zeros(leaf.shape, leaf.dtype)  # noqa: E731
        parts = [
            jax.device_put(jax.tree.map(make, self.shapes), device)
            for device in self.spread.devices
        ]
        return [own for own, _ in parts], [shared for _, shared in parts]

    def train(
        self, own: Parts, shared: Parts, batches: Batches
    ) -> tuple[Parts, Parts, list[Seen]]:
        """Return the trials after the steps of `batches`; `own` is donated."""
        calls = self.spread.copies(batches)
        given = zip(self._trains, own, shared, self.data, calls, strict=True)
        found = [
            train(own, shared, call.within(data.train), call)
            for train, own, shared, data, call in given
        ]
        return (
            [own for own, _, _ in found],
            [shared for _, shared, _ in found],
            [seen for _, _, seen in found],
        )

    def evaluate(
        self, own: Parts, shared: Parts, chunks: Chunks | None = None
    ) -> list[dict[str, jax.Array]]:
        """Return the means over the examples, each (block,), of each device.

        chunks: by default the validation set.
        """
        if chunks is None:
            copies = [data.valid for data in self.data]
        else:
            copies = self.spread.copies(chunks)
        given = zip(self._evaluation(copies), own, shared, copies, strict=True)
        return [evaluate(*rest) for evaluate, *rest in given]

    @functools.cached_property
    def shapes(self) -> tuple[list[Any], list[Any]]:
        """The shapes of the trials of a device, and of what they share."""
        given = self.lanes.txs, self.lanes.seeded
        own, shared = jax.eval_shape(self.lanes.start, *given)
        own = [jax.ShapeDtypeStruct((self.block, *x.shape[1:]), x.dtype) for x in own]
        return own, [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in shared]

    @property
    def text(self) -> str:
        """What the devices are told to do in a call, as XLA prints it."""
        valid = [data.valid for data in self.data]
        told = [*self._trains, *self._evaluation(valid)]
        return "\n".join(compiled.as_text() for compiled in told)

    @property
    def trained_bytes(self) -> int:
        """Bytes of a device while a call trains, beside the training set.

        A call's trials count twice: the next are brought while these are trained.
        """
        held = memory.size(self.data[0].train)
        needed = memory.needed(self._trains[0])
        return needed - held + memory.size(self.shapes[0])

    @property
    def bytes(self) -> int:
        """Bytes of a device while a call trains or evaluates, beside the data."""
        valid = [data.valid for data in self.data]
        needed = memory.needed(self._evaluation(valid)[0]) - memory.size(valid[0])
        return max(self.trained_bytes, needed + memory.size(self.shapes[0]))

    @property
    def bytes_a_trial(self) -> float:
        """A trial's share of `bytes`."""
        return self.bytes / self.block

    @functools.cached_property
    def _start(self) -> Callable[..., tuple[Leaves, Leaves]]:
        def start(rows: jax.Array, txs: PyTree, seeded: Any):
            places = {"rows": seeded.rows[rows], "folds": seeded.folds[rows]}
            txs = jax.tree.map(lambda leaf: leaf[rows], txs)
            return self.lanes.start(txs, seeded._replace(**places))

        return jax.jit(start)

    @functools.cached_property
    def _beginnings(self) -> list[tuple[PyTree, PyTree]]:
        return self.spread.copies((self.lanes.txs, self.lanes.seeded))

    def _evaluation(self, copies: list[Chunks]) -> list[Any]:
        leaves, structure = jax.tree.flatten(copies[0])
        key = structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves)
        if key not in self._evaluations:
            evaluate = jax.jit(self.lanes.evaluate)
            self._evaluations[key] = self._compile(evaluate, copies)
        return self._evaluations[key]

    def _compile(self, function: Any, *given: Sequence[PyTree]) -> list[Any]:
        """Compile a function of trials for each device; `given` by device."""

        def lowered(device: Device, *rest: PyTree) -> Any:
            there = jax.sharding.SingleDeviceSharding(device)
            at = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=there)  # noqa: E731
            return function.lower(*jax.tree.map(at, self.shapes), *rest)

        # No `map`, which would take a StopIteration of the user's for its own end.
        rows = zip(self.spread.devices, *given, strict=True)
        programs = [lowered(*row) for row in rows]
        # The first alone: the kernels it finds to be the fastest, the others take over.
        first = programs[0].compile()
        with ThreadPoolExecutor() as threads:
            return [first, *threads.map(lambda x: x.compile(), programs[1:])]
