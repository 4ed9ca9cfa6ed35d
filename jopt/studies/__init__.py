"""Questions that a sweep answers, each a function."""

from jopt.report import LearningCurves
from jopt.studies._attributions import (
    Importance,
    integrated_gradients,
    permutation_importance,
    shapley_values,
)
from jopt.studies._compress import compress
from jopt.studies._compression import Compression
from jopt.studies._ensembles import Combined, combine
from jopt.studies._learning import learning_curves
from jopt.studies._lr_range import lr_range
from jopt.studies._lr_range_result import LearningRateRange

__all__ = [
    "Combined",
    "Compression",
    "Importance",
    "LearningCurves",
    "LearningRateRange",
    "combine",
    "compress",
    "integrated_gradients",
    "learning_curves",
    "lr_range",
    "permutation_importance",
    "shapley_values",
]
