"""The functions that a sweep compiles: steps and evaluation of a block of trials.

`train` and `evaluate` treat one trial, and `StackedTrials` maps them over the trials of
a block. Values that all trials share (the data, its order, the counters of the
optimizer) have no trial axis. So a branch on a counter stays a branch, and the matrix
products of a first layer join into one wide product.
"""

import copy
import enum
import functools
import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import eval_jaxpr
from jax.extend.core import jaxprs_in_params

from jopt.core import PyTree, stored, wide
from jopt.sweep._config import plain
from jopt.sweep._cooling import Cooling, cooled
from jopt.sweep._object_names import lasting
from jopt.sweep._task import Mode, Task, examples, kept, summarized
from jopt.sweep.engine._devices import bare
from jopt.training import in_a_loop

EVALUATION_CHUNK = 256  # examples at a time, to bound the activations of a block
EVALUATION = 2**32 - 1  # separates random numbers of evaluation from those of steps

Leaves: TypeAlias = list[jax.Array]


class Kind(enum.Enum):
    """Which trials share a leaf of their states."""

    OWN = enum.auto()  # none: the leaf has a trial axis
    SHARED = enum.auto()  # all trials of a block, such as a counter
    FIXED = enum.auto()  # all trials of a group, at all times


class Moment(NamedTuple):
    """A trial at the moment when its metric was best."""

    value: jax.Array  # float32[], lower is better; infinite before the first evaluation
    leaves: Leaves  # leaves of the state that are read between steps


class TrialState(NamedTuple):
    """One trial on the device; in a block, the leaves of kind OWN are stacked."""

    config: PyTree
    state: PyTree  # the task's state
    key: jax.Array
    fold: jax.Array  # int32[], which examples are held out
    order: jax.Array  # int32[], which order its batches follow
    alive: jax.Array  # bool[]
    best: Moment | None = None  # None unless it is kept


class Starts(NamedTuple):
    """What trials start from; for one seed it is the same in every sweep."""

    init_keys: jax.Array  # [trials], for the task's init
    keys: jax.Array  # [trials], for the randomness of training
    folds: jax.Array  # int32[trials]
    orders: jax.Array  # int32[trials], which order of the examples


class Chunks(NamedTuple):
    """Examples to evaluate on, in chunks that bound the activations.

    In a sweep with folds, both have an additional leading axis: the fold.
    """

    examples: PyTree  # (chunks, examples a chunk, ...), padded at the end
    counted: jax.Array  # bool[chunks, examples a chunk], False for padding


class Data(NamedTuple):
    """The data of all trials, on the device."""

    train: PyTree  # None if the batches hold the examples, or without data
    valid: Chunks | None
    fixed: Sequence[jax.Array] = ()  # leaves that all trials' states share
    scalings: PyTree = None  # of batches, by fold on axis 0, or None


class Batches(NamedTuple):
    """The K steps of a call."""

    steps: jax.Array  # int32[K], numbers of the steps
    rows: Any  # int32[K, batch] of the training set, or [orders, K, batch], or None
    end: jax.Array  # int32[], total steps; later ones change no parameter
    examples: PyTree = None  # what `rows` index; None for the whole training set
    cooling: Cooling | None = None  # for copies that are discarded

    def within(self, train: PyTree) -> PyTree:
        """Return the examples that the rows index."""
        return train if self.examples is None else self.examples

    def rows_of(self, order: jax.Array) -> Any:
        """Return the rows in a trial's order."""
        rows = self.rows
        return rows if rows is None or rows.ndim < 3 else rows[order]

    def only(self, at: jax.Array) -> "Batches":
        """Return the batch of one step."""
        rows = self.rows
        if rows is not None:
            axis = 0 if rows.ndim < 3 else 1
            rows = jax.lax.dynamic_slice_in_dim(rows, at, 1, axis)
        steps = jax.lax.dynamic_slice_in_dim(self.steps, at, 1)
        return self._replace(steps=steps, rows=rows)


