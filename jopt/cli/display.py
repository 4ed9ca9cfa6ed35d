"""The display of a sweep: progress while it runs, tables at its end."""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress as Bar, TaskProgressColumn, TextColumn
from rich.table import Table

from jopt.report import CONVOLVES, Record, no_winner, remarks
from jopt.studies import combine
from jopt.sweep import Progress, SweepResult, Task, column_of

EVERY = 0.5  # the least number of seconds between two updates of the display


class Display:
    """A context manager: a live bar on a terminal, else a line per segment."""

    def __init__(self, console: Console, names: list[str]):
        self.console, self.names, self.next = console, list(map(column_of, names)), 0.0
        self.said = False  # that convolutions may be slow
        self.bar = Bar(
            TextColumn("segment {task.fields[segment]}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[text]}"),
            TextColumn("{task.fields[left]} left"),
            console=console,
            disable=not console.is_terminal,
            refresh_per_second=1 / EVERY,  # a refresh takes a millisecond of a core
        )
        self.row = self.bar.add_task(
            "", total=None, segment="0", text="compiling", left="-"
        )

    def __enter__(self) -> "Display":
        self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.stop()

    def __call__(self, now: Progress) -> None:
        """Show the progress, at most twice a second and at the end of a segment."""
        if not now.last_block and now.seconds < self.next:
            return
        self.next = now.seconds + EVERY
        if now.convolves and now.trials > 1 and not self.said:
            self.console.print(CONVOLVES)
            self.said = True
        text = self._text(now)
        total = now.trial_steps + now.trial_steps_left
        segment = f"{now.segment}/{now.segments}"
        if now.batches > 1:
            segment += f" of batch {now.batch}/{now.batches}"
        left = f"{now.seconds_left:.0f} s"
        shown: dict[str, Any] = {"segment": segment, "text": text, "left": left}
        self.bar.update(self.row, total=total, completed=now.trial_steps, **shown)
        if not self.console.is_terminal and now.last_block:
            self.console.print(f"segment {segment}: {text}, {left} left")

    def _text(self, now: Progress) -> str:
        rate = now.trial_steps_per_second
        best = "none yet" if now.best is None else _short(now.best, self.names)
        alive = f"{now.alive} of {now.trials} alive"
        return f"{alive}, best {best}, {rate:,.0f} trial-steps/s"


def summary(console: Console, result: SweepResult, directory: Path, files: list[Path]):
    """Print the best settings, the diverged ones, the winner, and the files."""
    names, record = list(result.info["space"]), Record.of(result)
    for table in _settings_tables(result, record, names):
        console.print(table)
    diverged = result.table["status"] == "diverged"
    if diverged.any():
        console.print(_diverged(result, names, np.flatnonzero(diverged)))
    info = result.info
    _groups(console, info)
    _ended_early(console, result)
    console.print(
        f"{info['trial_steps_this_run']:,} trial-steps in "
        f"{info['train_seconds']:.1f} s ({info['trial_steps_per_second']:,.0f} a "
        f"second), blocks of "
        f"{', '.join(map(str, info['block']))}, the segment compiled "
        f"{_times(info['segment_compiles'])} in {info['compile_seconds']:.1f} s."
    )
    if result.best is not None:
        test = ", ".join(
            f"{name} {value:.4g}" for name, value in result.best.test.items()
        )
        chosen = result.best.hyperparameters
        setting = _settings(chosen, list(chosen))
        console.print(
            f"Best on validation: {setting}; on the test set: {test or 'none'}."
        )
    elif not info["interrupted"]:
        console.print(no_winner(record))
    for sentence in remarks(record):
        console.print(sentence)
    if "search" in info:
        console.print(_searched(info["search"]))
    if info["interrupted"]:
        console.print("Interrupted: the table and the curves end where training did.")
    if info["timed_out"]:
        console.print("The time was up: the rest is left for later.")
    if info["unsaved"]:
        console.print(info["unsaved"])
    console.print(f"Files in {directory}: {', '.join(file.name for file in files)}")


def together(console: Console, task: Task, result: SweepResult, keep: int) -> None:
    """Print the scores of the best trial, and of an ensemble and a soup of `keep`."""
    found = combine(task, result, keep)
    ways = {
        "the best": found.best,
        f"ensemble of {len(found.trials)}": found.ensemble,
        f"soup of {len(found.trials)}": found.soup,
    }
    table = Table(title="the best together")
    table.add_column("")
    columns = [(split, name) for split, scores in found.best.items() for name in scores]
    for split, name in columns:
        table.add_column(f"{split} {name}", justify="right")
    for way, scores in ways.items():
        row = [f"{scores[split][name]:.4g}" for split, name in columns]
        table.add_row(way, *row)
    console.print(table)


def _searched(search: dict[str, Any]) -> str:
    """Return a sentence on a search's batches and the time of its sampler."""
    share = search["asking_seconds"] / max(search["seconds"], 1e-9)
    batches = search["batches"]
    return (
        f"{search['sampler']} was asked for {batches} batch{'es' * (batches > 1)}, in "
        f"{share:.0%} of the time."
    )


def _groups(console: Console, info: dict[str, Any]) -> None:
    """Print the number of groups with different structures, and how they differ."""
    if info["groups"] == 1:
        return
    each: list[str] = []
    for group in info["grouped_by"]:
        because = _settings(group["because"], list(group["because"]))
        each.append(f"{because or 'another structure'} ({group['trials']} trials)")
    more = f" and {len(each) - 6} more" if len(each) > 6 else ""
    console.print(
        f"{info['groups']} groups of one structure, a compile each: "
        f"{'; '.join(each[:6])}{more}."
    )


