"""Questions that a sweep answers, each a function."""

from jopt.report import LearningCurves
from jopt.studies._attributions import (
    Importance,
    integrated_gradients,
    permutation_importance,
    shapley_values,
)
from jopt.studies._compare import compare, compare_cost
from jopt.studies._comparison import Comparison, across
from jopt.studies._compress import compress
from jopt.studies._compression import Compression
from jopt.studies._contender import Contender
from jopt.studies._ensembles import Combined, combine
from jopt.studies._learning import learning_curves
from jopt.studies._lr_range import lr_range
from jopt.studies._lr_range_result import LearningRateRange
from jopt.studies._stages import Cost, StudyProgress, is_study as is_study
from jopt.studies._transfer import transfer, transfer_cost
from jopt.studies._transferred import Transfer

__all__ = [
    "Combined",
    "Comparison",
    "Compression",
    "Contender",
    "Cost",
    "Importance",
    "LearningCurves",
    "LearningRateRange",
    "StudyProgress",
    "Transfer",
    "across",
    "combine",
    "compare",
    "compare_cost",
    "compress",
    "integrated_gradients",
    "learning_curves",
    "lr_range",
    "permutation_importance",
    "shapley_values",
    "transfer",
    "transfer_cost",
]