class StepMetrics(NamedTuple):
    """The results of a call's steps for one trial."""

    losses: jax.Array  # at least float32[K], before each step; NaN without a loss
    alive: jax.Array  # bool[K], False from the step that diverged
    sums: dict[str, jax.Array]  # sums of the other scalars over the steps made


def place(train: PyTree, valid: Sequence[PyTree], scalings: PyTree = None) -> Data:
    """Put a training set, and the validation set of each fold, on the device.

    Args:
      train: tree of arrays, or None if the batches hold the examples.
      valid: a tree of arrays for each fold; empty without a validation set.
      scalings: as in `Data`.
    """
    train = jax.tree.map(jnp.asarray, train)
    if not valid:
        return Data(train, None, scalings=scalings)
    shape = chunk_shape(valid)
    folds = [chunked(part, shape)[0] for part in valid]
    stacked = jax.tree.map(lambda *parts: jnp.stack(parts), *folds)
    chunks = folds[0] if len(folds) == 1 else stacked
    return Data(train, chunks, scalings=scalings)


def chunk_shape(parts: Sequence[PyTree]) -> tuple[int, int]:
    """Return (chunks, examples a chunk) that can hold any one of the parts."""
    size = max(map(examples, parts))
    number = math.ceil(size / EVALUATION_CHUNK)
    return number, math.ceil(size / number)


