"""Rows of the wrappers in `jopt/wrappers/`."""

from typing import Any

import jax
import jax.numpy as jnp

from jopt.wrappers import kahan, stochastic_rounding
from rows import Row, contrib, cosine, harmonic, matrices

# Sums over the run or over the tree are compared, which keep each term's rounding.
SUMS: dict[str, Any] = {"rtol": 5e-6, "scale": 1e-6}


def by_axes(params: Any) -> Any:
    """Label each leaf with its number of axes, in words."""
    words = ("frozen", "vector", "matrix")
    return jax.tree.map(lambda p: words[min(len(p.shape), 2)], params)


def vectors(params: Any) -> Any:
    """Return a mask that is True for the leaves with fewer than two axes."""
    return jax.tree.map(lambda p: len(p.shape) < 2, params)


def growing(step):
    """Return the number of mini-steps of a step: 1, 2, then 3."""
    return jnp.minimum(step + 1, 3)


def even(step):
    """Return whether the step is even."""
    return step % 2 == 0


def largest(updates):
    """Return the greatest modulus of all coordinates."""
    leaves = [jnp.max(jnp.abs(x), initial=0) for x in jax.tree.leaves(updates)]
    return jnp.max(jnp.stack(leaves), initial=0) if leaves else jnp.float32(0)


