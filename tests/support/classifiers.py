"""Tiny classifiers and their losses: an nnx module, linen variables, plain params."""

import jax
import jax.numpy as jnp
import optax
from flax import linen, nnx

KEY = jax.random.key(0)
BATCH = (jax.random.normal(KEY, (16, 4)), jnp.arange(16) % 2)


def cross_entropy(logits, labels):
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


class NnxModel(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(4, 8, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.last = nnx.Linear(8, 2, rngs=rngs)

    def __call__(self, x):
        return self.last(nnx.relu(self.norm(self.first(x))))


class LinenModel(linen.Module):
    @linen.compact
    def __call__(self, x, train):
        x = linen.BatchNorm(use_running_average=not train)(linen.Dense(8)(x))
        return linen.Dense(2)(linen.relu(x))


def nnx_loss(model, batch, key):
    return cross_entropy(model(batch[0]), batch[1])


def linen_loss(variables, batch, key):
    logits, changed = LinenModel().apply(
        variables, batch[0], True, mutable=["batch_stats"]
    )
    return cross_entropy(logits, batch[1]), changed


def plain_loss(params, batch, key):
    return cross_entropy(batch[0] @ params["w"] + params["b"][None], batch[1])


def nnx_model():
    return NnxModel(nnx.Rngs(0))


def linen_model():
    return LinenModel().init(KEY, BATCH[0], True)


def plain_model():
    return {"w": jnp.ones((4, 2)), "b": jnp.zeros(2)}


KINDS = {
    "nnx": (nnx_model, nnx_loss),
    "linen": (linen_model, linen_loss),
    "plain": (plain_model, plain_loss),
}
