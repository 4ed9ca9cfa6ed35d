"""The files of a study: tables, a picture, and a page that needs no network."""

import base64
import csv
import html
import importlib.util
import io
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jopt.sweep import in_words, replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Columns = Mapping[str, np.ndarray]

_PAGE = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 1200px; margin: 2em auto;
  padding: 0 1em; color: #222; }}
h1 {{ font-size: 1.4em; }} h2 {{ font-size: 1.1em; margin-top: 2em; }}
div {{ overflow-x: auto; }} img {{ max-width: 100%; }}
table {{ border-collapse: collapse; font-size: 13px; white-space: nowrap; }}
th, td {{ padding: 3px 9px; text-align: right; border-bottom: 1px solid #ddd; }}
th:first-child, td:first-child {{ text-align: left; }}
</style></head><body>
<h1>{title}</h1>
{said}
{picture}
{tables}
<h2>Run</h2>
<pre>{info}</pre>
</body></html>
"""


def columns_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Return rows as columns; missing values are NaN."""
    names = dict.fromkeys(itertools.chain.from_iterable(rows))
    return {
        name: np.asarray([row.get(name, math.nan) for row in rows]) for name in names
    }


def save_study(
    directory: Path,
    name: str,
    title: str,
    said: Sequence[str],
    tables: Mapping[str, Columns],
    more: Mapping[str, Columns],
    info: Mapping[str, Any],
    plot: Callable[[], "Figure"],
) -> list[Path]:
    """Write a study's tables, JSON, picture and page; return the files.

    Args:
      directory: made if it does not exist.
      name: file name of the JSON, the picture and the page.
      title: title of the page.
      said: sentences on what was found.
      tables: columns by the name of a file, in the page and in files.
      more: likewise, in files alone.
      info: description of the run.
      plot: makes the picture; without matplotlib there is none.
    """
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for file, columns in {**tables, **more}.items():
        path = directory / f"{file}.csv"
        with replacing(path) as partial, partial.open("w", newline="") as out:
            writer = csv.writer(out)
            writer.writerow(columns)
            rows = zip(*(c.tolist() for c in columns.values()), strict=True)
            writer.writerows(rows)
        written.append(path)
    held = {key: {n: c.tolist() for n, c in t.items()} for key, t in tables.items()}
    found = {"title": title, "outcome": list(said), **held, "info": dict(info)}
    written.append(_write(directory / f"{name}.json", in_words(found, indent=2) + "\n"))
    picture = ""
    if importlib.util.find_spec("matplotlib") is not None:
        drawn = io.BytesIO()
        plot().savefig(drawn, dpi=120, format="png")
        path = directory / f"{name}.png"
        with replacing(path) as partial:
            partial.write_bytes(drawn.getvalue())
        written.append(path)
        code = base64.b64encode(drawn.getvalue()).decode()
        picture = f'<img alt="{html.escape(title)}" src="data:image/png;base64,{code}">'
    page = _PAGE.format(
        title=html.escape(title),
        said="\n".join(f"<p>{html.escape(sentence)}</p>" for sentence in said),
        picture=picture,
        tables="\n".join(_table(file, columns) for file, columns in tables.items()),
        info=html.escape(in_words(dict(info), indent=2)),
    )
    written.append(_write(directory / f"{name}.html", page))
    return written


def _write(path: Path, text: str) -> Path:
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path


def _table(name: str, columns: Columns) -> str:
    """Return a table of HTML, without the columns that are empty."""
    shown = {n: c for n, c in columns.items() if not all(map(_is_empty, c.tolist()))}
    head = "".join(f"<th>{html.escape(n.replace('_', ' '))}</th>" for n in shown)
    rows = zip(*(column.tolist() for column in shown.values()), strict=True)
    body = "\n".join(
        f"<tr>{''.join(f'<td>{html.escape(number(v))}</td>' for v in row)}</tr>"
        for row in rows
    )
    title = html.escape(name)
    return f"<h2>{title}</h2>\n<div><table><tr>{head}</tr>\n{body}</table></div>"


def _is_empty(value: Any) -> bool:
    return value == "" or value != value


def number(value: Any, digits: int = 4) -> str:
    """Return a value as people read it; NaN is a dash."""
    if isinstance(value, float):
        return "-" if value != value else f"{value:.{digits}g}"
    return str(value)
