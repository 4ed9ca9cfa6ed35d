"""Questions that a sweep answers, each a function."""

from jopt.studies._compress import compress
from jopt.studies._compression import Compression
from jopt.studies._ensembles import Combined, combine
from jopt.studies._lr_range import lr_range
from jopt.studies._lr_range_result import LearningRateRange

__all__ = [
    "Combined",
    "Compression",
    "LearningRateRange",
    "combine",
    "compress",
    "lr_range",
]
