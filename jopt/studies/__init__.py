"""Questions that a sweep answers, each a function."""

from jopt.studies._compare import compare, compare_cost
from jopt.studies._comparison import Comparison, across
from jopt.studies._compress import compress
from jopt.studies._compression import Compression
from jopt.studies._contender import Contender
from jopt.studies._ensembles import Combined, combine
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
    "LearningRateRange",
    "StudyProgress",
    "Transfer",
    "across",
    "combine",
    "compare",
    "compare_cost",
    "compress",
    "lr_range",
    "transfer",
    "transfer_cost",
]
