"""The functions that a sweep compiles: steps and evaluation of a block of trials.

`train` and `evaluate` treat one trial, and `StackedTrials` maps them over the trials of
a block. What all trials have in common (the data, its order, the counters of the
optimizer) has no trial axis: a branch on a counter stays a branch, and a first layer
sees one wide product.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxprs_in_params

from jopt.core import PyTree, stored, wide
from jopt.sweep._config import plain
from jopt.sweep._task import Task, examples, kept, summarized

EVALUATION_CHUNK = 256  # examples at a time: bounds the activations of a block
EVALUATION = 2**32 - 1  # tells evaluation's random numbers from a step's

Leaves: TypeAlias = list[jax.Array]


class TrialState(NamedTuple):
    """One trial on the device; in a block every leaf but the shared ones is stacked."""

    config: PyTree
    state: PyTree  # the task's
    key: jax.Array
    fold: jax.Array  # int32[], whose examples are held out
    order: jax.Array  # int32[], of the examples of its batches
    alive: jax.Array  # bool[]


class Starts(NamedTuple):
    """What trials start from: the same for a seed whatever else is in the sweep."""

    init_keys: jax.Array  # [seeds], for the task's init
    keys: jax.Array  # [seeds], for what is random in training
    rows: jax.Array  # int32[trials], each trial's place among the seeds
    folds: jax.Array  # int32[trials]
    orders: jax.Array  # int32[trials], of the examples


class Chunks(NamedTuple):
    """Examples to evaluate on, in chunks that bound the activations.

    In a sweep with folds, both have a leading axis more: the fold.
    """

    examples: PyTree  # (chunks, examples a chunk, ...), filled up at the end
    counted: jax.Array  # bool[chunks, examples a chunk], false where filled up


class Data(NamedTuple):
    """The data of all trials, on the device."""

    train: PyTree  # None where the examples come with the batches, or there are none
    valid: Chunks | None


class Batches(NamedTuple):
    """The K steps of a call."""

    steps: jax.Array  # int32[K], their numbers
    rows: Any  # int32[K, batch] of the training set, or [orders, K, batch], or None
    end: jax.Array  # int32[], steps in all; later ones change no parameter
    examples: PyTree = None  # what `rows` index, if not the whole training set

    def within(self, train: PyTree) -> PyTree:
        """Return the examples that the rows index."""
        return train if self.examples is None else self.examples

    def only(self, at: jax.Array) -> "Batches":
        """Return the batch of one of the steps."""
        rows = self.rows
        if rows is not None:
            axis = 0 if rows.ndim < 3 else 1
            rows = jax.lax.dynamic_slice_in_dim(rows, at, 1, axis)
        steps = jax.lax.dynamic_slice_in_dim(self.steps, at, 1)
        return self._replace(steps=steps, rows=rows)


class StepMetrics(NamedTuple):
    """What the steps of a call returned for a trial."""

    losses: jax.Array  # at least float32[K], before each step; NaN without a loss
    alive: jax.Array  # bool[K], false from the step on that diverged
    sums: dict[str, jax.Array]  # of the other scalars, over the steps made


def place(train: PyTree, valid: Sequence[PyTree]) -> Data:
    """Put a training set, and the validation set of each fold, on the device.

    Args:
      train: tree of arrays, or None where the examples come with the batches.
      valid: a tree of arrays for each fold, none where there is no validation set.
    """
    if not valid:
        return Data(jax.tree.map(jnp.asarray, train), None)
    shape = chunk_shape(valid)
    folds = [chunked(part, shape)[0] for part in valid]
    stacked = jax.tree.map(lambda *parts: jnp.stack(parts), *folds)
    return Data(
        jax.tree.map(jnp.asarray, train), folds[0] if len(folds) == 1 else stacked
    )


def chunk_shape(parts: Sequence[PyTree]) -> tuple[int, int]:
    """Return how many chunks, of how many examples, hold any one of the parts."""
    size = max(map(examples, parts))
    number = math.ceil(size / EVALUATION_CHUNK)
    return number, math.ceil(size / number)


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
    task: Task,
    is_asked: Sequence[bool],
    is_shared: Sequence[bool],
    trial: TrialState,
    data: PyTree,
    batches: Batches,
) -> tuple[TrialState, StepMetrics]:
    """Train one trial for the steps of `batches`.

    Args:
      task: what is trained.
      is_asked: of each leaf of the task's state, whether anything is asked of it
        between steps. Others, such as moments, go on when the trial has died.
      is_shared: of each leaf, whether all trials share it. It goes on when one dies: if
        it stayed, it would get a trial axis, and branches on it would run both ways.
      trial: before the first step.
      data: the training set, whose rows make the batches.
      batches: of the steps.
    """
    config = plain(trial.config)

    def step(carry: tuple[PyTree, jax.Array], now: tuple[jax.Array, jax.Array | None]):
        state, alive = carry
        number, rows = now
        batch = None if rows is None else jax.tree.map(lambda array: array[rows], data)
        key = jax.random.fold_in(trial.key, number)
        new, metrics = task.step(config, state, batch, key)
        # In the dtypes that they had: a step may compute statistics in a wider one.
        new = stored(new, state)
        metrics = {name: wide(value) for name, value in metrics.items()}
        loss = metrics.pop("loss", None)
        if loss is None:
            loss = jnp.full((), jnp.nan, float)
        else:
            alive = alive & jnp.isfinite(loss) & (loss <= task.diverged_above)
        # Frozen by `where`, for 0 * nan is nan.
        running = number < batches.end
        leaves, structure = jax.tree.flatten(new)
        every = zip(is_asked, is_shared, leaves, jax.tree.leaves(state), strict=True)
        leaves = [
            jnp.where(running if shared else running & alive, n, o) if asked else n
            for asked, shared, n, o in every
        ]
        seen = {k: jnp.where(running & alive, v, 0) for k, v in metrics.items()}
        return (structure.unflatten(leaves), alive), StepMetrics(loss, alive, seen)

    rows = batches.rows
    rows = rows if rows is None or rows.ndim < 3 else rows[trial.order]
    carry = trial.state, trial.alive
    every = batches.steps, rows
    if len(batches.steps) == 1:  # XLA's CPU backend is slow at convolutions in a loop
        carry, seen = step(carry, jax.tree.map(lambda x: x[0], every))
        seen = jax.tree.map(lambda x: x[None], seen)
    else:
        carry, seen = jax.lax.scan(step, carry, every)
    state, alive = carry
    sums = jax.tree.map(jnp.sum, seen.sums)
    return trial._replace(state=state, alive=alive), seen._replace(sums=sums)


def evaluate(
    task: Task, trial: TrialState, chunks: Chunks | None
) -> dict[str, jax.Array]:
    """Return the metrics of a trial on the counted examples.

    Values are summed in at least float32.
    """
    key = jax.random.fold_in(trial.key, EVALUATION)
    config = plain(trial.config)

    def values(batch: PyTree, number: jax.Array | int) -> dict[str, jax.Array]:
        own = jax.random.fold_in(key, number)
        return task.evaluate(config, trial.state, batch, own)

    if chunks is None:
        means = jax.tree.map(wide, values(None, 0))
    else:
        folded = chunks.counted.ndim == 3
        at = lambda leaf: leaf[trial.fold] if folded else leaf  # noqa: E731
        means = means_over(values, jax.tree.map(at, chunks))
    return summarized(task, config, trial.state, means)


def means_over(
    values: Callable[[PyTree, jax.Array], dict[str, jax.Array]], chunks: Chunks
) -> dict[str, jax.Array]:
    """Return the means of values over the counted examples.

    Args:
      values: (examples, number of the chunk) -> values, one an example.
      chunks: of the examples.
    """

    def sums(at: tuple[Chunks, jax.Array]) -> dict[str, jax.Array]:
        chunk, number = at

        def total(value: jax.Array) -> jax.Array:
            axes = [1] * (jnp.ndim(value) - 1)
            counted = chunk.counted.reshape(-1, *axes)
            return jnp.sum(jnp.where(counted, wide(value), 0), axis=0)

        return jax.tree.map(total, values(chunk.examples, number))

    numbers = jnp.arange(len(chunks.counted), dtype=jnp.int32)
    every = jax.lax.map(sums, (chunks, numbers))
    totals = jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), every)
    number = jnp.sum(chunks.counted)
    return jax.tree.map(lambda total: total / number.astype(total.dtype), totals)


class StackedTrials:
    """Start, train and evaluate blocks of trials of one structure.

    A block is two lists of leaves. Those in `own` have a trial axis, (trials, ...).
    Those in `shared` have none: counters, integer scalars of the state that are the
    same for all trials of a block, since all are at the same step. A counter with a
    trial axis would turn every `lax.cond` on it into a `select`.

    Args:
      task: what is trained.
      configs: of all trials, stacked.
      starts: of all trials.
      data: of all trials.
      batches: any of a call, for their shapes.

    Attributes:
      convolves: whether a step has one of XLA's convolutions.
    """

    convolves: bool

    def __init__(
        self, task: Task, configs: PyTree, starts: Starts, data: Data, batches: Batches
    ):
        self.task, self.data = task, data
        self.configs, self.starts, self.count = configs, starts, len(starts.rows)
        # Traced once, whatever the size of the block that they are mapped over.
        self._start_one = jax.jit(self._start)
        first = jax.tree.map(lambda leaf: leaf[0], (configs, *_places(starts)))
        trial = jax.eval_shape(self._start_one, starts[:2], *first)
        self._structure = jax.tree.structure(trial)
        self._is_shared = _counters(trial)
        self._is_asked = self._asked(trial)
        self._unshare(batches)
        self._train_one = jax.jit(self._train)
        self._evaluate_one = jax.jit(functools.partial(evaluate, task))

    def start(self, configs: PyTree, starts: Starts) -> tuple[Leaves, Leaves]:
        """Return a block of trials before their first step.

        They are made one after the other: what one starts from does not depend on how
        many others there are.
        """
        one = functools.partial(self._start_one, starts[:2])
        every = configs, *_places(starts)
        own, shared = jax.lax.map(lambda given: self._split(one(*given)), every)
        return own, [leaf[0] for leaf in shared]

    def inherit(
        self, own: Leaves, shared: Leaves, parents: np.ndarray, configs: PyTree
    ) -> Leaves:
        """Return the own leaves of trials that copy their parents.

        A trial keeps its key, fold and order, and takes its config from `configs`.

        Args:
          own, shared: the leaves of all trials.
          parents: int[trials].
          configs: stacked.
        """
        before = self.join(own, shared)
        after = self.join([leaf[parents] for leaf in own], shared)
        after = after._replace(
            config=configs, key=before.key, fold=before.fold, order=before.order
        )
        return self._split(after)[0]

    def train_one_step(
        self,
        own: Leaves,
        shared: Leaves,
        data: PyTree,
        batches: Batches,
        at: jax.Array,
    ) -> tuple[Leaves, Leaves, StepMetrics]:
        """Return a block after one of the steps of `batches`, as `train` does."""
        return self.train(own, shared, data, batches.only(at))

    def train(
        self, own: Leaves, shared: Leaves, data: PyTree, batches: Batches
    ) -> tuple[Leaves, Leaves, StepMetrics]:
        """Return a block after the steps of `batches`, and what each trial's saw."""

        def one(own: Leaves, shared: Leaves) -> tuple[Leaves, Leaves, StepMetrics]:
            trial, seen = self._train_one(self.join(own, shared), data, batches)
            return *self._split(trial), seen

        return _over_trials(one, own, shared, out_axes=(0, None, 0))

    def evaluate(
        self, own: Leaves, shared: Leaves, chunks: Chunks | None
    ) -> dict[str, jax.Array]:
        """Return the metrics on the examples, each (trials,)."""

        def one(own: Leaves, shared: Leaves) -> dict[str, jax.Array]:
            return self._evaluate_one(self.join(own, shared), chunks)

        return _over_trials(one, own, shared, out_axes=0)

    def models(self, own: Leaves, shared: Leaves) -> PyTree:
        """Return what is kept of the trials, stacked."""

        def one(own: Leaves, shared: Leaves) -> PyTree:
            trial = self.join(own, shared)
            return kept(self.task, trial.config, trial.state)

        return _over_trials(one, own, shared, out_axes=0)

    def join(self, own: Leaves, shared: Leaves) -> TrialState:
        """Return the trial, or the stacked trials, of these leaves."""
        owns, shares = iter(own), iter(shared)
        leaves = [next(shares) if s else next(owns) for s in self._is_shared]
        return self._structure.unflatten(leaves)

    def _start(
        self,
        keys: tuple[jax.Array, jax.Array],
        config: PyTree,
        row: jax.Array,
        fold: jax.Array,
        order: jax.Array,
    ) -> TrialState:
        """Return a trial before its first step; `keys` are those of `Starts`."""
        init_keys, own_keys = keys
        state = self.task.init(plain(config), init_keys[row])
        state = jax.tree.map(jnp.asarray, state)
        key, alive = own_keys[row], jnp.array(True)
        return TrialState(config, state, key, fold, order, alive)

    def _train(
        self, trial: TrialState, data: PyTree, batches: Batches
    ) -> tuple[TrialState, StepMetrics]:
        is_shared = jax.tree.leaves(self._structure.unflatten(self._is_shared).state)
        return train(self.task, self._is_asked, is_shared, trial, data, batches)

    def _asked(self, trial: TrialState) -> list[bool]:
        """Return for each leaf of the state whether it is evaluated, or kept."""

        def asked(trial: TrialState, chunks: Chunks | None) -> Any:
            model = kept(self.task, trial.config, trial.state)
            return model, evaluate(self.task, trial, chunks)

        is_used = _used(asked, trial, self.data.valid)
        return jax.tree.leaves(self._structure.unflatten(is_used).state)

    def _split(self, trial: TrialState) -> tuple[Leaves, Leaves]:
        leaves = list(zip(self._is_shared, jax.tree.leaves(trial), strict=True))
        return [x for s, x in leaves if not s], [x for s, x in leaves if s]

    def _unshare(self, batches: Batches) -> None:
        """Give a trial axis to the counters that differ by trial.

        They may differ from the start, or a segment may make them differ, as it does
        the counter of skipped non-finite gradients.
        """
        batched: list[list[bool]] = []
        probe = _probe(batched)

        def trained(
            config: PyTree, places: tuple[jax.Array, ...], data: PyTree, batches: Any
        ) -> Any:
            trial = self._start_one(self.starts[:2], config, *places)
            before = probe(jax.tree.leaves(trial))
            # The trials share the first one's, so its value does not depend on theirs.
            leaves = [
                jnp.zeros_like(x) if shared else x
                for x, shared in zip(before, self._is_shared, strict=True)
            ]
            trial, _ = self._train(self._structure.unflatten(leaves), data, batches)
            return probe(jax.tree.leaves(trial))

        trials = jax.vmap(trained, in_axes=(0, 0, None, None))
        given = self.configs, _places(self.starts)
        data = batches.within(self.data.train)
        traced = jax.make_jaxpr(trials)(*given, data, batches)
        self.convolves = _has(traced.jaxpr, "conv_general_dilated")
        still = [
            shared and not any(differ)
            for shared, *differ in zip(self._is_shared, *batched, strict=True)
        ]
        if still != self._is_shared:
            self._is_shared = still
            self._unshare(batches)  # leaves that depend on these may differ as well


