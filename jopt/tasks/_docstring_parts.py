"""The parts of the task `docstrings` as codes of words, and its baseline."""

import collections
import functools
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

from jopt.tasks._cache import of_library
from jopt.tasks._data import rows_of_parts
from jopt.tasks._library_docstrings import SUBJECTS, read_docstrings
from jopt.tasks._scores import of_fitted, on_valid_and_test

LENGTH = 40  # words that are read; three of four docstrings are no longer
STEM = 5  # letters of the beginning of a word
FEWEST = 2, 2, 3  # least training docstrings with a word, a beginning, a pair
STRENGTHS = (1, 10, 100)  # C of the logistic regression, chosen on validation


@functools.cache
def parts_of_docstrings(split: int) -> tuple[dict[str, Any], int, dict[str, float]]:
    """Return (codes, subjects) of each part, the number of codes, and the baseline."""
    read = of_library("docstrings", read_docstrings)
    names = list(SUBJECTS)
    labels = np.array([names.index(subject) for subject, _ in read], np.int32)
    rows = rows_of_parts(labels, (0.7, 0.15), split)
    split_up = [_parts_of(text.split()[:LENGTH]) for _, text in read]
    known: list[str] = []
    for kind, fewest in enumerate(FEWEST):
        each = [{parts[kind] for parts in split_up[row]} for row in rows["train"]]
        counts = collections.Counter(part for parts in each for part in parts)
        known += sorted(part for part, number in counts.items() if number >= fewest)
    code = {part: number for number, part in enumerate(known, start=2)}
    codes = np.zeros((len(read), LENGTH, len(FEWEST)), np.int32)  # 0: no word
    for row, words in zip(codes, split_up, strict=True):
        for place, parts in enumerate(words):
            row[place] = [code.get(part, 1) for part in parts]  # 1: unknown
    parts = {name: (codes[r], labels[r]) for name, r in rows.items()}
    texts = np.array([text for _, text in read], object)
    return parts, len(known) + 2, _regression(texts, labels, rows)


def _parts_of(words: list[str]) -> list[tuple[str, str, str]]:
    """Return each word, its beginning, and the pair that it makes with the next."""
    return [
        (word, f"{word[:STEM]}-", f"{word} {following}")
        for word, following in zip(words, [*words[1:], ""], strict=True)
    ]


def _regression(texts: Any, labels: Any, rows: Any) -> dict[str, float]:
    tfidf = TfidfVectorizer(token_pattern="[a-z]+", sublinear_tf=True)
    x = {"train": tfidf.fit_transform(texts[rows["train"]])}
    x |= {name: tfidf.transform(texts[rows[name]]) for name in ("valid", "test")}
    parts = {name: (x[name], labels[rows[name]]) for name in x}
    found: list[dict[str, float]] = []
    for strength in STRENGTHS:
        one = LogisticRegression(C=strength, solver="liblinear")
        fitted = OneVsRestClassifier(one).fit(*parts["train"])
        found.append(on_valid_and_test(parts, of_fitted(fitted)))
    return max(found, key=lambda each: each["accuracy"])
