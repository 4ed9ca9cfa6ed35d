"""Cache data from Python's standard library in the user's cache directory."""

import contextlib
import hashlib
import json
import platform
import sysconfig
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from jopt.sweep import replacing, user_caches

_FOREIGN = {"site-packages", "dist-packages", "__pycache__"}


def library_files() -> dict[str, bytes]:
    """Return the sources of Python's standard library by path, sorted by path."""
    library = Path(sysconfig.get_path("stdlib"))
    found = {path.relative_to(library): path for path in library.rglob("*.py")}
    return {
        name.as_posix(): found[name].read_bytes()
        for name in sorted(found)
        if not _FOREIGN & set(name.parts)
    }


def of_library(
    name: str, make: Callable[[dict[str, bytes]], Any], version: int = 1
) -> Any:
    """Return a function's result for the library's sources, cached in a file.

    The file's name contains Python's version, and a digest of the sources and of
    `version`, so that no outdated file is read. It is written atomically.

    Args:
      name: the beginning of the file's name.
      make: sources by path -> a value for JSON.
      version: the version of `make`; a new one causes a new file.
    """
    sources = library_files()
    parts = [str(version).encode(), *_flat(sources)]
    digest = hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
    path = user_caches() / "jopt" / f"{name}-{platform.python_version()}-{digest}.json"
    # A missing or truncated file is made again.
    with contextlib.suppress(OSError, ValueError):
        return json.loads(path.read_text("utf-8"))
    made = make(sources)
    # If the cache cannot be written, the sources are read each time.
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            partial.write_text(json.dumps(made), "utf-8")
    return made


def _flat(sources: dict[str, bytes]) -> Iterable[bytes]:
    for name, source in sources.items():
        yield from (name.encode(), source)