def chunked(data: PyTree, shape: tuple[int, ...]) -> list[Chunks]:
    """Cut examples into chunks of one shape (chunks, examples), as many as needed.

    The last chunks are padded with copies of the last example, which do not count.
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
    kinds: Sequence[Kind],
    trial: TrialState,
    data: PyTree,
    batches: Batches,
) -> tuple[TrialState, StepMetrics]:
    """Train one trial for the steps of `batches`.

    Args:
      task: the task.
      is_asked: for each leaf of the task's state, whether it is read between steps.
        Other leaves, such as moments, change on after a trial has died.
      kinds: the kind of each leaf. Shared leaves change on after a trial has died:
        frozen ones would need a trial axis, and branches on them would run both ways.
        Fixed leaves are not carried through the loop.
      trial: the trial before the first step.
      data: the training set, from which the rows select batches.
      batches: the batches of the steps.
    """
    config = plain(trial.config)
    leaves, structure = jax.tree.flatten(trial.state)
    changes = [kind is not Kind.FIXED for kind in kinds]

    def whole(changing: Leaves) -> PyTree:
        given = iter(changing)
        pairs = zip(changes, leaves, strict=True)
        return structure.unflatten([next(given) if c else x for c, x in pairs])

    def step(carry: tuple[Leaves, jax.Array], of: tuple[jax.Array, jax.Array | None]):
        before, alive = carry
        number, rows = of
        batch = None if rows is None else jax.tree.map(lambda array: array[rows], data)
        key = jax.random.fold_in(trial.key, number)
        now = config
        if batches.cooling is not None:
            now = cooled(config, batches.cooling.factor(number))
        new, metrics = task.step(now, whole(before), batch, key)
        metrics = {name: wide(value) for name, value in metrics.items()}
        loss = metrics.pop("loss", None)
        if loss is None:
            loss = jnp.full((), jnp.nan, float)
        else:
            alive = alive & jnp.isfinite(loss) & (loss <= task.diverged_above)
        # Restore the dtypes: a step may compute statistics in a wider one.
        after = stored(_where(changes, jax.tree.leaves(new)), before)
        # Freeze with `where`, since 0 * nan is nan.
        running = number < batches.end
        every = zip(
            _where(changes, is_asked),
            _where(changes, kinds),
            after,
            before,
            strict=True,
        )
        after = [
            jnp.where(running if kind is Kind.SHARED else running & alive, n, o)
            if asked
            else n
            for asked, kind, n, o in every
        ]
        seen = {k: jnp.where(running & alive, v, 0) for k, v in metrics.items()}
        return (after, alive), StepMetrics(loss, alive, seen)

    carry = _where(changes, leaves), trial.alive
    every = batches.steps, batches.rows_of(trial.order)
    if len(batches.steps) == 1:  # no loop: XLA's CPU convolutions are slow in it
        with in_a_loop(False):
            carry, seen = step(carry, jax.tree.map(lambda x: x[0], every))
        seen = jax.tree.map(lambda x: x[None], seen)
    else:
        carry, seen = jax.lax.scan(step, carry, every)
    changed, alive = carry
    sums = jax.tree.map(jnp.sum, seen.sums)
    trial = trial._replace(state=whole(changed), alive=alive)
    return trial, seen._replace(sums=sums)


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

    The leaves of a block are lists, by kind.

    - `own`: leaves with a trial axis, (trials, ...).
    - `shared`: leaves without one, such as counters: integer scalars of the state that
    are
      equal for all trials of a block, since all are at the same step. A counter with a
      trial axis would turn every `lax.cond` on it into a `select`.
    - `fixed`: leaves without one that do not depend on the trial and that every step
      returns unchanged, such as the frozen parameters that all trials begin from.

    Args:
      task: the task.
      configs: the configs of all trials, stacked.
      starts: the starts of all trials.
      data: the data of all trials.
      batches: the batches of any call, for their shapes.
      best_by: the metric and the mode that define each trial's best moment; None to
        keep only the last moment.

    Attributes:
      convolves: whether a step contains a convolution of XLA's.
      stepped: the trace of a start and a step of two trials.
    """

    convolves: bool
    stepped: "_Trace"

    def __init__(
        self,
        task: Task,
        configs: PyTree,
        starts: Starts,
        data: Data,
        batches: Batches,
        best_by: tuple[str, Mode] | None = None,
    ):
        self.task, self.data, self.best_by = task, data, best_by
        self.configs, self.starts, self.count = configs, starts, len(starts.folds)
        one = lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype)  # noqa: E731
        # Trace each function once, for all block sizes that it is mapped over.
        shapes = jax.tree.map(one, (configs, *starts))
        self._start_one, trial = _with_constants(self._start, *shapes)
        self._structure = jax.tree.structure(trial)
        self._kinds = _counters(trial)
        self._looked_at = self._trace_of_looks(trial)
        used = self._structure.unflatten(self._looked_at.uses(trial))
        self._is_asked = jax.tree.leaves(used.state)
        self._unshare(batches)
        fixed = jax.jit(lambda *given: self._split(self._start_one(*given))[Kind.FIXED])
        if Kind.FIXED in self._kinds:
            first = jax.tree.map(lambda leaf: leaf[0], (configs, *starts))
            self.data = data._replace(fixed=tuple(fixed(*first)))
        self._model, self._fixed_in_model = self._look_at_models(trial)
        if best_by is not None:
            trial = jax.eval_shape(self._with_best, trial)
            moments = jax.tree.leaves(trial.best)
            self._structure = jax.tree.structure(trial)
            self._kinds += [Kind.OWN] * len(moments)  # the last leaves are the moment's
        self._train_one = jax.jit(self._train)
        self._evaluate_one = jax.jit(functools.partial(evaluate, task))

    def functions(self) -> "StackedTrials":
        """Return the functions of a block, without trials and data."""
        made: Any = copy.copy(self)
        made.configs = made.starts = made.data = None
        made._train_one = jax.jit(made._train)
        return made

    @property
    def order_leaf(self) -> int:
        """Return the index of the order among the own leaves."""
        leaves = self._structure.unflatten(range(self._structure.num_leaves))
        return self._kinds[: leaves.order].count(Kind.OWN)

    def digest(self, batches: Batches) -> str | None:
        """Return a digest that two groups share if they can use one compiled program.

        It is a digest of the task's functions as JAX traces them, and of what else the
        engine's functions depend on. If the programs of two tasks differ, so do their
        digests; a changed global that a function uses counts too. Return None if a
        function calls back to Python, since a trace does not show what the program does
        then.

        Args:
          batches: the batches of any call, for their shapes.
        """
        kinds = [kind.value for kind in self._kinds], self._is_asked, self.best_by
        leaves, tree = jax.tree.flatten((self.data, batches))
        shapes = [(leaf.shape, str(leaf.dtype)) for leaf in leaves]
        parts = kinds, shapes, tree, self.task.diverged_above
        found = hashlib.sha256(repr(parts).encode())
        for trace in (self.stepped, self._looked_at):
            text = trace.text
            if "callback" in text:
                return None
            found.update(f"{text} {trace.names}".encode())
            for constant in map(np.asarray, bare(trace.closed.consts)):
                found.update(f"{constant.dtype} {constant.shape}".encode())
                found.update(constant.tobytes())
        return found.hexdigest()

    def start(self, configs: PyTree, starts: Starts) -> tuple[Leaves, Leaves]:
        """Return a block of trials before their first step.

        Trials are started one after the other, so a trial's start does not depend on
        the number of others.
        """

        def one(given: tuple[PyTree, ...]) -> tuple[Leaves, Leaves]:
            trial = self._with_best(self._start_one(*given))
            parts = self._split(trial)
            return parts[Kind.OWN], parts[Kind.SHARED]

        own, shared = jax.lax.map(one, (configs, *starts))
        return own, [leaf[0] for leaf in shared]

    def inherit(
        self, own: Leaves, copied: Leaves, shared: Leaves, configs: PyTree
    ) -> Leaves:
        """Return the own leaves of trials that copy their parents.

        A trial keeps its key, fold, order and best moment, and takes its config from
        `configs`.

        Args:
          own, copied: the own leaves of all trials, and of their parents.
          shared: the shared leaves of both.
          configs: the configs of all trials, stacked.
        """
        before = self.join(own, shared, self.data.fixed)
        after = self.join(copied, shared, self.data.fixed)
        after = after._replace(
            config=configs,
            key=before.key,
            fold=before.fold,
            order=before.order,
            best=before.best,
        )
        return self._split(after)[Kind.OWN]

    def train_one_step(
        self,
        own: Leaves,
        shared: Leaves,
        fixed: Sequence[jax.Array],
        data: PyTree,
        batches: Batches,
        at: jax.Array,
    ) -> tuple[Leaves, Leaves, StepMetrics]:
        """Return a block after one of the steps of `batches`, as in `train`."""
        return self.train(own, shared, fixed, data, batches.only(at))

    def train(
        self,
        own: Leaves,
        shared: Leaves,
        fixed: Sequence[jax.Array],
        data: PyTree,
        batches: Batches,
    ) -> tuple[Leaves, Leaves, StepMetrics]:
        """Return a block after the steps of `batches`, and each trial's metrics."""

        def one(own: Leaves, shared: Leaves) -> tuple[Leaves, Leaves, StepMetrics]:
            trial, seen = self._train_one(self.join(own, shared, fixed), data, batches)
            parts = self._split(trial)
            return parts[Kind.OWN], parts[Kind.SHARED], seen

        return _over_trials(one, own, shared, out_axes=(0, None, 0))

    def evaluate(
        self,
        own: Leaves,
        shared: Leaves,
        fixed: Sequence[jax.Array],
        chunks: Chunks | None,
        of_kept: bool = False,
    ) -> dict[str, jax.Array]:
        """Return the metrics on the examples, each (trials,).

        They are the metrics of the trials as they are, or at the moment that is kept.
        """

        def one(own: Leaves, shared: Leaves) -> dict[str, jax.Array]:
            trial = self.join(own, shared, fixed)
            return self._evaluate_one(self._kept(trial) if of_kept else trial, chunks)

        return _over_trials(one, own, shared, out_axes=0)

    def mark(
        self,
        own: Leaves,
        shared: Leaves,
        fixed: Sequence[jax.Array],
        metrics: dict[str, jax.Array],
    ) -> Leaves:
        """Return a block in which improved trials keep this moment as their best.

        Args:
          own, shared, fixed: the block.
          metrics: the result of `evaluate` for the block.
        """
        assert self.best_by is not None
        name, mode = self.best_by
        finite = jnp.isfinite(metrics[name])
        if "loss" in metrics:
            finite &= jnp.isfinite(metrics["loss"])
        values = jnp.where(finite, metrics[name], jnp.nan)  # NaN is never better
        values = -values if mode == "max" else values

        def one(leaves: tuple[Leaves, jax.Array], shared: Leaves) -> Leaves:
            own, value = leaves
            trial = self.join(own, shared, fixed)
            assert trial.best is not None
            now = stored(Moment(value, self._moment(trial)), trial.best)
            better = trial.alive & (now.value < trial.best.value)
            best = jax.tree.map(lambda n, o: jnp.where(better, n, o), now, trial.best)
            return self._split(trial._replace(best=best))[Kind.OWN]

        return _over_trials(one, (own, values), shared, out_axes=0)

    def models(
        self, own: Leaves, shared: Leaves, fixed: Sequence[jax.Array]
    ) -> tuple[Leaves, Leaves]:
        """Return the kept models of the trials, as stacked leaves and fixed leaves.

        The fixed leaves are those that a model contains unchanged. `join_models` makes
        a tree of both.
        """

        def one(own: Leaves, shared: Leaves) -> tuple[Leaves, Leaves]:
            trial = self._kept(self.join(own, shared, fixed))
            leaves = jax.tree.leaves(kept(self.task, trial.config, trial.state))
            is_fixed = self._fixed_in_model
            others = [not flag for flag in is_fixed]
            return _where(others, leaves), _where(is_fixed, leaves)

        return _over_trials(one, own, shared, out_axes=(0, None))

    def join_models(self, stacked: Sequence[Any], fixed: Sequence[Any]) -> PyTree:
        """Return the tree of the leaves from `models`."""
        own, others = iter(stacked), iter(fixed)
        leaves = [next(others) if flag else next(own) for flag in self._fixed_in_model]
        return self._model.unflatten(leaves)

    def join(
        self, own: Leaves, shared: Leaves, fixed: Sequence[jax.Array]
    ) -> TrialState:
        """Return the trial, or the stacked trials, made of these leaves."""
        parts = {Kind.OWN: iter(own), Kind.SHARED: iter(shared)}
        parts[Kind.FIXED] = iter(fixed)
        return self._structure.unflatten([next(parts[kind]) for kind in self._kinds])

    def _start(
        self,
        config: PyTree,
        init_key: jax.Array,
        key: jax.Array,
        fold: jax.Array,
        order: jax.Array,
    ) -> TrialState:
        """Return a trial before its first step, from its config and row of `Starts`."""
        state = self.task.init(plain(config), init_key)
        if (scalings := self.data.scalings) is not None:
            several = len(jax.tree.leaves(scalings)[0]) > 1
            own = jax.tree.map(lambda x: x[fold if several else 0], scalings)
            state = state._replace(scaling=own)
        state = jax.tree.map(jnp.asarray, state)
        return TrialState(config, state, key, fold, order, jnp.array(True))

    def _with_best(self, trial: TrialState) -> TrialState:
        """Return a trial without steps, whose best moment is the start."""
        if self.best_by is None:
            return trial
        return trial._replace(best=Moment(jnp.array(jnp.inf), self._moment(trial)))

    def _moment(self, trial: TrialState) -> Leaves:
        return _where(self._is_marked, jax.tree.leaves(trial.state))

    def _kept(self, trial: TrialState) -> TrialState:
        """Return a trial at the moment that is kept."""
        if trial.best is None:
            return trial
        leaves, structure = jax.tree.flatten(trial.state)
        best = iter(trial.best.leaves)
        pairs = zip(self._is_marked, leaves, strict=True)
        state = structure.unflatten([next(best) if m else x for m, x in pairs])
        return trial._replace(state=state)

    @property
    def _is_marked(self) -> list[bool]:
        """For each leaf of the state, whether the best moment stores a copy of it."""
        pairs = zip(self._is_asked, self._kinds_of_state, strict=True)
        return [asked and kind is not Kind.FIXED for asked, kind in pairs]

    @property
    def _kinds_of_state(self) -> list[Kind]:
        return jax.tree.leaves(self._structure.unflatten(self._kinds).state)

    def _train(
        self, trial: TrialState, data: PyTree, batches: Batches
    ) -> tuple[TrialState, StepMetrics]:
        return train(
            self.task, self._is_asked, self._kinds_of_state, trial, data, batches
        )

    def _trace_of_looks(self, trial: TrialState) -> "_Trace":
        """Return the trace of what reads the state: the model and the evaluation."""

        def look(trial: TrialState, chunks: Chunks | None) -> Any:
            model = kept(self.task, trial.config, trial.state)
            return model, evaluate(self.task, trial, chunks)

        return _Trace.of(look, trial, self.data.valid)

    def _look_at_models(self, trial: TrialState) -> tuple[Any, list[bool]]:
        """Return the structure of a model, and which of its leaves are fixed."""
        found: list[tuple[Any, list[bool]]] = []

        def look(trial: TrialState) -> None:
            model = kept(self.task, trial.config, trial.state)
            leaves, structure = jax.tree.flatten(model)
            fixed = self._split(trial)[Kind.FIXED]
            is_fixed = [any(leaf is x for x in fixed) for leaf in leaves]
            found.append((structure, is_fixed))

        jax.eval_shape(look, trial)
        return found[0]

    def _split(self, trial: TrialState) -> dict[Kind, Leaves]:
        """Return the leaves of a trial by kind."""
        leaves = jax.tree.leaves(trial)
        return {kind: _where([k is kind for k in self._kinds], leaves) for kind in Kind}

    def _unshare(self, batches: Batches) -> None:
        """Determine the kind of each leaf by tracing a step of two trials.

        Counters may differ by trial from the start, or a step may make them differ,
        such as the counter of skipped non-finite gradients.
        """
        batched: list[list[bool]] = []
        returned: list[list[bool]] = []  # whether a step returns a leaf unchanged
        probe = _probe(batched)

        def trained(
            config: PyTree,
            places: tuple[jax.Array, ...],
            own: jax.Array,
            data: PyTree,
            batches: Batches,
        ) -> Any:
            trial = self._start_one(config, *places)
            # The trials share the first one's value, which does not depend on theirs.
            # Own leaves differ sooner or later, even if they are equal at the start.
            leaves = [
                jnp.zeros_like(x) if kind is Kind.SHARED else jnp.where(own, x, x)
                for x, kind in zip(
                    probe(jax.tree.leaves(trial)), self._kinds, strict=True
                )
            ]
            trial = self._structure.unflatten(leaves)
            before, structure = jax.tree.flatten(trial.state)
            rows = batches.rows_of(trial.order)
            batch = rows if rows is None else jax.tree.map(lambda x: x[rows[0]], data)
            key = jax.random.fold_in(trial.key, batches.steps[0])
            after, metrics = self.task.step(
                plain(trial.config), structure.unflatten(before), batch, key
            )
            after = jax.tree.leaves(after)
            passed = [n is o for n, o in zip(after, before, strict=True)]
            flags = jax.tree.map(lambda _: False, trial)
            flags = flags._replace(state=structure.unflatten(passed))
            returned.append(jax.tree.leaves(flags))
            trial = trial._replace(state=structure.unflatten(after))
            return probe(jax.tree.leaves(trial)), metrics

        trials = jax.vmap(trained, in_axes=(0, 0, 0, None, None))
        two = lambda leaf: jax.ShapeDtypeStruct((2, *leaf.shape[1:]), leaf.dtype)  # noqa: E731
        given = self.configs, tuple(self.starts), np.ones(2, bool)
        data = batches.within(self.data.train)
        self.stepped = _Trace.of(trials, *jax.tree.map(two, given), data, batches)
        self.convolves = _has(self.stepped.closed.jaxpr, "conv_general_dilated")
        found = [
            Kind.SHARED
            if kind is Kind.SHARED and not (first or then)
            else Kind.FIXED
            if passed and not first
            else Kind.OWN
            for kind, first, then, passed in zip(
                self._kinds, *batched, *returned, strict=True
            )
        ]
        if found != self._kinds:
            self._kinds = found
            self._unshare(batches)  # repeat: leaves that depend on these may differ too


