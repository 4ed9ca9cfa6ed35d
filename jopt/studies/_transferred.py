"""The result of a transfer: laws of the best rate by width, pictures, files."""

import dataclasses
import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jopt.core import FilePath, checked
from jopt.studies._ladder import Ladder
from jopt.studies._statistics import law, optimum
from jopt.studies._study_files import columns_of, save_study

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

DRAWS = 500  # of the bootstrap: each fits a parabola a width
OCTAVE = 2.0  # a predicted rate less sure than this factor is no prediction


@dataclasses.dataclass(frozen=True)
class Transfer:
    """The best rate by width and rule, and the rate that a wider model needs.

    Attributes:
      table: a NumPy array by column, a row per rule and width: `rule`, `width`,
        `parameters`, `best_rate` with `rate_low` and `rate_high` (bootstrap over the
        seeds); `edge` ("open": the best is at an end of the ladder even after its
        extensions); `loss` and `loss_sd` of the best rate; `penalty` (relative loss
        over the best with the narrowest width's rate); `penalty_law` (with the rate of
        the other widths' law).
      laws: a row per rule: `rule`, `exponent` with its ends; `moves` (the widest's best
        rate over the narrowest's); `rate_at` (the rate at width `to`) with its ends;
        `cost` (relative loss that an error of that interval's size costs at the
        widest trained width). NaN if a best rate is at an edge.
      rates: all rates: `rule`, `width`, `learning_rate`, `loss`, `sd`, `diverged`.
      check: the target around the predicted rates, empty unless asked: `rule`, `times`,
        `learning_rate`, `loss`, `sd`.
      coordinates: changes of the parameters after a few steps, empty unless asked:
        `rule`, `leaf`, `kind`, `width`, `change`.
      to: the width that is predicted.
      info: the arguments and the cost.
    """

    table: dict[str, np.ndarray]
    laws: dict[str, np.ndarray]
    rates: dict[str, np.ndarray]
    check: dict[str, np.ndarray]
    coordinates: dict[str, np.ndarray]
    to: int | None
    info: dict[str, Any]

    @classmethod
    def of(
        cls,
        ladders: Mapping[tuple[str, int], Ladder],
        parameters: Mapping[int, int],
        to: int | None,
        info: dict[str, Any],
    ) -> "Transfer":
        """Return the laws and the prediction of ladders of rates by rule and width."""
        rules = list(dict.fromkeys(rule for rule, _ in ladders))
        rng, rows, laws = np.random.default_rng(0), [], []
        for rule in rules:
            own = {width: one for (r, width), one in ladders.items() if r == rule}
            table, found = _of_rule(own, to, info["level"], rng)
            for row in table:
                counts = {"parameters": parameters[row["width"]]}
                rows.append({"rule": rule, "width": row["width"], **counts, **row})
            laws.append({"rule": rule, **found})
        rates = [
            {
                "rule": rule,
                "width": width,
                "learning_rate": rate,
                "loss": losses.mean() if np.isfinite(losses).all() else math.nan,
                "sd": losses.std(ddof=1)
                if np.isfinite(losses).all() and len(losses) > 1
                else math.nan,
                "diverged": int((~np.isfinite(losses)).sum()),
            }
            for (rule, width), ladder in ladders.items()
            for rate, losses in sorted(ladder.losses.items())
        ]
        return cls(
            columns_of(rows), columns_of(laws), columns_of(rates), {}, {}, to, info
        )

    @functools.cached_property
    def exponents(self) -> dict[str, np.ndarray]:
        """The exponent of the change of each parameter by width, by rule and leaf."""
        rows = []
        pairs = zip(self.coordinates["rule"], self.coordinates["leaf"], strict=True)
        for rule, leaf in dict.fromkeys(pairs):
            of = self.coordinates["rule"] == rule
            of &= self.coordinates["leaf"] == leaf
            widths, change = (self.coordinates[n][of] for n in ("width", "change"))
            moved = (change > 0).all()
            exponent = law(widths, change).exponent if moved else math.nan
            kind = self.coordinates["kind"][of][0]
            row = {"rule": rule, "leaf": leaf, "kind": kind}
            rows.append({**row, "exponent": exponent})
        return columns_of(rows)

    @property
    def outcome(self) -> str:
        """How far the best rate moves under each rule, and the rate to take."""
        info, table, laws = self.info, self.table, self.laws
        narrow, wide = table["width"].min(), table["width"].max()
        said = []
        for row, rule in enumerate(laws["rule"]):
            if not np.isfinite(laws["exponent"][row]):
                said.append(
                    f"Under {rule} a best rate is at the end of those tried, even "
                    "after extensions: no law; give more rates."
                )
                continue
            ends = _ends(laws, "exponent", row)
            said.append(
                f"Under {rule} the best rate moves by {laws['moves'][row]:.2g} over "
                f"{wide / narrow:.3g} times the width (exponent "
                f"{laws['exponent'][row]:+.2f}{ends})."
            )
            if self.to is not None:
                said.append(self._prediction(row))
        said.append(self._penalties)
        said.append(
            f"The base of the factors is width {info['base']}. Depth, batch and steps "
            "are those trained here: nothing is said about others."
        )
        return " ".join(filter(None, said))

    def _prediction(self, row: int) -> str:
        laws = self.laws
        low, high = laws["rate_at_low"][row], laws["rate_at_high"][row]
        if np.isfinite([low, high]).all() and high / low > OCTAVE**2:
            return (
                f"At {self.to} the interval of its rate is [{low:.2g}, {high:.2g}], "
                "wider than an octave each way: no prediction; train more seeds or "
                "widths."
            )
        ends = f" [{low:.2g}, {high:.2g}]" if np.isfinite(low) else ""
        cost = laws["cost"][row]
        costs = f", an error of that size costs {cost:.1%} of loss" if cost > 0 else ""
        return f"At {self.to}: {laws['rate_at'][row]:.2g}{ends}{costs}."

    @property
    def _penalties(self) -> str:
        """Return which rule loses least at the widest with the narrowest's rate."""
        table = self.table
        of = table["width"] == table["width"].max()
        pairs = zip(table["rule"][of], table["penalty"][of], strict=True)
        each = ", ".join(f"{rule} {penalty:.1%}" for rule, penalty in pairs)
        return f"The narrowest width's rate at the widest costs: {each} of loss."

    def to_pandas(self) -> "pandas.DataFrame":
        """Return the table as a pandas data frame (`pip install 'jopt[plots]'`)."""
        import pandas  # an extra, and slow to load

        return pandas.DataFrame(self.table)

    def plot(self) -> "Figure":
        """Return a matplotlib figure: losses by rate, and best rates by width."""
        from matplotlib import colormaps  # an extra, and slow to load
        from matplotlib.figure import Figure

        rules = self.laws["rule"].tolist()
        widths = np.unique(self.table["width"])
        panels = len(rules) + 1 + bool(self.coordinates)
        figure = Figure(figsize=(5 * panels, 4.5), layout="constrained")
        axes = figure.subplots(1, panels)
        shades = colormaps["viridis"](np.linspace(0, 0.9, len(widths)))
        for place, rule in zip(axes, rules, strict=False):
            self._draw_rule(place, rule, widths, shades)
        self._draw_law(axes[len(rules)], rules, widths)
        if self.coordinates:
            self._draw_coordinates(axes[-1])
        info = self.info
        figure.suptitle(f"{info['task']}, {info['optimizer']}, {info['steps']} steps")
        return figure

    @checked
    def save(self, directory: FilePath) -> list[Path]:
        """Write transfer.csv, laws.csv, rates.csv, transfer.json, .png and .html.

        With a check or coordinates these have a file, too. Without matplotlib there is
        no picture.

        Args:
          directory: made if it does not exist.

        Returns:
          The files written.

        Raises:
          OSError: the directory cannot be written.
        """
        tables = {"transfer": self.table, "laws": self.laws}
        if self.check:
            tables["check"] = self.check
        if self.coordinates:
            tables["exponents"] = self.exponents
        more = {"rates": self.rates, "coordinates": self.coordinates}
        more = {name: columns for name, columns in more.items() if columns}
        title = f"{self.info['task']}: {self.info['optimizer']} by width"
        return save_study(
            Path(directory),
            "transfer",
            title,
            [self.outcome],
            tables,
            more,
            self.info,
            self.plot,
        )

    def _draw_rule(self, axes: Any, rule: str, widths: Any, shades: Any) -> None:
        rates, table = self.rates, self.table
        for width, shade in zip(widths, shades, strict=True):
            of = (rates["rule"] == rule) & (rates["width"] == width)
            x, y = rates["learning_rate"][of], rates["loss"][of]
            axes.plot(x, y, ".-", ms=4, lw=1, color=shade, label=f"width {width}")
            row = (table["rule"] == rule) & (table["width"] == width)
            best = table["best_rate"][row], table["loss"][row]
            axes.plot(*best, "*", ms=12, mec="black", color=shade)
        finite = rates["loss"][np.isfinite(rates["loss"])]
        low, high = finite.min(), np.quantile(finite, 0.9)
        axes.set_ylim(low - 0.1 * (high - low) - 1e-9, high + 0.1 * (high - low) + 1e-9)
        axes.set_xscale("log")
        axes.set_xlabel("learning rate")
        axes.set_ylabel(f"validation {self.info['metric'].replace('_', ' ')}")
        axes.set_title(f"{rule}, stars: best rates", fontsize="medium")
        axes.legend(fontsize="x-small")
        axes.grid(alpha=0.3)

    def _draw_law(self, axes: Any, rules: list[str], widths: Any) -> None:
        for row, rule in enumerate(rules):
            of = self.table["rule"] == rule
            best, low, high = (
                self.table[name][of] for name in ("best_rate", "rate_low", "rate_high")
            )
            bars = np.nan_to_num(np.maximum([best - low, high - best], 0))
            color = f"C{row}"
            axes.errorbar(widths, best, bars, fmt="o", color=color, capsize=3)
            exponent = self.laws["exponent"][row]
            if np.isfinite(exponent):
                ends = np.asarray([widths[0], self.to or widths[-1]])
                line = law(widths, best)
                label = f"{rule}: exponent {exponent:+.2f}"
                axes.plot(ends, [line.rate(w) for w in ends], color=color, label=label)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xlabel("width")
        axes.set_ylabel("best learning rate")
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize="x-small")
        axes.grid(alpha=0.3)

    def _draw_coordinates(self, axes: Any) -> None:
        found = self.exponents
        leaves = list(dict.fromkeys(found["leaf"].tolist()))
        for row, rule in enumerate(self.laws["rule"]):
            of = found["rule"] == rule
            places = [leaves.index(leaf) for leaf in found["leaf"][of]]
            axes.plot(found["exponent"][of], places, "o", color=f"C{row}", label=rule)
        axes.axvline(0, color="#999999", lw=1)
        axes.set_yticks(range(len(leaves)), leaves, fontsize="x-small")
        axes.set_xlabel("exponent of the change by width")
        axes.legend(fontsize="x-small")
        axes.grid(alpha=0.3)


