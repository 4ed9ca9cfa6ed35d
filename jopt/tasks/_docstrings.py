"""`docstrings`: classify docstrings by subject, with a small transformer or GRU."""

import functools
from typing import Any

from flax import nnx

from jopt.core import check_argument
from jopt.sweep import Task
from jopt.tasks._arguments import check_least
from jopt.tasks._classification import classifier
from jopt.tasks._docstring_parts import LENGTH, parts_of_docstrings
from jopt.tasks._library_docstrings import SUBJECTS
from jopt.tasks._readers import WordGRU, WordTransformer
from jopt.tasks._scores import macro_f1, of_classes

DROPOUT = 0.5
MODELS = ("transformer", "gru")


def docstrings(model: str = "transformer", width: int = 64, split: int = 0) -> Task:
    """Return the task of classifying docstrings of Python's library by subject.

    There are 16 subjects, such as `mail`, `numbers` and `web`; a docstring's module
    determines its subject. 70 % of the docstrings are for training, 15 % for validation
    and 15 % for the test, at random and stratified by subject. All docstrings have
    different words. They differ from one version of Python to the next.

    The model reads the first 40 words of a docstring. Each word has three codes: for
    itself, for its first five letters, and for the pair with the next word. The
    vocabulary comes from the training part: words and beginnings of at least two
    docstrings, pairs of three. The docstrings are cached in the user's cache directory.

    The baseline is a logistic regression for each subject on TF-IDF frequencies of
    words, whose strength is chosen on validation. Equal calls return the same object.

    Args:
      model: "transformer" or "gru".
      width: dimensions of a word's vector, a multiple of 4, at least 4.
      split: the seed by which the docstrings are divided, at least 0.

    Raises:
      ValueError: if an argument breaks its rule.
    """
    check_argument("docstrings", "model", model, str)
    check_least("docstrings", 4, width=width)
    check_least("docstrings", 0, split=split)
    if model not in MODELS:
        raise ValueError(
            f"docstrings: model must be {' or '.join(MODELS)}, got {model}."
        )
    if width % 4:
        raise ValueError(f"docstrings: width must be a multiple of 4, got {width}.")
    return _task(model, width, split)


@functools.cache
def _task(kind: str, width: int, split: int) -> Task:
    parts, size, baseline = parts_of_docstrings(split)

    def make(key: Any) -> Any:
        rngs, classes = nnx.Rngs(key), len(SUBJECTS)
        if kind == "gru":
            return WordGRU(size, width, classes, DROPOUT, rngs)
        return WordTransformer(size, LENGTH, width, classes, DROPOUT, rngs)

    return classifier(
        "docstrings",
        make,
        lambda model, codes: model(codes),
        scores=of_classes,
        summarize=macro_f1,
        metric="accuracy",
        mode="max",
        **parts,
        epochs=7,
        baseline={"logistic regression": baseline},
        source=(
            "jopt.tasks:docstrings"
            if (kind, width, split) == docstrings.__defaults__
            else None
        ),
    )
