"""The figures of a sweep, each declared once for the page, a notebook and a PNG.

A figure is a function of a record that returns an Altair chart, or None if there is
nothing to draw. The data's fields have fixed names (`x`, `y`, `h0`). So the name of a
hyperparameter is only text, and never part of an expression or a path.
"""

import collections
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import altair as alt
import numpy as np

from jopt.report._ahead import drawn
from jopt.report._front import DOMINATED, FRONT, OUT, Axis, front_of
from jopt.report._importance import importance as importance_of
from jopt.report._labels import cut, cut_apart, number, told_apart
from jopt.report._record import Record
from jopt.report._series import curves_of, moves_of, rungs as rungs_of, shown
from jopt.sweep import SweepResult

Chart: TypeAlias = alt.LayerChart

# Colors that stand out on white and on black.
BAD, WINNER, PALE, BLUE = "#e0492f", "#f5a70a", "#87919d", "#239a94"
QUIET, CHOSEN = "#9fb0c0", "#e0318c"
RAMP = ["#5f63cf", "#3d8bd4", "#1fa5a0", "#55b867", "#b0b52a"]
LINES = 8  # most settings of the other hyperparameters that get a line each
WIDTH, HEIGHT = 560, 340
STAR = (
    "M0,-1L.2351,-.3236L.9511,-.309L.3804,.1236L.5878,.809L0,.4L-.5878,.809"
    "L-.3804,.1236L-.9511,-.309L-.2351,-.3236Z"
)
CROSS = "M-.7,-.7L.7,.7M.7,-.7L-.7,.7"
STATUSES = {
    "complete": "trained to the end",
    "pruned": "pruned",
    "interrupted": "interrupted",
    "diverged": "diverged",
}
NOW = "datum.row === chosen"  # the trial that a click on the page has chosen


def response(record: Record, name: str) -> Chart | None:
    """Return the chart of the ranking metric against a hyperparameter.

    Each setting of the other hyperparameters is a line: the mean over its seeds and
    folds, in a band from the least to the greatest. There are no lines for more
    settings than `LINES`, nor for a population, whose trials continue each other's
    runs. Pruned trials are rings at their last value. Diverged ones are crosses at the
    top.
    """
    if name not in record.hyperparameters:
        return None
    data, status = trials(record), record.table["status"]
    at = f"h{record.hyperparameters.index(name)}"
    losses = record.table[record.metric].astype(float)
    sane = losses[status != "diverged"]
    baseline = record.baselines(record.metric)
    sane = sane if np.isfinite(sane).any() else losses
    upright = _numeric([*sane, *baseline.values()], _moment(record))
    y = alt.Y("loss:Q", **upright)
    column = record.table[name]
    edge: list[alt.Chart] = []
    if column.dtype.kind in "iuf":
        level = _numeric(column.astype(float), cut(name), few=True)
        x = alt.X(f"{at}:Q", **level)
        points: dict[str, Any] = {}
        edge = _edge(record, column.astype(float))
    else:
        order = list(dict.fromkeys(told_apart(sorted(column.tolist()))))
        tilt = 0 if len(order) <= 6 else -40
        look = alt.Axis(labelAngle=tilt, labelLimit=160, grid=False)
        level = {"sort": order, "axis": look, "title": cut(name)}
        x = alt.X(f"{at}:N", **level)
        beside = alt.Scale(domain=[-0.1, 1.1])  # trials that share a value
        points = {"xOffset": alt.XOffset("beside:Q", scale=beside)}
    lines = _lines(record, name)
    tints = _tints(len(lines)) or [BLUE]
    plain = STATUSES["complete"]
    own = {row: label for label, rows, _ in lines for row in rows}
    kinds = [own.get(row, STATUSES[each]) for row, each in enumerate(status.tolist())]
    present = set(kinds)
    others = {plain: BLUE if not lines else QUIET, "pruned": PALE}
    others |= {"interrupted": PALE, "diverged": BAD}
    domain = [label for label, *_ in lines] + [k for k in others if k in present]
    tints = tints[: len(lines)] + [tint for k, tint in others.items() if k in present]
    colour = alt.Color(
        "kind:N",
        scale=alt.Scale(domain=domain, range=tints),
        legend=alt.Legend(title=None, symbolOpacity=1) if len(domain) > 1 else None,
    )
    kind = _rows({"row": row, "line": label} for row, label in own.items())
    many = len(losses)
    size, opacity = (
        (14, 0.35) if many > 1000 else (24, 0.7) if many > 200 else (42, 0.9)
    )
    base = (
        alt.Chart(data)
        .transform_lookup("row", alt.LookupData(kind, "row", ["line"]))
        .transform_calculate(kind=f"datum.line || {json.dumps(STATUSES)}[datum.status]")
        .transform_filter(f"isValid(datum.{at})")
        .encode(x=x, color=colour, tooltip="tip:N", **points)
    )
    ended = base.transform_filter("isValid(datum.loss) && datum.status !== 'diverged'")
    layers: list[alt.Chart] = [*edge, *_rules(baseline)]
    layers += [each.encode(color=colour) for each in _bands(lines, level, upright)]
    full = ended.transform_filter("datum.status === 'complete'")
    stopped = ended.transform_filter("datum.status !== 'complete'")
    layers += [
        stopped.mark_point(fill="transparent", size=size, opacity=opacity).encode(y=y),
        full.mark_circle(size=size, opacity=opacity, clip=True).encode(y=y),
        base.transform_filter("datum.status === 'diverged'")
        .mark_point(shape=CROSS, size=size + 6, strokeWidth=1.8, opacity=0.9)
        .encode(y=alt.value(9)),
    ]
    if record.best is not None:
        best = ended.transform_filter(f"datum.row === {int(record.best['trial'])}")
        layers.append(_star(best).encode(y=y, color=alt.value(WINNER)))
    layers.append(_ring(ended).encode(y=y, color=alt.value(CHOSEN)))
    return _layered(layers, record)


