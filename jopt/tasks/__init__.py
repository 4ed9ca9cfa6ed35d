"""The built-in tasks: real data and a Flax model each.

    from jopt.tasks import digits

The data comes inside packages (`pip install 'jopt[tasks]'`), or with Python itself
(`text`, `docstrings`, `imports`). Nothing is downloaded. The package of a task is
imported when the task is first used.

The sizes of the model are arguments (`digits(width=128)`). Equal calls return the same
object, so that a sweep over sizes groups the trials that share a program.
"""

import importlib
from typing import TYPE_CHECKING, Any

from jopt.core import late

if TYPE_CHECKING:
    from jopt.tasks._classification import linen_classifier, nnx_classifier
    from jopt.tasks._co2 import co2
    from jopt.tasks._diabetes import diabetes, diabetes_linen
    from jopt.tasks._digits import MLP, digits
    from jopt.tasks._docstrings import docstrings
    from jopt.tasks._imports import imports
    from jopt.tasks._longtail import COUNTS, longtail
    from jopt.tasks._mnist import LinenCNN, NnxCNN, mnist, mnist_nnx
    from jopt.tasks._pooling import max_pool
    from jopt.tasks._text import text
    from jopt.tasks._transformer import VOCABULARY, Transformer

__all__ = [
    "COUNTS",
    "MLP",
    "VOCABULARY",
    "LinenCNN",
    "NnxCNN",
    "Transformer",
    "co2",
    "diabetes",
    "diabetes_linen",
    "digits",
    "docstrings",
    "imports",
    "linen_classifier",
    "longtail",
    "max_pool",
    "mnist",
    "mnist_nnx",
    "nnx_classifier",
    "text",
]

_FILES = {
    "_classification": ("linen_classifier", "nnx_classifier"),
    "_co2": ("co2",),
    "_diabetes": ("diabetes", "diabetes_linen"),
    "_digits": ("MLP", "digits"),
    "_docstrings": ("docstrings",),
    "_imports": ("imports",),
    "_longtail": ("COUNTS", "longtail"),
    "_mnist": ("LinenCNN", "NnxCNN", "mnist", "mnist_nnx"),
    "_pooling": ("max_pool",),
    "_text": ("text",),
    "_transformer": ("VOCABULARY", "Transformer"),
}


def _find(name: str) -> Any:
    file = next(file for file, names in _FILES.items() if name in names)
    return getattr(importlib.import_module(f"{__name__}.{file}"), name)


__getattr__, __dir__ = late(__name__, __all__, _find)
