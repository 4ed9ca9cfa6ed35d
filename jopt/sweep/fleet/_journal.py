"""Optuna's journal, whose writes are grouped, and whose torn last line is cut."""

import contextlib
import json
import os
from collections.abc import Generator, Iterator
from typing import Any

from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

LOCK_GRACE = 10  # seconds after which the lock of a killed process is broken


class GroupedJournal(JournalFileBackend):
    """A journal that writes all records of a group under one lock, with one fsync.

        with journal.group():
            for number, value in enumerate(values):
                storage.set_trial_intermediate_value(number, 1, value)

    The file is Optuna's, and any program of Optuna's reads and writes it too. Within a
    group nobody else writes, so that the storage knows at once what its records do. A
    process that was killed while it wrote leaves a line without an end: the next group
    cuts it. Optuna's own journal would be unreadable from then on.

    Args:
      path: of the file, made if it does not exist.
    """

    def __init__(self, path: str):
        self.path, self.lock = path, _Lock(path)
        self._held: list[dict[str, Any]] = []  # records of the group under way
        self._first: int | None = None  # number of the first of them
        self._size = 0  # of the file when the group began
        lock: Any = self.lock
        super().__init__(path, lock)

    @contextlib.contextmanager
    def group(self) -> Iterator[None]:
        """Write what is appended in the block at its end, also if it raises.

        A group inside another one is part of it.

        Raises:
          OSError: the file cannot be written, or the process was stopped for so long
            that another one broke its lock; nothing is written then.
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
            self._held += json.loads(json.dumps(logs))  # as they are read again

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Yield the records from a number on, those of the group under way too."""
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
    """Optuna's lock, which its holder may take again."""

    def __init__(self, path: str):
        # Its release is called by its own acquire, to break a lock that was left over.
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
    """Cut a last line that has no end; return the size of the file."""
    with open(path, "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        whole, block = size, 1 << 16
        while whole:  # look for the last line's end from the back
            begin = max(0, whole - block)
            file.seek(begin)
            at = file.read(whole - begin).rfind(b"\n")
            whole = begin + at + 1 if at >= 0 else begin
            if at >= 0:
                break
        if whole < size:
            file.truncate(whole)
        return whole
