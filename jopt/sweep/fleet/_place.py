"""The address of a fleet's study, and how its storage is opened."""

import contextlib
import importlib.util
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

from jopt.sweep._whole_files import lock

STUDY = "jopt"  # the name of a study whose address has none
WAIT = 10  # seconds for a server to answer
_FOREIGN = ("alembic", "grpc", "optuna", "psycopg", "psycopg2", "sqlalchemy")


class StorageError(OSError):
    """A storage that cannot be reached or written."""


class Opened(NamedTuple):
    """A storage, and the journal that groups its writes."""

    storage: Any  # an Optuna BaseStorage
    group: Callable[[], AbstractContextManager[None]]


class Place(NamedTuple):
    """The address of a storage, and the name of a study in it.

    The address is a path of a journal, or a URL: SQLAlchemy's form for a database, such
    as postgresql://host/name, or grpc://host:port for Optuna's proxy.
    """

    address: str
    study: str = STUDY
    command: Mapping[str, Any] | None = None  # the command's options, for a new study

    @classmethod
    def of(cls, given: "str | os.PathLike[str] | Place") -> "Place":
        """Return the place of a path, or of a URL that may end in #NAME."""
        if isinstance(given, Place):
            return given
        text = os.fspath(given)
        if "://" not in text:
            return cls(text)
        address, _, name = text.partition("#")
        return cls(address, name or STUDY)

    def __fspath__(self) -> str:
        return self.address

    def __str__(self) -> str:
        return re.sub(r"://[^@/]*@", "://...@", self.address)  # hide the password

    @property
    def is_journal(self) -> bool:
        """Whether the storage is an Optuna journal."""
        return "://" not in self.address

    def opened(self, new: bool = False) -> Opened:
        """Return the storage.

        Args:
          new: whether a new storage may be made.

        Raises:
          ImportError: Optuna, or the driver of the database, is not installed.
          FileNotFoundError: there is no journal.
          ValueError: the file is damaged, or is not a journal.
          StorageError: the storage cannot be reached.
        """
        if importlib.util.find_spec("optuna") is None:
            raise ImportError(
                "A study that several workers share needs the package optuna, which is "
                "not installed; pip install 'jopt[search]'."
            )
        if self.is_journal:
            return self._journal(new)
        try:
            with self.reached("be opened"):
                return Opened(self._served(), contextlib.nullcontext)
        except ImportError as error:
            first = str(error).strip().partition("\n")[0]
            raise ImportError(
                f"The storage {self} needs a package that is not installed: {first} "
                "pip install 'jopt[fleet]'."
            ) from error

    def _journal(self, new: bool) -> Opened:
        from optuna.storages import JournalStorage

        from jopt.sweep.fleet._journal import GroupedJournal

        path = Path(self.address)
        if not new and not path.exists():
            raise FileNotFoundError(
                f"There is no study at {path}; jopt search --storage {path} begins one."
            )
        if path.exists() and not path.is_file():
            raise ValueError(
                f"{path} is no file; the storage of a study is a journal's path or a "
                "URL, such as study.journal or postgresql://host/database."
            )
        with self.reached("be written"):
            path.parent.mkdir(parents=True, exist_ok=True)
            journal = GroupedJournal(str(path))
        try:
            return Opened(JournalStorage(journal), journal.group)
        except (ValueError, KeyError, TypeError, AssertionError) as error:
            raise ValueError(
                f"{path} is damaged or no journal of Optuna's ({error}); restore it, "
                "or begin another study."
            ) from error

    def _served(self) -> Any:
        from optuna import storages

        if self.address.startswith("grpc://"):
            host, _, port = self.address.removeprefix("grpc://").rpartition(":")
            if not host or not port.isdecimal():
                raise ValueError(f"{self} must be grpc://HOST:PORT.")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Optuna warns that it is experimental
                proxy = storages.GrpcStorageProxy(host=host, port=int(port))
            proxy.wait_server_ready(WAIT)
            return proxy
        options: dict[str, Any] = {"pool_pre_ping": True}
        if self.address.startswith(("postgresql", "mysql")):
            options["connect_args"] = {"connect_timeout": WAIT}
        database = storages.RDBStorage(self.address, engine_kwargs=options)
        return storages._CachedStorage(database)  # reads finished trials only once

    @contextlib.contextmanager
    def reached(self, what: str) -> Iterator[None]:
        """Raise StorageError for errors of the storage in the block.

        Args:
          what: the action that failed, in words: "be written".
        """
        import optuna

        try:
            yield
        except optuna.exceptions.UpdateFinishedTrialError:
            raise  # the storage works: a trial has already finished
        except Exception as error:
            package = type(error).__module__.partition(".")[0]
            foreign = package in _FOREIGN and not isinstance(error, ImportError)
            if isinstance(error, StorageError) or not (
                foreign or isinstance(error, OSError)
            ):
                raise
            text = (str(error) or type(error).__name__).strip().splitlines()[0]
            text = text.replace(self.address, str(self)).rstrip(".")
            raise StorageError(
                f"The storage {self} cannot {what} ({text}); look whether it runs, and "
                "whether this machine may reach it."
            ) from error

    def alone(self) -> int | None:
        """Lock SQLite's file for one worker; return a file descriptor for `os.close`.

        SQLite could give one block to several workers. Other storages return None.

        Raises:
          BlockingIOError: another worker has the lock.
        """
        if not self.address.startswith("sqlite:"):
            return None
        path = self.address.partition(":///")[2].partition("?")[0]
        if path in ("", ":memory:"):
            return None
        file = os.open(f"{path}.worker", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            lock(
                file,
                f"Another worker trains the study in {self}, and SQLite serves one; "
                "wait until it ends, or begin the study in a journal (a path) or in "
                "PostgreSQL, which serve many.",
            )
        except BaseException:
            os.close(file)
            raise
        return file


def is_storage(given: str | os.PathLike[str]) -> bool:
    """Return whether an address is a study's storage: a URL, or a file."""
    return "://" in os.fspath(given) or Path(given).is_file()
