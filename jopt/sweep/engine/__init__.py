"""Blocks of trials, trained together by one compiled program."""

from jopt.sweep.engine._block import (
    EVALUATION_CHUNK,
    Batches,
    Chunks,
    Data,
    StackedTrials,
    Starts,
    chunk_shape,
    chunked,
    means_over,
    place,
)
from jopt.sweep.engine._block_size import pick, program_for
from jopt.sweep.engine._devices import Device, as_devices, budget
from jopt.sweep.engine._pool import CallResult, Pool
from jopt.sweep.engine._remembered_blocks import remembering

__all__ = [
    "EVALUATION_CHUNK",
    "Batches",
    "CallResult",
    "Chunks",
    "Data",
    "Device",
    "Pool",
    "StackedTrials",
    "Starts",
    "as_devices",
    "budget",
    "chunk_shape",
    "chunked",
    "means_over",
    "pick",
    "place",
    "program_for",
    "remembering",
]