def curves(
    record: Record, metric: str | None = None, by: str | None = None
) -> Chart | None:
    """Return the chart of every trial's training loss, or validation metric, by step.

    A line has the color of a hyperparameter's value. A ring ends a pruned trial, a
    cross a diverged one.

    Args:
      metric: the validation metric; None for the training loss.
      by: the hyperparameter of the colors; None for the number of the trial.
    """
    status = record.table["status"]
    rows = drawn_trials(record)
    steps, means = curves_of(record, metric)
    shades, scale, legend = _shades(record, by)
    known = np.asarray([np.isfinite(means[row]).any() for row in rows], bool)
    if not known.any():
        return None
    tips, held = _tips(record), []
    for row in np.asarray(rows)[known].tolist():
        finite = np.isfinite(means[row])
        ends = np.minimum(steps[finite], max(int(record.table["steps"][row]), 1))
        last = status[row] if status[row] in ("pruned", "diverged") else ""
        found = {"row": row, "shade": shades[row], "tip": tips[row], "last": last}
        found |= {"x": ends.tolist(), "y": _plain_values(means[row][finite])}
        held.append({**found, "x1": found["x"][-1], "y1": found["y"][-1]})
    sane = means[status != "diverged"]
    baseline = {} if metric is None else record.baselines(metric)
    every = sane if np.isfinite(sane).any() else means
    title = "training loss" if metric is None else f"validation {cut(metric)}"
    upright = _numeric([*every.ravel(), *baseline.values()], title)
    level = _steps(record)
    x, y = alt.X("x:Q", **level), alt.Y("y:Q", **upright)
    colour = alt.Color("shade" + (":Q" if legend[1] else ":N"), scale=scale)
    colour = colour.legend(legend[0])
    data = _rows(held)
    base = alt.Chart(data).encode(tooltip="tip:N")
    width, opacity = (0.8, 0.5) if len(held) > 100 else (1.2, 0.8)
    long = base.transform_flatten(["x", "y"]).encode(x=x, y=y, detail="row:N")
    line = long.encode(color=colour).mark_line(strokeWidth=width, opacity=opacity)
    if len(steps) == 1:
        line = line.mark_point(filled=True, size=24, opacity=opacity)
    ends = base.encode(x=alt.X("x1:Q", **level), y=alt.Y("y1:Q", **upright))
    best = -1 if record.best is None else int(record.best["trial"])
    layers = [
        *_rules(baseline),
        line,
        ends.transform_filter("datum.last === 'pruned'").mark_point(
            size=24, color=PALE, strokeWidth=1.2
        ),
        ends.transform_filter("datum.last === 'diverged'").mark_point(
            shape=CROSS, size=40, color=BAD, strokeWidth=1.8
        ),
        long.transform_filter(f"datum.row === {best}").mark_line(
            strokeWidth=2.5, color=WINNER
        ),
        long.transform_filter(NOW).mark_line(strokeWidth=3, color=CHOSEN),
    ]
    return _layered(layers, record)


