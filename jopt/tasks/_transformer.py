"""The model of the task `text`: a small causal transformer of characters."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

# The first entry stands for all characters outside the vocabulary.
VOCABULARY = "\0\n" + "".join(map(chr, range(32, 127)))


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
        # Embed by a product with one-hot rows: the gradient of a table look-up is a
        # scatter, and a GPU adds its terms in any order.
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
