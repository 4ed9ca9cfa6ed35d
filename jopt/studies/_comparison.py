"""The result of a comparison: tables, pairs, sentences, pictures, files."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jopt.core import FilePath, argument_error, checked
from jopt.studies._comparison_plots import Found, overview
from jopt.studies._ladder import Ladder
from jopt.studies._statistics import (
    NOTHING,
    Interval,
    holm,
    horizon_ratio,
    least_difference,
    mean_interval,
    octaves,
    paired,
    rank_intervals,
    same_run_ratio,
    seeds_needed,
    sensitivity,
)
from jopt.studies._study_files import columns_of, save_study
from jopt.sweep import SweepResult

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

SMALL = 0.2  # of the loss at init, below which losses are compared by their ratio
WHY_NO_RATIO = {
    "never": "its loss is not reached in the run",
    "plateau": "the baseline's loss no longer falls at its end",
    "beyond": "its loss is beyond the baseline's longest horizon",
    "below": "its loss is above the baseline's at the shortest horizon",
}


@dataclasses.dataclass(frozen=True)
class Tuned:
    """The result of tuning a contender.

    Attributes:
      ladder: the ladder of the best setting of all other hyperparameters.
      shared: its schedule and decay.
      own: its other hyperparameters.
      own_schedule: whether the schedule is the optimizer's own.
      sweeps: the sweeps of the stages, in their order.
    """

    ladder: Ladder
    shared: dict[str, Any]
    own: dict[str, Any]
    own_schedule: bool
    sweeps: tuple[SweepResult, ...]

    @property
    def trials(self) -> int:
        """The number of trials."""
        return sum(len(result.trials) for result in self.sweeps)


class Confirmed(NamedTuple):
    """The losses and metrics of fresh seeds, for a contender at its best rate."""

    losses: np.ndarray  # by seed, lower is better
    sweep: SweepResult
    test: dict[str, np.ndarray]  # metrics of the test set by seed


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Which optimizer is best, by how much, and what could not be told apart.

    Values and differences are in units of the metric: a negative difference is better
    if the mode is "min", a positive one if it is "max".

    Attributes:
      table: a NumPy array by column, a row per contender, the best first. `rank` with
        `rank_low` and `rank_high` (bootstrap, 90 %); `optimizer`, `learning_rate`,
        `schedule`, `decay`, `space`; `edge` ("no", "extended" or "open": the best rate
        is a bound, not tuned); the `loss` of the fresh seeds with its ends and `sd`;
        the `difference` to the baseline with its ends (relative, of geometric means, if
        the scale is "log"), `p`, `p_holm`, `verdict`; `optimism` (fresh mean less tuned
        mean), `sensitivity`, `octaves`; `step_ratio` with its ends and `ratio_from`;
        `step_ms` and `time_ratio` (of a trial's step on this machine); `diverged` (of
        the fresh seeds), `trials` (of tuning); the other validation and the test
        metrics with their ends.
      pairs: all pairs: `a`, `b`, `difference`, `low`, `high`, `p`, `p_holm`,
        `correlation` and `seeds_needed` (80 % power).
      rates: the ladders: `optimizer`, `learning_rate`, `loss`, `sd`, `diverged`.
      curves: of the fresh seeds: `optimizer`, `seed`, `step`, `loss`.
      tuning: by contender, the sweeps of its stages.
      confirmed: by contender, the sweep of its fresh seeds.
      info: the arguments and the cost.
    """

    table: dict[str, np.ndarray]
    pairs: dict[str, np.ndarray]
    rates: dict[str, np.ndarray]
    curves: dict[str, np.ndarray]
    tuning: dict[str, tuple[SweepResult, ...]]
    confirmed: dict[str, SweepResult]
    info: dict[str, Any]
    _by_seed: dict[str, np.ndarray] = dataclasses.field(
        default_factory=dict, repr=False
    )

    @classmethod
    def of(
        cls,
        tuned: Mapping[str, Tuned],
        confirmed: Mapping[str, Confirmed],
        at_horizons: np.ndarray | None,
        info: dict[str, Any],
    ) -> "Comparison":
        """Return the comparison of what was trained."""
        judge = _Judge(tuned, confirmed, at_horizons, info)
        return cls(
            judge.table(),
            judge.pairs(),
            judge.rates(),
            judge.curves(),
            {name: one.sweeps for name, one in tuned.items()},
            {name: one.sweep for name, one in confirmed.items()},
            {**info, "scale": judge.scale},
            judge.losses,
        )

    @property
    def best(self) -> str | None:
        """The contender of rank 1; None without fresh seeds."""
        return None if not self._by_seed else str(self.table["optimizer"][0])

    @functools.cached_property
    def outcome(self) -> str:
        """The findings in sentences, with the pairs that could not be told apart."""
        info, base = self.info, self.info["baseline"]
        if not self._by_seed:
            return (
                "Not confirmed: no fresh seeds were trained, so nothing is ranked. The "
                "losses are those of tuning, which are too low."
            )
        said = [self._verdicts(word) for word in ("better", "worse")]
        rows = np.flatnonzero(self.table["verdict"] == "not told apart")
        if len(rows):
            needed = [self._needed(name) for name in self.table["optimizer"][rows]]
            said.append(f"Not told apart from {base}: {', '.join(needed)}.")
        if (least := self._least) is not None:
            said.append(f"{info['confirm']} seeds tell {least} apart (80 % power).")
        said.append(
            f"One task ({info['task']}), one model, {info['steps']} steps: no ranking "
            "beyond it."
        )
        return " ".join(filter(None, said))

    @property
    def remarks(self) -> list[str]:
        """Sentences on what limits the comparison."""
        found: list[str] = []
        table = self.table
        for row in np.flatnonzero(table["edge"] == "open"):
            found.append(
                f"The best rate of {table['optimizer'][row]} is at the end of those "
                f"tried, {table['learning_rate'][row]:.3g}: it is a bound, and the "
                "optimizer is not tuned; give it more rates."
            )
        for row in np.flatnonzero(table["verdict"] == "diverged at every rate"):
            found.append(f"{table['optimizer'][row]} diverged at every rate.")
        budgets = np.unique(table["trials"])
        if len(budgets) > 1:
            each = zip(table["optimizer"], table["trials"], strict=True)
            counts = ", ".join(f"{name} {trials}" for name, trials in each)
            found.append(f"Tuning trials differ, by extensions and spaces: {counts}.")
        own = table["optimizer"][table["schedule"] == "own"]
        if len(own):
            found.append(f"With their own schedules: {', '.join(own)}.")
        muons = [n for n in table["optimizer"] if "muon" in n.lower()]
        if muons and not self.info["hidden_matrices"]:
            found.append(
                f"All matrices were given to {', '.join(muons)}, embedding and readout "
                "too: give a wider task to leave these to its Adam part."
            )
        if (table["ratio_from"] == "same run").any():
            found.append(
                f"Ratios of steps are within one run, in which {self.info['baseline']} "
                "has not cooled down: too high. Horizons give honest ones."
            )
        return found

    def to_pandas(self) -> "pandas.DataFrame":
        """Return the table as a pandas data frame (`pip install 'jopt[plots]'`)."""
        import pandas  # an extra, and slow to load

        return pandas.DataFrame(self.table)

    def plot(self) -> "Figure":
        """Return a matplotlib figure: valleys, differences and curves."""
        return overview(Found(self.table, self.rates, self.curves, self.info))

    @checked
    def save(self, directory: FilePath) -> list[Path]:
        """Write compare.csv, pairs.csv, rates.csv, curves.csv, .json, .png and .html.

        Without matplotlib there is no picture.

        Args:
          directory: made if it does not exist.

        Returns:
          The files written.

        Raises:
          OSError: the directory cannot be written.
        """
        tables = {"compare": self.table, "pairs": self.pairs}
        more = {"rates": self.rates, "curves": self.curves}
        said = [self.outcome, *self.remarks]
        title = f"{self.info['task']}: {len(self.table['rank'])} optimizers"
        return save_study(
            Path(directory), "compare", title, said, tables, more, self.info, self.plot
        )

    def _verdicts(self, word: str) -> str:
        rows = np.flatnonzero(self.table["verdict"] == word)
        names = ", ".join(self.table["optimizer"][rows])
        return names and f"{word.capitalize()} than {self.info['baseline']}: {names}."

    def _needed(self, name: str) -> str:
        """Return a contender with the seeds that would tell it from the baseline."""
        ours, theirs = self._by_seed[name], self._by_seed[self.info["baseline"]]
        log = self.info["scale"] == "log"
        pair = (np.log(ours), np.log(theirs)) if log else (ours, theirs)
        needed = seeds_needed(*pair, self.info["level"])
        if not math.isfinite(needed):
            return f"{name} (no difference)"
        return f"{name} (would take {needed:.0f} seeds)"

    @property
    def _least(self) -> str | None:
        """The difference that can be told with these seeds, in words."""
        base = self._by_seed.get(self.info["baseline"])
        log = self.info["scale"] == "log"
        spreads = []
        for name, ours in self._by_seed.items():
            if base is None or name == self.info["baseline"]:
                continue
            if np.isfinite(ours).all() and np.isfinite(base).all():
                difference = np.log(ours / base) if log else ours - base
                spreads.append(difference.std(ddof=1))
        if not spreads or not max(spreads):
            return None
        middle = float(np.median(spreads))
        least = least_difference(middle, self.info["confirm"], self.info["level"])
        if log:
            return f"differences of {math.expm1(least):.2g} of the loss"
        return f"differences of {least:.2g}"


