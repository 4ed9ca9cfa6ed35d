"""`text`: predict characters of Python's help pages with a small transformer."""

import functools
import math
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jopt.core import FilePath, check_argument
from jopt.sweep import Task
from jopt.tasks._arguments import check_least
from jopt.tasks._classification import classifier
from jopt.tasks._scores import of_logits
from jopt.tasks._transformer import VOCABULARY, Transformer

SHARES = (0.8, 0.1)  # shares of training and validation; the rest is the test


def text(
    file: str | Path | None = None,
    length: int = 64,
    width: int = 64,
    layers: int = 2,
    heads: int = 4,
) -> Task:
    """Return the task of predicting the next character with a causal transformer.

    The text is cut into three parts, 80 % for training, 10 % for validation and 10 %
    for the test, and each part into sequences of `length` characters. An example is
    (characters, the characters one position later), both int32[length]: indices into
    `VOCABULARY`, which is newline, printable ASCII, and one index for everything else.
    Losses (in nats) and accuracies are means over the positions of a sequence. Equal
    calls return the same object.

    Args:
      file: a text in UTF-8; by default the help pages that come with Python
        (`pydoc_data.topics`, 0.46 million characters). They differ from one version of
        Python to the next, and so do the losses.
      length: characters of a sequence, at least 1.
      width: the width of the transformer, a multiple of `heads`.
      layers: the number of blocks, at least 1.
      heads: the number of attention heads, at least 1.

    Raises:
      ValueError: if a size is below 1, if `heads` does not divide `width`, if the text
        is not UTF-8, or if it is too short to give each part a sequence.
    """
    check_least("text", 1, length=length, width=width, layers=layers, heads=heads)
    check_argument("text", "file", file, FilePath | None)
    if width % heads:
        raise ValueError(
            f"text: heads must divide width, got {heads} heads and width {width}."
        )
    content = "\n".join(topics[name] for name in sorted(topics))
    if file is not None:
        try:
            content = Path(file).read_text("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"text: file must be text in UTF-8, got {file}, whose byte "
                f"{error.start} is none; convert it, or give another file."
            ) from error
    by_default = (file, length, width, layers, heads) == text.__defaults__
    source = "jopt.tasks:text" if by_default else None
    return _task(content, length, width, layers, heads, source)


@functools.cache
def _task(
    content: str, length: int, width: int, layers: int, heads: int, source: str | None
) -> Task:
    data: dict[str, Any] = _parts(content, length)
    return classifier(
        "text",
        lambda key: Transformer(length, width, layers, heads, key),
        lambda model, characters: model(characters),
        scores=_scores,
        **data,
        batch_size=8,
        epochs=2,
        diverged_above=10 * math.log(len(VOCABULARY)),
        source=source,
    )


def _parts(content: str, length: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Cut a text into three parts, and each part into adjacent sequences."""
    codes = {character: code for code, character in enumerate(VOCABULARY)}
    coded = np.array([codes.get(character, 0) for character in content], np.int32)
    ends = np.round(np.cumsum(SHARES) * len(coded)).astype(int)
    cut: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, part in zip(
        ("train", "valid", "test"), np.split(coded, ends), strict=True
    ):
        number = (len(part) - 1) // length  # the last character has no successor
        if number < 1:
            raise ValueError(
                f"text: a text of {len(coded)} characters is too short for sequences "
                f"of {length}: its {name} part has {len(part)}; give a longer text or "
                "a smaller length."
            )
        cut[name] = (
            part[: number * length].reshape(number, length),
            part[1 : number * length + 1].reshape(number, length),
        )
    return cut


def _scores(logits: Any, following: Any) -> dict[str, jax.Array]:
    """Return the means over the positions of each sequence."""
    found = of_logits(logits, following)
    return {name: jnp.mean(values, axis=1) for name, values in found.items()}
