"""Predict from the times of past blocks whether a segment would end too late."""

import time
from collections.abc import Sequence


def after(timeout: float | None) -> float | None:
    """Return the deadline `timeout` seconds from now; None if there is no timeout."""
    return None if timeout is None else time.perf_counter() + timeout


class Deadline:
    """Say whether the next segment of a sweep would end too late.

        late if  now + rest + sum over groups of blocks * seconds  >  deadline

    `seconds` is the time of a block of the group, `rest` the time of a segment outside
    its blocks; both are the longest so far. The first segment of a run is never late,
    so every resume makes progress.

    Args:
      at: the deadline, of `time.perf_counter`; None for no end.
    """

    def __init__(self, at: float | None):
        self.at = at
        self.seconds: dict[int, float] = {}  # of a block, by group
        self.rest = 0.0
        self.training = 0.0  # seconds of training in the current segment
        self.began: float | None = None  # when the current segment began

    def trained(self, group: int, blocks: int, seconds: float) -> None:
        """Record the blocks that a group has trained in this segment."""
        self.training += seconds
        if blocks:
            known = self.seconds.get(group, 0.0)
            self.seconds[group] = max(known, seconds / blocks)

    def is_late(self, blocks: Sequence[int]) -> bool:
        """Return whether the next segment would end too late; else record its start.

        Args:
          blocks: the blocks that each group would train.
        """
        now = time.perf_counter()
        if self.began is not None:
            self.rest = max(self.rest, now - self.began - self.training)
            taken = (self.seconds.get(g, 0.0) * n for g, n in enumerate(blocks))
            if self.at is not None and now + self.rest + sum(taken) > self.at:
                return True
        self.began, self.training = now, 0.0
        return False
