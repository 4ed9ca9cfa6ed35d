"""The parts of the task `docstrings`, as codes of words, and its baseline."""

import collections
import functools
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.multiclass import OneVsRestClassifier

from jopt.tasks._cache import of_library
from jopt.tasks._data import rows_of_parts
from jopt.tasks._library_docstrings import SUBJECTS, read_docstrings
from jopt.tasks._scores import on_valid_and_test

LENGTH = 64  # words that are read
STEM = 5  # letters of the beginning of a word
STRENGTHS = (1, 10, 100)  # C of the logistic regression, chosen on validation


@functools.cache
def parts_of_docstrings(split: int) -> tuple[dict[str, Any], int, dict[str, float]]:
    """Return (codes of words, subjects) by part, the codes' number, the baseline."""
    read = of_library("docstrings", read_docstrings)
    names = list(SUBJECTS)
    labels = np.array([names.index(subject) for subject, _ in read], np.int32)
    rows = rows_of_parts(labels, (0.7, 0.15), split)
    counts = collections.Counter(
        part
        for row in rows["train"]
        for part in {p for word in read[row][1].split() for p in _parts_of(word)}
    )
    known = sorted(part for part, number in counts.items() if number > 1)
    code = {part: number for number, part in enumerate(known, start=2)}
    codes = np.zeros((len(read), LENGTH, 2), np.int32)  # 0: no word; 1: an unknown one
    for row, (_, text) in zip(codes, read, strict=True):
        words = text.split()[:LENGTH]
        for place, word in enumerate(words):
            row[place] = [code.get(part, 1) for part in _parts_of(word)]
    parts = {name: (codes[r], labels[r]) for name, r in rows.items()}
    texts = np.array([text for _, text in read], object)
    return parts, len(known) + 2, _regression(texts, labels, rows)


def _parts_of(word: str) -> tuple[str, str]:
    """Return a word, and its beginning, which other forms of it share."""
    return word, f"{word[:STEM]}-"


def _regression(texts: Any, labels: Any, rows: Any) -> dict[str, float]:
    tfidf = TfidfVectorizer(token_pattern="[a-z]+", sublinear_tf=True)
    x = {"train": tfidf.fit_transform(texts[rows["train"]])}
    x |= {name: tfidf.transform(texts[rows[name]]) for name in ("valid", "test")}
    parts = {name: (x[name], labels[rows[name]]) for name in x}
    found: list[dict[str, float]] = []
    for strength in STRENGTHS:
        one = LogisticRegression(C=strength, solver="liblinear")
        fitted = OneVsRestClassifier(one).fit(*parts["train"])

        def score(inputs: Any, labels: Any, fitted: Any = fitted) -> dict[str, float]:
            said = fitted.predict(inputs)
            f1 = float(f1_score(labels, said, average="macro"))
            return {"accuracy": float(np.mean(said == labels)), "macro_f1": f1}

        found.append(on_valid_and_test(parts, score))
    return max(found, key=lambda each: each["accuracy"])
