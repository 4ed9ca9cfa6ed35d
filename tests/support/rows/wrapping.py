"""Wrappers over time: accumulation, guards, conditions, averages, measurements."""

import jax
import jax.numpy as jnp
from row import Row, harmonic, rows

from jopt.wrappers import kahan, stochastic_rounding


def growing(step):
    """The length of a window: 1, 2, then 3 mini-steps."""
    return jnp.minimum(step + 1, 3)


def even(step):
    """Whether the step is even."""
    return step % 2 == 0


def largest(updates):
    """The greatest modulus of all."""
    leaves = [jnp.max(jnp.abs(x), initial=0) for x in jax.tree.leaves(updates)]
    return jnp.max(jnp.stack(leaves), initial=0) if leaves else jnp.float32(0)


ROWS = rows(
    {
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
        "apply_if_finite": Row(
            lambda lib: lib.apply_if_finite(lib.adam(1e-2, b1=0.8), 3),
            idle={".max_consecutive_errors"},
            counters=(),  # what a number makes infinite is skipped
        ),
        "conditionally_transform": Row(
            lambda lib: lib.conditionally_transform(lib.sgd(0.1, 0.9), even),
            counters=("step",),
        ),
        "conditionally_mask": Row(
            lambda lib: lib.conditionally_mask(lib.sgd(0.1, 0.9), even),
            counters=("step",),
        ),
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
        # optax's has no measurements before the first update: it cannot be scanned.
        "monitor": Row(
            lambda lib: lib.chain(
                lib.monitor(
                    {"max": largest, "mean": lib.measure_with_ema(largest, 0.9)}
                ),
                lib.sgd(0.1),
            ),
            optax=False,
            idle={".transforms[0].measures['mean'].decay"},
        ),
        # The updates of low-precision leaves are differences of rounded numbers.
        "master_weights": Row(
            lambda lib: lib.master_weights(lib.sgd(0.1, 0.9)),
            optax=False,
            reference=False,
        ),
        "stochastic_rounding": Row(
            lambda lib: stochastic_rounding(lib.sgd(0.1, 0.9), 3),
            optax=False,
            reference=False,
        ),
        "kahan": Row(
            lambda lib: kahan(lib.sgd(0.1, 0.9)),
            optax=False,
            reference=False,
            low=frozenset({"compensation"}),
        ),
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
        "snapshot": Row(lambda lib: lib.snapshot("max", largest)),
        # optax's makes all leaves complex when one is.
        "flatten": Row(lambda lib: lib.flatten(lib.adam(1e-2, b1=0.8)), real=True),
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
    }
)
