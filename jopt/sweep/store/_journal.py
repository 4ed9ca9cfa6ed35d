"""A sweep's journal: one JSON object a line, on the disk before the sweep continues."""

import errno
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from jopt.sweep._shown_values import shown
from jopt.sweep.store._checkpoints import to_disk

try:
    import fcntl  # POSIX; elsewhere a second process is not noticed
except ImportError:
    fcntl = None

NAME = "journal.jsonl"
UNLOCKABLE = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)
NOT_FINITE = "$float"


class Journal:
    """Append records to `directory/journal.jsonl`, one line each, the header first.

        with Journal(directory) as journal:
            if journal.lines == 0:
                journal.append(header)
            journal.append({"segment": 0, "valid_loss": losses})

    A line counts once its newline is on the disk. A last line that a crash left
    unfinished is cut off when the journal is opened again. `lines` counts the whole
    lines of the file, with the header.

    Args:
      directory: is made if it does not exist.

    Raises:
      BlockingIOError: if another sweep has the journal open.
      OSError: if it cannot be written.
      ValueError: if a line before the last is broken.
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
        """Write a record that `encode` takes; return when it is on the disk.

        Raises an OSError if it cannot be written. The lines before it stay whole, and a
        later append may succeed.
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
        """Remove all lines; the file stays, and stays locked."""
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

    A last line that a crash left unfinished is left out.

    Raises:
      FileNotFoundError: if there is no journal.
      ValueError: if its header is not whole, or a line before the last is broken.
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


def encode(record: dict[str, Any]) -> bytes:
    """Return a record as a line of strict JSON, made by `plain` exactly."""
    return json.dumps(plain(record, exact=True), allow_nan=False).encode() + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """Return the record of a line. Raises a ValueError if it is not a JSON object."""
    record = json.loads(line.decode(), object_hook=_float)
    if not isinstance(record, dict):
        raise ValueError(f"A line must be a JSON object, got {type(record).__name__}.")
    return record


def plain(value: Any, exact: bool) -> Any:
    """Return a value made of what strict JSON has; tuples become lists.

    Args:
      value: numbers, strings, None, and lists, tuples and dicts of them.
      exact: True for a value that `decode` gives back: floats bit for bit, those that
        JSON has no word for as {"$float": "nan"}, "inf" or "-inf"; NumPy's and JAX's
        numbers and arrays as Python's. False for people: "nan" for NaN, and arrays and
        other objects as tables show them.

    Raises:
      TypeError: if `exact` and the value has a part of another type, or a key that is
        not a string or is "$float".
    """
    if isinstance(value, dict):
        wrong = [key for key in value if not isinstance(key, str) or key == NOT_FINITE]
        if exact and wrong:
            raise TypeError(f"A record's keys must be other strings, got {wrong[0]!r}.")
        return {key: plain(item, exact) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, exact) for item in value]
    if value is not None and not isinstance(value, (bool, int, float, str)):
        return plain(_numbers(value), exact) if exact else plain(shown(value), exact)
    if isinstance(value, float) and not math.isfinite(value):
        return {NOT_FINITE: repr(float(value))} if exact else repr(float(value))
    return value


def _numbers(value: Any) -> Any:
    if hasattr(value, "dtype") and np.asarray(value).dtype.kind in "biufVU":
        return np.asarray(value).tolist()
    raise TypeError(
        "A record must be made of numbers, strings, lists, dicts and arrays, got "
        f"{type(value).__name__}."
    )


def _float(found: dict[str, Any]) -> Any:
    return float(found[NOT_FINITE]) if list(found) == [NOT_FINITE] else found


def _whole(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return the records of the whole lines, and the bytes of these lines."""
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
