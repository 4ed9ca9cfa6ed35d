"""`text`: the characters of Python's own help pages, and a small causal transformer."""

import functools
import math
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jopt.core import FilePath, check_argument
from jopt.sweep import Task

# The same for every text. The first stands for all characters outside the vocabulary.
VOCABULARY = "\0\n" + "".join(map(chr, range(32, 127)))
SHARES = (0.8, 0.1)  # of the text, for training and validation; the rest is the test


class Block(nnx.Module):
    """A transformer block: causal attention and an MLP four times as wide."""

    def __init__(self, width: int, heads: int, rngs: nnx.Rngs):
        self.heads = heads
        self.before_attention = nnx.LayerNorm(width, rngs=rngs)
        self.queries_keys_values = nnx.Linear(width, 3 * width, rngs=rngs)
        self.attended = nnx.Linear(width, width, rngs=rngs)
        self.before_mlp = nnx.LayerNorm(width, rngs=rngs)
        self.widen = nnx.Linear(width, 4 * width, rngs=rngs)
        self.narrow = nnx.Linear(4 * width, width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (batch, length, width) to the same shape."""
        products = self.queries_keys_values(self.before_attention(x))
        by_head = (*x.shape[:2], self.heads, -1)
        parts = (part.reshape(by_head) for part in jnp.split(products, 3, axis=-1))
        found = jax.nn.dot_product_attention(*parts, is_causal=True)
        x = x + self.attended(found.reshape(x.shape))
        return x + self.narrow(nnx.gelu(self.widen(self.before_mlp(x))))


class Transformer(nnx.Module):
    """A causal transformer that maps characters to logits of the next character."""

    def __init__(self, length: int, width: int, layers: int, heads: int, key: Any):
        rngs, size = nnx.Rngs(key), len(VOCABULARY)
        # Embeddings by a product with one-hot rows: the gradient of a table look-up is
        # a scatter, and a GPU adds its sums in any order.
        self.characters = nnx.Linear(size, width, use_bias=False, rngs=rngs)
        self.places = nnx.Param(
            0.02 * jax.random.normal(rngs.params(), (length, width))
        )
        self.blocks = nnx.List([Block(width, heads, rngs) for _ in range(layers)])
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.head = nnx.Linear(width, size, rngs=rngs)

    def __call__(self, characters: jax.Array) -> jax.Array:
        """Return logits (batch, length, vocabulary) of int32 (batch, length)."""
        x = self.characters(jax.nn.one_hot(characters, len(VOCABULARY)))
        x = x + self.places[...][None]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def text(
    file: str | Path | None = None,
    length: int = 64,
    width: int = 64,
    layers: int = 2,
    heads: int = 4,
) -> Task:
    """Return the task of predicting the next character with a causal transformer.

    The text is cut in three parts, 80 % for training, 10 % for validation and 10 % for
    the test, and each part into sequences of `length` characters. An example is
    (characters, the characters one position later), both int32[length]: indices into
    `VOCABULARY`, which is newline, printable ASCII, and one index for everything else.
    Losses and accuracies are means over the positions of a sequence; losses are in
    nats. Equal calls return the same object.

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
    sizes = {"length": length, "width": width, "layers": layers, "heads": heads}
    for name, size in sizes.items():
        check_argument("text", name, size, int)
        if size < 1:
            raise ValueError(f"text: {name} must be at least 1, got {size}.")
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
    def loss(model: Transformer, batch: Any, key: Any) -> jax.Array:
        characters, following = batch
        return jnp.mean(_cross_entropy(model(characters), following))

    def evaluate(model: Transformer, batch: Any) -> dict[str, jax.Array]:
        characters, following = batch
        return _scores(model(characters), following)

    def predict(model: Transformer, batch: Any) -> jax.Array:
        return jax.nn.softmax(model(batch[0]))

    data: dict[str, Any] = _parts(content, length)
    return Task.from_model(
        "text",
        lambda key: Transformer(length, width, layers, heads, key),
        loss,
        evaluate,
        predict=predict,
        **data,
        score=_scores_of_probabilities,
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


def _cross_entropy(logits: jax.Array, following: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, following)


def _scores(logits: jax.Array, following: jax.Array) -> dict[str, jax.Array]:
    correct = jnp.argmax(logits, axis=-1) == following
    losses = _cross_entropy(logits, following)
    return {"loss": jnp.mean(losses, axis=1), "accuracy": jnp.mean(correct, axis=1)}


def _scores_of_probabilities(
    probabilities: jax.Array, batch: Any
) -> dict[str, jax.Array]:
    """Return the scores of probabilities, such as the mean of several models'."""
    return _scores(jnp.log(probabilities), batch[1])
