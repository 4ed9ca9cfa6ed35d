"""What files a directory must hold, and their checksums: was it written whole?"""

import json
import os
import zlib
from pathlib import Path
from typing import Any

NAME = "jopt.json"
READ = 1 << 24  # bytes at a time


class DamagedCheckpoint(ValueError):
    """A directory whose files are not those that were written."""


def write(directory: Path, content: Any) -> None:
    """Vouch for every file of `directory` and for `content`; put all on the disk."""
    paths = sorted(directory.rglob("*"))
    files = [path for path in paths if path.is_file()]
    checksums = {str(path.relative_to(directory)): _checksum(path) for path in files}
    text = json.dumps({"content": content, "files": checksums})
    (directory / NAME).write_text(f"{zlib.crc32(text.encode()):08x} {text}\n")
    for path in (*files, directory / NAME):
        with path.open("r+b") as file:
            os.fsync(file.fileno())
    for path in (*paths, directory):
        if path.is_dir():
            to_disk(path)


def read(directory: Path) -> Any:
    """Return the content that was vouched for, if all files are as they were written.

    Raises a DamagedCheckpoint that names the first file that is not.
    """
    try:
        line = (directory / NAME).read_bytes()
    except FileNotFoundError:
        raise DamagedCheckpoint(
            f"{directory} is not whole: {NAME} is missing."
        ) from None
    checksum, _, text = line.removesuffix(b"\n").partition(b" ")
    if checksum != b"%08x" % zlib.crc32(text):
        raise DamagedCheckpoint(
            f"{directory} is damaged: {NAME} is not as it was written."
        )
    manifest = json.loads(text)
    for name, expected in manifest["files"].items():
        path = directory / name
        if not path.is_file():
            raise DamagedCheckpoint(f"{directory} is damaged: {name} is missing.")
        if _checksum(path) != expected:
            raise DamagedCheckpoint(
                f"{directory} is damaged: {name} is not as it was written."
            )
    return manifest["content"]


def to_disk(directory: Path) -> None:
    """Wait until the names in a directory are on the disk."""
    if os.name == "nt":  # where a directory cannot be opened
        return
    file = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while part := file.read(READ):
            checksum = zlib.crc32(part, checksum)
    return checksum
