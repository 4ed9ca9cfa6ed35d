"""The record of a sweep on disk: a header, a file a segment, and checkpoints."""

import csv
import os
import secrets
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jopt.core import PyTree
from jopt.sweep import _processes as processes
from jopt.sweep._array_files import load_orbax
from jopt.sweep._json import decode, encode
from jopt.sweep._whole_files import (
    file_name,
    lock,
    own_directory,
    read_file,
    remove,
    remove_partial,
    replacing,
)
from jopt.sweep.store._checkpoints import ENDED, Checkpoints
from jopt.sweep.store._forms import DamagedRecord, damaged, misfit
from jopt.sweep.store._header import FORMAT, HEADER
from jopt.sweep.store._segments import Kept, read_segment, write_segment

RECORD = "record"
SEARCH = "search.json"  # file of a search, beside the records of its batches
OLDER = "journal.jsonl"  # file that version 0.1 wrote
PICTURES = ("curves", "front")  # pictures without a hyperparameter's name


class Found(NamedTuple):
    """The newest state whose checkpoint and segments are all undamaged."""

    segment: int
    tree: PyTree
    segments: list[Kept]  # segments up to it, in order


class Store:
    """Write the record of a sweep into `directory/record`.

        header.json      what is swept, and what was asked for
        segments/N.npz   the results of segment N: losses, metrics, events
        checkpoints/N    the states after segment N, for the last two segments
        ended/T          with keep_pruned, the states of one program's trials that were
                         pruned together, trial T and later ones
        end.json         the winner's test metrics, once the sweep has ended
        lock             held while a process writes
        processes/P      checkpoints of process P of a job, from 1 on

    Each file is written atomically. A segment's file is written before its checkpoint,
    so every checkpoint has a segment's file.

    The processes of a job share the directory. Each writes the states of its own
    trials, and only the first one writes the other files.

    A sweep has a random id. Its header, its segments and its checkpoints name it, so
    that files of different sweeps are told apart. `id` has it once the sweep is begun;
    a resume sets it.

    Args:
      directory: made if it does not exist.

    Raises:
      BlockingIOError: another process writes the record.
      OSError: the directory cannot be written.
    """

    def __init__(self, directory: str | os.PathLike[str]):
        self.directory = Path(directory)
        self.path = self.directory / RECORD
        self.id: str | None = None
        self._lock_file = -1
        self.checkpoints = Checkpoints(_of_process(self.path, processes.index()))
        self.ended = Checkpoints(self.path, ENDED, most=None)
        if processes.index() > 0:
            return
        try:
            own_directory(self.path)
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
            self._lock_file = os.open(self.path / "lock", flags, 0o666)
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            lock(
                self._lock_file,
                f"Another process is writing {self.path}; wait until it ends, or give "
                "this sweep another directory.",
            )
        except BaseException:
            os.close(self._lock_file)
            raise
        for folder in (self.path, self.path / "segments"):
            remove_partial(folder)

    @property
    def _first(self) -> bool:
        return processes.index() == 0

    @classmethod
    def new(cls, directory: str | os.PathLike[str], overwrite: bool) -> "Store":
        """Return the store of a new sweep.

        Raises FileExistsError if the directory has a sweep already, unless `overwrite`
        is True: then `begin` removes that sweep.
        """
        store = cls(directory)
        names = {
            store.directory / SEARCH: "a search",
            store.path / HEADER: "the record of a sweep",
            store.directory / OLDER: "the journal of a sweep of jopt 0.1",
        }
        there = [what for path, what in names.items() if path.exists()]
        if there and not overwrite and store._first:
            store.close()
            go_on = f"go on with it by sweep.resume({str(directory)!r}), or "
            raise FileExistsError(
                f"{directory} has {there[0]}; "
                f"{go_on * ('record' in there[0])}give another directory."
            )
        load_orbax()  # in the background, while the sweep is compiled
        return store

    def begin(self, header: Mapping[str, Any]) -> None:
        """Write the header of a new sweep; remove the files of an earlier one."""
        if not self._first:
            return
        others = self.path / HEADER, self.directory / OLDER, self.directory / SEARCH
        if any(path.exists() for path in others):
            for name in (HEADER, "end.json"):  # the header first, which ends the record
                (self.path / name).unlink(missing_ok=True)
            for name in ("segments", "checkpoints", "processes", "ended"):
                remove(self.path / name)
            _remove_exports(self.directory)
        self.id = secrets.token_hex(8)
        self.rewrite(header)

    def rewrite(self, header: Mapping[str, Any]) -> None:
        """Replace the header."""
        own = {"format": FORMAT, "id": self.id, "processes": processes.number()}
        self._write(HEADER, {**own, **header})

    def keep(
        self, segment: int, notes: dict[str, Any], arrays: Mapping[str, np.ndarray]
    ) -> None:
        """Write the file of a segment.

        Raises OSError if it cannot be written; earlier files stay whole.
        """
        if not self._first:
            return
        try:
            segments = own_directory(self.path / "segments")
            notes = {**notes, "sweep": self.id}
            write_segment(segments / f"{segment}.npz", notes, arrays)
        except OSError as error:
            raise self._unwritable(error) from error

    def save(
        self,
        segment: int,
        notes: dict[str, Any],
        arrays: Mapping[str, np.ndarray],
        tree: PyTree,
        ended: Mapping[int, PyTree] | None = None,
    ) -> None:
        """Keep the results of a segment, and the state after it.

        `ended` has the states of trials that were pruned after it, by the first trial
        of each program.
        """
        for trial, states in (ended or {}).items():
            self.ended.save(trial, states, self.id)
        self.keep(segment, notes, arrays)
        self.checkpoints.save(segment, tree, self.id)

    def newest(
        self, segments: Sequence[Kept], like: Callable[[dict[str, Any]], PyTree]
    ) -> Found | None:
        """Return the newest state, and warn of damaged files.

        Args:
          segments: the undamaged segments, in order.
          like: returns a tree with the shapes of a checkpoint, from its segment's
            notes.
        """
        segment, tree, said = self.checkpoints.newest(
            lambda segment: like(segments[segment].notes),
            upto=len(segments) - 1,
            sweep=self.id,
        )
        if said:
            after = "over" if segment is None else f"again after segment {segment + 1}"
            warnings.warn(" ".join([*said, f"The sweep starts {after}."]), stacklevel=2)
        if segment is None:
            return None
        return Found(segment, tree, list(segments[: segment + 1]))

    def forget(self, segment: int) -> None:
        """Remove the files of a segment and of later ones."""
        for number in self.checkpoints.segments():
            if number >= segment:
                remove(self.checkpoints.directory / str(number))
        if not self._first:
            return
        for path in (self.path / "segments").glob("*.npz"):
            if path.stem.isdecimal() and int(path.stem) >= segment:
                path.unlink()
        (self.path / "end.json").unlink(missing_ok=True)

    def end(self, content: dict[str, Any]) -> None:
        """Write the final information on an ended sweep."""
        self._write("end.json", content)

    def close(self) -> None:
        """Release the record for other processes; remove it if no sweep was begun."""
        if self._lock_file < 0:
            return
        if self.path.is_dir() and not (self.path / HEADER).exists():
            (self.path / "lock").unlink(missing_ok=True)
            if not any(self.path.iterdir()):
                self.path.rmdir()
        os.close(self._lock_file)
        self._lock_file = -1

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        if not self._first:
            return
        try:
            own_directory(self.path)
            with replacing(self.path / name) as partial:
                partial.write_bytes(encode(dict(content)))
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> OSError:
        return type(error)(f"{self.path} cannot be written: {error.strerror or error}")