def _places(starts: Starts) -> tuple[jax.Array, ...]:
    """Return each trial's seed, fold and order, by their numbers."""
    return starts.rows, starts.folds, starts.orders


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


def _used(function: Callable[..., Any], tree: PyTree, *rest: PyTree) -> list[bool]:
    """Return for each leaf of a tree whether `function(tree, *rest)` reads it."""
    jaxpr = jax.make_jaxpr(function)(tree, *rest).jaxpr
    used = {id(var) for eqn in jaxpr.eqns for var in eqn.invars}
    used |= {id(var) for var in jaxpr.outvars}
    return [id(var) in used for var in jaxpr.invars[: len(jax.tree.leaves(tree))]]


def _has(jaxpr: Any, primitive: str) -> bool:
    """Return whether a program has a primitive, at any depth."""
    return any(
        eqn.primitive.name == primitive
        or any(_has(inner, primitive) for inner in jaxprs_in_params(eqn.params))
        for eqn in jaxpr.eqns
    )


def _counters(trial: TrialState) -> list[bool]:
    """Return for each leaf whether it is an integer scalar of the task's state."""
    none = TrialState(*(jax.tree.map(lambda _: False, part) for part in trial))
    counters = jax.tree.map(
        lambda leaf: leaf.ndim == 0 and jnp.issubdtype(leaf.dtype, jnp.integer),
        trial.state,
    )
    return jax.tree.leaves(none._replace(state=counters))


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