def front(record: Record) -> Chart | None:
    """Return the chart of the settings by two objectives, with the border of the front.

    Settings on the front are blue, others within the bounds grey, and those out of
    bounds rings. Dotted lines are bounds.
    """
    found = front_of(record)
    if found is None:
        return None
    tips = _tips(record)
    held = [
        {"row": trial, "setting": at, "x": x, "y": y, "kind": kind, "tip": tips[trial]}
        for at, (trial, x, y, kind) in enumerate(
            zip(found.trials, found.x.values, found.y.values, found.kinds, strict=True)
        )
        if kind
    ]
    if not held:
        return None

    def axis(side: Axis) -> dict[str, Any]:
        known = [each["x" if side is found.x else "y"] for each in held]
        return _numeric([*known, *side.bounds], cut(side.title, 90))

    x, y = alt.X("x:Q", **axis(found.x)), alt.Y("y:Q", **axis(found.y))
    places = [k for k in (FRONT, DOMINATED, OUT) if k in set(found.kinds)]
    tint = {FRONT: BLUE, DOMINATED: QUIET, OUT: PALE}
    colour = alt.Color(
        "kind:N",
        scale=alt.Scale(domain=places, range=[tint[k] for k in places]),
        legend=alt.Legend(title=None),
    )
    base = alt.Chart(_rows(held)).encode(x=x, y=y, tooltip="tip:N")
    after = "step-after" if found.corners == "post" else "step-before"
    line = alt.Chart(_rows(each for each in held if each["setting"] in found.line))
    layers: list[alt.Chart] = [
        *(_rule("x", end, f"bound {number(end)}", BAD) for end in found.x.bounds),
        *(_rule("y", end, f"bound {number(end)}", BAD) for end in found.y.bounds),
        line.mark_line(interpolate=after, color=BLUE).encode(x=x, y=y),
        base.transform_filter(f"datum.kind === '{OUT}'")
        .mark_point(size=50)
        .encode(color=colour),
        base.transform_filter(f"datum.kind !== '{OUT}'")
        .mark_circle(size=60, opacity=0.95)
        .encode(color=colour),
    ]
    if found.best is not None:
        layers.append(_star(base.transform_filter(f"datum.setting === {found.best}")))
    layers.append(_ring(base).encode(color=alt.value(CHOSEN)))
    return _layered(layers, record)


def parallel(record: Record) -> Chart | None:
    """Return the chart with one line a trial over the varying hyperparameters.

    The better a trial ranks, the stronger is its line. Ranks are used rather than
    values, so that a few huge losses do not make the others look equal.
    """
    names = [*record.varying, record.metric]
    if len(names) < 3:
        return None
    rows = drawn_trials(record)
    losses = record.table[record.metric].astype(float)
    order = losses if record.mode == "min" else -losses
    rows = sorted(rows, key=lambda r: (np.isfinite(order[r]), -order[r]))
    labels, places, ticks = cut_apart(names, 24), [], []
    for name, label in zip(names, labels, strict=True):
        place, marks = _placed(record.table[name])
        places.append(place)
        ticks += [{"name": label, "y": at, "text": text} for at, text in marks]
    held, tips = [], _tips(record)
    for rank, row in enumerate(rows):
        own = [None if math.isnan(p[row]) else round(float(p[row]), 4) for p in places]
        share = (rank + 1) / len(rows)
        held.append({"row": row, "rank": share, "name": labels, "y": own})
        held[-1]["tip"] = tips[row]
    tilt = 0 if len(names) <= 8 else -30
    look = alt.Axis(orient="top", labelAngle=tilt, grid=True, domain=False, ticks=False)
    x = alt.X("name:N", sort=labels, title=None, axis=look)
    x = x.scale(type="point", padding=0.3)
    y = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[-0.02, 1.02], nice=False))
    long = alt.Chart(_rows(held)).transform_flatten(["name", "y"])
    long = long.transform_filter("isValid(datum.y)")
    long = long.encode(x=x, y=y, detail="row:N", tooltip="tip:N")
    faint = alt.Opacity("rank:Q", legend=None)
    faint = faint.scale(type="pow", exponent=3, domain=[0, 1], range=[0.08, 0.9])
    text = alt.Chart(_rows(ticks)).mark_text(dx=5, align="left", fontSize=10)
    best = -1 if record.best is None else int(record.best["trial"])
    layers = [
        long.mark_line(strokeWidth=1, color=BLUE).encode(opacity=faint),
        long.transform_filter(f"datum.row === {best}").mark_line(
            strokeWidth=2.5, color=WINNER
        ),
        long.transform_filter(NOW).mark_line(strokeWidth=3, color=CHOSEN),
        text.encode(x=x, y=y, text="text:N"),
    ]
    return _layered(layers, record)


