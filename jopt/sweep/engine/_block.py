"""The functions that a sweep compiles: steps and evaluation of a block of trials.

`train` and `evaluate` treat one trial, and `StackedTrials` maps them over the trials of
a block. What all trials have in common (the data, its order, the counters of the
optimizer) has no trial axis: a branch on a counter stays a branch, and a first layer
sees one wide product.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jopt.core import PyTree, stored, wide
from jopt.sweep._task import Task, examples
from jopt.training import descend

EVALUATION_CHUNK = 256  # examples at a time: bounds the activations of a block

Leaves: TypeAlias = list[jax.Array]


class TrialState(NamedTuple):
    """One trial on the device; in a block every leaf but the counters is stacked."""

    tx: PyTree
    params: PyTree
    model_state: PyTree
    opt_state: PyTree
    key: jax.Array
    fold: jax.Array  # int32[], whose examples are held out
    alive: jax.Array  # bool[]


class Starts(NamedTuple):
    """What trials start from: the same for a seed whatever else is in the sweep."""

    models: tuple[PyTree, PyTree]  # params and model states, stacked by seed
    keys: jax.Array  # [seeds], for what is random in training
    rows: jax.Array  # int32[trials], each trial's place among the seeds
    folds: jax.Array  # int32[trials]


class Chunks(NamedTuple):
    """Examples to evaluate on, in chunks that bound the activations.

    In a sweep with folds, both have a leading axis more: the fold.
    """

    examples: PyTree  # (chunks, examples a chunk, ...), filled up at the end
    counted: jax.Array  # bool[chunks, examples a chunk], false where filled up


class Data(NamedTuple):
    """The data of all trials, on the device."""

    train: PyTree  # None where the examples come with the batches
    valid: Chunks


class Batches(NamedTuple):
    """The K steps of a call."""

    steps: jax.Array  # int32[K], their numbers
    rows: jax.Array  # int32[K, batch] of the training set, or [folds, K, batch]
    end: jax.Array  # int32[], steps in all; later ones change no parameter
    examples: PyTree = None  # what `rows` index, if not the whole training set

    def within(self, train: PyTree) -> PyTree:
        """Return the examples that the rows index."""
        return train if self.examples is None else self.examples


class StepLosses(NamedTuple):
    """The training losses of a trial in the steps of a call."""

    losses: jax.Array  # at least float32[K], before each step
    alive: jax.Array  # bool[K], false from the step on that diverged


def place(train: PyTree, valid: Sequence[PyTree]) -> Data:
    """Put a training set, and the validation set of each fold, on the device.

    Args:
      train: tree of arrays, or None where the examples come with the batches.
      valid: a tree of arrays for each fold.
    """
    size = max(map(examples, valid))
    number = math.ceil(size / EVALUATION_CHUNK)
    shape = number, math.ceil(size / number)
    folds = [chunked(part, shape)[0] for part in valid]
    stacked = jax.tree.map(lambda *parts: jnp.stack(parts), *folds)
    return Data(
        jax.tree.map(jnp.asarray, train), folds[0] if len(folds) == 1 else stacked
    )


def chunked(data: PyTree, shape: tuple[int, ...]) -> list[Chunks]:
    """Cut examples into as many chunks of one shape (chunks, examples) as needed.

    The last chunks are filled up with copies of the last example, which do not count.
    """
    size = examples(data)
    places = np.arange(math.ceil(size / math.prod(shape)) * math.prod(shape))

    def cut(places: np.ndarray) -> Chunks:
        rows = np.minimum(places, size - 1)
        taken = jax.tree.map(lambda array: jnp.asarray(np.asarray(array)[rows]), data)
        return Chunks(taken, jnp.asarray(places < size))

    return [cut(part) for part in places.reshape(-1, *shape)]


def train(
    task: Task, trial: TrialState, data: PyTree, batches: Batches
) -> tuple[TrialState, StepLosses]:
    """Train one trial for the steps of `batches`, rows of the training set `data`."""

    def step(carry: tuple[PyTree, ...], now: tuple[jax.Array, jax.Array]):
        params, model_state, opt_state, alive = carry
        number, rows = now
        *new, loss = descend(
            task.loss,
            trial.tx,
            params,
            model_state,
            opt_state,
            jax.tree.map(lambda array: array[rows], data),
            jax.random.fold_in(trial.key, number),
        )
        loss = wide(loss)
        alive = alive & jnp.isfinite(loss) & (loss <= task.diverged_above)
        # Frozen by `where`, for 0 * nan is nan; and not the optimizer's state, whose
        # counters would get a trial axis, and every branch on them would run both ways.
        kept = alive & (number < batches.end)
        # In the dtypes that they had: a loss may compute statistics in a wider one.
        *new, opt_state = stored(new, [params, model_state, opt_state])
        params, model_state = jax.tree.map(
            lambda new, old: jnp.where(kept, new, old), new, [params, model_state]
        )
        return (params, model_state, opt_state, alive), StepLosses(loss, alive)

    carry = (trial.params, trial.model_state, trial.opt_state, trial.alive)
    rows = batches.rows[trial.fold] if batches.rows.ndim == 3 else batches.rows
    carry, losses = jax.lax.scan(step, carry, (batches.steps, rows))
    params, model_state, opt_state, alive = carry
    after = {"params": params, "model_state": model_state, "opt_state": opt_state}
    return trial._replace(**after, alive=alive), losses


def evaluate(
    task: Task,
    params: PyTree,
    model_state: PyTree,
    chunks: Chunks,
    fold: jax.Array | int = 0,
) -> dict[str, jax.Array]:
    """Return the means of the task's values over the counted examples.

    They are summed in at least float32.
    """
    if chunks.counted.ndim == 3:
        chunks = jax.tree.map(lambda leaf: leaf[fold], chunks)

    def sums(chunk: Chunks) -> dict[str, jax.Array]:
        values = task.evaluate(params, model_state, chunk.examples)
        counted = {
            name: jnp.where(chunk.counted, wide(value), 0)
            for name, value in values.items()
        }
        return jax.tree.map(jnp.sum, counted)

    number = jnp.sum(chunks.counted)
    totals = jax.tree.map(jnp.sum, jax.lax.map(sums, chunks))
    return jax.tree.map(lambda total: total / number.astype(total.dtype), totals)


class StackedTrials:
    """Start, train and evaluate blocks of trials of one structure.

    A block is two lists of leaves. Those in `own` have a trial axis, (trials, ...).
    Those in `shared` have none: the counters of the optimizer's state, since all trials
    of a block are at the same step, and a counter with a trial axis would turn every
    `lax.cond` on it into a `select`.

    Args:
      task: model, loss and data.
      txs: the transformations of all trials, stacked.
      starts: of all trials.
      data: of all trials.
      batches: any of a call, for their shapes.
    """

    def __init__(
        self, task: Task, txs: PyTree, starts: Starts, data: Data, batches: Batches
    ):
        # Traced once, whatever the size of the block that they are mapped over.
        self._train_one = jax.jit(functools.partial(train, task))
        self._evaluate_one = jax.jit(functools.partial(evaluate, task))
        self.data = data
        self.txs, self.starts, self.count = txs, starts, len(starts.rows)
        parts = (txs, starts.models, starts.keys, starts.folds)
        first = jax.tree.map(lambda leaf: leaf[0], parts)
        trial = jax.eval_shape(lambda: _start(*first))
        self._structure = jax.tree.structure(trial)
        self._is_shared = _counters(trial)
        self._unshare(batches)

    def start(self, txs: PyTree, starts: Starts) -> tuple[Leaves, Leaves]:
        """Return a block of trials before their first step."""

        def one(tx: PyTree, row: jax.Array, fold: jax.Array) -> tuple[Leaves, Leaves]:
            model, key = jax.tree.map(lambda x: x[row], (starts.models, starts.keys))
            return self._split(_start(tx, model, key, fold))

        return jax.vmap(one, out_axes=(0, None))(txs, starts.rows, starts.folds)

    def inherit(
        self, own: Leaves, shared: Leaves, parents: np.ndarray, txs: PyTree
    ) -> Leaves:
        """Return the own leaves of trials that copy their parents.

        A trial keeps its key and fold, and takes its transformation from `txs`.

        Args:
          own, shared: the leaves of all trials.
          parents: int[trials].
          txs: stacked transformations.
        """
        before = self.join(own, shared)
        after = self.join([leaf[parents] for leaf in own], shared)
        after = after._replace(tx=txs, key=before.key, fold=before.fold)
        return self._split(after)[0]

    def train(
        self, own: Leaves, shared: Leaves, data: PyTree, batches: Batches
    ) -> tuple[Leaves, Leaves, StepLosses]:
        """Return a block after the steps of `batches`, and each trial's losses."""

        def one(own: Leaves, shared: Leaves) -> tuple[Leaves, Leaves, StepLosses]:
            trial, losses = self._train_one(self.join(own, shared), data, batches)
            return *self._split(trial), losses

        return _over_trials(one, own, shared, out_axes=(0, None, 0))

    def evaluate(
        self, own: Leaves, shared: Leaves, chunks: Chunks
    ) -> dict[str, jax.Array]:
        """Return the means over the examples, each (trials,)."""

        def one(own: Leaves, shared: Leaves) -> dict[str, jax.Array]:
            it = self.join(own, shared)
            return self._evaluate_one(it.params, it.model_state, chunks, it.fold)

        return _over_trials(one, own, shared, out_axes=0)

    def join(self, own: Leaves, shared: Leaves) -> TrialState:
        """Return the trial, or the stacked trials, of these leaves."""
        owns, shares = iter(own), iter(shared)
        leaves = [next(shares) if s else next(owns) for s in self._is_shared]
        return self._structure.unflatten(leaves)

    def _split(self, trial: TrialState) -> tuple[Leaves, Leaves]:
        leaves = list(zip(self._is_shared, jax.tree.leaves(trial), strict=True))
        return [x for s, x in leaves if not s], [x for s, x in leaves if s]

    def _unshare(self, batches: Batches) -> None:
        """Give a trial axis to the counters that a segment makes differ by trial.

        One such counter is that of skipped non-finite gradients.
        """
        own, shared = jax.eval_shape(self.start, self.txs, self.starts)
        batched: list[list[bool]] = []
        probe = _probe(batched)

        def trained(own: Leaves, shared: Leaves, data: PyTree, batches: Batches) -> Any:
            trial, _ = self._train_one(self.join(own, shared), data, batches)
            return probe(jax.tree.leaves(trial))

        trials = jax.vmap(trained, in_axes=(0, None, None, None))
        jax.eval_shape(trials, own, shared, batches.within(self.data.train), batches)
        still = [s and not b for s, b in zip(self._is_shared, batched[0], strict=True)]
        if still != self._is_shared:
            self._is_shared = still
            self._unshare(batches)  # leaves that depend on these may differ as well