def _of_process(record: Path, process: int) -> Path:
    """Return where a process of a job keeps its trials' states."""
    return record / "processes" / str(process) if process else record


def read_header(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the header of the record in a directory, without changing anything.

    Raises:
      FileNotFoundError: there is no record.
      ValueError: the record is of another version of jopt.
      DamagedRecord: the header was changed or damaged.
    """
    directory = Path(directory)
    path = directory / RECORD / HEADER
    if not path.exists():
        if (directory / OLDER).exists():
            raise ValueError(
                f"{directory} holds a sweep of jopt 0.1, whose journal this version "
                "does not read; go on with it in that version, or start it again."
            )
        if (directory / SEARCH).exists():
            raise ValueError(
                f"{directory} holds a search; go on with it by sweep.search with the "
                "same arguments, its directory too."
            )
        raise FileNotFoundError(
            f"There is no {RECORD}/{HEADER} in {directory}: no sweep was started "
            "there, or it was started without a directory and not saved."
        )
    header = _read(path)
    if misfit(header.get("format"), range(FORMAT, FORMAT + 1)) is not None:
        raise damaged(path, "it is of another version of jopt")
    if (said := misfit(header.get("id"), str)) is not None:
        raise damaged(path, f"in id, {said}")
    return header


def read_end(directory: str | os.PathLike[str], form: Any) -> dict[str, Any] | None:
    """Return what `Store.end` wrote; None if the sweep has not ended."""
    path = Path(directory) / RECORD / "end.json"
    if not path.exists():
        return None
    found = _read(path)
    if (said := misfit(found, form)) is not None:
        raise damaged(path, said)
    return found


def read_segments(
    directory: str | os.PathLike[str],
    sweep: str,
    check: Callable[[int, Kept], str | None],
) -> tuple[list[Kept], str | None]:
    """Return the segments of a record, in order, up to the first damaged one.

    Args:
      directory: the directory of the sweep.
      sweep: the id of the sweep.
      check: returns what is wrong with the contents of a segment; None for nothing.

    Returns:
      The segments, and a sentence on the first damaged one; None if none is.
    """
    segments: list[Kept] = []
    folder = Path(directory) / RECORD / "segments"
    while (path := folder / f"{len(segments)}.npz").exists():
        try:
            found = read_segment(path)
            if found.notes.get("sweep") != sweep:
                raise damaged(path, "it is of another sweep")
            if (said := check(len(segments), found)) is not None:
                raise damaged(path, said)
        except DamagedRecord as error:
            return segments, str(error)
        segments.append(found)
    return segments, None


def _read(path: Path) -> dict[str, Any]:
    try:
        return decode(read_file(path))
    except FileNotFoundError:
        raise
    except ValueError as error:
        raise damaged(path, error) from error


def _remove_exports(directory: Path) -> None:
    """Remove the files that `SweepResult.save` wrote for another sweep."""
    names = ["curves.npz", "sweep.json", "best.json", "lineage.json", "report.html"]
    names += ["best", "tensorboard", OLDER, "checkpoints"]
    names += [SEARCH, "batches", "confirmed"]
    table = directory / "trials.csv"
    if table.is_file():
        with table.open(newline="") as file:
            columns = next(csv.reader(file), [])
        names += ["trials.csv", "curves.png", "front.png"]
        names += [f"{file_name(name, PICTURES)}.png" for name in columns]
    for name in names:
        remove(directory / name)
