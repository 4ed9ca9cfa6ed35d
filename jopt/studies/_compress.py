"""`compress`: find the smallest good model by a sweep of rate, sparsity and bits."""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Annotated, Any, TypeAlias

import jax
import numpy as np

from jopt.compress import (
    Composed,
    Quantize,
    Sparse,
    cubic_sparsity,
    dequantize,
    prune,
    straight_through,
)
from jopt.core import Kind, PyTree, argument_error, checked, is_integer, is_real
from jopt.losses import Distilled
from jopt.optimizers import adamw
from jopt.studies._compression import NOT_QUANTIZED, Compression, best_levels, stored
from jopt.studies._shapes import steps_of
from jopt.studies._teacher import taught
from jopt.sweep import Mode, Progress, Supervised, Task, Trial, run
from jopt.transforms import identity

DENSE = 0.0, NOT_QUANTIZED
PRUNE_UNTIL = 0.5  # of the steps; the rest trains what is left
CHOICES = 20  # of the weights that are pruned, in all steps

Numbers: TypeAlias = Annotated[
    Any,
    Kind(
        "a number or a list of numbers",
        lambda value: value is not None and all(map(is_real, _as_list(value))),
    ),
]
Bits: TypeAlias = Annotated[
    Any,
    Kind(
        "integers from 2 to 16, or None or 32 for no quantization",
        lambda value: all(map(_is_bits, _as_list(value))),
        ValueError,
    ),
]


@checked
def compress(
    task: Task,
    *,
    sparsity: Numbers = (0.0, 0.5, 0.75, 0.875, 0.9375),
    bits: Bits = (2, 3, 4, 8, None),
    learning_rate: Numbers = (3e-3, 1e-2, 3e-2),
    seeds: int = 3,
    steps: int | None = None,
    optimizer: Callable[[float], Any] = adamw,
    start: Any = None,
    teacher: Any = None,
    distilled: Distilled = Distilled(),  # noqa: B008, it is immutable
    tolerance: float = 0.01,
    metric: str = "accuracy",
    mode: Mode | None = None,
    batch_size: int | None = None,
    block: int | None = None,
    seed: int | jax.Array = 0,
    progress: Callable[[Progress], None] | None = None,
) -> Compression:
    """Train all sparsities and bit widths at once, and find the smallest good model.

        found = studies.compress(digits(), tolerance=0.01)
        print(found.outcome)
        found.save("small")  # table, picture, page, and small/compressed.safetensors

    A level is a sparsity with a bit width. Each is trained with every rate and seed:
    all levels of few bits in one program, those that are only pruned in another. The
    dense level, plain training by the optimizer, is always among them, in a third. A
    level is judged at its own best rate: the rate that suits the dense model says
    little about a sparse one. The smallest model is that of fewest bytes whose mean
    metric is within `tolerance` of the dense level's. All choices are made on the
    validation set, and only the smallest model is evaluated on the test set.

    Weights are pruned while they are trained: the sparsity rises by `cubic_sparsity`
    over the first half of the steps, in which the weights to prune are chosen ten
    times. Quantization begins with the first step. Only leaves with two axes or more
    are compressed.

        compress(task, start="sweeps/digits-1", steps=0)    post-training compression
        compress(task, start="sweeps/digits-1")             compression-aware training
        compress(task, teacher="sweeps/digits-1")           distillation

    Args:
      task: a task of supervised learning.
      sparsity: shares of the weights that are 0, each in [0, 1).
      bits: bits of a weight, each from 2 to 16; None or 32 is no quantization.
      learning_rate: rates to try at each level, above 0.
      seeds: keys with which each rate is trained.
      steps: steps of each trial, by default the task's epochs. With 0, which needs
        `start`, nothing is trained: the weights of `start` are rounded and pruned, and
        rates and seeds are not used.
      optimizer: rate -> transformation, the optimizer of all levels.
      start: a saved model from which all trials begin, as for `Task.starting_from`.
      teacher: a saved model of the task, as `start`, or another task that begins from
        one, such as `digits(width=256).starting_from(path)`. The loss is then
        `distilled`, given to the task's `loss_fn` as its fourth argument. The teacher's
        logits are computed once for each example.
      distilled: the loss with a teacher, with its temperature and weight.
      tolerance: how much worse than dense the smallest model may be, in units of the
        metric, at least 0.
      metric: name of the validation metric that ranks.
      mode: "min" or "max", which of its values are better; by default "max" for
        accuracy, and the task's mode for its own metric.
      batch_size, block, seed, progress: as of `sweep.run`.

    Returns:
      The sweep's result, a table with a row for each level, and the smallest model.

    Raises:
      TypeError: an argument has the wrong type; the task's loss function does not take
        the loss of a teacher.
      ValueError: a number breaks its rule; `start` or `teacher` is another model.
      OSError: there is no model at the path of `start` or `teacher`.
    """
    sparsities, rates = (
        list(map(float, _as_list(x))) for x in (sparsity, learning_rate)
    )
    _check(sparsities, rates, steps, start, teacher, tolerance)
    widths = [NOT_QUANTIZED if b is None else int(b) for b in _as_list(bits)]
    levels = dict.fromkeys([DENSE, *itertools.product(sparsities, widths)])
    settings: list[dict[str, Any]] = [{"sparsity": s, "bits": b} for s, b in levels]
    begun = task if start is None else task.starting_from(start)
    if steps == 0:
        trained, factory, seeds = _untrained(begun), _projected, 1
    else:
        settings = [{"learning_rate": r, **s} for s in settings for r in rates]
        trained = begun if teacher is None else taught(begun, teacher)
        steps = steps_of("compress", task, steps, None, batch_size)
        loss = None if teacher is None else distilled
        factory = _Trained(optimizer, steps, loss)
    goal = {"metric": metric, "mode": _mode(metric, mode)}
    result = run(
        # The engine would evaluate the best trial on the test set.
        dataclasses.replace(trained, test=None),
        [Trial.of(factory, setting) for setting in settings],
        steps=max(steps, 1),
        seeds=seeds,
        batch_size=batch_size,
        block=block,
        seed=seed,
        **goal,
        progress=progress,
    )
    table, smallest = best_levels(result, tolerance)
    model, test = None, {}
    if smallest is not None:
        model = stored(result, table["trial"][smallest], table["bits"][smallest])
        test = _on_test(task, model, goal)
    return Compression(result, table, tolerance, smallest, model, test)


