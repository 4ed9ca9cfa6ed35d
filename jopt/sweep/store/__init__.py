"""What a sweep leaves on the disk, and what a resume reads of it."""

from jopt.sweep.store._header import header, same, task_of, trials_of
from jopt.sweep.store._journal import read
from jopt.sweep.store._store import Found, Store
from jopt.sweep.store._surroundings import surroundings

__all__ = [
    "Found",
    "Store",
    "header",
    "read",
    "same",
    "surroundings",
    "task_of",
    "trials_of",
]
