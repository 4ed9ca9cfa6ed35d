"""The compiled steps of a group of trials."""

import copy
import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jopt.core import PyTree
from jopt.sweep.engine._block import Batches, Chunks, Leaves, StackedTrials, StepMetrics
from jopt.sweep.engine._devices import (
    Device,
    as_devices,
    bare,
    bytes_needed,
    bytes_of,
    copies,
    keyed,
)
from jopt.training import in_a_loop

# For programs that run once: prefer a fast compilation to a fast program.
QUICKLY = {"xla_backend_optimization_level": 0}

Parts: TypeAlias = list[Leaves]  # own or shared leaves of the trials, by device


class Program:
    """The steps of a group of trials, compiled for `block` trials on each device.

    A call trains `width` trials, `block` on each device.

    Args:
      stacked: all trials of the group.
      block: trials of a device, at least 1.
      batches: the batches of any call, for their shapes.
      devices: by default all of this process's; at most as many as there are trials.
      on_host: whether trials stay in the host's memory while no call trains them.
      scanned: whether a compiled call scans over its steps; otherwise it makes one
        step.
    """

    def __init__(
        self,
        stacked: StackedTrials,
        block: int,
        batches: Batches,
        devices: Sequence[Device] | None = None,
        on_host: bool = False,
        scanned: bool = True,
    ):
        self.stacked, self.block, self.on_host = stacked, block, on_host
        self.scanned = scanned
        self.devices = as_devices(devices)[: stacked.count]
        self.data = copies(stacked.data, self.devices)
        self.compiles = 0  # of the steps; a compiled program refuses other shapes
        self._evaluations: dict[Any, Any] = {}  # by the shapes of the examples
        # Compiled functions hold no trials, so that others can reuse them.
        self._functions = functions = stacked.functions()
        self._start = jax.jit(functions.start, compiler_options=QUICKLY)
        self._models = jax.jit(functions.models)
        self._mark = jax.jit(functions.mark, donate_argnums=0)
        self._cools: list[Any] = []  # shared with programs made by `filled`
        self._trains = self._compiled_steps(batches)

    def _compiled_steps(self, batches: Batches) -> list[Any]:
        """Compile the steps of calls with batches of these shapes, for each device."""
        calls = copies(batches, self.devices)
        examples = [
            call.within(data.train) for data, call in zip(self.data, calls, strict=True)
        ]
        given, functions = (self._fixed, examples, calls), self._functions
        if self.scanned:
            train = jax.jit(functions.train, donate_argnums=0)
            found = self._compile(train, *given)
        else:
            train = jax.jit(functions.train_one_step, donate_argnums=0)
            at = copies(jnp.int32(0), self.devices)
            found = self._compile(train, *given, at)
        self.compiles += len(found)
        return found

    def steps_of(self, batches: Batches) -> list[Any]:
        """Return the compiled steps of a call; cooling ones are compiled once."""
        if batches.cooling is None:
            return self._trains
        if not self._cools:
            self._cools.extend(self._compiled_steps(batches))
        return self._cools

    def emptied(self) -> "Program":
        """Return the compiled program without trials and data."""
        made: Any = copy.copy(self)
        made.stacked = made.data = None
        vars(made).pop("_beginnings", None)
        return made

    def filled(self, stacked: StackedTrials) -> "Program":
        """Return this program for other trials, without a compilation.

        Args:
          stacked: trials with the same digest, at least as many as there are devices.
        """
        made = self.emptied()
        made.stacked, made.compiles = stacked, 0
        made.data = copies(stacked.data, self.devices)
        return made

    @property
    def width(self) -> int:
        """The number of trials of a call, on all devices."""
        return self.block * len(self.devices)

    def start(self, rows: np.ndarray, device: int) -> tuple[Leaves, Leaves]:
        """Return the trials of `rows` before their first step, on a device."""
        # Start one block at a time, so that one program starts any number of trials.
        rows = rows.astype(np.int32)
        cuts = range(0, len(rows), self.block)
        every = [np.resize(rows[cut : cut + self.block], self.block) for cut in cuts]
        found = [self._start(*_rows(self._beginnings[device], cut)) for cut in every]
        if len(found) == 1:
            (own, shared), *_ = found
            return [leaf[: len(rows)] for leaf in own], shared
        # Join them on the host: a compiled join would depend on their number.
        parts = zip(*(bare(own) for own, _ in found), strict=True)
        joined = [np.concatenate(leaf)[: len(rows)] for leaf in parts]
        (like, shared), *_ = found
        return jax.device_put(keyed(joined, like), self.devices[device]), shared

    def zeros(self) -> tuple[Parts, Parts]:
        """Return trials of zeros, for timing."""
        parts = [jax.device_put(self._zeros(), device) for device in self.devices]
        return [own for own, _ in parts], [shared for _, shared in parts]

    def train(
        self, own: Parts, shared: Parts, batches: Batches
    ) -> tuple[Parts, Parts, list[list[StepMetrics]]]:
        """Return the trials after the steps of `batches`, and their metrics.

        `own` is donated. The metrics are a list by call, each by device.
        """
        calls = copies(batches, self.devices)
        every: list[tuple[np.int32, ...]] = [()]
        if not self.scanned:
            every = [(np.int32(at),) for at in range(len(batches.steps))]
        seen: list[list[StepMetrics]] = []
        trains = self.steps_of(batches)
        for at in every:
            given = zip(trains, own, shared, self.data, calls, strict=True)
            found = [
                train(own, shared, data.fixed, call.within(data.train), call, *at)
                for train, own, shared, data, call in given
            ]
            own, shared = [own for own, _, _ in found], [part for _, part, _ in found]
            seen.append([metrics for _, _, metrics in found])
        return own, shared, seen

    def evaluate(
        self,
        own: Parts,
        shared: Parts,
        chunks: Chunks | None = None,
        of_kept: bool = False,
    ) -> list[dict[str, jax.Array]]:
        """Return the metrics on the examples by device, each (block,).

        Args:
          own, shared: the trials.
          chunks: chunks of the examples; by default those of the validation set, if
            there is one.
          of_kept: whether to evaluate the trials at the moment that is kept.
        """
        there = self._valid if chunks is None else copies(chunks, self.devices)
        evaluations = self._evaluation(there, of_kept)
        given = zip(evaluations, own, shared, self._fixed, there, strict=True)
        return [evaluate(*rest) for evaluate, *rest in given]

    def mark(
        self, own: Parts, shared: Parts, metrics: list[dict[str, jax.Array]]
    ) -> Parts:
        """Return the trials; those that have improved keep this moment as their best.

        `own` is donated. If no best moment is kept, the trials are returned unchanged.
        """
        if self.stacked.best_by is None:
            return own
        given = zip(own, shared, self._fixed, metrics, strict=True)
        return [self._mark(*part) for part in given]

    def models(self, own: Parts, shared: Parts) -> list[tuple[Leaves, Leaves]]:
        """Return the kept models of the trials by device, as `StackedTrials.models`."""
        given = zip(own, shared, self._fixed, strict=True)
        return [self._models(*part) for part in given]

    @functools.cached_property
    def shapes(self) -> tuple[list[Any], list[Any]]:
        """The shapes of a block's own and shared leaves."""
        stacked = self.stacked
        own, shared = jax.eval_shape(stacked.start, stacked.configs, stacked.starts)
        own = [jax.ShapeDtypeStruct((self.block, *x.shape[1:]), x.dtype) for x in own]
        return own, [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in shared]

    @functools.cached_property
    def _zeros(self) -> Callable[[], tuple[Leaves, Leaves]]:
        """A function that makes a block of zeros, all leaves in one program."""
        make = lambda leaf: jnp.zeros(leaf.shape, leaf.dtype)  # noqa: E731
        shapes = self.shapes
        made = lambda: jax.tree.map(make, shapes)  # noqa: E731
        return jax.jit(made, compiler_options=QUICKLY)

    @property
    def text(self) -> str:
        """The compiled programs of a call, as XLA prints them."""
        programs = [*self._trains, *self._evaluation(self._valid)]
        return "\n".join(compiled.as_text() for compiled in programs)

    @property
    def trained_bytes(self) -> int:
        """The bytes of a device while a call trains, besides the training set.

        A call's trials count twice, since the next ones arrive meanwhile.
        """
        held = bytes_of(self.data[0].train) + bytes_of(self.data[0].fixed)
        needed = bytes_needed(self._trains[0]) - held
        return needed + bytes_of(self.shapes[0])

    @property
    def bytes(self) -> int:
        """The bytes of a device while a call trains or evaluates, besides the data."""
        needed = bytes_needed(self._evaluation(self._valid)[0])
        held = bytes_of(self._valid[0]) + bytes_of(self._fixed[0])
        needed += bytes_of(self.shapes[0]) - held
        return max(self.trained_bytes, needed)

    @property
    def _fixed(self) -> list[Sequence[jax.Array]]:
        return [data.fixed for data in self.data]

    @property
    def _valid(self) -> list[Chunks | None]:
        return [data.valid for data in self.data]

    @functools.cached_property
    def _beginnings(self) -> list[tuple[PyTree, PyTree]]:
        return copies((self.stacked.configs, self.stacked.starts), self.devices)

    def _evaluation(
        self, chunks: Sequence[Chunks | None], of_kept: bool = False
    ) -> list[Any]:
        leaves, structure = jax.tree.flatten(chunks[0])
        shapes = tuple((leaf.shape, leaf.dtype) for leaf in leaves)
        key = structure, shapes, of_kept and self.stacked.best_by is not None
        if key not in self._evaluations:
            function = functools.partial(self._functions.evaluate, of_kept=key[-1])
            evaluate = jax.jit(function)
            self._evaluations[key] = self._compile(evaluate, self._fixed, chunks)
        return self._evaluations[key]

    def _compile(self, function: Any, *given: Sequence[PyTree]) -> list[Any]:
        """Compile a function of trials for each device; `given` by device."""

        def lowered(device: Device, *rest: PyTree) -> Any:
            there = jax.sharding.SingleDeviceSharding(device)
            at = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=there)  # noqa: E731
            return function.lower(*jax.tree.map(at, self.shapes), *rest)

        # A `map` would end silently if the user's function raised StopIteration.
        rows = zip(self.devices, *given, strict=True)
        with in_a_loop(self.scanned and self.devices[0].platform == "cpu"):
            programs = [lowered(*row) for row in rows]
        # Compile for the first device on its own; the others reuse its autotuning.
        first = programs[0].compile()
        with ThreadPoolExecutor() as threads:
            return [first, *threads.map(lambda x: x.compile(), programs[1:])]


@jax.jit
def _rows(trees: PyTree, rows: jax.Array) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[rows], trees)
