"""Questions that a sweep answers, each a function."""

from jopt.studies._ensembles import Combined, combine
from jopt.studies._lr_range import lr_range
from jopt.studies._lr_range_result import LearningRateRange

__all__ = ["Combined", "LearningRateRange", "combine", "lr_range"]
