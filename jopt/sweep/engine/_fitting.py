"""What fits: the room for a call on a device, and the block that a user asks for."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax

from jopt.sweep.engine import _memory as memory
from jopt.sweep.engine._block import Batches
from jopt.sweep.engine._devices import Device, Spread
from jopt.sweep.engine._lanes import Lanes
from jopt.sweep.engine._program import Program


class Room(NamedTuple):
    """What a device has for a call."""

    bytes: int  # beside the data, and the trials that wait there
    on_host: bool  # whether they wait in the host's memory instead


def room(lanes: Lanes, devices: Sequence[Device] | None, limit: int | None) -> Room:
    """Return the room for calls of these trials.

    All trials wait on the devices if that takes at most half of what they have, else
    in the host's memory. devices, limit: as `Spread.of` and `memory.budget` take them.

    Raises a ValueError if the host has no room for them either.
    """
    found = Spread.of(devices).devices[: lanes.count]
    free = memory.budget(found, limit, held=memory.size(lanes.data))
    waiting = memory.size(jax.eval_shape(lanes.start, lanes.txs, lanes.seeded)[0])
    part = math.ceil(waiting / len(found))
    if part <= free / 2:
        return Room(free - part, on_host=False)
    if waiting > memory.host():
        raise ValueError(
            f"A sweep needs memory for its trials, got {lanes.count} that take "
            f"{memory.shown(waiting)}; the devices have {memory.shown(free)} each, the "
            f"host {memory.shown(memory.host())}. Train fewer at a time."
        )
    return Room(free, on_host=True)


def attempt(
    lanes: Lanes,
    block: int,
    batches: Batches,
    devices: Sequence[Device] | None,
    there: Room,
) -> Program | None:
    """Return a block's program; None if it is too large even to be compiled."""
    try:
        return Program(lanes, block, batches, devices, on_host=there.on_host)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return None


def given(
    lanes: Lanes,
    block: int,
    batches: Batches,
    devices: Sequence[Device] | None = None,
    limit: int | None = None,
) -> Program:
    """Return the program of a block of the user's choice.

    Raises a ValueError with the largest block that fits, if this does not.
    """
    there = room(lanes, devices, limit)
    program = attempt(lanes, block, batches, devices, there)
    if program is not None and program.bytes <= there.bytes:
        return program
    # Sizes that fit and that do not, and their bytes; no trial at all takes nothing.
    fits, fails = (0, 0), (block, _bytes(program))
    size = 1
    while fails[0] - fits[0] > 1:
        needs = _bytes(attempt(lanes, size, batches, devices, there))
        if needs > there.bytes:
            fails = size, needs
        else:
            fits = size, needs
        # Bytes are about linear in the size: next, where they would cross the room.
        known = fails[1] < math.inf
        share = (there.bytes - fits[1]) / (fails[1] - fits[1]) if known else 0.5
        size = fits[0] + max(1, int((fails[0] - fits[0]) * share))
    if fits[0] == 0:
        raise ValueError(too_small(there, fails[1]))
    raise ValueError(
        f"A sweep needs a block that fits in memory, got {block}; the largest that "
        f"fits in the {memory.shown(there.bytes)} of a device is {fits[0]}."
    )


def _bytes(program: Program | None) -> float:
    return math.inf if program is None else program.bytes


def too_small(there: Room, needs: float) -> str:
    """Return the sentence for a device on which not one trial fits."""
    much = memory.shown(needs) if needs < math.inf else "more"
    return (
        f"A sweep needs memory for at least one trial of a device, got "
        f"{memory.shown(there.bytes)} where one takes {much}; give it more memory, a "
        "smaller batch, or a smaller model."
    )
