"""The processes of a job that share a sweep, and the values that they exchange.

The job is that of `jax.distributed.initialize`. All processes run the same sweep, so
every process makes each call of this module, in the same order.
"""

import contextlib
import pickle
from collections.abc import Iterator
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

T = TypeVar("T")

PIECE = 1 << 26  # bytes of each process in one gather on the device
LEAST = 1 << 12  # least bytes of a padded piece: few sizes need few programs


class ElsewhereError(RuntimeError):
    """Another process of the job raised an error."""


def number() -> int:
    """Return the number of processes in the job."""
    return jax.process_count()


def index() -> int:
    """Return the index of this process, from 0."""
    return jax.process_index()


def everyones(value: T) -> list[T]:
    """Return the values of all processes, in their order.

    Raises `ElsewhereError` if another process raises an error within `together`.
    """
    return [value] if number() == 1 else _exchanged(None, value)


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Raise an error in every process if one process raises in this block.

    The others raise where they next wait: in `everyones`, or at the block's end.
    """
    if number() == 1:
        yield
        return
    try:
        yield
    except ElsewhereError:
        raise
    except BaseException as error:
        words = f"{type(error).__name__}: {error}".removesuffix(": ")
        with contextlib.suppress(ElsewhereError):  # its own error says more
            _exchanged(words, None)
        raise
    _exchanged(None, None)


def _exchanged(error: str | None, value: T) -> list[T]:
    # The processes of one job run one program, so they trust each other.
    every = [pickle.loads(held) for held in _gathered(pickle.dumps((error, value)))]
    for process, (said, _) in enumerate(every):
        if said is not None:
            raise ElsewhereError(
                f"The sweep ended, as process {process} of the job's {len(every)} "
                f"raised {said}"
            )
    return [held for _, held in every]


def _gathered(message: bytes) -> list[bytes]:
    """Return the messages of all processes.

    The first piece holds the message's size too, and the whole of a short message.
    """
    message = len(message).to_bytes(8, "little") + message
    parts = [[row] for row in _rows(message[:LEAST], LEAST)]
    longest = max(int.from_bytes(part[0][:8], "little") for part in parts) + 8
    for first in range(LEAST, longest, PIECE):
        size = 1 << (min(longest - first, PIECE) - 1).bit_length()
        rows = _rows(message[first : first + PIECE], max(LEAST, size))
        for part, row in zip(parts, rows, strict=True):
            part.append(row[:PIECE])
    joined = [b"".join(part) for part in parts]
    return [held[8 : 8 + int.from_bytes(held[:8], "little")] for held in joined]


def _rows(piece: bytes, size: int) -> list[bytes]:
    """Return the pieces of all processes, padded to a size."""
    held = np.frombuffer(piece.ljust(size, b"\0"), np.uint8)
    return [row.tobytes() for row in multihost_utils.process_allgather(held)]
