"""Remember in files the blocks that were chosen by timing."""

import contextlib
import hashlib
import importlib.metadata
import warnings
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple

from jopt._version import __version__
from jopt.sweep._json import decode, encode
from jopt.sweep._whole_files import read_file, replacing
from jopt.sweep.engine._devices import Device

FORM = 1  # version of the files' format


class Way(NamedTuple):
    """How many trials train together, and whether a call scans over many steps."""

    block: int
    scanned: bool

    def __str__(self) -> str:
        return f"{self.block}" if self.scanned else f"{self.block}, a step a call"


class Memory(NamedTuple):
    """Where chosen ways are remembered."""

    directory: Path
    anew: bool  # whether to choose again even if a way is remembered

    def recall(self, name: str, most: int) -> Way | None:
        """Return the way that is remembered under a name; None without a usable one.

        A damaged file is not usable, nor is a block of more than `most` trials.
        """
        if self.anew:
            return None
        try:
            held = decode(read_file(self._path(name)))
        except (OSError, ValueError):
            return None
        form = {"form": int, "block": int, "scanned": bool}
        if held.keys() != form.keys():
            return None
        if any(type(held[key]) is not kind for key, kind in form.items()):
            return None
        if held["form"] != FORM or not 1 <= held["block"] <= most:
            return None
        return Way(held["block"], held["scanned"])

    def keep(self, name: str, way: Way) -> None:
        """Remember a way; warn if its file cannot be written."""
        content = encode({"form": FORM, **way._asdict()})
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with replacing(self._path(name)) as partial:
                partial.write_bytes(content)
        except OSError as error:
            warnings.warn(
                f"The block that was picked is not remembered: {error}.", stacklevel=2
            )

    def _path(self, name: str) -> Path:
        return self.directory / f"{name}.json"


_memory: ContextVar[Memory | None] = ContextVar("remembered_blocks", default=None)


@contextlib.contextmanager
def remembering(directory: Path, anew: bool = False) -> Iterator[None]:
    """Remember the blocks that sweeps choose by timing, in files of a directory.

        with remembering(cache / "blocks"):
            sweep.run(task, trials)  # the second time, without a search

    Args:
      directory: where the files are; made when the first is written.
      anew: whether to choose blocks again even if they are remembered.
    """
    token = _memory.set(Memory(directory, anew))
    try:
        yield
    finally:
        _memory.reset(token)


def memory() -> Memory | None:
    """Return where blocks are remembered now; None if they are not."""
    return _memory.get()


def name_of(program: str, devices: Sequence[Device], *sizes: float) -> str:
    """Return the name by which the way of a program is remembered.

    Args:
      program: the text of the trace of a step.
      devices: the devices that train them.
      *sizes: other numbers that the best way depends on.
    """
    versions = [importlib.metadata.version(name) for name in ("jax", "jaxlib")]
    device = devices[0].platform, devices[0].device_kind, len(devices)
    parts = [__version__, *versions, *device, *sizes]
    return hashlib.sha256(f"{parts} {program}".encode()).hexdigest()[:32]
