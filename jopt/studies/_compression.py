"""The result of a compression: table, smallest model, figure, files."""

import csv
import dataclasses
import functools
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jopt.compress import quantize, save_compressed, size
from jopt.core import FilePath, PyTree, by_path, checked, nested
from jopt.sweep import Model, SweepResult, in_words, nondominated
from jopt.training import is_random, short_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NOT_QUANTIZED = 32  # bits of a weight as it is trained
FILE = "compressed.safetensors"
LINE, CHOSEN, OTHER = "#21688e", "#ffaa00", "#888888"


@dataclasses.dataclass(frozen=True)
class Compression:
    """The size and the metric of each sparsity and bit width, and the smallest model.

    Attributes:
      sweep: the result of all trials. It did not see the test set.
      table: a NumPy array by column, a row per level: `sparsity`, `bits` (32 without
        quantization), `learning_rate` (the level's best; missing if nothing was
        trained), the metric and `..._std` (mean and sample standard deviation over the
        seeds; NaN if one diverged at every rate); `bytes` (of the level's best trial,
        as `save_compressed` stores it); `trial` (that trial's number in the sweep);
        `front` (whether no other level is as good in metric and bytes and better in
        one). The first row is the dense level.
      tolerance: how much worse than dense the smallest model may be.
      smallest: the row of the level with the fewest bytes within the tolerance; None if
        the dense level diverged or the sweep was interrupted.
      model: the best trial of that level as it is stored: a dict with `params`, their
        matrices quantized, and `model_state` where there is one; None without one.
      test: the metrics of that model on the test set; empty without one.
    """

    sweep: SweepResult
    table: dict[str, np.ndarray]
    tolerance: float
    smallest: int | None
    model: PyTree
    test: dict[str, float]

    @property
    def metric(self) -> str:
        """The name of the validation metric that ranks, a column of the table."""
        return self.sweep.metric

    @functools.cached_property
    def outcome(self) -> str:
        """Which model is the smallest good one, or why there is none: sentences."""
        table, metric, row = self.table, self.metric, self.smallest
        if self.sweep.info["interrupted"]:
            return "Interrupted before all levels were trained, so none is chosen."
        if row is None:
            return (
                f"The dense model has no finite {metric} at any rate, so no other can "
                "be compared with it: try lower rates."
            )
        dense = f"Dense: {metric} {table[metric][0]:.4g}, {self._bytes(0)}."
        test = ", ".join(f"{name} {value:.4g}" for name, value in self.test.items())
        test = f"on the test set: {test or 'none'}."
        if row == 0:
            return (
                f"{dense} No smaller model is within {self.tolerance:g} of it; {test}"
            )
        times = table["bytes"][0] / table["bytes"][row]
        value = f"{metric} {table[metric][row]:.4g}, {self._bytes(row)}"
        return (
            f"{dense} The smallest model within {self.tolerance:g} of it: "
            f"{self.level(row)}, {value}, {times:.3g} times smaller; {test}"
        )

    @property
    def remark(self) -> str | None:
        """A sentence if a level's best rate is at an end of those tried, or None."""
        if "learning_rate" not in self.table:
            return None
        tried = np.unique(self.sweep.table["learning_rate"])
        best = self.table["learning_rate"][np.isfinite(self.table[self.metric])]
        low, high = (int((best == tried[end]).sum()) for end in (0, -1))
        if len(tried) < 3 or not low + high:
            return None
        return (
            f"Of {len(best)} levels {low} are best at the smallest rate, "
            f"{tried[0]:.3g}, and {high} at the largest, {tried[-1]:.3g}: a wider "
            "range may be better."
        )

    def lines(self, directory: FilePath) -> str:
        """Return three lines of Python that load the saved model and run it."""
        path = Path(directory) / FILE
        load = f'saved = jopt.dequantize(jopt.load_compressed("{path}"))'
        if _is_nnx(self.model["params"]):
            run = "nnx.update(model, *nnx.restore_int_paths(saved).values())"
            return f"{load}\n{run}\noutputs = model(inputs)"
        run = 'variables = {"params": saved["params"], **saved.get("model_state", {})}'
        return f"{load}\n{run}\noutputs = module.apply(variables, inputs)"

    def plot(self) -> "Figure":
        """Return a matplotlib figure of the metric against the bytes of each level.

        Bars are standard deviations over the seeds. The front is drawn, the dense model
        is a dashed line, and the band below it is the tolerance.
        """
        from matplotlib.figure import Figure  # an extra, and slow to load
        from matplotlib.ticker import LogLocator

        figure = Figure(figsize=(9, 5.5), layout="constrained")
        axes = figure.subplots()
        _draw_levels(axes, self)
        _draw_dense(axes, self)
        _draw_front(axes, self)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        axes.xaxis.set_major_formatter(lambda size, _: short_bytes(int(size)))
        axes.xaxis.set_minor_formatter("")
        axes.set_xlabel("size")
        axes.set_ylabel(f"validation {self.metric.replace('_', ' ')}")
        axes.set_title(
            f"{self.sweep.info['task']}: {len(self.table['bytes'])} levels, each at "
            f"its best rate, {len(self.sweep.trials)} trials"
        )
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
        return figure

    @checked
    def save(self, directory: FilePath) -> list[Path]:
        """Write the files of the sweep, the table, the picture and the model.

        They are compress.csv, compress.json, compressed.safetensors and compress.png,
        besides the files of `SweepResult.save`. Without matplotlib there is no picture.

        Args:
          directory: made if it does not exist.

        Returns:
          The files written.

        Raises:
          ImportError: safetensors is not installed.
          OSError: the directory cannot be written.
        """
        path = Path(directory)
        written = self.sweep.save(path)
        with (path / "compress.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(self.table)
            columns = (column.tolist() for column in self.table.values())
            writer.writerows(zip(*columns, strict=True))
        found = {
            "outcome": self.outcome,
            "tolerance": self.tolerance,
            "smallest": self.smallest,
            "test": self.test,
            "levels": {name: column.tolist() for name, column in self.table.items()},
        }
        (path / "compress.json").write_text(in_words(found, indent=2) + "\n")
        written += [path / "compress.csv", path / "compress.json"]
        if self.model is not None:
            save_compressed(path / FILE, self.model)
            written.append(path / FILE)
        if importlib.util.find_spec("matplotlib") is not None:
            self.plot().savefig(path / "compress.png", dpi=120)
            written.append(path / "compress.png")
        return written

    def _bytes(self, row: int) -> str:
        return short_bytes(int(self.table["bytes"][row]))

    def level(self, row: int) -> str:
        """Return a level in words."""
        bits, share = int(self.table["bits"][row]), self.table["sparsity"][row]
        width = "not quantized" if bits == NOT_QUANTIZED else f"{bits} bits"
        return f"{share:.4g} of the weights 0, {width}"


def best_levels(
    result: SweepResult, tolerance: float
) -> tuple[dict[str, np.ndarray], int | None]:
    """Return the table of a compression, and the row of the smallest good model.

    Args:
      result: of a sweep whose first setting is of the dense level.
      tolerance: how much worse than dense the smallest model may be.
    """
    settings, metric = result.settings(), result.metric
    means, spreads = (settings[f"valid_{metric}{end}"] for end in ("", "_std"))
    sign = -1 if result.mode == "max" else 1
    ranks = np.where(np.isfinite(means), sign * means, np.inf)
    levels: dict[Any, list[int]] = {}
    pairs = zip(settings["sparsity"].tolist(), settings["bits"].tolist(), strict=True)
    for row, level in enumerate(pairs):
        levels.setdefault(level, []).append(row)
    best = [min(rows, key=ranks.__getitem__) for rows in levels.values()]
    sparsities, bits = map(np.asarray, zip(*levels, strict=True))
    table = {"sparsity": sparsities, "bits": bits}
    if "learning_rate" in settings:
        table["learning_rate"] = settings["learning_rate"][best]
    table |= {metric: means[best], f"{metric}_std": spreads[best]}
    table["trial"] = settings["trial"][best]
    models = [stored(result, *of) for of in zip(table["trial"], bits, strict=True)]
    table["bytes"] = np.asarray([size(model, "bitmap").bytes for model in models])
    worth = np.stack([sign * means[best], table["bytes"]], axis=1)
    table["front"] = np.isin(np.arange(len(best)), nondominated(worth))
    # Metrics are float32, in which 0.98 need not be within 0.01 of 0.99.
    good = worth[:, 0] <= worth[0, 0] + tolerance + 1e-6
    smallest = None
    if good.any() and not result.info["interrupted"]:
        smallest = int(
            np.lexsort((worth[:, 0], np.where(good, worth[:, 1], np.inf)))[0]
        )
    return table, smallest


def stored(result: SweepResult, trial: int, bits: int) -> PyTree:
    """Return a trial's model as it is stored: `params` and, if any, `model_state`.

    The parameters are on the levels of `bits` already, so quantizing changes none.
    Random states, which differ by seed, are left out.
    """
    model = result.model(int(trial))
    assert isinstance(model, Model)
    params, state = model
    if bits != NOT_QUANTIZED:
        params = quantize(params, int(bits))
    drawn = by_path(is_random(state))
    kept = {path: leaf for path, leaf in by_path(state).items() if not drawn[path]}
    return {"params": params, **({"model_state": nested(kept)} if kept else {})}


def _is_nnx(tree: PyTree) -> bool:
    """Return whether a tree is a state of a Flax nnx module."""
    nnx = sys.modules.get("flax.nnx")  # a program with such a state has imported it
    return nnx is not None and isinstance(tree, nnx.State)


def _draw_levels(axes: "Axes", found: Compression) -> None:
    """Draw each level, in the color of its bits, with a bar over the seeds."""
    from matplotlib import colormaps  # an extra, and slow to load

    table, metric = found.table, found.metric
    widths = np.unique(table["bits"])
    colors = colormaps["viridis"](np.linspace(0, 0.9, len(widths)))
    for width, color in zip(widths, colors, strict=True):
        rows = table["bits"] == width
        label = "not quantized" if width == NOT_QUANTIZED else f"{width} bits"
        bars = np.nan_to_num(table[f"{metric}_std"][rows])
        points = table["bytes"][rows], table[metric][rows]
        axes.errorbar(*points, bars, fmt="o", ms=5, lw=1, color=color, label=label)


def _draw_dense(axes: "Axes", found: Compression) -> None:
    """Draw the dense model's metric, and the band in which a model is as good."""
    dense = float(found.table[found.metric][0])
    worse = -found.tolerance if found.sweep.mode == "max" else found.tolerance
    if not np.isfinite(dense):
        return
    axes.axhline(dense, color=OTHER, ls="--", lw=1, label=f"dense: {dense:.4g}")
    axes.axhspan(dense, dense + worse, color=OTHER, alpha=0.2, lw=0)


def _draw_front(axes: "Axes", found: Compression) -> None:
    """Draw the border of what levels reach, and the smallest good one as a star."""
    table, metric = found.table, found.metric
    front = np.flatnonzero(table["front"])
    front = front[np.argsort(table["bytes"][front])]
    points = table["bytes"][front], table[metric][front]
    label = "front, with its sparsities"
    axes.step(*points, where="post", color=LINE, lw=1.5, zorder=1, label=label)
    for row in front:
        place = table["bytes"][row], table[metric][row]
        text = f"{table['sparsity'][row]:.4g}"
        beside = {"xytext": (-6, 4), "textcoords": "offset points", "ha": "right"}
        axes.annotate(text, place, fontsize=7, **beside)
    if (row := found.smallest) is not None:
        label = f"smallest within {found.tolerance:g}: {found.level(row)}"
        place = table["bytes"][row], table[metric][row]
        axes.plot(*place, "*", ms=16, mec="black", color=CHOSEN, label=label, zorder=5)
