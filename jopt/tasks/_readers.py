"""Models that read words: a small transformer, and a GRU."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx


class Words(nnx.Module):
    """Word vectors, each the sum of its parts' vectors; training drops some words.

    The code 0 stands for no word.
    """

    def __init__(self, size: int, width: int, left_out: float, rngs: nnx.Rngs):
        vectors = 0.1 * jax.random.normal(rngs.params(), (size, width))
        self.vectors = nnx.Param(vectors)
        self.leave_out = nnx.Dropout(left_out, rngs=rngs)

    def __call__(self, codes: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return vectors (batch, words, width) of codes, and a mask of the words."""
        table = self.vectors[...]
        there = self.leave_out((codes[..., 0] > 0).astype(table.dtype)) > 0
        return jnp.where(there[..., None], table[codes].sum(axis=2), 0), there


class Answers(nnx.Module):
    """Logits: a linear model of the single words plus one of the encoded text.

    The first is the wide part of Cheng et al. 2016, Wide & deep learning,
    https://arxiv.org/abs/1606.07792.
    """

    def __init__(
        self, size: int, width: int, classes: int, dropout: float, rngs: nnx.Rngs
    ):
        self.of_words = nnx.Param(jnp.zeros((size, classes)))
        self.dropout = nnx.Dropout(dropout, rngs=rngs)
        self.last = nnx.Linear(2 * width, classes, rngs=rngs)

    def __call__(
        self, codes: jax.Array, vectors: jax.Array, read: jax.Array, there: jax.Array
    ) -> jax.Array:
        """Return logits (batch, classes) of codes, vectors and the encoded words."""
        words = there.sum(axis=1, keepdims=True, dtype=vectors.dtype)
        size = jnp.sqrt(jnp.maximum(words, 1))
        each = self.of_words[...][codes].sum(axis=2)
        each = jnp.where(there[..., None], each, 0)
        alone = each.sum(axis=1) / size
        lowest = jnp.finfo(read.dtype).min
        greatest = jnp.max(jnp.where(there[..., None], read, lowest), axis=1)
        # A text whose words are all dropped has no maximum.
        greatest = jnp.where(there.any(axis=1, keepdims=True), greatest, 0)
        both = jnp.concatenate([greatest, vectors.sum(axis=1) / size], axis=-1)
        return alone + self.last(self.dropout(both))


class WordTransformer(nnx.Module):
    """A transformer of one block, in which every word attends to all words."""

    def __init__(
        self,
        size: int,
        length: int,
        width: int,
        classes: int,
        dropout: float,
        rngs: nnx.Rngs,
        heads: int = 4,
    ):
        self.heads, self.dropout = heads, nnx.Dropout(dropout, rngs=rngs)
        self.words = Words(size, width, 0.3, rngs)
        places = 0.02 * jax.random.normal(rngs.params(), (length, width))
        self.places = nnx.Param(places)
        self.before_attention = nnx.LayerNorm(width, rngs=rngs)
        self.queries_keys_values = nnx.Linear(width, 3 * width, rngs=rngs)
        self.attended = nnx.Linear(width, width, rngs=rngs)
        self.before_mlp = nnx.LayerNorm(width, rngs=rngs)
        self.widen = nnx.Linear(width, 2 * width, rngs=rngs)
        self.narrow = nnx.Linear(2 * width, width, rngs=rngs)
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.answers = Answers(size, width, classes, dropout, rngs)

    def __call__(self, codes: jax.Array) -> jax.Array:
        """Return logits (batch, classes) of codes (batch, words, parts)."""
        vectors, there = self.words(codes)
        x = vectors + self.places[...][None]
        products = self.queries_keys_values(self.before_attention(x))
        by_head = (*x.shape[:2], self.heads, -1)
        parts = (part.reshape(by_head) for part in jnp.split(products, 3, axis=-1))
        seen = there[:, None, None]  # broadcast over heads and words
        found = jax.nn.dot_product_attention(*parts, mask=seen).reshape(x.shape)
        x = x + self.dropout(self.attended(found))
        x = x + self.dropout(self.narrow(nnx.gelu(self.widen(self.before_mlp(x)))))
        return self.answers(codes, vectors, self.norm(x), there)


class WordGRU(nnx.Module):
    """Two GRUs of half the width, one of which reads backwards."""

    def __init__(
        self, size: int, width: int, classes: int, dropout: float, rngs: nnx.Rngs
    ):
        self.words = Words(size, width, 0.3, rngs)
        forward, backward = (
            nnx.RNN(nnx.GRUCell(width, width // 2, rngs=rngs)) for _ in range(2)
        )
        self.both = nnx.Bidirectional(forward, backward, rngs=rngs)
        self.answers = Answers(size, width, classes, dropout, rngs)

    def __call__(self, codes: jax.Array) -> jax.Array:
        """Return logits (batch, classes) of codes (batch, words, parts)."""
        vectors, there = self.words(codes)
        read: Any = self.both(vectors)
        return self.answers(codes, vectors, read, there)
