"""The options of a sweep, and the steps, batches, folds and keys that follow."""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jopt.core import PyTree, is_integer, noted, shown
from jopt.sweep import _object_names as object_names
from jopt.sweep._cooling import Cooling
from jopt.sweep._data import whole
from jopt.sweep._equality import digest
from jopt.sweep._folds import Folds
from jopt.sweep._front import Bound
from jopt.sweep._supervised import is_supervised, training_of
from jopt.sweep._swept_constants import swept_constant
from jopt.sweep._task import Mode, Task, examples
from jopt.sweep._trial import MOST_TRIALS, Trial, groups, settings_of
from jopt.sweep.engine import Batches, Data, Starts, place
from jopt.sweep.population import Population
from jopt.sweep.pruners import Pruner

MOST_STEPS = 2**31 - 1  # steps are counted in int32
VALIDATED = 2**32 - 5  # these separate random numbers from an epoch's
ORDERS = {"seed": 2**32 - 3, "trial": 2**32 - 4}
Order: TypeAlias = tuple[int, int]
Shuffle: TypeAlias = Literal["sweep", "seed", "trial"]
Keep: TypeAlias = Literal["last", "best"]
CALL = 128  # most steps of a compiled call: enough to hide a call's overhead


@dataclasses.dataclass(frozen=True)
class Plan:
    """The options of a sweep besides its trials, and how its steps are cut.

    Args:
      task: model, loss and data.
      batch_size: examples a step.
      steps: steps of each trial.
      asked_segments: segments asked for; a segment has at least one step.
      key: the key of all randomness.
      folds: parts of the training and validation examples together, each held out once;
        with 1, the task's own split.
      streams: whether the examples come with the batches, because the training set does
        not fit on the device.
      seeds: the number of seeds of each setting, or the seeds themselves.
      shuffle: "sweep", "seed" or "trial": which of them share one order of examples.
      orders: the orders of examples of a group's trials, as `order_of` returns them; by
        default one a fold.
      valid_examples: number of validation examples to use; None for all.
      blocks: trials of a call on a device, by group or one for all; None to time them.
      scans: by group, whether a call scans over its steps; None to let the block's
        timing or the program decide.
      pruner, population: rules, or None.
      metric, mode: the metric that ranks, and which of its values are better.
      keep: "last" or "best", the moment of a trial that is its result.
      cut: how the folds are cut; None for at random.
      objectives: "min" or "max" of the front's metrics, by name.
      bounds: (low, high) of a winner's metrics, by name.
      segment_steps: steps of a segment, in a sweep that was extended; None to derive
        them from `asked_segments`.
      numbers: the trials' numbers, if they are part of a larger sweep; None for 0, 1,
        ...
      keep_pruned: whether the record keeps the states of pruned trials.
    """

    task: Task
    batch_size: int
    steps: int
    asked_segments: int
    key: jax.Array
    folds: int = 1
    streams: bool = False
    seeds: int | tuple[int, ...] = 1
    shuffle: Shuffle = "sweep"
    orders: tuple[Order, ...] = ()
    valid_examples: int | None = None
    blocks: tuple[int, ...] | None = None
    scans: tuple[bool, ...] | None = None
    pruner: Pruner | None = None
    population: Population | None = None
    metric: str = "loss"
    mode: Mode = "min"
    keep: Keep = "last"
    cut: Folds | None = None
    objectives: Mapping[str, Mode] = dataclasses.field(default_factory=dict)
    bounds: Mapping[str, Bound] = dataclasses.field(default_factory=dict)
    segment_steps: int | None = None
    numbers: tuple[int, ...] | None = None
    keep_pruned: bool = False

    def for_group(self, trial: Trial, room: float = math.inf) -> "Plan":
        """Return the plan of a trial and of all trials that share its program.

        Args:
          trial: its task and batch size, if it has any, replace the sweep's.
          room: bytes of a device. Examples that would take more than half of it come
            with the batches.

        Raises:
          ValueError: the batch size does not fit the task.
        """
        size = self.batch_size if trial.batch_size is None else trial.batch_size
        task = trial.task or self.task
        base = self if task is self.task else self.changed(task=task)
        if task.train is None or task.stream is not None:
            return base.changed(batch_size=size)
        most = base.trained_on
        if not is_integer(size):
            raise ValueError(f"A sweep's batch size must be an integer, got {size!r}.")
        if not 1 <= size <= most:
            raise ValueError(
                f"A sweep's batch size must be between 1 and the {most} training "
                f"examples of {task.name}, got {shown(size)}."
            )
        bytes_ = sum(np.asarray(a).nbytes for a in jax.tree.leaves(base.examples))
        return base.changed(batch_size=size, streams=bytes_ > room / 2)

    def changed(self, **fields: Any) -> "Plan":
        """Return the plan with other fields; cached examples of its task are kept."""
        plan = dataclasses.replace(self, **fields)
        if plan.task is self.task:
            names = ("valid", "examples", "held_out")
            vars(plan).update({n: vars(self)[n] for n in names if n in vars(self)})
        return plan

    def as_json(self) -> dict[str, Any]:
        """Return the options for JSON, as `from_json` reads them; rules as objects."""
        key = {"impl": str(jax.random.key_impl(self.key))}
        key |= {"words": np.asarray(jax.random.key_data(self.key)).tolist()}
        names = ("batch_size", "seeds", "folds", "metric", "mode", "shuffle")
        names += ("valid_examples", "blocks", "scans", "keep", "objectives", "bounds")
        names += ("numbers", "keep_pruned")
        return {
            **{name: getattr(self, name) for name in names},
            **self.sizes(),
            "cut": object_names.written(self.cut),
            "held_out": self.held_out_digest,
            "key": key,
            "segments": self.asked_segments,
            "pruner": object_names.written(self.pruner),
            "population": object_names.written(self.population),
        }

    def sizes(self) -> dict[str, Any]:
        """Return the options that an extension changes."""
        return {"steps": self.steps, "segment_steps": self.segment_steps}

    @classmethod
    def from_json(
        cls,
        held: dict[str, Any],
        task: Task,
        cut: Folds | None = None,
        trust: bool = False,
    ) -> "Plan":
        """Return the plan of a task from the options that `as_json` returned.

        Args:
          held: the options.
          task: the task of the sweep.
          cut: replaces a cut that the record cannot name.
          trust: whether modules outside of jopt may be imported.

        Raises:
          ValueError: the record cannot name a rule.
        """
        held = dict(held)
        held.pop("held_out", None)  # for `held_out_digest`

        def rule(name: str, has: str) -> Any:
            found = object_names.from_json(held.pop(name, None), trust)
            if found is not None and (
                isinstance(found, type) or not hasattr(found, has)
            ):
                raise ValueError(
                    f"The record's {name} must be an object with {has}, got "
                    f"{shown(found)}; give the sweep again by sweep.run."
                )
            return found

        if cut is None:
            cut = rule("cut", "parts")
        held.pop("cut", None)
        key, seeds = held.pop("key"), held.pop("seeds", 1)
        words = jnp.asarray(key["words"], jnp.uint32)
        if (
            words.shape
            != jax.random.key_data(jax.random.key(0, impl=key["impl"])).shape
        ):
            raise ValueError(f"The record's key must be of {key['impl']}, got {words}.")
        return cls(
            task=task,
            key=jax.random.wrap_key_data(words, impl=key["impl"]),
            cut=cut,
            asked_segments=held.pop("segments"),
            seeds=seeds if isinstance(seeds, int) else tuple(seeds),
            blocks=tuple(blocks) if (blocks := held.pop("blocks", None)) else None,
            scans=tuple(scans) if (scans := held.pop("scans", None)) else None,
            numbers=tuple(own) if (own := held.pop("numbers", None)) else None,
            bounds={
                n: (low, high) for n, (low, high) in held.pop("bounds", {}).items()
            },
            pruner=rule("pruner", "judges"),
            population=rule("population", "reachable"),
            **held,
        )

    def check(self, trials: Sequence[Trial]) -> None:
        """Raise a ValueError if the plan does not fit all trials, seeds and folds."""
        sizes = {"steps": self.steps, "segments": self.asked_segments}
        for name, value in {**sizes, "block": min(self.blocks or (1,))}.items():
            if value < 1:
                raise ValueError(f"A sweep needs {name} of at least 1, got {value}.")
        if self.blocks and max(self.blocks) > MOST_TRIALS:
            raise ValueError(
                f"A sweep needs block of at most {MOST_TRIALS:,}, got "
                f"{max(self.blocks)}."
            )
        if self.steps > MOST_STEPS:
            raise ValueError(
                f"A sweep needs steps of at most 2^31 - 1, got {self.steps}."
            )
        plan = self.for_group(trials[0])
        if self.folds > 1 and self.folds > (size := examples(plan.examples)):
            raise ValueError(
                f"A sweep needs folds of at most the {size} examples of "
                f"{self.task.name}, got {self.folds}."
            )
        if self.cooled is not None and plan.task.stream is not None:
            raise ValueError(
                "A pruner that judges cooled copies needs training examples as a tree "
                f"of arrays, or none, and {plan.task.name} draws batches on the host, "
                "where none can be drawn twice; leave cooled out."
            )
        if self.pruner is not None:
            with noted(f"In {self.pruner}."):
                self.pruner.check(plan.segments, len(settings_of(trials)))
        if self.population is None:
            return
        with noted(f"In {self.population}."):
            self.population.check(plan.segments, [t.hyperparameters for t in trials])
        if self.pruner is not None:
            raise ValueError("A sweep takes a pruner or a population, got both.")
        if self.folds > 1:
            raise ValueError(
                "A population cannot have folds: a trial would go on with parameters "
                f"that were trained on what it is validated on; got {self.folds}."
            )
        reachable = [
            trial.changed(setting)
            for trial in trials
            for setting in self.population.reachable(trial.hyperparameters)
        ]
        parts = groups(everyone := [*trials, *reachable])
        if len(parts) > 1:
            why = swept_constant(everyone, parts) or "let numbers change alone"
            raise ValueError(
                "A population's trials must have one structure, whatever becomes of "
                f"them, for one to copy the other; {self.population} makes them "
                f"differ: {why}."
            )

    @property
    def metrics(self) -> dict[str, str]:
        """The metrics that the sweep needs; each value names what needs it."""
        judges = [] if self.pruner is None else self.pruner.judges()
        found = dict.fromkeys(self.bounds, "the bounded metric")
        named = (name for j in judges for name in j.metrics)
        found |= dict.fromkeys(named, "the pruner's metric")
        found |= {self.metric: "the metric"}
        return found | dict.fromkeys(self.objectives, "the objective")

    @property
    def modes(self) -> dict[str, Mode]:
        """The modes of all metrics whose mode the sweep knows."""
        of_task: dict[str, Mode] = {self.task.metric: self.task.mode}
        return {**of_task, **self.objectives, self.metric: self.mode}

    @property
    def calls(self) -> int:
        """The number of compiled calls of a segment, each short enough to be timed."""
        if self.segment_steps is not None:
            return math.ceil(self.segment_steps / CALL)
        return math.ceil(math.ceil(self.steps / self.asked_segments) / CALL)

    @property
    def length(self) -> int:
        """The steps of a segment; in the last, steps past the end change nothing."""
        if self.segment_steps is not None:
            return self.segment_steps
        return math.ceil(self.steps / self.asked_segments / self.calls) * self.calls

    @property
    def segments(self) -> int:
        """The number of segments: fewer than asked for if there are few steps."""
        return math.ceil(self.steps / self.length)

    def data(self) -> Data:
        """Put the data of all trials on the device."""
        valid = [] if self.task.valid is None else [self.valid]
        if self.folds > 1:
            parts = map(self._validated, self.held_out)
            valid = [_rows(self.examples, rows) for rows in parts]
        there = not self.streams and self.task.stream is None
        return place(self.examples if there else None, valid, self._scalings())

    def _scalings(self) -> PyTree:
        """Return the scalings of batches, by fold on axis 0; None without a scaling.

        Each fold's statistics are fitted only to its training examples.
        """
        if not is_supervised(self.task) or training_of(self.task).scaling is None:
            return None
        parts = [self.examples]
        if self.folds > 1:
            every = np.arange(examples(self.examples))
            rows = [np.setdiff1d(every, held_out) for held_out in self.held_out]
            parts = [_rows(self.examples, trained) for trained in rows]
        fitted = map(training_of(self.task).fit, parts)
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *fitted)

    @functools.cached_property
    def valid(self) -> PyTree:
        """The validation set as a tree of arrays, or the part of it to use."""
        data = whole(self.task.name, "valid", self.task.valid)
        if self.valid_examples is None or self.folds > 1:
            return data
        return _rows(data, self._validated(np.arange(examples(data))))

    def _validated(self, rows: np.ndarray) -> np.ndarray:
        """Return the rows to validate on, the same in every segment."""
        if self.valid_examples is None:
            return rows
        chosen = self.random(VALIDATED).permutation(len(rows))[: self.valid_examples]
        return rows[np.sort(chosen)]

    @functools.cached_property
    def examples(self) -> PyTree:
        """The examples that batches are drawn from; with folds, `valid`'s as well."""
        if self.folds <= 1:
            return self.task.train
        missing = self.task.train is None or self.task.valid is None
        if missing or self.task.stream is not None:
            raise ValueError(
                "A sweep with folds needs training and validation examples to cut, as "
                f"trees of arrays, and {self.task.name} has none; leave folds out."
            )
        shapes = [
            [np.shape(leaf)[1:] for leaf in jax.tree.leaves(part)]
            for part in (self.task.train, self.valid)
        ]
        if shapes[0] != shapes[1]:
            raise ValueError(
                "A sweep with folds needs training and validation examples of the same "
                f"shapes, as they are cut together, and {self.task.name} has "
                f"{shapes[0]} and {shapes[1]}; leave folds out."
            )
        return jax.tree.map(
            lambda *parts: np.concatenate([np.asarray(part) for part in parts]),
            self.task.train,
            self.valid,
        )

    @functools.cached_property
    def held_out(self) -> list[np.ndarray]:
        """The rows that each fold holds out, a partition."""
        cut = Folds(self.folds) if self.cut is None else self.cut
        return cut.parts(self.examples, self.random(2**32 - 1))

    @property
    def held_out_digest(self) -> str | None:
        """A digest of the folds, which shows whether the cut functions changed."""
        return None if self.cut is None else digest(self.held_out)

    @property
    def trained_on(self) -> int:
        """The number of examples of an epoch: with folds, all but the largest part."""
        size = examples(self.examples)
        if self.cut is not None:
            return size - max(map(len, self.held_out))
        return size if self.folds <= 1 else size - math.ceil(size / self.folds)

    def order_of(self, trial: Trial, position: int) -> Order:
        """Return (own, fold), which determine the order of a trial's examples.

        `own` is the seed or the trial's number in the sweep. It is -1 for the order
        that all trials share, which is also the order of seed 0.
        """
        number = position if self.numbers is None else self.numbers[position]
        own = {"sweep": -1, "seed": trial.seed or -1, "trial": number}[self.shuffle]
        return own, trial.fold

    def for_orders(self, trials: Sequence[Trial], positions: Sequence[int]) -> "Plan":
        """Return the plan with the orders of the trials at `positions`."""
        orders = {self.order_of(trials[position], position) for position in positions}
        return self.changed(orders=tuple(sorted(orders)))

    def starts(self, trials: Sequence[Trial], positions: Sequence[int] = ()) -> Starts:
        """Return what the trials start from; it depends on their seeds and folds alone.

        The number of seeds does not matter. A trial's position matters only if each
        trial has its own order of examples.

        Args:
          trials: the trials of a group.
          positions: their positions in the sweep, for a plan with orders.
        """
        seeds = sorted({trial.seed for trial in trials})
        place = {seed: row for row, seed in enumerate(seeds)}
        of_trials = np.asarray([place[trial.seed] for trial in trials])
        init_keys, keys = _keys(self.key, np.asarray(seeds, np.uint32), of_trials)
        folds = jnp.asarray([trial.fold for trial in trials], jnp.int32)
        orders = folds
        if self.orders:
            pairs = zip(trials, positions, strict=True)
            at = [self.orders.index(self.order_of(*pair)) for pair in pairs]
            orders = jnp.asarray(at, jnp.int32)
        return Starts(init_keys, keys, folds, orders)

    @property
    def call(self) -> Batches:
        """The batches of one call, for their shapes: the first that a resume draws."""
        stream = self.task.stream
        begins = 0 if stream is None else stream.begins // self.length
        return self.batches(min(begins, self.segments - 1))[0]

    def batches(self, segment: int) -> list[Batches]:
        """Return the batches of a segment, by call; trials of one order share them.

        An epoch is a permutation of the examples, without the remainder of a batch. It
        depends only on the key, the step and the order.
        """
        first = segment * self.length
        steps = np.arange(first, first + self.length)
        if self.task.train is None:
            cuts = np.split(steps.astype(np.int32), self.calls)
            end = jnp.asarray(self.steps, jnp.int32)
            return [Batches(jnp.asarray(cut), None, end) for cut in cuts]
        if self.task.stream is not None:
            return self._drawn(first, steps)
        orders = self.orders or tuple((-1, fold) for fold in range(self.folds))
        every = [self._epochs(steps, own, fold) for own, fold in orders]
        rows = every[0] if len(every) == 1 else np.stack(every)
        numbers = np.split(steps.astype(np.int32), self.calls)
        cuts = np.split(rows, self.calls, axis=rows.ndim - 2)
        return [self._call(s, r) for s, r in zip(numbers, cuts, strict=True)]

    def cooling(self, segment: int) -> tuple[int, list[Batches]]:
        """Return the number of steps that cool copies after a segment, and the batches.

        The batches are those of the next steps, by call, even past the end of the
        sweep.
        """
        assert self.cooled is not None
        begin = (segment + 1) * self.length
        steps = max(1, round(self.cooled * begin))
        segments = range(segment + 1, math.ceil((begin + steps) / self.length))
        calls = [call for number in segments for call in self.batches(number)]
        calls = calls[: math.ceil(steps / (self.length // self.calls))]
        over = Cooling(jnp.asarray(begin, jnp.int32), jnp.asarray(steps, jnp.int32))
        end = jnp.asarray(begin + steps, jnp.int32)
        return steps, [call._replace(end=end, cooling=over) for call in calls]

    @property
    def cooled(self) -> float | None:
        """The steps that copies are cooled for, as a share of those made, or None."""
        judges = [] if self.pruner is None else self.pruner.judges()
        shares = {j.cooled for j in judges if j.cooled is not None}
        if len(shares) > 1:
            raise ValueError(
                f"{self.pruner}: cooled must be the same wherever it is given, got "
                f"{' and '.join(map(str, sorted(shares)))}."
            )
        return shares.pop() if shares else None

    def cools(self, segment: int, settings: int) -> bool:
        """Return whether a pruner judges cooled copies after a segment."""
        judges = [] if self.pruner is None else self.pruner.judges()
        for judge in judges:
            rungs = judge.rungs(self.segments, settings)
            at = segment + 1 in {rung.segment for rung in rungs} or not rungs
            if judge.cooled is not None and at:
                return True
        return False

    def _drawn(self, first: int, steps: np.ndarray) -> list[Batches]:
        """Return batches from the host; steps past the end repeat the last batch."""
        assert self.task.stream is not None
        last = min(self.length, self.steps - first) - 1
        drawn = self.task.stream.draw(first, last + 1)
        rows = np.minimum(np.arange(self.length), last)
        end = jnp.asarray(self.steps, jnp.int32)
        at = jnp.arange(self.length // self.calls, dtype=jnp.int32)

        def call(numbers: np.ndarray, rows: np.ndarray) -> Batches:
            seen = jax.tree.map(lambda x: jnp.asarray(x[rows]), drawn)
            return Batches(jnp.asarray(numbers, jnp.int32), at, end, seen)

        cuts = np.split(steps, self.calls), np.split(rows, self.calls)
        return list(map(call, *cuts))

    def _epochs(self, steps: np.ndarray, own: int, fold: int) -> np.ndarray:
        """Return the rows of each step in an order, int32[steps, batch]."""
        rows, numbers = np.arange(examples(self.examples)), ()
        if self.folds > 1:
            rows, numbers = np.setdiff1d(rows, self.held_out[fold]), (fold,)
        if own >= 0:
            numbers += (ORDERS[self.shuffle], own)
        each = len(rows) // self.batch_size
        orders = {
            epoch: rows[self.random(epoch, *numbers).permutation(len(rows))]
            for epoch in set((steps // each).tolist())
        }
        within = (steps % each)[:, None] * self.batch_size + np.arange(self.batch_size)
        taken = zip(steps.tolist(), within, strict=True)
        return np.stack([orders[step // each][w] for step, w in taken]).astype(np.int32)

    def _call(self, steps: np.ndarray, rows: np.ndarray) -> Batches:
        end, seen = jnp.asarray(self.steps, jnp.int32), None
        if self.streams:
            seen = jax.tree.map(jnp.asarray, _rows(self.examples, rows.ravel()))
            rows = np.arange(rows.size, dtype=np.int32).reshape(rows.shape)
        return Batches(jnp.asarray(steps), jnp.asarray(rows), end, seen)

    def random(self, *numbers: int) -> np.random.Generator:
        """Return a generator that depends only on the key and these numbers."""
        entropy = np.asarray(jax.random.key_data(self.key)).tolist()
        return np.random.default_rng([*entropy, *numbers])


def base_key(seed: int | jax.Array) -> jax.Array:
    """Return the key of a sweep.

    Raises:
      ValueError: an integer has more than 64 bits, an array is not a key, or the key is
        of kind `rbg`, which under vmap gives all trials the same bits
        (https://docs.jax.dev/en/latest/jax.random.html).
    """
    if is_integer(seed) and not -(2**63) <= int(seed) < 2**63:
        raise ValueError(f"A sweep needs a seed from -2^63 to 2^63 - 1, got {seed}.")
    key: Any = jax.random.key(int(seed)) if is_integer(seed) else seed
    raw = key.dtype == np.uint32 and key.ndim == 1  # a key of jax.random.PRNGKey
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


@jax.jit
def _keys(
    key: jax.Array, seeds: np.ndarray, of_trials: np.ndarray
) -> tuple[jax.Array, jax.Array]:
    """Return each trial's keys for its init and its training.

    Args:
      key: the key of the sweep.
      seeds: uint32[seeds], without duplicates.
      of_trials: int[trials], the index of each trial's seed.
    """
    of_seeds = jax.vmap(lambda seed: jax.random.split(jax.random.fold_in(key, seed)))
    keys = of_seeds(seeds)[of_trials]
    return keys[:, 0], keys[:, 1]


def _rows(data: PyTree, rows: np.ndarray) -> PyTree:
    return jax.tree.map(lambda array: np.asarray(array)[rows], data)
