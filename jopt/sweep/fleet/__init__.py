"""A study in an Optuna storage that any number of workers share."""

from jopt.sweep.fleet._fleet import Claim, Fleet, Lost, Row
from jopt.sweep.fleet._place import Place, StorageError, is_storage
from jopt.sweep.fleet._shared_result import described, result_of, told

__all__ = [
    "Claim",
    "Fleet",
    "Lost",
    "Place",
    "Row",
    "StorageError",
    "described",
    "is_storage",
    "result_of",
    "told",
]
