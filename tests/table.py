"""Every transformation and schedule, once: the contract tests run over these tables.

A row is a function of a library. jopt's names and arguments are optax's, and the
float64 `reference` has them too, so one row makes all three. New optimizers add rows.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jopt

Row = Callable[[Any], Any]


def matrices(params: Any) -> Any:
    """A mask as a function: True where a leaf has at least two axes."""
    return jax.tree.map(lambda p: len(p.shape) > 1, params)


def harmonic(count: Any) -> Any:
    """A schedule that is a function."""
    return 1 / (1 + count)


def _cosine(lib: Any) -> Any:
    return lib.warmup_cosine_decay_schedule(0.01, 0.1, 2, 40, 0.02)


TRANSFORMATIONS: dict[str, Row] = {
    "identity": lambda lib: lib.identity(),
    "set_to_zero": lambda lib: lib.set_to_zero(),
    "scale": lambda lib: lib.scale(-0.5),
    "scale_by_learning_rate": lambda lib: lib.scale_by_learning_rate(0.1),
    "scale_by_learning_rate, unflipped": lambda lib: lib.scale_by_learning_rate(
        0.1, flip_sign=False
    ),
    "scale_by_learning_rate, schedule": lambda lib: lib.scale_by_learning_rate(
        lib.linear_schedule(0.1, 0.01, 20, 1)
    ),
    "scale_by_schedule": lambda lib: lib.scale_by_schedule(
        lib.exponential_decay(0.5, 10, 0.5)
    ),
    "scale_by_schedule, function": lambda lib: lib.scale_by_schedule(harmonic),
    "trace": lambda lib: lib.trace(0.9),
    "trace, nesterov": lambda lib: lib.trace(0.9, nesterov=True),
    "ema": lambda lib: lib.ema(0.95),
    "ema, biased": lambda lib: lib.ema(0.95, debias=False),
    "clip": lambda lib: lib.clip(0.2),
    "clip_by_global_norm": lambda lib: lib.clip_by_global_norm(0.5),
    "add_decayed_weights": lambda lib: lib.add_decayed_weights(0.1),
    "add_decayed_weights, schedule": lambda lib: lib.add_decayed_weights(
        lib.linear_schedule(0.1, 0.0, 20)
    ),
    "add_decayed_weights, mask": lambda lib: lib.add_decayed_weights(0.1, matrices),
    "sgd": lambda lib: lib.sgd(0.1),
    "sgd, schedule": lambda lib: lib.sgd(_cosine(lib)),
    "sgd, momentum": lambda lib: lib.sgd(0.1, 0.9),
    "sgd, nesterov": lambda lib: lib.sgd(0.1, momentum=0.9, nesterov=True),
    "scale_by_adam": lambda lib: lib.scale_by_adam(0.8, 0.95, 1e-4, 1e-6),
    "adam": lambda lib: lib.adam(1e-3),
    "adam, nesterov": lambda lib: lib.adam(1e-3, 0.8, 0.99, nesterov=True),
    "adam, no memory": lambda lib: lib.adam(1e-3, 0.0, 0.0, 1e-3),
    "adamw": lambda lib: lib.adamw(1e-3, weight_decay=0.01),
    "adamw, schedules": lambda lib: lib.adamw(
        _cosine(lib), weight_decay=lib.linear_schedule(0.01, 0.0, 20)
    ),
    "adamw, mask": lambda lib: lib.adamw(1e-3, weight_decay=0.01, mask=matrices),
    "nadam": lambda lib: lib.nadam(1e-3),
    "nadamw": lambda lib: lib.nadamw(1e-3, weight_decay=0.01, mask=matrices),
    "scale_by_amsgrad": lambda lib: lib.scale_by_amsgrad(0.8, 0.95, 1e-4, 1e-6),
    "amsgrad": lambda lib: lib.amsgrad(1e-3, b2=0.9),
    "amsgrad, paper": lambda lib: lib.amsgrad(
        1e-3, b2=0.9, bias_correction_mu=False, bias_correction_nu=False
    ),
    "scale_by_rss": lambda lib: lib.scale_by_rss(0.0, 0.01),
    "adagrad": lambda lib: lib.adagrad(0.1),
    "scale_by_rms": lambda lib: lib.scale_by_rms(0.9, 1e-4, 0.1),
    "scale_by_stddev": lambda lib: lib.scale_by_stddev(0.9, 1e-4, 0.1),
    "rmsprop": lambda lib: lib.rmsprop(1e-2),
    "rmsprop, outside": lambda lib: lib.rmsprop(1e-2, 0.99, eps_in_sqrt=False),
    "rmsprop, unbiased": lambda lib: lib.rmsprop(1e-2, bias_correction=True),
    "rmsprop, momentum": lambda lib: lib.rmsprop(1e-2, momentum=0.8),
    "rmsprop, nesterov": lambda lib: lib.rmsprop(1e-2, momentum=0.8, nesterov=True),
    "rmsprop, centered": lambda lib: lib.rmsprop(1e-2, centered=True),
    # Without an initial scale the first variance is |g|^2 - |g|^2: rounding alone.
    "rmsprop, centered, unbiased": lambda lib: lib.rmsprop(
        1e-2, initial_scale=30.0, centered=True, bias_correction=True
    ),
    "scale_by_lion": lambda lib: lib.scale_by_lion(0.9, 0.7),
    "scale_by_lion, smooth": lambda lib: lib.scale_by_lion(
        mode="smooth", smooth_beta=0.1
    ),
    "scale_by_lion, refined": lambda lib: lib.scale_by_lion(0.8, mode="refined"),
    "lion": lambda lib: lib.lion(1e-3, 0.9, 0.7, weight_decay=0.1, mask=matrices),
    "chain": lambda lib: lib.chain(
        lib.clip_by_global_norm(0.5), lib.chain(lib.trace(0.9), lib.scale(-0.1))
    ),
    "named_chain": lambda lib: lib.named_chain(
        ("clip", lib.clip_by_global_norm(0.5)), ("adam", lib.adamw(1e-2))
    ),
    "lift(adan)": lambda lib: (
        lib.adan(1e-2, weight_decay=0.1)
        if lib is not jopt
        else jopt.lift(optax.adan)(1e-2, weight_decay=0.1)
    ),
}

# Numbers that the rest of the transformation makes idle.
IDLE = {
    "scale_by_lion": {".smooth_beta"},
    "scale_by_lion, refined": {".smooth_beta"},
    "lion": {".transforms[0].smooth_beta"},
}

# Coordinates have no order in the complex plane: `clip` has no meaning there.
REAL_ONLY = ("clip",)

SCHEDULES: dict[str, Row] = {
    "constant": lambda lib: lib.constant_schedule(0.3),
    "linear": lambda lib: lib.linear_schedule(0.1, 0.9, 40),
    "linear, begin": lambda lib: lib.linear_schedule(0.9, 0.1, 40, 7),
    "linear, no steps": lambda lib: lib.linear_schedule(0.1, 0.9, 0),
    "linear, negative begin": lambda lib: lib.linear_schedule(0.1, 0.9, 40, -5),
    "polynomial": lambda lib: lib.polynomial_schedule(0.1, 0.9, 2, 40),
    "polynomial, root": lambda lib: lib.polynomial_schedule(0.9, 0.1, 0.5, 40, 7),
    "polynomial, no steps": lambda lib: lib.polynomial_schedule(0.1, 0.9, 3, 0),
    "exponential": lambda lib: lib.exponential_decay(0.5, 10, 0.7),
    "exponential, begin": lambda lib: lib.exponential_decay(0.5, 10, 0.7, 7),
    "exponential, stairs": lambda lib: lib.exponential_decay(
        0.5, 10, 0.7, staircase=True
    ),
    "exponential, end": lambda lib: lib.exponential_decay(0.5, 10, 0.7, end_value=0.1),
    "exponential, growth": lambda lib: lib.exponential_decay(
        0.5, 10, 1.2, 7, end_value=0.9
    ),
    "exponential, no steps": lambda lib: lib.exponential_decay(0.5, 0, 0.7),
    "exponential, no rate": lambda lib: lib.exponential_decay(0.5, 10, 0.0),
    "piecewise": lambda lib: lib.piecewise_constant_schedule(
        0.5, {10: 0.5, 30: 0.1, 70: 3}
    ),
    "piecewise, no pieces": lambda lib: lib.piecewise_constant_schedule(0.5),
    "cosine": lambda lib: lib.cosine_decay_schedule(0.5, 80),
    "cosine, floor": lambda lib: lib.cosine_decay_schedule(0.5, 80, 0.1, 1.5),
    "warmup cosine": lambda lib: lib.warmup_cosine_decay_schedule(0.0, 0.5, 20, 100),
    "warmup cosine, floor": lambda lib: lib.warmup_cosine_decay_schedule(
        0.1, 0.5, 20, 100, 0.05, 2.0
    ),
    "warmup cosine, no warmup": lambda lib: lib.warmup_cosine_decay_schedule(
        0.1, 0.5, 0, 100
    ),
    "join": lambda lib: lib.join_schedules(
        [
            lib.linear_schedule(0.0, 0.5, 20),
            lib.constant_schedule(0.5),
            lib.exponential_decay(0.5, 10, 0.7),
        ],
        [20, 50],
    ),
}


def numbers(tree: Any) -> dict[str, Any]:
    """Every number of a transformation or schedule by its path."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def values(number: float) -> tuple[float, float, float]:
    """A number and two others that are as lawful."""
    return number, number / 2, 0.01 if abs(number) < 0.01 else number / 4