def _over_trials(one: Any, own: PyTree, shared: Leaves, out_axes: Any) -> Any:
    """Map `one` over the trials of a block; a single trial is mapped without an axis.

    XLA's CPU backend makes products with a batch of one 30 % slower than unbatched
    ones.
    """
    if jax.tree.leaves(own)[0].shape[0] > 1:
        return jax.vmap(one, in_axes=(0, None), out_axes=out_axes)(own, shared)
    results = one(jax.tree.map(lambda leaf: leaf[0], own), shared)
    if not isinstance(out_axes, tuple):
        return jax.tree.map(lambda leaf: leaf[None], results)
    return tuple(
        result if axis is None else jax.tree.map(lambda leaf: leaf[None], result)
        for result, axis in zip(results, out_axes, strict=True)
    )


class _Trace(NamedTuple):
    """A function as JAX traces it."""

    closed: Any  # the jaxpr with its constants
    names: str  # the structure of the output

    @classmethod
    def of(cls, function: Callable[..., PyTree], *given: PyTree) -> "_Trace":
        """Trace a function for arguments of these shapes."""
        closed, shapes = jax.make_jaxpr(function, return_shape=True)(*given)
        return cls(closed, str(jax.tree.structure(shapes)))

    @property
    def text(self) -> str:
        """The equations, without what differs from process to process."""
        return lasting(self.closed.pretty_print(use_color=False))

    def uses(self, tree: PyTree) -> list[bool]:
        """Return for each leaf of the first argument whether the function reads it."""
        jaxpr = self.closed.jaxpr
        used = {id(var) for eqn in jaxpr.eqns for var in eqn.invars}
        used |= {id(var) for var in jaxpr.outvars}
        return [id(var) in used for var in jaxpr.invars[: len(jax.tree.leaves(tree))]]


