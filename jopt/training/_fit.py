"""`fit`: train by epochs, keep the best state, resume after a kill."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jopt.core import (
    FilePath,
    Kind,
    PyTree,
    checked,
    close_match,
    is_count,
    is_number,
    shown,
)
from jopt.training._early_stopping import EarlyStopping
from jopt.training._kept_epochs import KeptEpochs
from jopt.training._mean_metrics import MeanMetrics
from jopt.training._state import TrainState

if TYPE_CHECKING:
    from rich.progress import Progress

Step: TypeAlias = Callable[[TrainState, PyTree], tuple[TrainState, Any]]
Batches: TypeAlias = Callable[[int], Iterable[PyTree]] | Iterable[PyTree]
_Epochs: TypeAlias = Annotated[
    int, Kind("a whole number of at least 1", is_count, ValueError)
]


class Fit(NamedTuple):
    """The result of `fit`.

    Attributes:
      state: the state after the last epoch.
      best: the state after the best epoch; None if the metric was never finite.
      history: the values of each epoch by name, float64[epochs]: `train_loss` and the
        step's other metrics as `train_...`, those of `evaluate` as `valid_...`.
    """

    state: TrainState
    best: TrainState | None
    history: dict[str, np.ndarray]


@checked
def fit(
    state: TrainState,
    step: Step,
    batches: Batches,
    *,
    epochs: _Epochs,
    evaluate: Callable[[TrainState], Mapping[str, Any]] | None = None,
    metric: str = "loss",
    mode: Literal["min", "max"] = "min",
    early_stopping: EarlyStopping | None = None,
    checkpoint: FilePath | None = None,
) -> Fit:
    """Train for some epochs, evaluate after each, and keep the best state.

        step = jopt.train_step(loss_fn)
        done = jopt.training.fit(state, step, batches, epochs=20, evaluate=evaluate)
        done.best.eval_model, done.history["valid_loss"]

    A terminal shows a progress bar. The metrics of the steps are averaged without
    waiting for the device at each step. The mean is over the steps whose loss is
    finite: `train_step` skips the others.

    **After a kill**, the same call with the same `checkpoint` continues after the last
    saved epoch. It ends with the same numbers, bit for bit, if `batches` returns the
    same batches for an epoch. The state, the transformation's numbers and the history
    are then the checkpoint's. A finished run continues if `epochs` is larger.

    Args:
      state: the initial state; the first step donates it.
      step: (state, batch) -> (state, metrics), from `train_step` or `train_steps`, or
        a function whose metrics are a dict of scalars.
      batches: function of the epoch, from 0, that returns an iterable of batches; or an
        iterable that can be started again, such as a list or a loader.
      epochs: number of epochs in all, at least 1.
      evaluate: state -> numbers by name. It must not donate the state. It is called
        once before the first step, too, so that a mistake in it costs no epoch.
      metric: name of the number that ranks the epochs. It is one of those that
        `evaluate` returns or, without `evaluate`, one of the step's metrics.
      mode: "min" or "max", which values of the metric are better.
      early_stopping: ends training by the metric; it must have the same mode.
      checkpoint: directory of the last and the best epoch, orbax checkpoints of
        `state.by_leaf()`. By default nothing is saved.

    Returns:
      A `Fit`. The best state is a copy: it takes the memory of a second state.

    Raises:
      ValueError: if `epochs` is below 1, if there are no batches, if there is no such
        metric, if the mode of `early_stopping` differs, or if the checkpoint is of
        another state, metric or mode.
      TypeError: if an argument or a result of `step` or `evaluate` has the wrong type.
    """
    early = early_stopping or EarlyStopping(patience=math.inf, mode=mode)
    if early.mode != mode:
        raise ValueError(
            f"fit: early_stopping must have the mode of the metric, {mode!r}, got "
            f"{early.mode!r}; give EarlyStopping(..., mode={mode!r})."
        )
    batches_of = _batches_of(batches)
    ranks, best = f"{'train' if evaluate is None else 'valid'}_{metric}", None
    kept = None if checkpoint is None else KeptEpochs(checkpoint, ranks, mode)
    rows = [] if kept is None else kept.rows(state)
    if kept is not None and rows:
        number = _best_epoch(rows, ranks, mode)
        best = None if number is None else kept.state(state, number)
        state = kept.state(state, len(rows))
    elif evaluate is not None:
        _evaluated(evaluate, state, metric)
    for row in rows:
        early = early.update(row[ranks])
    with _bar() as bar:
        line = bar.add_task(ranks, total=epochs, completed=len(rows), said="")
        while len(rows) < epochs and not early.should_stop:
            means = MeanMetrics()
            for batch in batches_of(len(rows)):
                state, metrics = step(state, batch)
                means.add(metrics)
                if evaluate is None and means.calls == 1:
                    _check_metric(metric, means.names, "the step returns")
                bar.update(line, said=f"step {means.calls}")
            if not means.calls:
                raise ValueError(
                    "fit: batches must give at least one batch an epoch, got none in "
                    f"epoch {len(rows)}; give an iterable that can be started again, "
                    "or a function of the epoch that returns one."
                )
            row = {f"train_{name}": mean for name, mean in means.means().items()}
            if evaluate is not None:
                valid = _evaluated(evaluate, state, metric)
                row |= {f"valid_{name}": value for name, value in valid.items()}
            rows.append(row)
            early = early.update(row[ranks])
            number = _best_epoch(rows, ranks, mode)
            best = _snapshot(state) if number == len(rows) else best
            if kept is not None:
                kept.write(state, rows, keep=number)
            bar.update(line, completed=len(rows), said=f"{row[ranks]:.4g}")
    names = dict.fromkeys(name for row in rows for name in row)
    history = {n: np.asarray([row.get(n, np.nan) for row in rows]) for n in names}
    return Fit(state, best, history)


def _batches_of(batches: Batches) -> Callable[[int], Iterable[PyTree]]:
    if hasattr(batches, "__next__"):
        raise ValueError(
            f"fit: batches must be an iterable that can be started again, got "
            f"{type(batches).__name__}, which ends with the first epoch; give a "
            "function of the epoch that makes it."
        )
    return batches if callable(batches) else lambda epoch: batches


def _best_epoch(rows: list[dict[str, float]], ranks: str, mode: str) -> int | None:
    """Return the number of epochs up to the best; None if no value is finite."""
    values = np.asarray([row[ranks] for row in rows])
    lower = np.where(np.isfinite(values), values if mode == "min" else -values, np.inf)
    return int(np.argmin(lower)) + 1 if np.isfinite(values).any() else None


def _evaluated(
    evaluate: Callable[[TrainState], Mapping[str, Any]], state: TrainState, metric: str
) -> dict[str, float]:
    """Return the numbers of an evaluation, among which the metric must be."""
    found = evaluate(state)
    if not isinstance(found, Mapping) or not all(map(is_number, found.values())):
        raise TypeError(
            f"fit: evaluate must return numbers by name, got {shown(found)}."
        )
    if long := [name for name, value in found.items() if np.shape(value)]:
        raise TypeError(
            f"fit: evaluate must return numbers by name, got the shape "
            f"{list(np.shape(found[long[0]]))} for {long[0]}; take the mean."
        )
    _check_metric(metric, found, "evaluate returns")
    return {name: float(value) for name, value in found.items()}


def _check_metric(metric: str, found: Collection[str], words: str) -> None:
    if metric not in found:
        names = ", ".join(found) or "nothing"
        raise ValueError(
            f"fit: metric must be one of what {words}, {names}, got "
            f"{metric!r}{close_match(metric, found)}."
        )


def _snapshot(state: TrainState) -> TrainState:
    """Return a copy of the arrays that the next step donates."""
    changing, constant = state.apart()
    return jax.tree.map(jnp.copy, changing).with_constant(constant)


def _bar() -> "Progress":
    """Return a progress bar over epochs, which only a terminal shows."""
    from rich.console import Console  # slow to load
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("epoch {task.completed}/{task.total}"),
        BarColumn(),
        TextColumn("{task.description} {task.fields[said]}"),
        TimeRemainingColumn(),
        console=(console := Console()),
        disable=not console.is_terminal,
        refresh_per_second=2,  # a refresh costs a millisecond of a core
    )
