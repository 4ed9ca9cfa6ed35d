"""What is read from Python's own library, kept in the user's cache directory."""

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
    """Return the sources of Python's own library, by path, in the paths' order."""
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
    """Return what a function makes of the library's sources, from the cache if there.

    The file's name has the version of Python and a digest of the sources and of the
    version of `make`, so that nothing stale is found. It is written by a rename.

    Args:
      name: of the file.
      make: sources by path -> a value of JSON.
      version: of `make`; another one makes the value anew.
    """
    sources = library_files()
    parts = [str(version).encode(), *_flat(sources)]
    digest = hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
    path = user_caches() / "jopt" / f"{name}-{platform.python_version()}-{digest}.json"
    # A file that is missing, or that a full disk has cut short, is made again.
    with contextlib.suppress(OSError, ValueError):
        return json.loads(path.read_text("utf-8"))
    made = make(sources)
    # Where nothing can be written, the sources are read each time.
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            partial.write_text(json.dumps(made), "utf-8")
    return made


def _flat(sources: dict[str, bytes]) -> Iterable[bytes]:
    for name, source in sources.items():
        yield from (name.encode(), source)
