"""The functions that a sweep compiles: steps and evaluation of a block of trials.

`train` and `evaluate` treat one trial, and `StackedTrials` maps them over the trials of
a block. What all trials have in common (the data, its order, the counters of the
optimizer) has no trial axis: a branch on a counter stays a branch, and a first layer
sees one wide product.
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

EVALUATION_CHUNK = 256  # examples at a time: bounds the activations of a block
EVALUATION = 2**32 - 1  # tells evaluation's random numbers from a step's

Leaves: TypeAlias = list[jax.Array]


class Kind(enum.Enum):
    """Whose a leaf of the trials is."""

    OWN = enum.auto()  # each trial's: it has a trial axis
    SHARED = enum.auto()  # the same for all trials of a block: a counter
    FIXED = enum.auto()  # the same for all trials of a group at all times


class Moment(NamedTuple):
    """A trial as it was when its metric was best."""

    value: jax.Array  # float32[], lower is better; infinite before the first evaluation
    leaves: Leaves  # of the state, those that anything is asked of between steps


class TrialState(NamedTuple):
    """One trial on the device; in a block, the leaves of kind OWN are stacked."""

    config: PyTree
    state: PyTree  # the task's
    key: jax.Array
    fold: jax.Array  # int32[], whose examples are held out
    order: jax.Array  # int32[], of the examples of its batches
    alive: jax.Array  # bool[]
    best: Moment | None = None  # where it is kept


class Starts(NamedTuple):
    """What trials start from: the same for a seed whatever else is in the sweep."""

    init_keys: jax.Array  # [trials], for the task's init
    keys: jax.Array  # [trials], for what is random in training
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
    fixed: Sequence[jax.Array] = ()  # leaves of all trials' states
    scalings: PyTree = None  # of batches, by fold on axis 0, or None


class Batches(NamedTuple):
    """The K steps of a call."""

    steps: jax.Array  # int32[K], their numbers
    rows: Any  # int32[K, batch] of the training set, or [orders, K, batch], or None
    end: jax.Array  # int32[], steps in all; later ones change no parameter
    examples: PyTree = None  # what `rows` index, if not the whole training set
    cooling: Cooling | None = None  # of copies that are thrown away

    def within(self, train: PyTree) -> PyTree:
        """Return the examples that the rows index."""
        return train if self.examples is None else self.examples

    def rows_of(self, order: jax.Array) -> Any:
        """Return the rows of a trial's order."""
        rows = self.rows
        return rows if rows is None or rows.ndim < 3 else rows[order]

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


