"""Keep compiled programs, and reuse them for other trials."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax

from jopt.sweep.engine._block import Batches, StackedTrials
from jopt.sweep.engine._block_size import pick, program_for, room, scans
from jopt.sweep.engine._devices import Device, as_devices
from jopt.sweep.engine._program import Program

MOST = 2  # programs that are kept after the sweep that compiled them


class _Entry(NamedTuple):
    digest: str  # digest of the program's function and shapes
    program: Program  # without trials and data
    picked: tuple[int, int] | None  # (trials, steps) for which its block was timed


_kept: list[_Entry] = []  # least recently used first
_most = [MOST]


def clear_programs() -> None:
    """Forget the compiled programs that the next sweep could reuse.

        sweep.run(task, trials)
        sweep.run(task, others)  # compiles nothing
        sweep.clear_programs()

    Two programs are kept, without trials and data. A sweep finds its program by the
    trace of the task's functions, by its shapes and by its block.
    """
    _kept.clear()


@contextlib.contextmanager
def keeping_programs(most: int) -> Iterator[None]:
    """Keep up to `most` programs within the block, for several sweeps in turn."""
    before, _most[0] = _most[0], max(most, _most[0])
    try:
        yield
    finally:
        _most[0] = before
        del _kept[:-before]


def program_of(
    stacked: StackedTrials,
    block: int | None,
    batches: Batches,
    steps: int,
    devices: Sequence[Device] | None = None,
    memory: int | None = None,
    scanned: bool | None = None,
) -> tuple[Program, dict[str, Any] | None]:
    """Return the program of the trials, and the timings if its block was timed.

    A kept program is reused; its numbers are those of a newly compiled one.

    Args:
      stacked: all trials of a group.
      block: trials of a device; None to choose it by timing.
      batches: the batches of a call.
      steps: total steps of each trial.
      devices: by default all of this process's.
      memory: bytes, as in `budget`.
      scanned: whether a call scans over its steps; None to follow `scans` or the
        timing.
    """
    precision = jax.config.jax_default_matmul_precision  # pyright: ignore[reportAttributeAccessIssue]
    traced = stacked.digest(batches)
    digest = None if traced is None else f"{traced} {precision}"
    asked = None if block is not None else (stacked.count, steps)
    given = devices, memory
    for entry in [entry for entry in _kept if entry.digest == digest]:
        program = entry.program
        ways = program.block, program.scanned
        way = block, scans(stacked, devices) if scanned is None else scanned
        same = entry.picked == asked if block is None else ways == way
        if same and program.devices == as_devices(devices)[: stacked.count]:
            there, filled = room(stacked, *given), program.filled(stacked)
            if there.on_host == filled.on_host and filled.bytes <= there.bytes:
                _kept.remove(entry)
                _kept.append(entry)
                return filled, None
    if block is None:
        program, search = pick(stacked, batches, steps, *given)
    else:
        program = program_for(stacked, block, batches, *given, scanned)
        search = None
    if digest is not None:
        _kept.append(_Entry(digest, program.emptied(), asked))
        del _kept[: -_most[0]]
    return program, search
