"""The page: sentences, tables, and the figures with their data, in one HTML file."""

import functools
import html
import math
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from jopt.core import FilePath, checked
from jopt.report._ahead import bundled
from jopt.report._importance import importance
from jopt.report._labels import number, told_apart
from jopt.report._record import Record
from jopt.report._sentences import facts, fits, headline, outcome, remarks, title
from jopt.report._series import DRAWN
from jopt.sweep import SweepResult, in_words, replacing

FIRST = 10  # rows in the table of the best settings


@checked
def write(result: SweepResult | Record, path: FilePath) -> Path:
    """Write the page of a sweep to `path`; return it.

        report.write(sweep.load("sweeps/digits-1"), "report.html")

    Args:
      result: a sweep's result, or its record.
      path: the path of the file, which is replaced if it exists.

    Returns:
      The path.

    Raises:
      ImportError: without altair or vl-convert-python.
      OSError: if `path` cannot be written.
    """
    path = Path(path)
    text = page(result if isinstance(result, Record) else Record.of(result))
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path


@checked
def page(record: Record) -> str:
    """Return the page as HTML; the same for the same record, byte for byte.

    It holds Vega (1 MB) and the data of its figures. Its content security policy
    forbids network requests. The sentences and the tables need no script.

    Args:
      record: the sweep, as `Record.of(result)` returns it.
    """
    figures = Figures(drawing())
    parts = {
        "title": html.escape(title(record)),
        "headline": html.escape(headline(record)),
        "outcome": html.escape(
            " ".join([outcome(record), *remarks(record), *fits(record)])
        ),
        "sections": "\n".join(_sections(record, figures)),
        "table": _trials(record),
        "facts": "\n".join(
            f"<div><dt>{html.escape(term)}</dt><dd>{html.escape(text)}</dd></div>"
            for term, text in facts(record)
        ),
        "info": html.escape(in_words(_shortened(record.info), indent=2)),
        "figures": _inside_script(figures.text()),
        "style": _file("page.css"),
        "vega": _vega(),
        "script": _file("page.js"),
    }
    pieces = _file("page.html").split("@@")  # text, name, text, name, ..., text
    pieces[1::2] = [parts[name] for name in pieces[1::2]]
    return "".join(pieces)


def drawing() -> ModuleType:
    """Return the module of the figures, which needs an extra and is slow to load."""
    try:
        from jopt.report import _figures
    except ImportError as error:
        raise ImportError(
            "Figures need altair, which is not installed: pip install 'jopt[report]'."
        ) from error
    return _figures


class Figures:
    """The specifications of a page's figures; shared rows are stored once."""

    def __init__(self, declared: ModuleType):
        self.declared = declared
        self.specs: list[dict[str, Any]] = []
        self.rows: dict[str, str] = {}  # JSON by name

    def add(self, caption: str, chart: Any) -> str:
        """Return the HTML of a figure; empty for None."""
        if chart is None:
            return ""
        spec = chart.properties(width="container", autosize="fit-x").to_dict()
        spec = {k: v for k, v in spec.items() if k not in ("$schema", "config")}
        self.rows |= spec["datasets"]  # Altair names them by their content
        spec["datasets"] = list(spec["datasets"])
        name = f"figure-{len(self.specs)}"
        self.specs.append(spec)
        words = html.escape(caption)
        return (
            f'<figure><figcaption id="{name}-title">{words}</figcaption>'
            f'<div id="{name}" class="plot" role="img" aria-labelledby="{name}-title">'
            "</div></figure>"
        )

    def text(self) -> str:
        """Return all specifications, rows and themes as JSON."""
        looks = {
            name: self.declared.looks(name == "dark") for name in ("light", "dark")
        }
        held = in_words({"looks": looks, "specs": self.specs})
        rows = ",".join(f'"{name}":{text}' for name, text in self.rows.items())
        return f'{held[:-1]},"rows":{{{rows}}}}}'


