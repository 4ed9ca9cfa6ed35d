"""Run fifty steps of a row with jopt, optax and the float64 reference.

The tree has mixed shapes and dtypes. Gradients and params are given for each step, so
that a difference at one step does not enter the next: the transformation is compared,
and not the training.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import reference
from comparison import call_unoptimized, relaxed
from transformation_table import TRANSFORMATIONS

import jopt

STEPS = 50
SHAPES = {"scalar": (), "vector": (3,), "matrix": (4, 5), "cube": (2, 3, 4)}
LOW = ("scalar", "cube")


def data(seed: int, *, zeros: float = 0.0, real: bool = False) -> dict[str, Any]:
    """A run of random leaves, each coordinate of its own scale, some steps zero."""
    rng = np.random.default_rng(seed)

    def leaf(shape: tuple[int, ...]) -> Any:
        scales = 10 ** rng.uniform(-3, 1, shape)
        live = rng.random((STEPS, *shape)) >= zeros
        return live * scales * rng.normal(size=(STEPS, *shape))

    wide = {name: jnp.asarray(leaf(s), jnp.float32) for name, s in SHAPES.items()}
    low = {name: jnp.asarray(leaf(SHAPES[name]), jnp.bfloat16) for name in LOW}
    odd = {"empty": jnp.zeros((STEPS, 0, 3), jnp.float32), "none": None}
    if not real:
        odd["complex"] = jnp.asarray(leaf((2,)) + 1j * leaf((2,)), jnp.complex64)
    return {"float32": wide, "bfloat16": low, "odd": odd}


def widened(tree: Any) -> Any:
    """The same numbers, those of bfloat16 in float32."""
    return jax.tree.map(
        lambda x: x.astype(jnp.float32) if x.dtype == jnp.bfloat16 else x, tree
    )


def rounded(tree: Any) -> Any:
    """The numbers that bfloat16 has for these."""
    return jax.tree.map(
        lambda x: np.asarray(jnp.asarray(x, jnp.bfloat16), np.float64), tree
    )


def steps(tx: Any, grads: Any, params: Any, extra: Any = None) -> Any:
    """Every step's updates and states."""

    def step(state: Any, given: Any) -> Any:
        updates, state = tx.update(given[0], state, given[1], **(extra or {}))
        return state, (updates, state)

    first = jax.tree.map(lambda p: p[0], params)
    return jax.lax.scan(step, tx.init(first), (grads, params))[1]


compiled = jax.jit(steps)


def given(name: str) -> tuple[Any, Any]:
    real = TRANSFORMATIONS[name].real
    return data(0, zeros=0.1, real=real), data(1, real=real)


@functools.cache
def with_jopt(name: str) -> Any:
    """jopt's run, the hyperparameters as data."""
    row = TRANSFORMATIONS[name]
    return compiled(row(jopt), *given(name), dict(row.extra))


def with_optax(name: str) -> Any:
    """optax's run, all of it in float32."""
    with relaxed():
        row = TRANSFORMATIONS[name]
        run = functools.partial(steps, row(optax))
        return call_unoptimized(run, *map(widened, given(name)), dict(row.extra))


def with_reference(name: str) -> Any:
    """The mathematics, in float64."""

    def float64(x: Any) -> Any:
        kind = np.complex128 if jnp.iscomplexobj(x) else np.float64
        return np.asarray(x).astype(kind)

    row = TRANSFORMATIONS[name]
    return row(reference)(*jax.tree.map(float64, given(name)), **row.extra)
