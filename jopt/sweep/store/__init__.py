"""The record of a sweep on the disk, and how a resume reads it."""

from jopt.sweep.store._fingerprint import surroundings as surroundings
from jopt.sweep.store._header import header, same, task_of, trials_of
from jopt.sweep.store._journal import plain as plain, read
from jopt.sweep.store._store import Found, Store

__all__ = ["Found", "Store", "header", "read", "same", "task_of", "trials_of"]