def _ended_early(console: Console, result: SweepResult) -> None:
    """Print how many trials ended early, and the share of steps that this saved."""
    status, info = result.table["status"], result.info
    pruned, diverged = (int((status == s).sum()) for s in ("pruned", "diverged"))
    if not pruned:
        return
    share = 1 - info["trial_steps"] / info["trial_steps_of_all"]
    console.print(
        f"{pruned} trials pruned and {diverged} diverged: {share:.0%} of "
        f"{info['trial_steps_of_all']:,} trial-steps saved."
    )


def _settings_tables(
    result: SweepResult, record: Record, names: list[str]
) -> Iterator[Table]:
    """Make the tables of the best settings, of the front, and of the best of each."""
    settings = result.settings()
    values = settings[f"valid_{result.metric}"]
    order = np.argsort(-values if result.mode == "max" else values, kind="stable")
    for fits in ("within_bounds", "confirmed"):
        if fits in settings:
            order = order[np.argsort(~settings[fits][order], kind="stable")]
    best = order[np.isfinite(values[order])].tolist()[:5]
    table = _settings_table(result, settings, names, "best settings", best)
    _add_baselines(table, result, len(names))
    yield table
    place = {trial: row for row, trial in enumerate(settings["trial"].tolist())}
    if result.info["objectives"]:
        front = [place[trial] for trial in result.front]
        title = f"front of {' and '.join(result.info['objectives'])}"
        yield _settings_table(result, settings, names, title, front)
    for name, found in record.best_of_each().items():
        best = [place[trial] for _, trial, _ in found if trial is not None]
        yield _settings_table(result, settings, names, f"best of each {name}", best)


def _settings_table(
    result: SweepResult,
    settings: dict[str, np.ndarray],
    names: list[str],
    title: str,
    rows: list[int],
    most: int = 10,
) -> Table:
    several = bool(settings["trials"].max() > 1)
    table = Table(title=title + (_means(result.info) if several else ""))
    metrics = {f"valid_{name}": _title(name) for name in result.valid}
    metrics |= {f"train_{name}": f"train {name}" for name in ("loss", *result.train)}
    own = ("best_step", "within_bounds", "confirmed")
    words = [name for name in own if name in settings]
    for column in ("trial", *names, *map(_title, words), *metrics.values()):
        table.add_column(column, justify="right")
    chosen = {name: _apart(settings[name]) for name in ("trial", *names, *words)}
    for row in rows[:most]:
        table.add_row(
            *(texts[row] for texts in chosen.values()),
            *(_spread(settings, name, row, several) for name in metrics),
        )
    if len(rows) > most:
        table.caption = f"and {len(rows) - most} more, see trials.csv"
    return table


def _add_baselines(table: Table, result: SweepResult, names: int) -> None:
    """Add a row of the validation metrics of each baseline that has some."""
    titles = {_title(name): name for name in result.valid}
    table.add_section()
    for name, values in result.info["baseline"].items():
        cells = [
            f"{values[titles[str(column.header)]]:.4g}"
            if titles.get(str(column.header)) in values
            else ""
            for column in table.columns[1 + names :]
        ]
        if any(cells):
            table.add_row(name, *[""] * names, *cells)


def _diverged(
    result: SweepResult, names: list[str], rows: np.ndarray, most: int = 5
) -> Table:
    table = Table(title=f"diverged: {len(rows)} of {len(result.trials)} trials")
    for title in ("trial", *names, "seed", "at step"):
        table.add_column(title, justify="right")
    columns = [_apart(result.table[n]) for n in ("trial", *names, "seed", "steps")]
    for row in rows[:most]:
        table.add_row(*(column[row] for column in columns))
    if len(rows) > most:
        table.caption = f"and {len(rows) - most} more, see trials.csv"
    return table


def _means(info: dict[str, Any]) -> str:
    found = [f"{info[n]} {n}" for n in ("seeds", "folds") if info[n] > 1]
    return f", means of {' and '.join(found) or 'trials'}"


def _spread(settings: dict[str, Any], name: str, row: int, several: bool) -> str:
    """Return a mean and, for several trials, the sample standard deviation."""
    spread = settings[f"{name}_std"][row]
    known = several and np.isfinite(spread)
    return f"{settings[name][row]:.4g}" + (f" ± {spread:.2g}" if known else "")


def _short(row: dict[str, Any], names: list[str]) -> str:
    ranks = next(name for name in row if name.startswith("valid_"))  # the first ranks
    title = _title(ranks.removeprefix("valid_"))
    return f"{_settings(row, names)} ({title} {row[ranks]:.4g})"


def _title(metric: str) -> str:
    return "valid loss" if metric == "loss" else metric.replace("_", " ")


def _settings(row: dict[str, Any], names: list[str]) -> str:
    return ", ".join(f"{name}={_number(row[name])}" for name in names)


def _apart(column: np.ndarray) -> list[str]:
    """Return values as texts, with enough digits to distinguish unequal ones."""
    values = column.tolist()
    for digits in (4, 8, 17):
        texts = [_number(value, digits) for value in values]
        if len(set(texts)) == len(set(map(str, values))):
            break
    return texts


def _number(value: Any, digits: int = 4) -> str:
    if value is None or value != value:  # NaN: the trial lacks this hyperparameter
        return "-"
    number = isinstance(value, (float, np.floating))
    return f"{value:.{digits}g}" if number else str(value)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
