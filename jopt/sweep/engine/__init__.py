"""Blocks of trials, trained together by one compiled program."""

from jopt.sweep.engine._block import (
    EVALUATION_CHUNK,
    Batches,
    Chunks,
    Data,
    chunked,
    evaluate,
    place,
)
from jopt.sweep.engine._block_size import pick
from jopt.sweep.engine._devices import Device, Spread
from jopt.sweep.engine._fitting import given
from jopt.sweep.engine._lanes import Lanes, Seeded
from jopt.sweep.engine._memory import budget
from jopt.sweep.engine._pool import Pool, Report

__all__ = [
    "EVALUATION_CHUNK",
    "Batches",
    "Chunks",
    "Data",
    "Device",
    "Lanes",
    "Pool",
    "Report",
    "Seeded",
    "Spread",
    "budget",
    "chunked",
    "evaluate",
    "given",
    "pick",
    "place",
]