def _sections(record: Record, figures: Figures) -> Iterable[str]:
    declared, varying = figures.declared, record.varying
    draw = figures.add
    yield _section(
        "The metric against each hyperparameter",
        _response_note(record),
        [draw(name, declared.response(record, name)) for name in varying],
    )
    by = declared.main_hyperparameter(record)
    metrics = [None, *record.valid]
    names = ["Training loss", *(f"Validation {name}" for name in record.valid)]
    yield _section(
        "Learning curves",
        f"Training losses are means over stretches of steps.{_not_all(record)}",
        [
            draw(name, declared.curves(record, metric, by))
            for name, metric in zip(names, metrics, strict=True)
        ],
    )
    yield _section(
        "The front",
        "Settings that were trained to the end, means over seeds and folds. On the "
        "front are those that no other dominates: is as good in every objective, and "
        "better in one.",
        [draw("", declared.front(record))],
    )
    yield _section(
        "The best settings",
        "Means over the seeds and folds of each setting that was trained to the end.",
        [_best_settings(record)],
    )
    yield _section(
        "The best of each value",
        "Of hyperparameters that are no numbers, or that programs differ by: the "
        "setting that is best with each value.",
        _each(record),
    )
    yield _section(
        "How the population moved",
        "A line is a trial's value while it trained; a dot is a copy of another trial. "
        "The thick line is what made the winner.",
        [draw(name, declared.population(record, name)) for name in varying],
    )
    yield _section(
        "All trials side by side",
        "A line is a trial, the strongest the best." + _not_all(record),
        [draw("", declared.parallel(record))],
        wide=True,
    )
    found = importance(record)
    yield '<div class="panels">'
    yield _section(
        "What mattered",
        found.get("sentence") or _importance_note(found),
        [draw("", declared.importance(record, found))],
        always=True,
    )
    yield _section(
        "Who went on",
        "Trials that each segment trained, and how many of them it left.",
        [draw("", declared.rungs(record))],
    )
    yield "</div>"


def _section(
    heading: str,
    note: str,
    figures: Sequence[str],
    wide: bool = False,
    always: bool = False,
) -> str:
    """Return the HTML of a section; empty without a figure, unless `always` is True."""
    figures = [figure for figure in figures if figure]
    if not figures and not always:
        return ""
    kind = "wide" if wide else "panels"
    return (
        f'<section><h2>{heading}</h2>\n<p class="note">{html.escape(note)}</p>\n'
        f'<div class="{kind}">{"".join(figures)}</div></section>'
    )


def _response_note(record: Record) -> str:
    seeds = any(len(rows) > 1 for rows in record.settings())
    status = set(record.table["status"].tolist())
    when = "best" if "best_step" in record.table else "last"
    parts = [f"The {when} {record.metric} of each trial"]
    parts[0] += (
        "; a line is a mean over seeds and folds, its band from the least to the "
        "greatest."
        if seeds
        else "."
    )
    parts += ["★ the winner."] if record.best is not None else []
    parts += ["× diverged."] if "diverged" in status else []
    parts += ["○ pruned: its value when it was stopped."] if "pruned" in status else []
    return " ".join([*parts, "Click a point to follow its trial."])


def _importance_note(found: dict[str, Any]) -> str:
    forest = (
        "fANOVA: the share of the loss's variance, of its log if positive."
        if found["fanova"]
        else "fANOVA needs scikit-learn."
    )
    return (
        "Optuna's evaluators. PED-ANOVA: what it takes to be among the best "
        f"{found['top']:.0%}. {forest}"
    )


def _not_all(record: Record) -> str:
    count = len(record.table["trial"])
    if count <= DRAWN:
        return ""
    return f" Of {count:,} trials the best and a fair rest are drawn, {DRAWN} or so."


def _best_settings(record: Record) -> str:
    """Return the table of the best settings, with their spread over seeds and folds."""
    losses, status = record.table[record.metric].astype(float), record.table["status"]
    sign = -1 if record.mode == "max" else 1
    within = record.table.get("within_bounds", np.ones(len(losses), bool))
    done = [
        rows
        for rows in record.settings()
        if (status[rows] == "complete").all()
        and np.isfinite(losses[rows]).all()
        and within[rows].all()
    ]
    best = sorted(done, key=lambda rows: sign * losses[rows].mean())[:FIRST]
    if not best:
        return ""
    first = [rows[0] for rows in best]
    heads = [*record.varying, record.metric]
    columns = [told_apart(record.table[n][first].tolist()) for n in record.varying]
    columns.append([number(float(losses[rows].mean())) for rows in best])
    if any(len(rows) > 1 for rows in best):
        heads += ["standard deviation", "least", "greatest", "trials"]
        columns.append(
            [number(float(losses[r].std(ddof=1))) if len(r) > 1 else "–" for r in best]
        )
        columns += [
            [number(float(end(losses[rows]))) for rows in best]
            for end in (np.min, np.max)
        ]
        columns.append([str(len(rows)) for rows in best])
    picked = [int(rows[np.argmin(sign * losses[rows])]) for rows in best]
    return _table(heads, list(zip(*columns, strict=True)), picked, "the best settings")


