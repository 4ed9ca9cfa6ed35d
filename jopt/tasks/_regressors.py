"""The model of the task `diabetes`, in nnx and in linen."""

import jax
from flax import linen, nnx


class NnxRegressor(nnx.Module):
    """A linear model plus a hidden layer; its first predictions are 0."""

    def __init__(self, width: int, rngs: nnx.Rngs):
        zeros = {"kernel_init": nnx.initializers.zeros, "rngs": rngs}
        self.width, self.linear = width, nnx.Linear(10, 1, **zeros)
        if width:
            self.hidden = nnx.Linear(10, width, rngs=rngs)
            self.last = nnx.Linear(width, 1, use_bias=False, **zeros)

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Return the predictions (batch,) of measurements (batch, 10)."""
        found = self.linear(inputs)
        if self.width:
            found = found + self.last(jax.nn.tanh(self.hidden(inputs)))
        return found[:, 0]


class LinenRegressor(linen.Module):
    """The same model in linen."""

    width: int

    @linen.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Return the predictions (batch,) of measurements (batch, 10)."""
        zeros = linen.initializers.zeros
        found = linen.Dense(1, kernel_init=zeros)(inputs)
        if self.width:
            hidden = jax.nn.tanh(linen.Dense(self.width)(inputs))
            found += linen.Dense(1, use_bias=False, kernel_init=zeros)(hidden)
        return found[:, 0]
