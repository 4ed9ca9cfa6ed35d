"""A sweep's journal: one JSON object a line, on the disk before the sweep goes on."""

import errno
import os
from pathlib import Path
from typing import Any

from jopt.sweep.store._json_line import decode, encode
from jopt.sweep.store._manifest import to_disk

try:
    import fcntl  # POSIX; elsewhere a second process is not noticed
except ImportError:
    fcntl = None

NAME = "journal.jsonl"
UNLOCKABLE = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)


class Journal:
    """Append records to `directory/journal.jsonl`, one line each, the header first.

        with Journal(directory) as journal:
            if journal.lines == 0:
                journal.append(header)
            journal.append({"segment": 0, "valid_loss": losses})

    A line counts once its newline is on the disk. What a crash left of a last line is
    cut off when the journal is opened again.

    directory: made if it is not there. lines: whole ones in the file, the header's too.

    Raises a BlockingIOError if another sweep has it open, an OSError if it cannot be
    written, a ValueError if a line that is not the last is broken.
    """

    def __init__(self, directory: str | os.PathLike[str]):
        self.path = Path(directory) / NAME
        try:
            created = not self.path.exists()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        try:
            self._lock()
            records, self._size = _whole(self.path)
            self.lines = len(records)
            self._cut()
            if created:
                for directory in (self.path.parent, self.path.parent.parent):
                    to_disk(directory)
        except BaseException:
            self.close()
            raise

    def append(self, record: dict[str, Any]) -> None:
        """Write a line and wait until it is on the disk.

        record: as `encode` takes it. Raises an OSError in a sentence if it cannot be
        written; the lines before it stay whole, and a later append may succeed.
        """
        left = line = encode(record)
        try:
            os.lseek(self._file, self._size, os.SEEK_SET)
            while left:
                left = left[os.write(self._file, left) :]
            os.fsync(self._file)
        except OSError as error:
            self._cut()
            raise _unwritable(self.path, error) from error
        self._size += len(line)
        self.lines += 1

    def clear(self) -> None:
        """Take all lines out; the file stays, and stays locked."""
        self.lines = self._size = 0
        self._cut()

    def close(self) -> None:
        """Let others open the journal."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _cut(self) -> None:
        if os.fstat(self._file).st_size > self._size:
            os.ftruncate(self._file, self._size)
            os.fsync(self._file)

    def _lock(self) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(
                f"Another process is writing {self.path}; wait until it ends, or give "
                "this sweep another directory."
            ) from error
        except OSError as error:  # some network file systems have no locks
            if error.errno not in UNLOCKABLE:
                raise


def read(directory: str | os.PathLike[str]) -> tuple[dict[str, Any], list[Any]]:
    """Return the header and the records of a journal, without changing it.

    What a crash left of a last line is left out. Raises a FileNotFoundError if there is
    no journal, a ValueError if its header is not whole or a line before the last is
    broken.
    """
    path = Path(directory) / NAME
    if not path.exists():
        raise FileNotFoundError(
            f"There is no {NAME} in {directory}: no sweep was started there, or it was "
            "started without a directory."
        )
    records, _ = _whole(path)
    if not records:
        raise ValueError(
            f"{path} has no whole line: the sweep ended before it wrote its header, so "
            "there is nothing to resume; start it again."
        )
    return records[0], records[1:]


def _whole(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return the records of the whole lines, and their bytes in all."""
    lines = path.read_bytes().split(b"\n")[:-1]
    records: list[dict[str, Any]] = []
    size = 0
    for number, line in enumerate(lines, start=1):
        try:
            records.append(decode(line))
        except ValueError as error:
            if number == len(lines):
                break
            raise ValueError(
                f"Line {number} of {path} is broken ({error}), and lines follow it: "
                "something else than a sweep wrote there. Restore the file, or cut it "
                f"before line {number} to resume from there."
            ) from error
        size += len(line) + 1
    return records, size


def _unwritable(path: Path, error: OSError) -> OSError:
    return type(error)(f"{path} cannot be written: {error.strerror or error}")
