"""Load vl-convert in a second process, so that it is ready when training ends.

vl-convert bundles Vega for the page and draws PNGs. Both load for seconds and hold
Python's global interpreter lock meanwhile, so a thread would not help.
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
    """The second process, which answers one request at a time."""

    def __init__(self, path: Path | None):
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORK, "" if path is None else str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C must end the training, not the pictures
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
        """End the process at once, even in the middle of a request."""
        self.process.kill()
        self.process.communicate()


_worker: ContextVar[_Worker | None] = ContextVar("drawing_ahead", default=None)


@contextlib.contextmanager
def drawing_ahead(directory: Path | None = None) -> Iterator[None]:
    """Load the drawing libraries in a second process during the block.

    Nothing happens without vl-convert, or if this process has already loaded it. If the
    second process fails, this one draws.

    Args:
      directory: where Vega is cached for the next time; None for no cache.
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
    """Return Vega as one script if the second process has it, else None."""
    worker = _worker.get()
    found = None if worker is None else worker.ask(None)
    return None if found is None else found.decode()


def drawn(asked: dict[str, Any]) -> bytes | None:
    """Return the PNG of a chart if the second process draws it, else None.

    Args:
      asked: the arguments of `vl_convert.vegalite_to_png`.
    """
    worker = _worker.get()
    return None if worker is None else worker.ask(asked)