def _has(jaxpr: Any, primitive: str) -> bool:
    """Return whether a jaxpr has a primitive, at any depth."""
    return any(
        eqn.primitive.name == primitive
        or any(_has(inner, primitive) for inner in jaxprs_in_params(eqn.params))
        for eqn in jaxpr.eqns
    )


def _counters(trial: TrialState) -> list[Kind]:
    """Return the first kinds of leaves: integer scalars of the state may be shared."""
    own = TrialState(*(jax.tree.map(lambda _: Kind.OWN, part) for part in trial))
    counters = jax.tree.map(
        lambda leaf: (
            Kind.SHARED
            if leaf.ndim == 0 and jnp.issubdtype(leaf.dtype, jnp.integer)
            else Kind.OWN
        ),
        trial.state,
    )
    return jax.tree.leaves(own._replace(state=counters))


def _with_constants(
    function: Callable[..., PyTree], *given: PyTree
) -> tuple[Callable[..., PyTree], PyTree]:
    """Return a function that is traced once, and its output shapes.

    Arrays that it closes over, such as given weights, become arguments of the compiled
    function instead of constants in its text.
    """
    traced, shapes = jax.make_jaxpr(function, return_shape=True)(*given)
    structure = jax.tree.structure(shapes)

    @jax.jit
    def compiled(constants: Leaves, leaves: Leaves) -> PyTree:
        return structure.unflatten(eval_jaxpr(traced.jaxpr, constants, *leaves))

    def called(*given: PyTree) -> PyTree:
        return compiled(traced.consts, jax.tree.leaves(given))

    return called, shapes


def _where(flags: Sequence[bool], values: Sequence[Any]) -> list[Any]:
    """Return the values whose flags are True."""
    return [value for flag, value in zip(flags, values, strict=True) if flag]


def _probe(batched: list[Any]) -> Any:
    """Return an identity that records which of its leaves vmap batches."""

    @jax.custom_batching.custom_vmap
    def probe(leaves: Leaves) -> Leaves:
        return leaves

    @probe.def_vmap
    def rule(axis_size: int, in_batched: list[Any], leaves: Leaves):
        batched.append(in_batched[0])
        return leaves, in_batched[0]

    return probe
