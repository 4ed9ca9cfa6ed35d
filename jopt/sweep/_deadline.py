"""When the time of a sweep is up, by what its blocks have taken."""

import time
from collections.abc import Sequence


def after(timeout: float | None) -> float | None:
    """Return the deadline that comes so many seconds from now; None for none."""
    return None if timeout is None else time.perf_counter() + timeout


class Deadline:
    """Say whether the next segment of a sweep would end too late.

        late if  now + rest + sum over groups of blocks * seconds  >  deadline

    Both `seconds`, of a block of the group, and `rest`, of a segment beside its blocks,
    are the longest so far. The first segment that a run trains is never late, so that
    each resume goes on.

    Args:
      at: the deadline, of `time.perf_counter`; None for no end.
    """

    def __init__(self, at: float | None):
        self.at = at
        self.seconds: dict[int, float] = {}  # of a block, by group
        self.rest = 0.0
        self.training = 0.0  # seconds of the segment under way
        self.began: float | None = None  # the segment under way

    def trained(self, group: int, blocks: int, seconds: float) -> None:
        """Take note of the blocks that a group has trained in this segment."""
        self.training += seconds
        if blocks:
            known = self.seconds.get(group, 0.0)
            self.seconds[group] = max(known, seconds / blocks)

    def is_late(self, blocks: Sequence[int]) -> bool:
        """Return whether a segment is not to begin; else take note that it does.

        Args:
          blocks: that each group would train.
        """
        now = time.perf_counter()
        if self.began is not None:
            self.rest = max(self.rest, now - self.began - self.training)
            taken = (self.seconds.get(g, 0.0) * n for g, n in enumerate(blocks))
            if self.at is not None and now + self.rest + sum(taken) > self.at:
                return True
        self.began, self.training = now, 0.0
        return False
