"""What is done to every trial of a sweep: steps, batches, folds, keys."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jopt.core import PyTree, is_integer
from jopt.sweep._task import Task, examples
from jopt.sweep._trial import Trial
from jopt.sweep.engine import Batches, Data, Seeded, place

CALL = 128  # steps of a compiled call at most: much more than a call itself costs


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is done to every trial, and how the steps are cut.

    task: whose model and data. batch_size: examples a step. steps: of each trial.
    looks: segments asked for. key: of everything random. folds: parts that training and
    validation examples are cut into, each held out by a fold's trials; with 1, the
    task's own split. streams: the examples come with the batches, for the training set
    does not fit on the device.
    """

    task: Task
    batch_size: int
    steps: int
    looks: int
    key: jax.Array
    folds: int = 1
    streams: bool = False

    @property
    def calls(self) -> int:
        """The compiled calls of a segment, so that each is short enough to be timed."""
        return math.ceil(math.ceil(self.steps / self.looks) / CALL)

    @property
    def length(self) -> int:
        """The steps of a segment; the last may go beyond the end, changing nothing."""
        return math.ceil(self.steps / self.looks / self.calls) * self.calls

    @property
    def segments(self) -> int:
        """The segments that are needed: fewer than asked for, if steps are few."""
        return math.ceil(self.steps / self.length)

    def data(self) -> Data:
        """Put what all trials see on the device."""
        valid = [self.task.valid]
        if self.folds > 1:
            valid = [_rows(self.examples, rows) for rows in self.held_out]
        return place(None if self.streams else self.examples, valid)

    @functools.cached_property
    def examples(self) -> PyTree:
        """What batches are rows of: with folds, what is validated on as well."""
        if self.folds == 1:
            return self.task.train
        return jax.tree.map(
            lambda *parts: np.concatenate([np.asarray(part) for part in parts]),
            self.task.train,
            self.task.valid,
        )

    @functools.cached_property
    def held_out(self) -> list[np.ndarray]:
        """The rows that each fold is validated on: a partition into like parts."""
        order = self.random(2**32 - 1).permutation(examples(self.examples))
        return [np.sort(part) for part in np.array_split(order, self.folds)]

    def seeded(self, trials: Sequence[Trial]) -> Seeded:
        """What the trials start from, made of their seeds alone, one by one.

        A trial's place in the sweep and the number of seeds are no matter.
        """
        seeds = sorted({trial.seed for trial in trials})
        models, keys = [], []
        for seed in seeds:
            init_key, key = jax.random.split(jax.random.fold_in(self.key, seed))
            models.append(self.init(init_key))
            keys.append(key)
        rows = jnp.asarray([seeds.index(trial.seed) for trial in trials], jnp.int32)
        folds = jnp.asarray([trial.fold for trial in trials], jnp.int32)
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *models)
        return Seeded(stacked, jnp.stack(keys), rows, folds)

    @functools.cached_property
    def init(self) -> Any:
        # It runs once a seed: to compile it fast is worth more than that it be fast.
        fast = {"xla_backend_optimization_level": 0}
        return jax.jit(self.task.init, compiler_options=fast)

    def batches(self, segment: int) -> list[Batches]:
        """The batches of a segment, call by call; all trials of a fold see the same.

        An epoch is a permutation, less its remainder; the order depends on the key and
        the step alone.
        """
        first = segment * self.length
        steps = np.arange(first, first + self.length)
        if self.folds == 1:
            rows = self._epochs(steps, np.arange(examples(self.examples)))
        else:
            everything = np.arange(examples(self.examples))
            kept = [np.setdiff1d(everything, held_out) for held_out in self.held_out]
            rows = np.stack([self._epochs(steps, k, f) for f, k in enumerate(kept)], 1)
        cuts = np.split(steps.astype(np.int32), self.calls), np.split(rows, self.calls)
        return [self._call(s, r) for s, r in zip(*cuts, strict=True)]

    def _epochs(self, steps: np.ndarray, rows: np.ndarray, *fold: int) -> np.ndarray:
        """The rows of each step, int32[steps, batch], of those that are trained on."""
        each = len(rows) // self.batch_size
        orders = {
            epoch: rows[self.random(epoch, *fold).permutation(len(rows))]
            for epoch in set((steps // each).tolist())
        }
        within = (steps % each)[:, None] * self.batch_size + np.arange(self.batch_size)
        taken = zip(steps.tolist(), within, strict=True)
        return np.stack([orders[step // each][w] for step, w in taken]).astype(np.int32)

    def _call(self, steps: np.ndarray, rows: np.ndarray) -> Batches:
        rows = rows if self.folds == 1 else np.moveaxis(rows, 1, 0)
        end, seen = jnp.asarray(self.steps, jnp.int32), None
        if self.streams:
            seen = jax.tree.map(jnp.asarray, _rows(self.examples, rows.ravel()))
            rows = np.arange(rows.size, dtype=np.int32).reshape(rows.shape)
        return Batches(jnp.asarray(steps), jnp.asarray(rows), end, seen)

    def random(self, *numbers: int) -> np.random.Generator:
        """Return what draws by the key and these numbers alone."""
        entropy = np.asarray(jax.random.key_data(self.key)).tolist()
        return np.random.default_rng([*entropy, *numbers])


def base_key(seed: int | jax.Array) -> jax.Array:
    """Return the key of a sweep.

    Raises a ValueError for an integer of more than 64 bits, for what is no key, and for
    the `rbg` kinds, which under vmap give all trials the bits of one
    (https://docs.jax.dev/en/latest/jax.random.html).
    """
    if is_integer(seed) and not -(2**63) <= int(seed) < 2**63:
        raise ValueError(f"A sweep needs a seed from -2^63 to 2^63 - 1, got {seed}.")
    key: Any = jax.random.key(int(seed)) if is_integer(seed) else seed
    raw = key.dtype == np.uint32 and key.ndim == 1  # of jax.random.PRNGKey
    if not raw and (not jnp.issubdtype(key.dtype, jax.dtypes.prng_key) or key.ndim > 0):
        raise ValueError(
            "A sweep needs a seed that is an integer or one key of jax.random.key, got "
            f"{seed!r}."
        )
    name = str(jax.random.key_impl(key))
    if "rbg" in name:
        raise ValueError(
            f"A sweep needs keys whose bits differ by trial, got {name}: under vmap it "
            "gives all trials the bits of one; use jax.random.key(seed, "
            "impl='threefry2x32'), or set jax_default_prng_impl to threefry2x32."
        )
    return key


def _rows(data: PyTree, rows: np.ndarray) -> PyTree:
    return jax.tree.map(lambda array: np.asarray(array)[rows], data)