class _Judge:
    """Makes the tables of a comparison."""

    def __init__(
        self,
        tuned: Mapping[str, Tuned],
        confirmed: Mapping[str, Confirmed],
        at_horizons: np.ndarray | None,
        info: dict[str, Any],
    ):
        self.tuned, self.confirmed, self.info = tuned, confirmed, info
        self.at_horizons, self.level = at_horizons, float(info["level"])
        self.losses = {name: one.losses for name, one in confirmed.items()}
        self.base = info["baseline"]
        self.sign = -1.0 if info["mode"] == "max" else 1.0
        self.at_init = _at_init(tuned[self.base].sweeps[0])
        self.scale = self._scale()

    def _scale(self) -> str:
        """Return "log" where the spread grows with a loss that is near 0."""
        base = self.losses.get(self.base)
        if base is None or self.info["metric"] != "loss" or self.sign < 0:
            return "linear"
        values = np.concatenate(list(self.losses.values()))
        positive = (values[np.isfinite(values)] > 0).all()
        small = np.isfinite(base).all() and base.mean() < SMALL * self.at_init
        return "log" if small and positive else "linear"

    def difference(self, a: str, b: str) -> tuple[Interval, float]:
        """Return a less b over their seeds on the scale, and its p value."""
        one, two = self.losses.get(a), self.losses.get(b)
        if one is None or two is None:
            return NOTHING, math.nan
        if self.scale == "log":
            finite = np.isfinite(one).all() and np.isfinite(two).all()
            if not finite:
                return NOTHING, math.nan
            found = paired(np.log(one), np.log(two), self.level)
            return Interval(*map(math.expm1, found[:3])), found.p
        with np.errstate(invalid="ignore"):
            found = paired(one, two, self.level)
        low, high = sorted((self.sign * found.low, self.sign * found.high))
        return Interval(self.sign * found.value, low, high), found.p

    @functools.cached_property
    def means(self) -> dict[str, float]:
        """The loss that ranks each contender, lower is better."""
        return {
            name: float(self.losses[name].mean())
            if name in self.losses
            else float(one.ladder.means.min())
            for name, one in self.tuned.items()
        }

    @functools.cached_property
    def order(self) -> list[str]:
        """The contenders, the best first."""
        return sorted(self.tuned, key=lambda name: (self.means[name], name))

    def table(self) -> dict[str, np.ndarray]:
        ranks: dict[str, tuple[int, int]] = {}
        if self.losses:
            every = np.stack([self.losses[n] for n in self.order if n in self.losses])
            low, high = rank_intervals(every, np.random.default_rng(0))
            names = [name for name in self.order if name in self.losses]
            ends = zip(low.tolist(), high.tolist(), strict=True)
            ranks = dict(zip(names, ends, strict=True))
        others = [name for name in self.order if name != self.base]
        found = {name: self.difference(name, self.base) for name in self.order}
        adjusted = holm(np.asarray([found[name][1] for name in others]))
        p_holm = dict(zip(others, adjusted.tolist(), strict=True))
        rows = []
        for rank, name in enumerate(self.order, start=1):
            low, high = ranks.get(name, (math.nan, math.nan))
            row: dict[str, Any] = {"rank": rank, "rank_low": low, "rank_high": high}
            row |= self._tuned(name) | self._loss(name)
            difference, p = found[name]
            holms = p_holm.get(name, math.nan)
            row |= _three("difference", difference) | {"p": p, "p_holm": holms}
            row["verdict"] = self._verdict(name, holms, difference.value)
            row |= self._more(name)
            rows.append(row)
        return columns_of(rows)

    def _tuned(self, name: str) -> dict[str, Any]:
        ladder = self.tuned[name].ladder
        if ladder.diverged:
            return {"optimizer": name, "learning_rate": math.nan, "edge": "no"}
        rate = ladder.best.rate
        return {"optimizer": name, "learning_rate": rate, "edge": ladder.edge}

    def _loss(self, name: str) -> dict[str, Any]:
        if (losses := self.losses.get(name)) is None:
            mean = self.sign * self.means[name]
            return {
                "loss": mean if math.isfinite(mean) else math.nan,
                **dict.fromkeys(("loss_low", "loss_high", "sd"), math.nan),
            }
        with np.errstate(invalid="ignore"):
            spread = losses.std(ddof=1)
        found = _three("loss", mean_interval(self.sign * losses, self.level))
        return found | {"sd": spread}

    def _verdict(self, name: str, p: float, difference: float) -> str:
        if self.tuned[name].ladder.diverged:
            return "diverged at every rate"
        if name not in self.losses:
            return "not confirmed"
        if not np.isfinite(self.losses[name]).all():
            return "diverged"
        if name == self.base:
            return "baseline"
        if not p < 1 - self.level:
            return "not told apart"
        return "better" if self.sign * difference < 0 else "worse"

    def _more(self, name: str) -> dict[str, Any]:
        one, fresh = self.tuned[name], self.confirmed.get(name)
        ladder = one.ladder
        tuned, several = ladder.means.min(), len(ladder.losses) > 2
        valley = several and not ladder.diverged
        rates, means = ladder.rates, ladder.means
        row: dict[str, Any] = {
            "optimism": self.sign * (self.means[name] - tuned) if fresh else math.nan,
            "sensitivity": sensitivity(rates, means, self._worst)
            if valley
            else math.nan,
            "octaves": octaves(rates, means) if valley else math.nan,
        }
        ratio, source = self._step_ratio(name)
        row |= _three("step_ratio", ratio) | {"ratio_from": source}
        speed = _step_ms(fresh)
        row["step_ms"] = speed
        row["time_ratio"] = speed / _step_ms(self.confirmed.get(self.base))
        diverged = np.isinf(fresh.losses).sum() if fresh else 0
        row |= {"diverged": int(diverged), "trials": one.trials}
        row["schedule"] = "own" if one.own_schedule else one.shared["schedule"]
        row["decay"] = one.shared["decay"]
        row["space"] = ", ".join(f"{k}={v}" for k, v in one.own.items())
        return row | self._metrics(fresh)

    @property
    def _worst(self) -> float:
        """The loss at init, which bounds the loss of rates that are too high."""
        plain = self.info["metric"] == "loss" and self.sign > 0
        return self.at_init if plain else math.inf

    def _metrics(self, fresh: Confirmed | None) -> dict[str, Any]:
        """Return the other metrics of the fresh seeds, and those of the test set."""
        if fresh is None:
            return {}
        found: dict[str, Any] = {}
        for name in fresh.sweep.valid:
            if name != self.info["metric"]:
                values = fresh.sweep.table[f"valid_{name}"].astype(float)
                found |= _three(name, mean_interval(values, self.level))
        for name, values in fresh.test.items():
            found |= _three(f"test_{name}", mean_interval(values, self.level))
        return found

    def _step_ratio(self, name: str) -> tuple[Interval, str]:
        """Return the ratio of steps, and where it is from or why there is none."""
        ours, base = self.confirmed.get(name), self.confirmed.get(self.base)
        if ours is None or base is None:
            return NOTHING, "not confirmed"
        losses = ours.losses, base.losses
        if not np.isfinite(losses).all() or self.sign < 0 or np.min(losses) <= 0:
            return NOTHING, "not of these losses"
        if self.at_horizons is not None:
            horizons = np.asarray(self.info["horizons"])
            found = horizon_ratio(horizons, self.at_horizons, *losses, self.level)
            source = "horizons"
        else:
            metric = self.info["metric"]
            curves = (base.sweep.valid[metric], ours.sweep.valid[metric])
            steps = ours.sweep.valid_steps.astype(float)
            found = same_run_ratio(steps, *curves, self.level)
            source = "same run"
        if isinstance(found, str):
            return NOTHING, WHY_NO_RATIO[found]
        return found, source

    def pairs(self) -> dict[str, np.ndarray]:
        """Return the differences of all pairs, in the order of the ranks."""
        names = [name for name in self.order if name in self.losses]
        rows = []
        for a, b in itertools.combinations(names, 2):
            difference, p = self.difference(a, b)
            one, two = self.losses[a], self.losses[b]
            finite = np.isfinite(one).all() and np.isfinite(two).all()
            if self.scale == "log" and finite:
                one, two = np.log(one), np.log(two)
            spread = finite and one.std() > 0 and two.std() > 0
            rows.append(
                {
                    "a": a,
                    "b": b,
                    **_three("difference", difference),
                    "p": p,
                    "correlation": np.corrcoef(one, two)[0, 1] if spread else math.nan,
                    "seeds_needed": seeds_needed(one, two, self.level)
                    if finite
                    else math.nan,
                }
            )
        found = columns_of(rows)
        if rows:
            found["p_holm"] = holm(found["p"])
        return found

    def rates(self) -> dict[str, np.ndarray]:
        """Return the ladders."""
        rows = []
        for name, one in self.tuned.items():
            for rate, losses in sorted(one.ladder.losses.items()):
                whole = np.isfinite(losses).all()
                several = whole and len(losses) > 1
                row = {"optimizer": name, "learning_rate": rate}
                row["loss"] = self.sign * losses.mean() if whole else math.nan
                row["sd"] = losses.std(ddof=1) if several else math.nan
                row["diverged"] = int((~np.isfinite(losses)).sum())
                rows.append(row)
        return columns_of(rows)

    def curves(self) -> dict[str, np.ndarray]:
        """Return the validation curves of the fresh seeds."""
        rows = []
        for name, one in self.confirmed.items():
            values, metric = one.sweep.valid, self.info["metric"]
            for trial, seed in enumerate(one.sweep.table["seed"].tolist()):
                steps = one.sweep.valid_steps.tolist()
                for step, loss in zip(steps, values[metric][trial], strict=True):
                    row = {"optimizer": name, "seed": seed, "step": step}
                    rows.append({**row, "loss": float(loss)})
        return columns_of(rows)


