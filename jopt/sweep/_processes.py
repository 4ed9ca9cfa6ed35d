"""The processes of a job that share a sweep, and what they tell one another.

They are those of `jax.distributed.initialize`; one alone has nobody to tell. All of
them run the same sweep: each call here is made by every process, in the same order.
"""

import contextlib
import pickle
from collections.abc import Iterator
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

T = TypeVar("T")

PIECE = 1 << 26  # bytes of a process that a device holds while they are gathered
LEAST = 1 << 12  # bytes of a piece, filled up: few sizes mean few small programs


class ElsewhereError(RuntimeError):
    """Another process of the job raised an error."""


def number() -> int:
    """Return how many processes the job has."""
    return jax.process_count()


def index() -> int:
    """Return which of them this one is, from 0."""
    return jax.process_index()


def everyones(value: T) -> list[T]:
    """Return the value of each process, in their order.

    Raises an `ElsewhereError` if a process raises an error within `together` instead.
    """
    return [value] if number() == 1 else _exchanged(None, value)


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Raise an error in every process if one raises an error in this block.

    The others learn of it where they wait next: in `everyones`, or at the block's end.
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
    # The processes of one job trust one another, as they run one program.
    every = [pickle.loads(held) for held in _gathered(pickle.dumps((error, value)))]
    for process, (said, _) in enumerate(every):
        if said is not None:
            raise ElsewhereError(
                f"The sweep ended, as process {process} of the job's {len(every)} "
                f"raised {said}"
            )
    return [held for _, held in every]


def _gathered(message: bytes) -> list[bytes]:
    """Return the message of each process.

    The first piece has the size of the message, too, and is all of a short one.
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
    """Return the piece of each process, filled up to a size."""
    held = np.frombuffer(piece.ljust(size, b"\0"), np.uint8)
    return [row.tobytes() for row in multihost_utils.process_allgather(held)]
