"""A transformer like GPT-2 in plain JAX, for the benchmarks: 147 leaves at 12 layers.

The leaves are GPT-2's (embedding, two layer norms, four matrices and four biases a
layer, a last norm; the embedding gives the logits too), but for its table of positions:
those are sinusoids here, no parameters.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Shape(NamedTuple):
    """The size of a model: GPT-2 small's width and depth, a rounder vocabulary."""

    layers: int = 12
    width: int = 768
    heads: int = 12
    vocabulary: int = 32_768
    compute: str = "float32"  # the dtype that parameters are cast to

    def init(self, key: jax.Array) -> dict[str, Any]:
        """Return float32 parameters: 110 million at the default size."""
        width = self.width
        deep = 0.02 / math.sqrt(2 * self.layers)
        sizes = {
            "attention_in": (width, 3 * width, 0.02),
            "attention_out": (width, width, deep),
            "mlp_in": (width, 4 * width, 0.02),
            "mlp_out": (4 * width, width, deep),
        }

        def dense(key: jax.Array, rows: int, columns: int, scale: float) -> Any:
            weight = scale * jax.random.normal(key, (rows, columns))
            return {"weight": weight, "bias": jnp.zeros(columns)}

        def layer(key: jax.Array) -> dict[str, Any]:
            keys = jax.random.split(key, len(sizes))
            parts = zip(sizes.items(), keys, strict=True)
            norms = {name: self._norm() for name in ("attention_norm", "mlp_norm")}
            return {name: dense(k, *size) for (name, size), k in parts} | norms

        first, *keys = jax.random.split(key, 1 + self.layers)
        table = 0.02 * jax.random.normal(first, (self.vocabulary, width))
        layers = {f"layer{i:02}": layer(k) for i, k in enumerate(keys)}
        return {"embedding": table, "last_norm": self._norm(), **layers}

    def _norm(self) -> dict[str, jax.Array]:
        return {"scale": jnp.ones(self.width), "bias": jnp.zeros(self.width)}

    def logits(self, params: Any, tokens: jax.Array) -> jax.Array:
        """Return float32[batch, length, vocabulary] for int32[batch, length]."""
        params = jax.tree.map(lambda p: p.astype(self.compute), params)
        places = _positions(tokens.shape[1], self.width)
        x = params["embedding"][tokens] + places.astype(self.compute)
        for i in range(self.layers):
            layer = params[f"layer{i:02}"]
            x = x + self._attention(layer, _normed(layer["attention_norm"], x))
            hidden = _dense(layer["mlp_in"], _normed(layer["mlp_norm"], x))
            x = x + _dense(layer["mlp_out"], jax.nn.gelu(hidden))
        logits = _normed(params["last_norm"], x) @ params["embedding"].T
        return logits.astype(jnp.float32)

    def _attention(self, layer: Any, x: jax.Array) -> jax.Array:
        batch, length, width = x.shape
        joined = _dense(layer["attention_in"], x)
        parts = joined.reshape(batch, length, 3, self.heads, width // self.heads)
        query, key, value = (parts[:, :, i] for i in range(3))
        mixed = jax.nn.dot_product_attention(query, key, value, is_causal=True)
        return _dense(layer["attention_out"], mixed.reshape(batch, length, width))

    def loss(self, params: Any, batch: jax.Array, key: Any = None) -> jax.Array:
        """Return the mean cross-entropy of each token given those before it.

        batch: int32[batch, length + 1]. key: not used; losses are called with one.
        """
        del key
        logits = jax.nn.log_softmax(self.logits(params, batch[:, :-1]))
        picked = jnp.take_along_axis(logits, batch[:, 1:, None], axis=-1)
        return -jnp.mean(picked)


def _dense(layer: Any, x: jax.Array) -> jax.Array:
    return x @ layer["weight"] + layer["bias"]


def _normed(layer: Any, x: jax.Array) -> jax.Array:
    mean = jnp.mean(x, -1, keepdims=True)
    variance = jnp.mean(jnp.square(x - mean), -1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(variance + 1e-5) * layer["scale"] + layer["bias"]


def _positions(length: int, width: int) -> jax.Array:
    rates = 10_000.0 ** (-jnp.arange(width // 2) / (width // 2))
    angles = jnp.arange(length)[:, None] * rates
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], -1)