def importance(record: Record, found: dict[str, Any] | None = None) -> Chart | None:
    """Return the chart of the hyperparameters' importance, by Optuna's evaluators."""
    found = importance_of(record) if found is None else found
    if "sentence" in found:
        return None
    kinds = {"PED-ANOVA": found["ped_anova"], "fANOVA": found["fanova"]}
    kinds = {name: shares for name, shares in kinds.items() if shares is not None}
    labels = cut_apart(found["names"], 32)
    rows = _rows(
        {"name": label, "kind": kind, "share": share, "text": f"{share:.0%}"}
        for kind, shares in kinds.items()
        for label, share in zip(labels, shares, strict=True)
    )
    sort = [labels[i] for i in np.argsort(found["ped_anova"], kind="stable")[::-1]]
    scale = alt.Scale(domain=[0, 1.08])
    ticks = alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1], title=None)
    base = alt.Chart(rows).encode(
        y=alt.Y("name:N", sort=sort, title=None, axis=alt.Axis(labelLimit=220)),
        yOffset=alt.YOffset("kind:N", sort=list(kinds)),
        x=alt.X("share:Q", scale=scale, axis=ticks),
    )
    tints = alt.Scale(domain=list(kinds), range=[BLUE, QUIET])
    colour = alt.Color("kind:N", scale=tints, legend=alt.Legend(title=None))
    text = base.mark_text(align="left", dx=4, fontSize=10).encode(text="text:N")
    bars = base.mark_bar().encode(color=colour)
    return _layered([bars, text], record).properties(height=40 + 34 * len(labels))


def rungs(record: Record) -> Chart | None:
    """Return the chart of how many trials each segment trained, and ended."""
    found = rungs_of(record)
    pruned, diverged = found["pruned"], found["diverged"]
    alive = np.asarray(found["trained"]) - pruned - np.asarray(diverged)
    kinds = {
        "alive at its end": (BLUE, alive.tolist()),
        "pruned": (PALE, pruned),
        "diverged": (BAD, diverged),
    }
    kinds = {name: held for name, held in kinds.items() if any(held[1])}
    if not kinds:
        return None
    rows = _rows(
        {"step": step, "kind": kind, "order": order, "trials": count}
        | {"tip": f"{count} {kind}\nto step {step}"}
        for order, (kind, (_, counts)) in enumerate(kinds.items())
        for step, count in zip(found["steps"], counts, strict=True)
    )
    tints = alt.Scale(domain=list(kinds), range=[tint for tint, _ in kinds.values()])
    title = "step at the segment's end"
    look = alt.Axis(title=title, labelAngle=0, labelOverlap="greedy", grid=False)
    bars, most = alt.Chart(rows).mark_bar(), max(found["trained"])
    ticks: dict[str, Any] = {"values": [*range(most + 1)]} if most < 10 else {}
    whole = alt.Axis(format="~d", **ticks)
    bars = bars.encode(
        x=alt.X("step:O", axis=look),
        y=alt.Y("trials:Q", stack="zero", axis=whole),
        color=alt.Color("kind:N", scale=tints, legend=alt.Legend(title=None)),
        order="order:Q",
        tooltip="tip:N",
    )
    return _layered([bars], record)


def population(record: Record, name: str) -> Chart | None:
    """Return the chart of a hyperparameter by step, with the winner's ancestry.

    A dot marks a copy of another trial.
    """
    found = moves_of(record)
    if found is None or name not in found["names"]:
        return None
    at, tips, held, copies = found["names"].index(name), _tips(record), [], []
    end = int(record.curves.shape[1])

    def stairs(row: int, moves: list[Any], until: int) -> dict[str, Any]:
        values = [values[at] for _, _, values in moves]
        until = max(until, moves[-1][0])
        x = [*(step for step, *_ in moves), until]
        return {"row": row, "x": x, "y": [*values, values[-1]]}

    for row, moves in enumerate(found["trials"]):
        until = int(record.table["steps"][row])
        held.append({**stairs(row, moves, until), "tip": tips[row]})
        for step, copied, values in moves:
            if copied:
                copies.append({"row": row, "x": step, "y": values[at]})
                copies[-1]["tip"] = tips[row]
    every = [value for each in held for value in each["y"]]
    x, y = alt.X("x:Q", **_steps(record)), alt.Y("y:Q", **_numeric(every, cut(name)))

    def lines(rows: list[Any]) -> alt.Chart:
        chart = alt.Chart(_rows(rows)).transform_flatten(["x", "y"])
        return chart.encode(x=x, y=y, detail="row:N")

    own = lines(held).encode(tooltip="tip:N")
    stepped: dict[str, Any] = {"interpolate": "step-after"}
    layers = [own.mark_line(strokeWidth=1, color=QUIET, opacity=0.8, **stepped)]
    if found["best"]:
        best = lines([stairs(-1, found["best"], end)])
        layers.append(best.mark_line(strokeWidth=4, color=WINNER, **stepped))
    dots = alt.Chart(_rows(copies)).mark_circle(size=30, color=BLUE)
    layers.append(dots.encode(x=x, y=y, tooltip="tip:N"))
    chosen = own.transform_filter(NOW)
    layers.append(chosen.mark_line(strokeWidth=3, color=CHOSEN, **stepped))
    return _layered(layers, record)


