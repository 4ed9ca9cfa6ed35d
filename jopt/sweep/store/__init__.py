"""The record of a sweep on disk, and how a resume reads it."""

from jopt.sweep.store._fingerprint import (
    differences as differences,
    fingerprint as fingerprint,
    surroundings as surroundings,
    surroundings_differences as surroundings_differences,
)
from jopt.sweep.store._forms import damaged as damaged, misfit as misfit
from jopt.sweep.store._header import (
    HEADER as HEADER,
    found_by as found_by,
    header,
    same,
    task_of,
    trials_of,
)
from jopt.sweep.store._segments import Kept, packed as packed, unpacked as unpacked
from jopt.sweep.store._store import (
    PICTURES as PICTURES,
    RECORD as RECORD,
    SEARCH as SEARCH,
    Found,
    Store,
    read_end as read_end,
    read_header,
    read_segments,
)

__all__ = [
    "Found",
    "Kept",
    "Store",
    "header",
    "read_header",
    "read_segments",
    "same",
    "task_of",
    "trials_of",
]