def _start(
    tx: PyTree, model: tuple[PyTree, PyTree], key: jax.Array, fold: jax.Array
) -> TrialState:
    """Return a trial before its first step; `model` is params and model state."""
    params, model_state = model
    opt_state = tx.init(params)
    return TrialState(tx, params, model_state, opt_state, key, fold, jnp.array(True))


def _over_trials(one: Any, own: Leaves, shared: Leaves, out_axes: Any) -> Any:
    """Map `one` over the trials of a block; a single trial is taken out of its axis.

    XLA's CPU backend makes products with a batch of one 30 % slower than without.
    """
    if own[0].shape[0] > 1:
        return jax.vmap(one, in_axes=(0, None), out_axes=out_axes)(own, shared)
    results = one([leaf[0] for leaf in own], shared)
    if not isinstance(out_axes, tuple):
        return jax.tree.map(lambda leaf: leaf[None], results)
    return tuple(
        result if axis is None else jax.tree.map(lambda leaf: leaf[None], result)
        for result, axis in zip(results, out_axes, strict=True)
    )


def _counters(trial: TrialState) -> list[bool]:
    """Return for each leaf whether it is an integer scalar of the optimizer's state."""
    none = TrialState(*(jax.tree.map(lambda _: False, part) for part in trial))
    counters = jax.tree.map(
        lambda leaf: leaf.ndim == 0 and jnp.issubdtype(leaf.dtype, jnp.integer),
        trial.opt_state,
    )
    return jax.tree.leaves(none._replace(opt_state=counters))


def _probe(batched: list[Any]) -> Any:
    """Return an identity that records which of its leaves vmap has given an axis."""

    @jax.custom_batching.custom_vmap
    def probe(leaves: Leaves) -> Leaves:
        return leaves

    @probe.def_vmap
    def rule(axis_size: int, in_batched: list[Any], leaves: Leaves):
        batched.append(in_batched[0])
        return leaves, in_batched[0]

    return probe