def overview(
    result: SweepResult, hyperparameter: str | None = None
) -> alt.TopLevelMixin:
    """Return the response, the curves and the front side by side.

    Raises:
      ValueError: there is no such column of numbers.
    """
    record = Record.of(result)
    names = [
        name
        for name in record.hyperparameters
        if record.table[name].dtype.kind in "iuf"
        and not np.isnan(record.table[name].astype(float)).all()
    ]
    if hyperparameter is not None and hyperparameter not in names:
        raise ValueError(
            f"SweepResult.plot: hyperparameter must be a column of numbers "
            f"({', '.join(names)}), got {hyperparameter!r}."
        )
    name = main_hyperparameter(record) if hyperparameter is None else hyperparameter
    panels = [
        None if name is None else response(record, name),
        curves(record, by=name),
        front(record),
    ]
    found = alt.hconcat(*(panel for panel in panels if panel is not None))
    found = found.resolve_scale(color="independent", shape="independent")
    return alone(found, record)


def alone(chart: Any, record: Record) -> Any:
    """Return a chart for use outside of the page, with its title and its theme."""
    count = len(record.table["trial"])
    title = f"{cut(str(record.info.get('task', 'sweep')))}: {count:,} trials"
    anchor: Any = {"text": title, "anchor": "start"}
    return chart.properties(title=anchor).configure(**looks())


def png(chart: Any) -> bytes:
    """Return a chart as a PNG, two pixels a unit."""
    every = alt.data_transformers
    with every.enable("default"), every.disable_max_rows():
        spec = chart.to_dict(context={"pre_transform": False})
    version = "_".join(alt.SCHEMA_VERSION.split(".")[:2])
    asked = {"vl_spec": spec, "vl_version": version, "scale": 2}
    found = drawn(asked)
    if found is not None:
        return found
    import vl_convert  # slow to load

    return vl_convert.vegalite_to_png(**asked)


def looks(dark: bool = False) -> dict[str, Any]:
    """Return the theme: colors of text, grid and background, on white or on black."""
    ink, quiet, grid, card = (
        ("#e6e9ed", "#9aa5b1", "#262b32", "#181c21")
        if dark
        else ("#1b2026", "#5a6470", "#e9ecf0", "#ffffff")
    )
    labels = {"labelColor": quiet, "titleColor": ink, "titleFontWeight": "normal"}
    sizes = {"labelFontSize": 11, "titleFontSize": 12, "titleLimit": 0}
    lines = {"gridColor": grid, "domainColor": quiet, "tickColor": quiet}
    font = "Liberation Sans, Arial, Helvetica, sans-serif"
    legend = {
        "orient": "bottom",
        "labelLimit": 0,
        "columns": 3,
        "direction": "horizontal",
    }
    return {
        "background": card,
        "font": font,
        "view": {"stroke": None},
        # Vega writes unescaped titles into the expressions of descriptions.
        "aria": False,
        "mark": {"aria": False},
        "axis": {**labels, **sizes, **lines},
        "legend": {**labels, **sizes, **legend, "labelColor": ink},
        "title": {"color": ink, "fontSize": 14, "fontWeight": 600},
        "text": {"color": quiet},
    }


def main_hyperparameter(record: Record) -> str | None:
    """Return the learning rate, or else the first number with several values."""
    names = record.varying
    # A nested space names its rate `optimizer.adamw.learning_rate`.
    for name in sorted(names, key=lambda n: n.split(".")[-1] != "learning_rate"):
        column = record.table[name]
        if column.dtype.kind in "iuf":
            column = column.astype(float)
            if len(np.unique(column[~np.isnan(column)])) > 1:
                return name
    return None


def drawn_trials(record: Record) -> list[int]:
    """Return the rows of the trials that get their own curve."""
    losses = record.table[record.metric].astype(float)
    best = None if record.best is None else int(record.best["trial"])
    return shown(-losses if record.mode == "max" else losses, best).tolist()


def trials(record: Record) -> alt.InlineData:
    """Return the rows that all response charts share, so that they are stored once."""
    table, tips = record.table, _tips(record)
    columns = [
        _plain_values(table[name])
        if table[name].dtype.kind in "iuf"
        else told_apart(table[name].tolist())
        for name in record.hyperparameters
    ]
    losses = _plain_values(table[record.metric])
    return _rows(
        {
            "row": row,
            "status": str(table["status"][row]),
            "loss": losses[row],
            "beside": round(row * 0.618034 % 1, 3),
            "tip": tips[row],
            **{f"h{at}": column[row] for at, column in enumerate(columns)},
        }
        for row in range(len(losses))
    )


def _rows(rows: Iterable[dict[str, Any]]) -> alt.InlineData:
    """Return rows as text, which Altair does not check value by value."""
    text = json.dumps(list(rows), separators=(",", ":"), allow_nan=False)
    return alt.InlineData(values=text, format=alt.JsonDataFormat(type="json"))