ROWS = {
    # _accumulate.py
    "accumulate": Row(
        lambda lib: lib.MultiSteps(lib.sgd(0.1, momentum=0.9), 2),
        optax=False,  # its sum of complex gradients is real
        counters=("mini_step", "gradient_step", "skipped", "count"),
    ),
    "accumulate, schedule": Row(
        lambda lib: lib.MultiSteps(lib.sgd(harmonic), growing),
        real=True,
        counters=("mini_step", "gradient_step", "skipped", "count"),
    ),
    # _averaging.py
    "parameter_ema": Row(
        lambda lib: lib.chain(lib.sgd(0.1), lib.parameter_ema(0.9)),
        optax=False,
        idle={".transforms[1].decay"},
    ),
    "parameter_ema, biased": Row(
        lambda lib: lib.parameter_ema(0.9, debias=False),
        optax=False,
        idle={".decay"},
    ),
    # _cautious.py
    "cautious": Row(
        lambda lib: lib.cautious(lib.adamw(1e-2, weight_decay=0.1)),
        optax=False,
        idle={".floor"},
    ),
    "cautious, direction": Row(
        lambda lib: lib.chain(
            lib.cautious(lib.scale_by_adam(), 1.0, descending=False),
            lib.scale_by_learning_rate(1e-2),
        ),
        optax=False,
    ),
    # _conditional.py
    "conditionally_transform": Row(
        lambda lib: lib.conditionally_transform(lib.sgd(0.1, 0.9), even),
        counters=("step",),
    ),
    "conditionally_mask": Row(
        lambda lib: lib.conditionally_mask(lib.sgd(0.1, 0.9), even),
        counters=("step",),
    ),
    # _finite.py
    "apply_if_finite": Row(
        lambda lib: lib.apply_if_finite(lib.adam(1e-2, b1=0.8), 3),
        idle={".max_consecutive_errors"},
        counters=(),  # what a number makes infinite is skipped
    ),
    # _flatten.py
    # optax's makes all leaves complex when one is.
    "flatten": Row(lambda lib: lib.flatten(lib.adam(1e-2, b1=0.8)), real=True),
    # _freeze.py
    "freeze": lambda lib: lib.chain(lib.sgd(0.1, 0.9), lib.freeze(vectors)),
    # optax takes a function for a mask that is true everywhere.
    "selective_transform": Row(
        lambda lib: lib.selective_transform(lib.adam(1e-2), freeze_mask=vectors),
        optax=False,
    ),
    # _inject.py
    "inject_hyperparams": Row(
        lambda lib: lib.inject_hyperparams(lib.adam)(learning_rate=0.1, b1=0.8),
        optax=False,  # its numbers are complex when a leaf is
        in_state=True,
    ),
    "inject_hyperparams, schedule": Row(
        lambda lib: lib.inject_hyperparams(lib.adamw)(
            lib.linear_schedule(0.1, 0.01, 20), b1=0.8, weight_decay=harmonic
        ),
        real=True,
        in_state=True,
    ),
    # _kahan.py
    "kahan": Row(
        lambda lib: kahan(lib.sgd(0.1, 0.9)),
        optax=False,
        reference=False,
        low=frozenset({"compensation"}),
    ),
    # _low_bit.py
    "low_bit": Row(
        lambda lib: lib.low_bit(lib.adam(1e-2, b1=0.8), block=4, min_size=3),
        optax=False,
        reference=False,
    ),
    "low_bit, 4 bits": Row(
        lambda lib: lib.low_bit(lib.sgd(0.1, 0.9), 4, 8, 2, code=lib.Companded()),
        optax=False,
        reference=False,
    ),
    # _masked.py
    "masked": lambda lib: lib.masked(
        lib.chain(lib.clip_by_global_norm(0.5), lib.adam(1e-2)), matrices
    ),
    # _master.py
    # The updates of low-precision leaves are differences of rounded numbers.
    "master_weights": Row(
        lambda lib: lib.master_weights(lib.sgd(0.1, 0.9)),
        optax=False,
        reference=False,
    ),
    # _mechanize.py
    "mechanize": Row(
        lambda lib: contrib(lib).mechanize(
            lib.adam(0.1, eps=0.1), eps=1e-3, s_init=0.1
        ),
        real=True,
        **SUMS,
    ),
    "mechanize, complex": Row(
        lambda lib: contrib(lib).mechanize(lib.sgd(0.1), 0.1, 1e-3, 1e-2, 3),
        optax=False,
        **SUMS,
    ),
    # _monitor.py
    # optax's has no measurements before the first update: it cannot be scanned.
    "monitor": Row(
        lambda lib: lib.chain(
            lib.monitor({"max": largest, "mean": lib.measure_with_ema(largest, 0.9)}),
            lib.sgd(0.1),
        ),
        optax=False,
        idle={".transforms[0].measures['mean'].decay"},
    ),
    "snapshot": Row(lambda lib: lib.snapshot("max", largest)),
    # _partition.py
    "partition": Row(
        lambda lib: lib.partition(
            {
                "matrix": lib.adamw(1e-2, weight_decay=0.01),
                "vector": lib.sgd(0.1, momentum=0.9),
                "frozen": lib.set_to_zero(),
            },
            by_axes,
        ),
        idle={
            ".transforms[1].transforms[0].decay",
            ".transforms[1].transforms[1].learning_rate",
        },
    ),
    # _sam.py
    "normalize": lambda lib: contrib(lib).normalize(),
    "sam": Row(
        lambda lib: contrib(lib).sam(
            lib.sgd(0.1, 0.9),
            lib.chain(contrib(lib).normalize(), lib.sgd(0.5)),
        ),
        counters=("steps_since_sync",),
    ),
    "sam, three": Row(
        lambda lib: contrib(lib).sam(
            lib.sgd(0.1, 0.9), lib.sgd(0.5, 0.9), sync_period=3, reset_state=False
        ),
        idle={".optimizer.transforms[0].decay"},
        counters=("steps_since_sync",),
        reference=False,
    ),
    # _schedule_free.py
    "schedule_free": Row(
        lambda lib: contrib(lib).schedule_free(
            lib.sgd(cosine(lib)), lib.linear_schedule(0.1, 0.3, 10), 0.8, 1.5
        ),
        counters=("step_count", "count"),
    ),
    # _stochastic_rounding.py
    "stochastic_rounding": Row(
        lambda lib: stochastic_rounding(lib.sgd(0.1, 0.9), 3),
        optax=False,
        reference=False,
    ),
}
