"""vl-convert in a process of its own, which is ready when training is over.

It bundles Vega for the page and draws PNGs. Both begin with seconds of loading, in
which it holds Python's lock, so a thread would not do.
"""

import contextlib
import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

WORK = """
import json, os, sys, vl_convert
def answer(data):
    sys.stdout.buffer.write(len(data).to_bytes(8, "big") + data)
    sys.stdout.buffer.flush()
def bundle(path):
    if path and os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            return file.read()
    text = vl_convert.javascript_bundle()
    if path:
        try:
            with open(f"{path}.{os.getpid()}", "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(file.name, path)
        except OSError:
            pass  # it is bundled again the next time
    return text
text = bundle(sys.argv[1]).encode()
vl_convert.vegalite_to_png({"mark": "point"})  # loads what all pictures need
for line in sys.stdin:
    asked = json.loads(line)
    answer(text if asked is None else vl_convert.vegalite_to_png(**asked))
"""


class _Worker:
    """The process, asked one thing at a time."""

    def __init__(self, path: Path | None):
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORK, "" if path is None else str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C ends the training, not the pictures
        )

    def ask(self, asked: dict[str, Any] | None) -> bytes | None:
        """Return the answer; None if the process has failed."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(json.dumps(asked).encode() + b"\n")
            stdin.flush()
        except OSError:
            return None
        length = int.from_bytes(stdout.read(8), "big")
        found = stdout.read(length)
        return found if length and len(found) == length else None

    def end(self) -> None:
        """End the process, whatever it is doing."""
        self.process.kill()
        self.process.communicate()


_worker: ContextVar[_Worker | None] = ContextVar("drawing_ahead", default=None)


@contextlib.contextmanager
def drawing_ahead(directory: Path | None = None) -> Iterator[None]:
    """Load what pictures and the page need in a process beside this one.

    Nothing is done without vl-convert, or if this process has loaded it already. If the
    other process fails, this one draws.

    Args:
      directory: where Vega is kept for the next time; None for nowhere.
    """
    try:
        version = importlib.metadata.version("vl-convert-python")
    except importlib.metadata.PackageNotFoundError:
        version = None
    if version is None or "vl_convert" in sys.modules:
        yield
        return
    path = None if directory is None else directory / f"vega-{version}.js"
    worker = _Worker(path)
    token = _worker.set(worker)
    try:
        yield
    finally:
        _worker.reset(token)
        worker.end()


def bundled() -> str | None:
    """Return Vega as one script if the process beside this one has it."""
    worker = _worker.get()
    found = None if worker is None else worker.ask(None)
    return None if found is None else found.decode()


def drawn(asked: dict[str, Any]) -> bytes | None:
    """Return the PNG of a chart if the process beside this one draws it.

    Args:
      asked: the arguments of `vl_convert.vegalite_to_png`.
    """
    worker = _worker.get()
    return None if worker is None else worker.ask(asked)
