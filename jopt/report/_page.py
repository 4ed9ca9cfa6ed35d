"""Build the page: text, data, styles and scripts in one file."""

import functools
import html
import json
import os
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jopt.report._contents import contents
from jopt.report._record import Record
from jopt.report._sentences import facts, headline, outcome, title

if TYPE_CHECKING:
    from jopt.sweep import SweepResult

SCRIPTS = (
    "page.js",
    "axes.js",
    "response.js",
    "curves.js",
    "parallel.js",
    "bars.js",
    "ancestry.js",
    "table.js",
    "start.js",
)


def write(record: Record, path: str | os.PathLike[str]) -> Path:
    """Write the page of a sweep to `path`; return it.

        report.write(Record.load("sweeps/digits-1"), "report.html")

    Raises an ImportError without plotly, and an OSError if `path` cannot be written.
    """
    path = Path(path)
    path.write_text(page(record), encoding="utf-8")
    return path


def save(result: "SweepResult", directory: Path) -> Path:
    """Write report.html of a result beside its other files; return it."""
    return write(Record.of(result), directory / "report.html")


def page(record: Record) -> str:
    """Return the page as HTML; the same for the same record, byte for byte.

    It holds plotly.js (about 5 MB) and what it draws from, and asks no network for
    anything: its own policy forbids it.
    """
    parts = {
        "title": html.escape(title(record)),
        "headline": html.escape(headline(record)),
        "outcome": html.escape(outcome(record)),
        "facts": "\n".join(
            f"<div><dt>{html.escape(term)}</dt><dd>{html.escape(text)}</dd></div>"
            for term, text in facts(record)
        ),
        "info": html.escape(json.dumps(_shortened(record.info), indent=2)),
        "data": _inside_script(json.dumps(contents(record), separators=(",", ":"))),
        "style": _file("page.css"),
        "plotly": _plotly(),
        "scripts": "\n".join(map(_file, SCRIPTS)),
    }
    pieces = _file("page.html").split("@@")  # text, name, text, name, ..., text
    pieces[1::2] = [parts[name] for name in pieces[1::2]]
    return "".join(pieces)


@functools.cache
def _file(name: str) -> str:
    return resources.files("jopt.report").joinpath("web", name).read_text("utf-8")


def _plotly() -> str:
    try:
        from plotly.offline import get_plotlyjs  # an extra, and slow to load
    except ImportError as error:
        raise ImportError(
            "report.html needs plotly, which is not installed: "
            "pip install 'jopt[report]'."
        ) from error
    return get_plotlyjs()


def _inside_script(text: str) -> str:
    return text.replace("<", "\\u003c")


def _shortened(value: Any, most: int = 32) -> Any:
    """The same, with long lists cut: sweep.json has them whole."""
    if isinstance(value, dict):
        return {name: _shortened(held, most) for name, held in value.items()}
    if isinstance(value, list) and len(value) > most:
        return [*map(_shortened, value[:most]), f"and {len(value) - most} more"]
    return [_shortened(v, most) for v in value] if isinstance(value, list) else value
