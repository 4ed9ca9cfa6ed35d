"""What is compiled of a sweep: some steps of a trial, and its evaluation.

    train(trial, batches) -> trial, what was seen
    evaluate(trial) -> means over the validation set

`Lanes` maps both over the trials of a block. What all trials have in common (the data,
its order, the counters of the optimizer) has no trial axis: a branch on a counter stays
a branch, and a first layer sees one wide product.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jopt.core import PyTree, stored, wide
from jopt.sweep._task import Task, examples
from jopt.training import descend

EVALUATION_CHUNK = 256  # examples at a time: bounds the activations of a block


class Lane(NamedTuple):
    """One trial on the device; in a block every leaf but the counters is stacked."""

    tx: PyTree
    params: PyTree
    model_state: PyTree
    opt_state: PyTree
    key: jax.Array
    fold: jax.Array  # int32[], whose examples are held out
    alive: jax.Array  # bool[]


class Chunks(NamedTuple):
    """Examples to evaluate on, in chunks that bound the activations.

    Where a sweep has folds, both have one more axis before the others: the fold.
    """

    examples: PyTree  # (chunks, examples a chunk, ...), filled up at the end
    counted: jax.Array  # bool[chunks, examples a chunk], false where filled up


class Data(NamedTuple):
    """What all trials see; on the device."""

    train: PyTree  # None where the examples come with the batches
    valid: Chunks


class Batches(NamedTuple):
    """The K steps of a call."""

    steps: jax.Array  # int32[K], their numbers
    rows: jax.Array  # int32[K, batch] of the training set, or [folds, K, batch]
    end: jax.Array  # int32[], steps in all; later ones change no parameter
    examples: PyTree = None  # what `rows` points into, if not the whole training set

    def within(self, train: PyTree) -> PyTree:
        """Return what the rows point into."""
        return train if self.examples is None else self.examples


class Seen(NamedTuple):
    """What the steps of a call saw of a trial."""

    losses: jax.Array  # at least float32[K], before each step
    alive: jax.Array  # bool[K], false from the step on that diverged


def place(train: PyTree, valid: Sequence[PyTree]) -> Data:
    """Put a training set, and the validation set of each fold, on the device.

    train: None where the examples come with the batches.
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
    """Cut examples into as many chunks of one shape (chunks, examples) as it takes.

    What is left at the end is filled up with the last example, which counts once.
    """
    size = examples(data)
    places = np.arange(math.ceil(size / math.prod(shape)) * math.prod(shape))

    def cut(places: np.ndarray) -> Chunks:
        rows = np.minimum(places, size - 1)
        taken = jax.tree.map(lambda array: jnp.asarray(np.asarray(array)[rows]), data)
        return Chunks(taken, jnp.asarray(places < size))

    return [cut(part) for part in places.reshape(-1, *shape)]


def start(
    tx: PyTree, model: tuple[PyTree, PyTree], key: jax.Array, fold: jax.Array
) -> Lane:
    """Return a trial before its first step; `model` is params and model state."""
    params, model_state = model
    opt_state = tx.init(params)
    return Lane(tx, params, model_state, opt_state, key, fold, jnp.array(True))


def train(task: Task, lane: Lane, data: PyTree, batches: Batches) -> tuple[Lane, Seen]:
    """Train one trial for the steps of `batches`, rows of the training set `data`."""

    def step(carry: tuple[PyTree, ...], now: tuple[jax.Array, jax.Array]):
        params, model_state, opt_state, alive = carry
        number, rows = now
        *new, loss = descend(
            task.loss,
            lane.tx,
            params,
            model_state,
            opt_state,
            jax.tree.map(lambda array: array[rows], data),
            jax.random.fold_in(lane.key, number),
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
        seen = Seen(loss, alive)
        return (params, model_state, opt_state, alive), seen

    carry = (lane.params, lane.model_state, lane.opt_state, lane.alive)
    folded = batches.rows.ndim == 3
    rows = batches.rows[lane.fold] if folded else batches.rows
    carry, seen = jax.lax.scan(step, carry, (batches.steps, rows))
    params, model_state, opt_state, alive = carry
    after = {"params": params, "model_state": model_state, "opt_state": opt_state}
    return lane._replace(**after, alive=alive), seen


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