def place(train: PyTree, valid: Sequence[PyTree], scalings: PyTree = None) -> Data:
    """Put a training set, and the validation set of each fold, on the device.

    Args:
      train: tree of arrays, or None where the examples come with the batches.
      valid: a tree of arrays for each fold, none where there is no validation set.
      scalings: as of `Data`.
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
    kinds: Sequence[Kind],
    trial: TrialState,
    data: PyTree,
    batches: Batches,
) -> tuple[TrialState, StepMetrics]:
    """Train one trial for the steps of `batches`.

    Args:
      task: what is trained.
      is_asked: of each leaf of the task's state, whether anything is asked of it
        between steps. Others, such as moments, go on when the trial has died.
      kinds: of each leaf, whose it is. What all trials share goes on when one dies: if
        it stayed, it would get a trial axis, and branches on it would run both ways.
        What is fixed is no part of the loop.
      trial: before the first step.
      data: the training set, whose rows make the batches.
      batches: of the steps.
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
        # In the dtypes that they had: a step may compute statistics in a wider one.
        after = stored(_where(changes, jax.tree.leaves(new)), before)
        # Frozen by `where`, for 0 * nan is nan.
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
    if len(batches.steps) == 1:  # XLA's CPU backend is slow at convolutions in a loop
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

    The leaves of a block are lists, by kind. Those in `own` have a trial axis,
    (trials, ...). Those in `shared` have none: counters, integer scalars of the state
    that are the same for all trials of a block, since all are at the same step. A
    counter with a trial axis would turn every `lax.cond` on it into a `select`. Those
    in `fixed` have none either: what does not depend on the trial and is returned by
    every step as it was, such as the frozen parameters that all trials begin from.

    Args:
      task: what is trained.
      configs: of all trials, stacked.
      starts: of all trials.
      data: of all trials.
      batches: any of a call, for their shapes.
      best_by: the metric and the mode by which each trial's best moment is kept; None
        to keep the last one alone.

    Attributes:
      convolves: whether a step has one of XLA's convolutions.
      traced: a step of all trials.
    """

    convolves: bool
    traced: Any

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
        # Traced once, whatever the size of the block that they are mapped over.
        shapes = jax.tree.map(one, (configs, *starts))
        self._start_one, trial, self._traced = _with_constants(self._start, *shapes)
        self._structure = jax.tree.structure(trial)
        self._kinds = _counters(trial)
        self._is_asked = self._asked(trial)
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
            self._kinds += [Kind.OWN] * len(moments)  # they are the last leaves
        self._trial = trial
        self._train_one = jax.jit(self._train)
        self._evaluate_one = jax.jit(functools.partial(evaluate, task))

    def functions(self) -> "StackedTrials":
        """Return the functions of a block alone, without trials and their data."""
        made: Any = copy.copy(self)
        made.configs = made.starts = made.data = None
        made._train_one = jax.jit(made._train)
        return made

    @property
    def order_leaf(self) -> int:
        """Return which of the own leaves is the order, counted among these trials'."""
        leaves = self._structure.unflatten(range(self._structure.num_leaves))
        return self._kinds[: leaves.order].count(Kind.OWN)

    def digest(self, batches: Batches) -> str | None:
        """Return what programs that can be filled with these trials have in common.

        It is a digest of what the task's functions do, as JAX traces them: of two
        tasks, or of one whose functions use a global that has changed, it differs
        if the programs do. None if a trace does not show what the program does, as it
        calls Python.

        Args:
          batches: any of a call, for their shapes.
        """
        data = self.data
        keep = lambda trial: kept(self.task, trial.config, trial.state)  # noqa: E731
        judge = functools.partial(evaluate, self.task)
        examples = batches.within(data.train)
        traces = [
            (self._traced, None),
            _traced(self._train, self._trial, examples, batches),
            _traced(judge, self._trial, data.valid),
            _traced(keep, self._trial),
        ]
        kinds = [kind.value for kind in self._kinds], self._is_asked, self.best_by
        leaves, tree = jax.tree.flatten((data, batches))
        shapes = [(leaf.shape, str(leaf.dtype)) for leaf in leaves]
        found = hashlib.sha256(repr((kinds, shapes, tree)).encode())
        for traced, names in traces:
            text = lasting(traced.pretty_print(use_color=False))
            if "callback" in text:
                return None
            found.update(f"{text} {names}".encode())
            for constant in map(np.asarray, bare(traced.consts)):
                found.update(f"{constant.dtype} {constant.shape}".encode())
                found.update(constant.tobytes())
        return found.hexdigest()

    def start(self, configs: PyTree, starts: Starts) -> tuple[Leaves, Leaves]:
        """Return a block of trials before their first step.

        They are made one after the other: what one starts from does not depend on how
        many others there are.
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
          shared: the leaves of both.
          configs: stacked.
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
        """Return a block after one of the steps of `batches`, as `train` does."""
        return self.train(own, shared, fixed, data, batches.only(at))

    def train(
        self,
        own: Leaves,
        shared: Leaves,
        fixed: Sequence[jax.Array],
        data: PyTree,
        batches: Batches,
    ) -> tuple[Leaves, Leaves, StepMetrics]:
        """Return a block after the steps of `batches`, and what each trial's saw."""

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

        They are those of the trials as they are, or at the moment that is kept.
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
        """Return a block whose best moment is now, in the trials that are better now.

        Args:
          own, shared, fixed: the block.
          metrics: as `evaluate` has returned them for it.
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
        """Return what is kept of the trials: leaves that are stacked, and others.

        The others are the fixed leaves that a model has as they are. `join_models`
        makes a tree of both.
        """

        def one(own: Leaves, shared: Leaves) -> tuple[Leaves, Leaves]:
            trial = self._kept(self.join(own, shared, fixed))
            leaves = jax.tree.leaves(kept(self.task, trial.config, trial.state))
            is_fixed = self._fixed_in_model
            others = [not flag for flag in is_fixed]
            return _where(others, leaves), _where(is_fixed, leaves)

        return _over_trials(one, own, shared, out_axes=(0, None))

    def join_models(self, stacked: Sequence[Any], fixed: Sequence[Any]) -> PyTree:
        """Return the tree of the leaves that `models` returned."""
        own, others = iter(stacked), iter(fixed)
        leaves = [next(others) if flag else next(own) for flag in self._fixed_in_model]
        return self._model.unflatten(leaves)

    def join(
        self, own: Leaves, shared: Leaves, fixed: Sequence[jax.Array]
    ) -> TrialState:
        """Return the trial, or the stacked trials, of these leaves."""
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
        """Return a trial before its first step, of its config and row of `Starts`."""
        state = self.task.init(plain(config), init_key)
        if (scalings := self.data.scalings) is not None:
            several = len(jax.tree.leaves(scalings)[0]) > 1
            own = jax.tree.map(lambda x: x[fold if several else 0], scalings)
            state = state._replace(scaling=own)
        state = jax.tree.map(jnp.asarray, state)
        return TrialState(config, state, key, fold, order, jnp.array(True))

    def _with_best(self, trial: TrialState) -> TrialState:
        """Return a trial that has made no step, whose best moment is now."""
        if self.best_by is None:
            return trial
        return trial._replace(best=Moment(jnp.array(jnp.inf), self._moment(trial)))

    def _moment(self, trial: TrialState) -> Leaves:
        return _where(self._is_marked, jax.tree.leaves(trial.state))

    def _kept(self, trial: TrialState) -> TrialState:
        """Return a trial as it was at the moment that is kept."""
        if trial.best is None:
            return trial
        leaves, structure = jax.tree.flatten(trial.state)
        best = iter(trial.best.leaves)
        pairs = zip(self._is_marked, leaves, strict=True)
        state = structure.unflatten([next(best) if m else x for m, x in pairs])
        return trial._replace(state=state)

    @property
    def _is_marked(self) -> list[bool]:
        """Of each leaf of the state, whether a best moment has a copy of it."""
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

    def _asked(self, trial: TrialState) -> list[bool]:
        """Return for each leaf of the state whether it is evaluated, or kept."""

        def asked(trial: TrialState, chunks: Chunks | None) -> Any:
            model = kept(self.task, trial.config, trial.state)
            return model, evaluate(self.task, trial, chunks)

        is_used = _used(asked, trial, self.data.valid)
        return jax.tree.leaves(self._structure.unflatten(is_used).state)

    def _look_at_models(self, trial: TrialState) -> tuple[Any, list[bool]]:
        """Return the structure of a model, and which of its leaves are fixed ones."""
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
        """Find which leaves differ by trial, and which of the others no step changes.

        Counters may differ from the start, or a step may make them differ, as it does
        the counter of skipped non-finite gradients.
        """
        batched: list[list[bool]] = []
        returned: list[list[bool]] = []  # as they were
        probe = _probe(batched)

        def trained(
            config: PyTree,
            places: tuple[jax.Array, ...],
            own: jax.Array,
            data: PyTree,
            batches: Batches,
        ) -> Any:
            trial = self._start_one(config, *places)
            # The trials share the first one's, so its value does not depend on theirs.
            # Own leaves differ sooner or later, whatever they are at the start.
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
            after, _ = self.task.step(
                plain(trial.config), structure.unflatten(before), batch, key
            )
            after = jax.tree.leaves(after)
            passed = [n is o for n, o in zip(after, before, strict=True)]
            flags = jax.tree.map(lambda _: False, trial)
            flags = flags._replace(state=structure.unflatten(passed))
            returned.append(jax.tree.leaves(flags))
            trial = trial._replace(state=structure.unflatten(after))
            return probe(jax.tree.leaves(trial))

        trials = jax.vmap(trained, in_axes=(0, 0, 0, None, None))
        given = self.configs, tuple(self.starts), np.ones(self.count, bool)
        data = batches.within(self.data.train)
        traced = jax.make_jaxpr(trials)(*given, data, batches)
        self.convolves = _has(traced.jaxpr, "conv_general_dilated")
        self.traced = traced.jaxpr
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
            self._unshare(batches)  # leaves that depend on these may differ as well


def _over_trials(one: Any, own: PyTree, shared: Leaves, out_axes: Any) -> Any:
    """Map `one` over the trials of a block; a single trial is taken out of its axis.

    XLA's CPU backend makes products with a batch of one 30 % slower than without.
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