def variations(tree: Any) -> list[Any]:
    """`tree` with three values for each of its numbers in turn, the others kept."""
    leaves, structure = jax.tree.flatten(tree)
    return [
        structure.unflatten([*leaves[:i], value, *leaves[i + 1 :]])
        for i, number in enumerate(leaves)
        for value in values(number)
    ]


def stack(trees: list[Any]) -> Any:
    """Trees of one structure as one tree, whose leaves gain a leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def assert_close(got: Any, wanted: Any, rtol: float, scale: float = 2e-7) -> None:
    """Compare trees of arrays; axis 0 of their leaves is the step.

    `scale` is of the greatest of the coordinate's own values, for where it passes
    through zero: a sum keeps the rounding of its terms.
    """
    ours, theirs = jax.tree.leaves(got), jax.tree.leaves(wanted)
    assert len(ours) == len(theirs)
    for x, y in zip(ours, theirs, strict=True):
        y = np.asarray(y)
        size = np.max(np.abs(y), axis=0, initial=0, keepdims=True)
        slack = rtol * np.abs(y) + scale * size
        np.testing.assert_array_less(np.abs(np.asarray(x) - y), slack + 1e-30)


def counted(function: Callable[..., Any], **settings: Any) -> tuple[Any, list[Any]]:
    """`function` compiled, and a list that grows by one whenever it is traced."""
    traces = []

    def traced(*args: Any) -> Any:
        traces.append(args)
        return function(*args)

    return jax.jit(traced, **settings), traces


@contextlib.contextmanager
def relaxed() -> Iterator[None]:
    """JAX's own promotion rules, which optax relies on."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield
