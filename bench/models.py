"""What the benchmarks train: a model's parameters, loss and batch; and what steps."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from gpt2_small import Shape

import jopt


class Model(NamedTuple):
    """What a training needs; the loss is a function of (params, batch, key=None)."""

    name: str
    params: Any
    loss: Callable[..., Any]
    batch: Any

    @property
    def leaves(self) -> int:
        return len(jax.tree.leaves(self.params))

    @property
    def size(self) -> int:
        return sum(leaf.size for leaf in jax.tree.leaves(self.params))


def mlp(layers: int, width: int, examples: int = 32) -> Model:
    """Return a chain of layers, each a square matrix and a bias added to what it gets.

    What comes in goes on, so that hundreds of layers neither swell nor fade.
    """
    keys = jax.random.split(jax.random.key(0), layers + 2)
    scale = (layers * width) ** -0.5
    params = {
        f"layer{i:03}": {
            "weight": scale * jax.random.normal(key, (width, width)),
            "bias": jnp.zeros(width),
        }
        for i, key in enumerate(keys[2:])
    }

    def loss(params: Any, batch: Any, key: Any = None) -> jax.Array:
        x, wanted = batch
        for layer in params.values():
            x = x + jax.nn.relu(x @ layer["weight"] + layer["bias"])
        return jnp.mean(jnp.square(x - wanted))

    batch = tuple(jax.random.normal(key, (examples, width)) for key in keys[:2])
    return Model(f"MLP {layers} x {width}, batch of {examples}", params, loss, batch)


def cnn(layers: int = 8, channels: int = 32, examples: int = 32) -> Model:
    """Return 3 by 3 convolutions of 16 by 16 images, and a classifier."""
    keys = jax.random.split(jax.random.key(0), layers + 4)
    deep = (9 * channels) ** -0.5

    def convolution(key: jax.Array, given: int, scale: float) -> Any:
        kernel = scale * jax.random.normal(key, (3, 3, given, channels))
        return {"kernel": kernel, "bias": jnp.zeros(channels)}

    params = {
        "first": convolution(keys[2], 3, 0.2),
        "last": {
            "weight": channels**-0.5 * jax.random.normal(keys[3], (channels, 10)),
            "bias": jnp.zeros(10),
        },
        **{
            f"layer{i}": convolution(key, channels, deep / layers**0.5)
            for i, key in enumerate(keys[4:])
        },
    }

    def convolved(layer: Any, x: jax.Array) -> jax.Array:
        layout = ("NHWC", "HWIO", "NHWC")
        x = jax.lax.conv_general_dilated(
            x, layer["kernel"], (1, 1), "SAME", dimension_numbers=layout
        )
        return x + layer["bias"]

    def loss(params: Any, batch: Any, key: Any = None) -> jax.Array:
        images, labels = batch
        x = convolved(params["first"], images)
        for i in range(layers):
            x = x + jax.nn.relu(convolved(params[f"layer{i}"], x))
        logits = x.mean((1, 2)) @ params["last"]["weight"] + params["last"]["bias"]
        return optax.losses.softmax_cross_entropy_with_integer_labels(
            logits, labels
        ).mean()

    images = jax.random.normal(keys[0], (examples, 16, 16, 3))
    labels = jax.random.randint(keys[1], (examples,), 0, 10)
    return Model(f"CNN of {layers + 1} layers", params, loss, (images, labels))


def transformer(examples: int = 4, length: int = 64, **sizes: Any) -> Model:
    """Return GPT-2 small's 147 leaves at another width."""
    shape = Shape(**sizes)
    tokens = jax.random.randint(
        jax.random.key(1), (examples, length + 1), 0, shape.vocabulary
    )
    params = shape.init(jax.random.key(0))
    return Model(f"GPT-2 of width {shape.width}", params, shape.loss, tokens)


def optimizer_step(library: Any, tx: Any) -> Callable[..., Any]:
    """Return a library's step of an optimizer alone, gradients packed if need be."""

    def step(params: Any, state: Any, grads: Any) -> Any:
        if jax.tree.structure(grads) != jax.tree.structure(params):
            grads = jopt.pack_like(params, grads)
        updates, state = tx.update(grads, state, params)
        return library.apply_updates(params, updates), state

    return step