def _counters(trial: TrialState) -> list[Kind]:
    """Return the kinds of the leaves: integer scalars of the state may be shared."""
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
) -> tuple[Callable[..., PyTree], PyTree, Any]:
    """Return a function traced once, the shapes that it returns, and its trace.

    Arrays that it closes over, such as given weights, are arguments of the compiled
    function, and no part of its text.
    """
    traced, shapes = jax.make_jaxpr(function, return_shape=True)(*given)
    structure = jax.tree.structure(shapes)

    @jax.jit
    def compiled(constants: Leaves, leaves: Leaves) -> PyTree:
        return structure.unflatten(eval_jaxpr(traced.jaxpr, constants, *leaves))

    def called(*given: PyTree) -> PyTree:
        return compiled(traced.consts, jax.tree.leaves(given))

    return called, shapes, traced


def _traced(function: Callable[..., PyTree], *given: PyTree) -> tuple[Any, str]:
    """Return a function's trace, and the structure of what it returns."""
    traced, shapes = jax.make_jaxpr(function, return_shape=True)(*given)
    return traced, str(jax.tree.structure(shapes))


def _where(flags: Sequence[bool], values: Sequence[Any]) -> list[Any]:
    """Return the values whose flag is true."""
    return [value for flag, value in zip(flags, values, strict=True) if flag]


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