@dataclasses.dataclass(frozen=True)
class _Trained:
    """The factory of trials that are trained: a rate, a sparsity, bits -> config."""

    optimizer: Callable[[float], Any]
    steps: int
    loss: Distilled | None

    def __call__(self, learning_rate: float, sparsity: float, bits: int) -> Any:
        tx: Any = self.optimizer(learning_rate)
        if (sparsity, bits) != DENSE:
            tx = self._compressed(tx, sparsity, bits)
        return tx if self.loss is None else Supervised(tx, self.loss)

    def _compressed(self, inner: Any, sparsity: float, bits: int) -> Any:
        every = max(self.steps // CHOICES, 1)
        # The last rise is at a step at which weights are chosen.
        end = int(PRUNE_UNTIL * self.steps) // every * every
        rising = cubic_sparsity(sparsity, begin=0, end=end)
        tx = prune(inner, rising, every=every)
        return tx if bits == NOT_QUANTIZED else straight_through(tx, Quantize(bits))


def _projected(sparsity: float, bits: int) -> Any:
    """Return a config whose parameters are evaluated pruned and rounded."""
    rounded = Quantize(None if bits == NOT_QUANTIZED else bits)
    return straight_through(identity(), Composed(Sparse(sparsity), rounded))


def _untrained(task: Task) -> Task:
    """Return a task that evaluates the initial weights of its trials."""
    return dataclasses.replace(task, step=_leave, train=None)


def _leave(
    config: PyTree, state: PyTree, batch: PyTree, key: jax.Array
) -> tuple[PyTree, dict[str, jax.Array]]:
    return state, {}


def _on_test(task: Task, model: PyTree, goal: Any) -> dict[str, float]:
    """Return the metrics of a model on the test set, empty without one."""
    if task.test is None:
        return {}
    begun = _untrained(task.starting_from(dequantize(model)))
    trial = Trial.of(_projected, {"sparsity": 0.0, "bits": NOT_QUANTIZED})
    result = run(begun, [trial], steps=1, block=1, **goal)
    assert result.best is not None
    return result.best.test


def _as_list(value: Any) -> list[Any]:
    """Return a value as a list of values."""
    if isinstance(value, (list, tuple, range, np.ndarray, jax.Array)):
        return np.ravel(np.asarray(value, object)).tolist()
    return [value]


def _mode(metric: str, mode: Mode | None) -> Mode | None:
    """Return which values are better; None leaves it to the task."""
    return "max" if mode is None and metric == "accuracy" else mode


def _is_bits(value: Any) -> bool:
    return value in (None, NOT_QUANTIZED) or (is_integer(value) and 2 <= value <= 16)


def _check(
    sparsities: list[Any],
    rates: list[Any],
    steps: int | None,
    start: Any,
    teacher: Any,
    tolerance: float,
) -> None:
    """Raise ValueError for a number out of its range, or a missing argument."""

    def fail(name: str, value: Any, rule: str, hint: str = "") -> Exception:
        return argument_error("compress", name, value, rule, ValueError, hint)

    for value in sparsities:
        if not 0 <= value < 1:
            hint = "; it is the share of the weights that is 0."
            raise fail("sparsity", value, "in [0, 1)", hint)
    for value in rates:
        if not 0 < value < np.inf:
            raise fail("learning_rate", value, "above 0 and finite")
    if not 0 <= tolerance < np.inf:
        raise fail("tolerance", tolerance, "at least 0 and finite")
    if steps is not None and steps < 0:
        raise fail("steps", steps, "at least 0")
    if steps == 0 and start is None:
        hint = "; without training a trained model is needed: give start its path."
        raise fail("steps", steps, "at least 1 without start", hint)
    if steps == 0 and teacher is not None:
        hint = "; with 0 steps no loss is used: leave the teacher out."
        raise fail("steps", steps, "at least 1 with a teacher", hint)