def _each(record: Record) -> list[str]:
    tables = []
    for name, found in record.best_of_each().items():
        values = told_apart([value for value, *_ in found])
        rows = [
            (
                value,
                number(mean) if math.isfinite(mean) else "–",
                "–" if t is None else t,
            )
            for value, (_, t, mean) in zip(values, found, strict=True)
        ]
        heads, picked = [name, record.metric, "trial"], [trial for _, trial, _ in found]
        tables.append(_table(heads, rows, picked, f"the best of each {name}"))
    return tables


def _table(
    heads: Sequence[str],
    rows: Sequence[Sequence[Any]],
    picked: Sequence[Any],
    label: str,
) -> str:
    """Return the HTML of a small table whose rows select trials on a click."""
    titles = "".join(f'<th scope="col">{html.escape(head)}</th>' for head in heads)
    body = "".join(
        (f'<tr data-row="{trial}">' if trial is not None else "<tr>")
        + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row)
        + "</tr>"
        for trial, row in zip(picked, rows, strict=True)
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" '
        f'aria-label="{html.escape(label)}">'
        f"<table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _trials(record: Record) -> str:
    """Return the table of all trials; a cell's title has its number in full."""
    best = None if record.best is None else int(record.best["trial"])
    text = [n for n, column in record.table.items() if column.dtype.kind not in "iuf"]
    heads = "".join(
        f'<th scope="col" aria-sort="none"{_text_class(name in text)}>'
        f'<button type="button">{html.escape(name)}</button></th>'
        for name in record.table
    )
    columns = [_cells(column, name) for name, column in record.table.items()]
    out = ~record.table.get("within_bounds", np.ones(len(columns[0]), bool))
    rows = []
    for row, cells in enumerate(zip(*columns, strict=True)):
        kinds = ["best"] * (row == best) + ["out"] * bool(out[row])
        kind = f' class="{" ".join(kinds)}"' if kinds else ""
        rows.append(f'<tr data-row="{row}"{kind}>{"".join(cells)}</tr>')
    body = "\n".join(rows)
    return (
        f'<table id="table"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def _cells(column: np.ndarray, name: str) -> list[str]:
    if name == "status":
        return [f'<td class="text {s}">{s}</td>' for s in map(str, column.tolist())]
    if column.dtype.kind != "f":
        kind = _text_class(column.dtype.kind not in "iu")
        return [f"<td{kind}>{html.escape(number(v))}</td>" for v in column.tolist()]
    cells = []
    for value in column:
        short, full = number(value), str(value)
        if not math.isfinite(value):
            cells.append("<td>–</td>" if math.isnan(value) else f"<td>{full}</td>")
        elif float(short) == value:
            cells.append(f"<td>{short}</td>")
        else:
            cells.append(f'<td title="{full}">{short}</td>')
    return cells


def _text_class(text: bool) -> str:
    return ' class="text"' if text else ""


@functools.cache
def _file(name: str) -> str:
    return resources.files("jopt.report").joinpath("web", name).read_text("utf-8")


@functools.cache
def _vega() -> str:
    """Return Vega and vega-embed as one script without imports."""
    try:
        import vl_convert  # an extra, and slow to load
    except ImportError as error:
        raise ImportError(
            "report.html needs vl-convert-python, which is not installed: "
            "pip install 'jopt[report]'."
        ) from error
    text = bundled()
    if text is None:
        bundle: Any = vl_convert.javascript_bundle  # its stubs require an argument
        text = bundle()
    return text.replace("</script", "<\\/script")


def _inside_script(text: str) -> str:
    return text.replace("<", "\\u003c")


def _shortened(value: Any, most: int = 32) -> Any:
    """Return a value with its long lists cut; sweep.json has the full lists."""
    if isinstance(value, dict):
        return {name: _shortened(held, most) for name, held in value.items()}
    if isinstance(value, list) and len(value) > most:
        return [*map(_shortened, value[:most]), f"and {len(value) - most} more"]
    return [_shortened(v, most) for v in value] if isinstance(value, list) else value
