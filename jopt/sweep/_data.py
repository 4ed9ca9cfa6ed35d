"""Data that the host produces in batches: functions of the step, and loaders."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import jax
import numpy as np

from jopt.core import PyTree, checked, noted, shown
from jopt.sweep import _object_names as object_names


@dataclasses.dataclass(frozen=True)
class ByStep:
    """Batches that are a function of the step; made by `by_step`."""

    function: Callable[[int], PyTree]


@dataclasses.dataclass(frozen=True)
class ByEpoch:
    """Batches that are a function of the epoch; made by `by_epoch`."""

    function: Callable[[int], Iterable[PyTree]]


@checked
def by_step(function: Callable[[int], PyTree]) -> ByStep:
    """Return training data that are a function of the step.

        train=sweep.by_step(lambda step: rng_batch(step))

    The host calls the function once a step, whatever the number of trials.

    Args:
      function: step, counted from 0, -> batch, a tree of arrays of the same shapes at
        every step.
    """
    return ByStep(function)


@checked
def by_epoch(function: Callable[[int], Iterable[PyTree]]) -> ByEpoch:
    """Return training data that are a function of the epoch.

        train=sweep.by_epoch(lambda epoch: loader(seed=epoch))

    Args:
      function: epoch, counted from 0, -> an iterable of batches, trees of arrays of the
        same shapes.
    """
    return ByEpoch(function)


def is_stream(data: PyTree) -> bool:
    """Return whether data are batches from the host rather than a tree of arrays."""
    if isinstance(data, (ByStep, ByEpoch)):
        return True
    if hasattr(data, "__next__"):
        return True
    whole = hasattr(data, "shape") or jax.tree.leaves(data) != [data]
    return not whole and hasattr(data, "__iter__")


class Stream:
    """The batches of `by_step`, `by_epoch` or an iterable, in the order of the steps.

    A step's batch is drawn once and kept until another is asked for, so all groups of
    trials get the same one. Steps are drawn in order. To reach an earlier step, the
    data start again and skip the batches before it. Iterators with `get_state` and
    `set_state`, such as grain's, are restored at the last known state before the step.

    Args:
      name: of the task, for error messages.
      data: where the batches come from.

    Attributes:
      states: what `state` returned, by step, in this process or an earlier one.

    Raises:
      ValueError: the data can be iterated over only once.
    """

    def __init__(self, name: str, data: Any):
        self.name, self.data = name, data
        self._next = 0  # step
        self._epoch = -1
        self._batches: Iterator[PyTree] = iter(())
        self._held: dict[int, PyTree] = {}  # the batches drawn last, by step
        self._stacked: PyTree = None  # the same batches, stacked
        self._kinds: Any = None
        self.states: dict[int, dict[str, Any]] = {}
        if not isinstance(data, (ByStep, ByEpoch)) and iter(data) is data:
            raise ValueError(
                f"Task {name}: train must be data that can be started again, got an "
                f"iterator, {shown(data)}, which gives its batches once; give what "
                "makes it: a loader, or sweep.by_epoch(function)."
            )

    def __len__(self) -> int:
        """Return the number of steps of an epoch, if the data have a length."""
        return len(self.data)

    @property
    def begins(self) -> int:
        """The step that a resume draws first: the step of the last state, or 0."""
        return max(self.states, default=0)

    @functools.cached_property
    def first(self) -> PyTree:
        """A batch, for its shapes: the batch of the step `begins`."""
        return jax.tree.map(lambda x: x[0], self.draw(self.begins, 1))

    def state(self, step: int) -> dict[str, Any] | None:
        """Return the iterator's state after `step` batches, for JSON; None without one.

        An iterator without a state is drawn again from its start. A state may be bytes
        or anything that JSON holds, with tuples and NumPy numbers.
        """
        both = all(hasattr(self._batches, n) for n in ("get_state", "set_state"))
        if self._next != step or not both:
            return None
        held = object_names.written(cast(Any, self._batches).get_state())
        if isinstance(held, dict) and "$repr" in held:
            return None
        return {"epoch": self._epoch, "iterator": held}

    def draw(self, first: int, count: int) -> PyTree:
        """Return the batches of `count` steps, stacked along a new leading axis.

        Raises:
          ValueError: the data run out of batches, or a batch has other shapes; the
            message names the step.
        """
        steps = range(first, first + count)
        if list(self._held) != list(steps):
            held = self._held
            self._held = {
                step: held[step] if step in held else self._batch(step)
                for step in steps
            }
            batches = self._held.values()
            self._stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *batches)
        return self._stacked

    def _batch(self, step: int) -> PyTree:
        with noted(f"In the training data of the task {self.name}, at step {step}."):
            if isinstance(self.data, ByStep):
                batch = self.data.function(step)
            else:
                batch = self._of_epoch(step)
            batch = jax.tree.map(np.asarray, batch)
        kinds = (
            jax.tree.structure(batch),
            [(x.shape, x.dtype) for x in jax.tree.leaves(batch)],
        )
        self._kinds = self._kinds or kinds
        if kinds != self._kinds:
            raise ValueError(
                f"Task {self.name}: every batch of train must have the shapes of the "
                f"first, {_shapes(self._kinds)}, got {_shapes(kinds)} at step {step}; "
                "drop the last, smaller batch of an epoch, or fill it up."
            )
        return batch

    def _of_epoch(self, step: int) -> PyTree:
        self._go_to(step)
        while True:
            for batch in self._batches:
                self._next += 1
                if self._next > step:
                    return batch
            began = self._next
            self._epoch += 1
            self._batches = self._begun()
            first = next(self._batches, None)
            if first is None:
                raise ValueError(
                    f"Task {self.name}: train must give batches whenever it is "
                    f"started, got none at step {began}, in epoch {self._epoch}."
                )
            self._next += 1
            if self._next > step:
                return first

    def _go_to(self, step: int) -> None:
        """Move to the nearest step that is reachable: with a state, current, or 0."""
        known = max((at for at in self.states if at <= step), default=0)
        if known <= self._next <= step:
            return
        self._next, self._epoch, self._batches = known, -1, iter(())
        if not known:
            return
        state = self.states[known]
        self._epoch = state["epoch"]
        self._batches = self._begun()
        try:
            iterator: Any = self._batches
            iterator.set_state(object_names.from_json(state["iterator"]))
        except Exception as error:  # iterators raise any error for a foreign state
            raise ValueError(
                f"Task {self.name}: train cannot go on from the state that was kept at "
                f"step {known} ({type(error).__name__}: {error}); give the loader that "
                "the sweep was started with."
            ) from error

    def _begun(self) -> Iterator[PyTree]:
        """Return an iterator over the batches of the epoch."""
        by_epoch = isinstance(self.data, ByEpoch)
        return iter(self.data.function(self._epoch) if by_epoch else self.data)


def whole(name: str, split: str, data: Any) -> PyTree:
    """Return the examples of a validation or test set as a tree of arrays.

    Args:
      name: of the task.
      split: which set it is.
      data: a tree of arrays, an iterable of batches, or `by_epoch`.

    Raises:
      ValueError: the data are endless or empty.
    """
    if not is_stream(data):
        return data
    if isinstance(data, ByStep):
        raise ValueError(
            f"Task {name}: {split} must have an end, got sweep.by_step(...), which has "
            "none; give a tree of arrays, or an iterable of batches."
        )
    with noted(f"In the batches of {split} of the task {name}."):
        batches = [jax.tree.map(np.asarray, batch) for batch in _epoch(data)]
    if not batches:
        raise ValueError(f"Task {name}: {split} must give batches, got none.")
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *batches)


def _epoch(data: Any) -> Iterable[PyTree]:
    return data.function(0) if isinstance(data, ByEpoch) else data


def _shapes(kinds: Any) -> str:
    return ", ".join(f"{dtype}{list(shape)}" for shape, dtype in kinds[1])