def _plain_values(column: np.ndarray) -> list[Any]:
    """Return numbers rounded as printed, shorter for float32; None if not finite."""
    if column.dtype.kind == "f":
        return [float(str(v)) if math.isfinite(v) else None for v in column]
    return column.tolist()


def _tips(record: Record) -> list[str]:
    """Return the tooltip of each trial, as lines."""
    table, names = record.table, record.hyperparameters
    fold = "fold" in table
    tips = []
    for row in range(len(table["trial"])):
        seed = f"seed {table['seed'][row]}"
        seed += f", fold {table['fold'][row]}" if fold else ""
        own = [f"{cut(n)} {number(table[n][row].item())}" for n in names]
        loss = number(float(table[record.metric][row]))
        end = f"{table['status'][row]}, {cut(record.metric)} {loss}"
        tips.append("\n".join([f"trial {table['trial'][row]}, {seed}", *own, end]))
    return tips


def _steps(record: Record) -> dict[str, Any]:
    scale = alt.Scale(domain=[0, int(record.curves.shape[1])], nice=False)
    return {"scale": scale, "title": "step"}


def _numeric(values: Any, title: str, few: bool = False) -> dict[str, Any]:
    """Return scale, axis and title for numbers; the scale covers all finite ones.

    The axis is logarithmic if the positive values span decades; zero then lies a little
    left of the least of them. With negative values it is linear.

    Args:
      few: whether up to six values get a tick each.
    """
    values = np.asarray(values, float)
    values = np.unique(values[np.isfinite(values)])
    if not len(values):
        return {"scale": alt.Scale(domain=[0, 1]), "title": title}
    low, high = float(values[0]), float(values[-1])
    look: dict[str, Any] = {"labelOverlap": "greedy", "grid": True}
    if few and len(values) <= 6:
        digits = next(d for d in range(4, 18) if _distinct(values, d))
        look |= {"values": values.tolist(), "format": f".{digits}~g"}
    positive = values[values > 0]
    scale: dict[str, Any] = {"nice": False, "clamp": True}
    if low >= 0 and len(positive) and positive[-1] > 30 * positive[0]:
        least = float(positive[0])
        powers = _powers(least, high)
        look = {"values": powers if low > 0 else [0.0, *powers], "format": "~g", **look}
        first, last = math.log10(least), math.log10(high)
        pad = 0.04 * (last - first)
        top = 10 ** min(last + 2 * pad, 308.0) if last < 308 else high
        if low == 0:
            scale |= {"type": "symlog", "constant": least, "domain": [-least / 3, top]}
        else:
            bottom = max(10 ** (first - pad), 5e-324)
            scale |= {"type": "log", "domain": [bottom, top]}
    elif not math.isfinite(1.2 * (high - low)):
        scale |= {"type": "symlog", "domain": [low, high]}
        look = {"values": [low, 0.0, high], "format": ".3~g"}
    else:
        pad = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
        scale |= {"domain": [low - pad, high + 2 * pad], "zero": False}
    return {"scale": alt.Scale(**scale), "axis": alt.Axis(**look), "title": title}


def _distinct(values: np.ndarray, digits: int) -> bool:
    return len({f"{value:.{digits}g}" for value in values}) == len(values)