def _of_rule(
    ladders: Mapping[int, Ladder], to: int | None, level: float, rng: Any
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Return the rows of the table, and the law, of one rule."""
    widths = np.asarray(list(ladders))
    best = [ladder.best for ladder in ladders.values()]
    rates = np.asarray([one.rate for one in best])
    drawn = _drawn(list(ladders.values()), rng)
    ends = [(1 - level) / 2, (1 + level) / 2]
    rows = []
    for at, (width, ladder) in enumerate(ladders.items()):
        low, high = np.quantile(drawn[:, at], ends) if len(drawn) else (math.nan,) * 2
        losses = ladder.losses[float(ladder.rates[best[at].row])]
        others = np.arange(len(widths)) != at
        by_law = math.nan
        if others.sum() > 1:
            by_law = _over(ladder, law(widths[others], rates[others]).rate(width))
        rows.append(
            {
                "width": width,
                "best_rate": rates[at],
                "rate_low": low,
                "rate_high": high,
                "edge": ladder.edge,
                "loss": losses.mean(),
                "loss_sd": losses.std(ddof=1) if len(losses) > 1 else math.nan,
                "penalty": _over(ladder, rates[0]),
                "penalty_law": by_law,
            }
        )
    names = ("exponent", "exponent_low", "exponent_high", "moves")
    names += ("rate_at", "rate_at_low", "rate_at_high", "cost")
    found: dict[str, float] = dict.fromkeys(names, math.nan)
    if any(ladder.edge == "open" for ladder in ladders.values()):
        return rows, found
    line = law(widths, rates)
    found |= {"exponent": line.exponent, "moves": rates[-1] / rates[0]}
    if to is not None:
        found["rate_at"] = line.rate(to)
    if len(drawn) and len(widths) > 2:
        lines = [law(widths, draw) for draw in drawn]
        low, high = np.quantile([one.exponent for one in lines], ends)
        found |= {"exponent_low": low, "exponent_high": high}
        if to is not None:
            low, high = np.quantile([one.rate(to) for one in lines], ends)
            half = np.log2(high / low) / 2
            loss = abs(rows[-1]["loss"])
            found |= {"rate_at_low": low, "rate_at_high": high}
            found["cost"] = best[-1].curvature / 2 * half**2 / loss
    return rows, found


def _drawn(ladders: list[Ladder], rng: Any) -> np.ndarray:
    """Return best rates of resampled seeds, draws by ladders."""
    seeds = ladders[0].by_seed.shape[1]
    if seeds < 2:
        return np.zeros((0, len(ladders)))
    held = [(ladder.rates, ladder.by_seed) for ladder in ladders]
    return np.asarray(
        [
            [optimum(rates, losses[:, of].mean(axis=1)).rate for rates, losses in held]
            for of in rng.integers(0, seeds, (DRAWS, seeds))
        ]
    )


def _over(ladder: Ladder, rate: float) -> float:
    """Return the relative loss over the best at a rate, between those trained."""
    rates, means = ladder.rates, ladder.means
    whole = np.isfinite(means)
    if not rates[whole][0] <= rate <= rates[whole][-1]:
        return math.nan
    loss = np.interp(math.log(rate), np.log(rates[whole]), means[whole])
    return float((loss - means.min()) / abs(means.min()))


def _ends(columns: Mapping[str, np.ndarray], name: str, row: int) -> str:
    low, high = columns[f"{name}_low"][row], columns[f"{name}_high"][row]
    return f" [{low:+.2f}, {high:+.2f}]" if np.isfinite(low) else ""
