"""What was seen of the trials of a sweep while they trained."""

import numpy as np

from jopt.sweep.program import Report


class History:
    """What was seen of each trial while it trained."""

    def __init__(self, trials: int, steps: int, segments: int, length: int):
        self.losses = np.full((trials, steps), np.nan, np.float32)
        self.valid: dict[str, np.ndarray] = {}  # each (trials, segments)
        self.steps = np.zeros(trials, int)  # made, or until the one that diverged
        self.diverged = np.zeros(trials, bool)
        self.segments = segments
        self.length = length  # of a segment, in steps

    def record(self, trials: np.ndarray, segment: int, report: Report) -> np.ndarray:
        """Note a segment of these trials; return which are still alive."""
        first = segment * self.length
        within = slice(0, self.losses.shape[1] - first)  # less the steps past the end
        losses, going = report.losses[:, within], report.alive[:, within]
        made = going.sum(axis=1)
        alive = made == losses.shape[1]
        shown = np.where(going | (np.cumsum(~going, axis=1) == 1), losses, np.nan)
        self.losses[trials, first : first + losses.shape[1]] = shown
        self.steps[trials] = first + made
        # The loss before the others, wherever they are listed.
        for name in sorted(report.valid, key=lambda name: (name != "loss", name)):
            values = report.valid[name]
            kept = self.valid.setdefault(
                name, np.full((len(self.steps), self.segments), np.nan, np.float32)
            )
            kept[trials, segment] = np.where(alive, values, np.nan)
        alive &= np.isfinite(report.valid["loss"])
        self.diverged[trials] = ~alive
        return alive

    def ends(self) -> np.ndarray:
        """The steps made at the end of each segment."""
        steps = self.losses.shape[1]
        return np.minimum(np.arange(1, self.segments + 1) * self.length, steps)

    def final(self, name: str) -> np.ndarray:
        """Each trial's last value of a validation metric; NaN if it diverged."""
        values = self.valid.get(name)
        if values is None:
            return np.full(len(self.steps), np.nan, np.float32)
        last = np.maximum(np.searchsorted(self.ends(), self.steps, "right") - 1, 0)
        found = values[np.arange(len(last)), last]
        return np.where(self.diverged, np.nan, found).astype(np.float32)

    def train_loss(self) -> np.ndarray:
        """Each trial's mean training loss over its last segment's worth of steps."""
        windows = [
            losses[max(0, end - self.length) : end]
            for losses, end in zip(self.losses, self.steps, strict=True)
        ]
        means = [window.mean() if len(window) else np.nan for window in windows]
        return np.asarray(means, np.float32)