def _powers(low: float, high: float) -> list[float]:
    """Return powers of ten, with their two- and fivefolds if there are few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    leap = math.ceil((last - first) / 8) or 1
    folds = (1, 2, 5) if math.log10(high / low) < 2.2 else (1,)
    found = [
        float(f"{fold}e{power}")
        for power in range(first, last + 1, leap)
        for fold in folds
        if power < 308
    ]
    return [value for value in found if 0.9 * low <= value <= 1.1 * high]


def _edge(record: Record, column: np.ndarray) -> list[alt.Chart]:
    """Return a rule at the value beyond which trials diverged.

    No trial on the other side diverged, and on this side at least half did.
    """
    bad = column[record.table["status"] == "diverged"]
    if not np.isfinite(column).all() or not len(bad):
        return []
    first, last, low, high = bad.min(), bad.max(), column.min(), column.max()
    if first > low and 2 * len(bad) >= (column >= first).sum():
        return [
            _rule("x", float(first), f"divergence from {number(float(first))}", BAD)
        ]
    if last < high and first == low and 2 * len(bad) >= (column <= last).sum():
        return [_rule("x", float(last), f"divergence up to {number(float(last))}", BAD)]
    return []


def _rule(channel: str, at: float, text: str, tint: str) -> alt.Chart:
    """Return a dashed line across the figure, with a label."""
    place: Any = {channel: alt.XDatum(at) if channel == "x" else alt.YDatum(at)}
    row = alt.Chart(_rows([{"text": text}]))
    line = row.mark_rule(color=tint, strokeDash=[4, 3], strokeWidth=1)
    if channel == "x":
        words = row.mark_text(color=tint, align="right", dx=-4, fontSize=11)
        place_text = {**place, "y": alt.value(24)}
    else:
        words = row.mark_text(color=tint, align="left", dx=4, dy=-6, fontSize=11)
        place_text = {**place, "x": alt.value(0)}
    both = alt.layer(line.encode(**place), words.encode(text="text:N", **place_text))
    return both  # pyright: ignore[reportReturnType]


def _rules(baselines: Mapping[str, float]) -> list[alt.Chart]:
    """Return a labelled line for each value to beat."""
    return [
        _rule("y", value, f"{cut(name)} {number(value)}", PALE)
        for name, value in baselines.items()
        if math.isfinite(value)
    ]


def _lines(record: Record, name: str) -> list[tuple[str, list[int], list[Any]]]:
    """Return the lines of a response: label, rows, and a point for each setting.

    If the settings of the other hyperparameters are few, each has a line. Otherwise one
    line joins the best at each value, unless values are rarely shared.
    """
    column, status = record.table[name], record.table["status"]
    if column.dtype.kind not in "iuf" or record.info.get("lineage"):
        return []
    others = [other for other in record.varying if other != name]
    sign = -1 if record.mode == "max" else 1
    groups: dict[tuple[Any, ...], list[tuple[list[int], dict[str, Any]]]] = {}
    points, seen = [], collections.Counter()
    for rows in record.settings():
        losses = record.table[record.metric][rows].astype(float)
        x = float(column[rows[0]])
        if (status[rows] != "complete").any() or not np.isfinite([*losses, x]).all():
            continue
        spread = {"low": float(losses.min()), "high": float(losses.max())}
        point = rows.tolist(), {"x": x, "y": float(losses.mean()), **spread}
        key = tuple(record.table[other][rows[0]].item() for other in others)
        # Two factories may take the same numbers; the second gets another line.
        groups.setdefault((key, seen[key, x]), []).append(point)
        seen[key, x] += 1
        points.append(point)
    several = {
        key: group
        for key, group in groups.items()
        if len({point["x"] for _, point in group}) > 1
    }
    if len(groups) <= LINES:
        first = [group[0][0][0] for group in several.values()]
        labels = [
            f"{label} (factory {place + 1})" if place else label
            for label, (_, place) in zip(
                _described(record, others, first), several, strict=True
            )
        ]
        found = zip(labels, several.values(), strict=True)
    else:
        best: dict[float, Any] = {}
        for each in points:
            held = best.get(each[1]["x"])
            if held is None or sign * each[1]["y"] < sign * held[1]["y"]:
                best[each[1]["x"]] = each
        few = len(best) > 1 and 3 * len(best) <= len(points)
        found = [("the best of the others", list(best.values()))] if few else []
    return [
        (
            label,
            [row for rows, _ in group for row in rows],
            sorted((point for _, point in group), key=lambda point: point["x"]),
        )
        for label, group in found
    ]


def _described(record: Record, names: list[str], rows: list[int]) -> list[str]:
    """Return settings as `name=value`, distinct for distinct settings."""
    if not names:
        several = any(len(found) > 1 for found in record.settings())
        said = "mean over seeds and folds" if several else "one trial a setting"
        return [said] * len(rows)
    short = cut_apart(names, 40)
    texts = []
    for name in names:
        texts.append(told_apart([record.table[name][row].item() for row in rows]))
    return cut_apart(
        [
            ", ".join(
                f"{name}={text[i]}" for name, text in zip(short, texts, strict=True)
            )
            for i in range(len(rows))
        ],
        72,
    )


def _bands(lines: list[Any], x: dict[str, Any], y: dict[str, Any]) -> list[alt.Chart]:
    rows = [
        {**point, "kind": label, "line": at}
        for at, (label, _, points) in enumerate(lines)
        for point in points
    ]
    if not rows:
        return []
    base = alt.Chart(_rows(rows)).encode(x=alt.X("x:Q", **x), detail="line:N")
    band = base.mark_area(opacity=0.18).encode(y=alt.Y("low:Q", **y), y2="high:Q")
    line = base.mark_line(strokeWidth=1.8, strokeJoin="round")  # no spikes at peaks
    return [band, line.encode(y=alt.Y("y:Q", **y))]


def _shades(record: Record, by: str | None) -> tuple[list[Any], alt.Scale, Any]:
    """Return each trial's value of a column, the color scale, and its legend."""
    column = record.table["trial" if by is None else by]
    title = "trial" if by is None else cut(by)
    distinct = sorted(set(column.tolist()), key=lambda v: (v != v, v))
    if column.dtype.kind in "iuf" and len(distinct) > LINES:
        held = _numeric(column.astype(float), title)["scale"].to_dict()
        known = column.astype(float)[np.isfinite(column.astype(float))]
        ends = [float(known.min()), float(known.max())]
        kind = held.get("type", "linear")
        more = {"constant": held["constant"]} if "constant" in held else {}
        scale = alt.Scale(type=kind, domain=ends, range=RAMP, nice=False, **more)
        form = "~g" if kind != "linear" else ""
        look: dict[str, Any] = {"format": form} if form else {}
        if kind != "linear":
            powers = _powers(float(known[known > 0].min()), ends[1])
            look["values"] = [v for v in powers if ends[0] <= v <= ends[1]]
        legend = alt.Legend(title=title, gradientLength=220, gradientOpacity=1, **look)
        return _plain_values(column), scale, (legend, True)
    labels = told_apart(distinct)
    text = dict(zip(map(repr, distinct), labels, strict=True))
    scale = alt.Scale(domain=labels, range=_tints(len(labels)))
    legend = alt.Legend(title=title, symbolType="stroke", symbolOpacity=1)
    legend = legend if len(labels) > 1 else None
    return [text[repr(v)] for v in column.tolist()], scale, (legend, False)


