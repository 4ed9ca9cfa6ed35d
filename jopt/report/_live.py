"""A picture that follows a sweep while it trains, for notebooks."""

import io
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from jopt.core import checked_class

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from jopt.sweep import Segment

SHARE = 0.01  # of the time that may go into pictures
MOST = 256  # lines that a picture can show apart


@checked_class
class LivePlot:
    """Draw the validation losses by segment, and how many trials go on.

        sweep.run(task, trials, callbacks=[report.LivePlot()])

    A sweep calls it at the end of each segment. The first and the last are drawn; of
    the others those that come `every` seconds after the last drawing, and late enough
    that drawing takes no more than a hundredth of the time (but for the first, which
    loads the fonts).

    every: seconds, at least 0. show: what takes the picture's bytes, a PNG, in place of
    the notebook's cell: `pathlib.Path("live.png").write_bytes` writes a file.

    Raises an ImportError in a sentence without matplotlib, or without IPython where
    `show` is not given, and a ValueError if `every` is negative.
    """

    def __init__(self, every: float = 5.0, show: Callable[[bytes], Any] | None = None):
        if not every >= 0:
            raise ValueError(
                f"LivePlot: every must be at least 0 seconds, got {every}."
            )
        try:
            from matplotlib.figure import Figure  # an extra, and slow to load

            self.show = _Cell() if show is None else show
        except ModuleNotFoundError as error:
            raise ImportError(
                f"LivePlot needs the package {error.name}, which is not installed; "
                "pip install matplotlib ipython."
            ) from error
        self.every = every
        self.figure: Figure = Figure(figsize=(10, 4), dpi=80, layout="constrained")
        self.next = -np.inf  # when to draw again, on the clock of `time.perf_counter`
        self.drawn = 0

    def __call__(self, now: "Segment") -> None:
        """Draw where the sweep is, if it is time to."""
        began = time.perf_counter()
        if began < self.next and now.number < now.segments:
            return
        picture = io.BytesIO()
        draw(self.figure, now)
        self.figure.savefig(picture, format="png")
        self.show(picture.getvalue())
        ended = time.perf_counter()
        pause = (ended - began) / SHARE if self.drawn else 0
        self.next = ended + max(self.every, pause)
        self.drawn += 1


def draw(figure: "Figure", now: "Segment") -> None:
    """Draw a segment's end over what the figure shows."""
    figure.clear()
    left, right = figure.subplots(1, 2, width_ratios=[2, 1])
    losses = now.valid["loss"].astype(float)
    _losses(left, losses, now)
    trained = np.isfinite(losses[:, : now.number]).sum(axis=0)
    right.plot(np.arange(1, now.number + 1), trained, "o-", ms=4, drawstyle="steps-mid")
    right.set(xlim=(0.5, now.segments + 0.5), ylim=(0, 1.05 * len(losses)))
    right.set(xlabel="segment", ylabel="trials with a loss")
    right.grid(alpha=0.3)
    figure.suptitle(
        f"segment {now.number} of {now.segments}, step {now.step}: "
        f"{now.alive.sum()} of {len(now.alive)} trials go on{_best(now)}"
    )


def _losses(axes: "Axes", losses: np.ndarray, now: "Segment") -> None:
    """A line a trial, grey if it ended; every so many, where there are many."""
    from matplotlib.collections import LineCollection

    segments = np.arange(1, losses.shape[1] + 1)
    best = None if now.best is None else int(now.best["trial"])
    shown = np.arange(0, len(losses), -(-len(losses) // MOST))
    shown = shown[np.argsort(now.alive[shown], kind="stable")]  # who goes on, on top
    colors = np.where(now.alive[shown], "#3366aa", "#bbbbbb")
    lines = [
        np.column_stack([segments, row])[np.isfinite(row)] for row in losses[shown]
    ]
    axes.add_collection(
        LineCollection(lines, colors=colors.tolist(), linewidths=0.8, alpha=0.7)
    )
    ends = [line[-1] for line in lines if len(line)]  # a line of one point is not seen
    if ends:
        axes.scatter(*np.transpose(ends), s=6, color="#666666", lw=0)
    if best is not None:
        axes.plot(segments, losses[best], "o-", ms=4, color="#ee7733", label="best")
        axes.legend(fontsize="small")
    finite = losses[np.isfinite(losses)]
    if len(finite) and finite.min() > 0:
        axes.set_yscale("log")
    axes.autoscale_view()
    axes.set_xlim(0.5, now.segments + 0.5)
    axes.set(xlabel="segment", ylabel="validation loss")
    axes.grid(alpha=0.3)


def _best(now: "Segment") -> str:
    if now.best is None:
        return ""
    return f", best trial {now.best['trial']} with {now.best['valid_loss']:.4g}"


class _Cell:
    """The cell of a notebook that is running: one picture, drawn over."""

    def __init__(self):
        from IPython import display  # an extra, and slow to load

        self.display, self.handle = display, None

    def __call__(self, picture: bytes) -> None:
        image = self.display.Image(data=picture)
        if self.handle is None:
            self.handle = self.display.display(image, display_id=True)
        else:
            self.handle.update(image)
