"""The record that a sweep resumes from after a crash: a journal and checkpoints."""

import csv
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from jopt.core import PyTree
from jopt.sweep.store._checkpoints import Checkpoints
from jopt.sweep.store._journal import Journal, read


class Found(NamedTuple):
    """The newest state whose checkpoint is whole."""

    segment: int
    tree: PyTree
    records: list[dict[str, Any]]  # of the segments up to it, in order


class Store:
    """Keep the state of a sweep in a directory: a line and a checkpoint a segment.

    The line of a segment is written before its checkpoint, so that every checkpoint has
    a line. Raises an OSError if the directory cannot be written, or if another process
    writes it.
    """

    def __init__(self, directory: str | os.PathLike[str]):
        self.directory = Path(directory)
        self.journal = Journal(directory)
        self.checkpoints = Checkpoints(directory)

    @classmethod
    def new(cls, directory: str | os.PathLike[str], overwrite: bool) -> "Store":
        """Return the store of a new sweep.

        Raises a FileExistsError if the directory has a sweep already, unless
        `overwrite`: then `begin` removes that one.
        """
        store = cls(directory)
        if store.journal.lines and not overwrite:
            store.close()
            raise FileExistsError(
                f"{directory} has the journal of a sweep; go on with it by "
                f"sweep.resume({str(directory)!r}), or give another directory."
            )
        return store

    def begin(self, header: dict[str, Any]) -> None:
        """Write the header of a new sweep; remove the files of an earlier one."""
        if self.journal.lines:
            self.journal.clear()
            shutil.rmtree(self.checkpoints.directory, ignore_errors=True)
            _remove_exports(self.directory)
        self.journal.append(header)

    def save(self, segment: int, record: dict[str, Any], tree: PyTree) -> None:
        """Record that a segment is done, and the state that the next starts from."""
        self.journal.append({"segment": segment, **record})
        self.checkpoints.save(segment, tree)

    def newest(self, like: Callable[[dict[str, Any]], PyTree]) -> Found | None:
        """Return the newest state; note in the journal that the sweep resumes there.

        `like` returns a tree of the shapes of a checkpoint, by its segment's record.
        """
        _, lines = read(self.directory)
        # A segment that was repeated after a crash has two lines; the last one counts.
        records = {line["segment"]: line for line in lines if "segment" in line}
        last = max(records, default=-1)
        segment, tree, said = self.checkpoints.newest(
            lambda segment: like(records[segment]), upto=last
        )
        if said:
            after = "over" if segment is None else f"again after segment {segment + 1}"
            warnings.warn(" ".join([*said, f"The sweep starts {after}."]), stacklevel=2)
        self.journal.append({"resumed_after": segment, "damaged": said})
        if segment is None:
            return None
        return Found(segment, tree, [records[s] for s in range(segment + 1)])

    def close(self) -> None:
        """Let others write the directory."""
        self.journal.close()


def _remove_exports(directory: Path) -> None:
    """Remove the files that `SweepResult.save` wrote for another sweep."""
    names = ["curves.npz", "sweep.json", "best.json", "lineage.json", "report.html"]
    table = directory / "trials.csv"
    if table.is_file():
        with table.open(newline="") as file:
            columns = next(csv.reader(file), [])
        names += ["trials.csv", "curves.png", "front.png"]
        names += [f"{name}.png" for name in columns]
    for name in names:
        (directory / name).unlink(missing_ok=True)
    for name in ("best", "tensorboard"):
        shutil.rmtree(directory / name, ignore_errors=True)