def _tints(count: int) -> list[str]:
    """Return `count` colors, evenly spaced on the ramp."""
    stops = [[int(tint[i : i + 2], 16) for i in (1, 3, 5)] for tint in RAMP]
    places = np.linspace(0, len(RAMP) - 1, count) if count > 1 else [2.0] * count
    return [
        "#"
        + "".join(
            f"{round(np.interp(at, range(len(RAMP)), part)):02x}" for part in parts
        )
        for at in places
        for parts in [list(zip(*stops, strict=True))]
    ]


def _placed(column: np.ndarray) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """Return a column's positions on an axis from 0 to 1, and the axis's ticks."""
    if column.dtype.kind not in "iuf":
        order = sorted(set(column.tolist()))
        at = {value: (i + 0.5) / len(order) for i, value in enumerate(order)}
        marks = list(zip(at.values(), cut_apart(told_apart(order), 18), strict=True))
        return np.asarray([at[value] for value in column.tolist()]), marks[:24]
    values = column.astype(float)
    known = np.unique(values[np.isfinite(values)])
    if not len(known):
        return np.full(len(values), np.nan), []
    positive = known[known > 0]
    log = known[0] >= 0 and len(positive) > 0 and positive[-1] > 30 * positive[0]

    def place(value: np.ndarray) -> np.ndarray:
        if not log:
            return value / 2
        return np.log1p(value / positive[0]) if known[0] == 0 else np.log10(value)

    low, high = place(known[0]), place(known[-1])
    span = high - low or 1.0
    if len(known) <= 6:
        ticks = known.tolist()
    elif log:
        ticks = [known[0], *(v for v in _powers(positive[0], known[-1])), known[-1]]
        ticks = [v for v in ticks if known[0] <= v <= known[-1]]
    else:
        ticks = (
            known[0] / 4 * np.arange(4, -1, -1) + known[-1] / 4 * np.arange(5)
        ).tolist()
    found: list[tuple[float, str]] = []
    for value in sorted(set(ticks)):
        at = float((place(np.asarray(value)) - low) / span)
        if not found or at - found[-1][0] > 0.06:
            found.append((at, number(float(value))))
    places = np.where(np.isfinite(values), values, known[0])
    return np.where(np.isfinite(values), (place(places) - low) / span, np.nan), found


def _moment(record: Record) -> str:
    """Return the axis title of the ranking metric, with the moment that it is from."""
    info, status = record.info, set(record.table["status"].tolist())
    when = f"after {info['steps']} steps" if "steps" in info else "at the end"
    when = "at the last segment" if {"pruned", "interrupted"} & status else when
    when = "at the best moment" if "best_step" in record.table else when
    kind, _, metric = record.metric.partition("_")
    kind = "validation" if kind == "valid" else "training"
    return f"{kind} {cut(metric)} {when}"


def _star(base: alt.Chart) -> alt.Chart:
    return base.mark_point(
        shape=STAR,
        size=150,
        filled=True,
        fill=WINNER,
        stroke="#1b2026",
        strokeWidth=1,
        opacity=1,
    )


def _ring(base: alt.Chart) -> alt.Chart:
    ring = base.transform_filter(NOW)
    return ring.mark_point(shape="circle", size=220, strokeWidth=3, opacity=1)


def _layered(layers: Sequence[Any], record: Record) -> Chart:
    chosen = alt.param(name="chosen", value=-1)
    chart: Any = alt.layer(*layers).add_params(chosen)
    return chart.properties(width=WIDTH, height=HEIGHT)
