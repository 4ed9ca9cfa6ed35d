"""What the settings of a sweep report while they train."""

from typing import NamedTuple

import numpy as np


class Reports(NamedTuple):
    """The reports of all settings so far, one at the end of each segment.

    A setting's report is the mean over its seeds and folds. Non-finite is worst, at
    once: a setting of which one trial diverged reports infinity from then on.
    """

    values: np.ndarray  # float64[settings, reports], validation loss; nan: had ended
    train_losses: np.ndarray  # float64[settings, reports], means over the segments
    alive: np.ndarray  # bool[settings], still training