@checked
def across(comparisons: Mapping[str, Comparison]) -> dict[str, np.ndarray]:
    """Return log ratios of the contenders' losses to the baseline's over several tasks.

        mean over tasks of log(loss / loss of the baseline), loss: mean of fresh seeds

    Seeds are resampled within each task (stratified bootstrap, 95 %). There is no
    verdict from fewer than three tasks.

    Args:
      comparisons: by the name of the task, with the same baseline, of a metric above 0.

    Returns:
      A row per contender of all comparisons: `optimizer`, `tasks`, `log_ratio`, `low`,
      `high` and `verdict`, the best first.

    Raises:
      TypeError: if one is not a `Comparison`.
      ValueError: if the comparisons have different baselines.

    Agarwal et al. 2021, https://arxiv.org/abs/2108.13264.
    """
    for name, found in comparisons.items():
        if not isinstance(found, Comparison):
            rule = f"a dict of comparisons, and of {name} it must be a Comparison"
            raise argument_error("across", "comparisons", found, rule, TypeError)
    rng, rows = np.random.default_rng(0), []
    bases = {found.info["baseline"] for found in comparisons.values()}
    if len(bases) != 1:
        raise ValueError(
            f"across: comparisons must have one baseline, got {sorted(bases)}."
        )
    (base,) = bases
    names = set.intersection(*(set(found._by_seed) for found in comparisons.values()))
    for name in names:
        point, draws = [], []
        for found in comparisons.values():
            pair = np.stack([found._by_seed[name], found._by_seed[base]])
            if not (np.isfinite(pair).all() and (pair > 0).all()):
                break
            seeds = pair.shape[1]
            means = pair[:, rng.integers(0, seeds, (2000, seeds))].mean(axis=2)
            draws.append(np.log(means[0] / means[1]))
            point.append(math.log(pair[0].mean() / pair[1].mean()))
        else:
            low, high = np.quantile(np.mean(draws, axis=0), [0.025, 0.975])
            verdict = "better" if high < 0 else "worse" if low > 0 else "not told apart"
            verdict = verdict if len(point) > 2 else "no verdict from two tasks"
            row = {"optimizer": name, "tasks": len(point), "log_ratio": np.mean(point)}
            row |= {"low": low, "high": high}
            rows.append({**row, "verdict": "baseline" if name == base else verdict})
    return columns_of(sorted(rows, key=lambda row: row["log_ratio"]))


def _three(name: str, found: Interval) -> dict[str, float]:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def _at_init(result: SweepResult) -> float:
    """Return the mean training loss before the first step."""
    first = result.curves[:, 0]
    first = first[np.isfinite(first)]
    return float(first.mean()) if first.size else math.inf


def _step_ms(fresh: Confirmed | None) -> float:
    """Return the milliseconds of a trial's step, with its share of the validation."""
    if fresh is None or not fresh.sweep.info["trial_steps_this_run"]:
        return math.nan
    return 1e3 / fresh.sweep.info["trial_steps_per_second"]
