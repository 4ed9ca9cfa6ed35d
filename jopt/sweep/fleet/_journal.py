"""Optuna's journal, with grouped writes and a repair of a torn last line."""

import contextlib
import json
import os
from collections.abc import Generator, Iterator
from typing import Any

from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

LOCK_GRACE = 10  # seconds after which a dead process's lock is broken


class GroupedJournal(JournalFileBackend):
    """A journal that writes all records of a group under one lock, with one fsync.

        with journal.group():
            for number, value in enumerate(values):
                storage.set_trial_intermediate_value(number, 1, value)

    The file is Optuna's, and any program that uses Optuna reads and writes it too. No
    other process writes during a group, so the storage knows the effect of its records
    at once. A process that is killed while it writes leaves a torn line. The next group
    cuts it; Optuna's own journal would be unreadable from then on.

    Args:
      path: the path of the file, made if it does not exist.
    """

    def __init__(self, path: str):
        self.path, self.lock = path, _Lock(path)
        self._held: list[dict[str, Any]] = []  # records of the current group
        self._first: int | None = None  # number of the first of these records
        self._size = 0  # size of the file when the group began
        lock: Any = self.lock
        super().__init__(path, lock)

    @contextlib.contextmanager
    def group(self) -> Iterator[None]:
        """Write the records of the block together at its end, even if it raises.

        A group inside another one is part of the outer one.

        Raises:
          OSError: the file cannot be written; or the process was suspended for so long
            that another one broke its lock, and nothing is written.
        """
        self.lock.acquire()
        try:
            outer = self.lock.depth == 1
            if outer:
                self._held, self._first = [], None
                self._size = _cut(self.path)
            try:
                yield
            finally:
                if outer and self._held:
                    self._write()
        finally:
            self.lock.release()

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append records, now or at the end of the group."""
        with self.group():
            self._held += json.loads(json.dumps(logs))  # as they will be read

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Yield the records from a number on, those of the current group too."""
        begin = log_number_from
        if not self.lock.depth or self._first is None:
            for log in super().read_logs(log_number_from):
                yield log
                begin += 1
        if self.lock.depth:
            self._first = begin if self._first is None else self._first
            yield from self._held[begin - self._first :]

    def _write(self) -> None:
        if os.stat(self.path).st_size != self._size:
            raise OSError(
                f"{self.path} was written by another worker, which broke this one's "
                f"lock after {LOCK_GRACE} seconds"
            )
        logs, self._held = self._held, []
        super().append_logs(logs)


class _Lock:
    """Optuna's lock, made reentrant."""

    def __init__(self, path: str):
        # Optuna's acquire calls release, to break a dead process's lock.
        self.lock, self.depth = JournalFileSymlinkLock(path, LOCK_GRACE), 0

    def acquire(self) -> bool:
        if not self.depth:
            self.lock.acquire()
        self.depth += 1
        return True

    def release(self) -> None:
        self.depth -= 1
        if not self.depth:
            with contextlib.suppress(RuntimeError):  # another process broke it
                self.lock.release()


def _cut(path: str) -> int:
    """Cut a torn last line; return the size of the file."""
    with open(path, "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        whole, block = size, 1 << 16
        while whole:  # search backwards for the last line's end
            begin = max(0, whole - block)
            file.seek(begin)
            at = file.read(whole - begin).rfind(b"\n")
            whole = begin + at + 1 if at >= 0 else begin
            if at >= 0:
                break
        if whole < size:
            file.truncate(whole)
        return whole
