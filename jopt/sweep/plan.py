"""What is done to every trial of a sweep: steps, batches, keys."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jopt.sweep.block import Batches
from jopt.sweep.lanes import Seeded
from jopt.sweep.task import Task, examples
from jopt.sweep.trial import Trial

CALL = 128  # steps of a compiled call at most: much more than a call itself costs


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is done to every trial, and how the steps are cut."""

    task: Task
    batch_size: int
    steps: int
    looks: int  # segments asked for
    key: jax.Array

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
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *models)
        return Seeded(stacked, jnp.stack(keys), rows)

    @functools.cached_property
    def init(self) -> Any:
        # It runs once a seed: to compile it fast is worth more than that it be fast.
        fast = {"xla_backend_optimization_level": 0}
        return jax.jit(self.task.init, compiler_options=fast)

    def batches(self, segment: int) -> list[Batches]:
        """The batches of a segment, call by call; all trials see the same.

        An epoch is a permutation, less its remainder; the order depends on the key and
        the step alone.
        """
        size = examples(self.task.train)
        each = size // self.batch_size
        first = segment * self.length
        steps = np.arange(first, first + self.length)
        entropy = np.asarray(jax.random.key_data(self.key)).tolist()
        orders = {
            epoch: np.random.default_rng([*entropy, epoch]).permutation(size)
            for epoch in set((steps // each).tolist())
        }
        within = (steps % each)[:, None] * self.batch_size + np.arange(self.batch_size)
        rows = [
            orders[s // each][w] for s, w in zip(steps.tolist(), within, strict=True)
        ]
        steps, rows = steps.astype(np.int32), np.stack(rows).astype(np.int32)
        end = jnp.asarray(self.steps, jnp.int32)
        cut = zip(np.split(steps, self.calls), np.split(rows, self.calls), strict=True)
        return [Batches(jnp.asarray(s), jnp.asarray(r), end) for s, r in cut]


def base_key(seed: int | jax.Array) -> jax.Array:
    """Return the key of a sweep.

    Raises a ValueError for the `rbg` kinds, which under vmap give all trials the bits
    of one (https://docs.jax.dev/en/latest/jax.random.html).
    """
    key = jax.random.key(seed) if isinstance(seed, (int, np.integer)) else seed
    name = str(jax.random.key_impl(key))
    if "rbg" in name:
        raise ValueError(
            f"A sweep needs keys whose bits differ by trial, got {name}: under vmap it "
            "gives all trials the bits of one; use jax.random.key(seed, "
            "impl='threefry2x32'), or set jax_default_prng_impl to threefry2x32."
        )
    return key
